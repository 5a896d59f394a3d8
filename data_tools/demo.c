/* rankwise-data demo: the files that `make demo` trains on.
 *
 *   model/           config.json (a tiny Llama, weights at random) and the tokenizer's two files
 *   train.jsonl      the pairs as text, and train.h5, the shard that `build` makes of them
 *   held_out.jsonl   pairs of other prompts, and held_out.h5
 *   texts.jsonl      one held-out prompt with its better and its worse answer, for `rankwise score`
 *
 * Everything is a pure function of the seed below. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "data_tools.h"
#include "demo.h"
#include "file.h"
#include "json.h"
#include "log.h"

enum { SEED = 1, N_TRAIN = 12000, N_HELD_OUT = 500 };

static const char usage[] =
    "usage: rankwise-data demo --out DIR\n"
    "\n"
    "Writes a small preference task into DIR: model/ (configuration and tokenizer), train.h5 and\n"
    "held_out.h5 with the pairs as text beside them, texts.jsonl with two answers to score.\n"
    "configs/demo.cfg trains on it: mpirun -np 2 build/rankwise train configs/demo.cfg\n";

static int write_file(const char *directory, const char *name, const char *text, size_t length) {
    char *path = file_join(directory, name);
    int status = file_replace(path, text, length);
    mem_free(path);
    return status;
}

static int write_json(const char *directory, const char *name, json_t *value) {
    CHECK(value, "%s: not JSON", name);
    char *text = json_text(value);
    json_decref(value);
    int status = write_file(directory, name, text, strlen(text));
    mem_free(text);
    return status;
}

/* The first N_TRAIN pairs of the training split, then the first N_HELD_OUT of the other. */
static struct demo_pair *make_pairs(void) {
    struct demo_pair *pair = mem_alloc(N_TRAIN + N_HELD_OUT, sizeof *pair);
    int64_t n[2] = {0, 0}, max[2] = {N_TRAIN, N_HELD_OUT};
    for (int64_t index = 0; n[0] < max[0] || n[1] < max[1]; index++) {
        bool is_held_out;
        struct demo_pair made = demo_pair_make(SEED, index, &is_held_out);
        if (n[is_held_out] == max[is_held_out])
            demo_pair_free(&made);
        else
            pair[is_held_out * N_TRAIN + n[is_held_out]++] = made;
    }
    return pair;
}

/* The folder that `rankwise train` begins with: a tokenizer and the shape of a tiny model. */
static int write_model(const char *directory, const struct demo_pair *pair) {
    struct buffer tokenizer = {0};
    int64_t vocabulary;
    demo_tokenizer_write(pair, N_TRAIN + N_HELD_OUT, &tokenizer, &vocabulary);
    int status = file_make_directory(directory);
    if (status == 0)
        status = write_file(directory, "tokenizer.json", tokenizer.data, tokenizer.length);
    buffer_free(&tokenizer);
    if (status == 0)
        status =
            write_json(directory, "tokenizer_config.json",
                       json_pack("{s:s, s:s, s:s}", "tokenizer_class", "PreTrainedTokenizerFast",
                                 "eos_token", "<|endoftext|>", "bos_token", "<|endoftext|>"));
    if (status != 0) return -1;
    return write_json(
        directory, "config.json",
        json_pack("{s:[s], s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:i, s:f, s:f, s:f, s:b}",
                  "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size",
                  (json_int_t)vocabulary, "hidden_size", 64, "intermediate_size", 192,
                  "num_hidden_layers", 2, "num_attention_heads", 4, "num_key_value_heads", 2,
                  "head_dim", 16, "hidden_act", "silu", "max_position_embeddings", 256,
                  "rope_theta", 10000.0, "rms_norm_eps", 1e-6, "initializer_range", 0.1,
                  "tie_word_embeddings", 1));
}

static void append_line(struct buffer *out, json_t *row) {
    char *text = json_text(row);
    buffer_format(out, "%s\n", text);
    mem_free(text);
    json_decref(row);
}

/* <name>.jsonl, and <name>.h5 as a user would make it of that. */
static int write_pairs(const char *directory, const char *name, const struct demo_pair *pair,
                       int64_t n) {
    struct buffer text = {0};
    for (int64_t i = 0; i < n; i++)
        append_line(
            &text, json_pack("{s:s, s:s}", "chosen", pair[i].chosen, "rejected", pair[i].rejected));
    char *tokenizer = file_join(directory, "model"),
         *rows = mem_format("%s/%s.jsonl", directory, name);
    char *shard = mem_format("%s/%s.h5", directory, name), *tool[] = {(char[]){"build"},
                                                                      (char[]){"--tokenizer"},
                                                                      tokenizer,
                                                                      (char[]){"--max-length"},
                                                                      (char[]){"256"},
                                                                      (char[]){"--out"},
                                                                      shard,
                                                                      rows,
                                                                      NULL};
    int status = file_replace(rows, text.data, text.length);
    if (status != 0) log_error("%s", error_text());
    if (status == 0) status = build_command(8, tool);
    buffer_free(&text);
    mem_free(tokenizer);
    mem_free(rows);
    mem_free(shard);
    return status;
}

static int write_texts(const char *directory, const struct demo_pair *pair) {
    struct buffer text = {0};
    append_line(&text, json_pack("{s:s}", "text", pair->chosen));
    append_line(&text, json_pack("{s:s}", "text", pair->rejected));
    int status = write_file(directory, "texts.jsonl", text.data, text.length);
    buffer_free(&text);
    return status;
}

int demo_command(int argc, char **argv) {
    struct option option[] = {{"out", true}, {"help", false}};
    struct arguments arguments;
    int code;
    if (command_arguments(&arguments, option, 2, 0, usage, argc, argv, &code)) return code;
    arguments_free(&arguments);
    if (!option[0].value) {
        fail("--out is missing");
        return command_misuse(argv[0], usage);
    }
    const char *directory = option[0].value;
    struct demo_pair *pair = make_pairs();
    char *model = file_join(directory, "model");
    code = command_finish(write_model(model, pair));
    if (code == EXIT_DONE) code = command_finish(write_texts(directory, pair + N_TRAIN));
    if (code == EXIT_DONE) code = write_pairs(directory, "train", pair, N_TRAIN);
    if (code == EXIT_DONE) code = write_pairs(directory, "held_out", pair + N_TRAIN, N_HELD_OUT);
    for (int i = 0; i < N_TRAIN + N_HELD_OUT; i++) demo_pair_free(&pair[i]);
    mem_free(pair);
    mem_free(model);
    return code;
}
