/* rankwise-data demo: the files that `make demo` trains on.
 *
 *   model/           config.json (a tiny Llama, weights at random) and the tokenizer's two files
 *   train.jsonl      the pairs as text, and train.h5, the shard that `build` makes of them
 *   held_out.jsonl   pairs of other prompts, and held_out.h5
 *   texts.jsonl      one held-out prompt with its better and its worse answer, for `rankwise score`
 *
 * With --judge: see demo_judge.c. Everything is a pure function of the seed in demo_files.c. */
#include "demo.h"

#include "command.h"
#include "data_tools.h"
#include "file.h"

enum { N_TRAIN = 12000, N_HELD_OUT = 500 };

static const char usage[] =
    "usage: rankwise-data demo [--judge] --out DIR\n"
    "\n"
    "Writes a small preference task into DIR: model/ (configuration and tokenizer), train.h5 and\n"
    "held_out.h5 with the pairs as text beside them, texts.jsonl with two answers to score.\n"
    "configs/demo.cfg trains on it: mpirun -np 2 build/rankwise train configs/demo.cfg\n"
    "--judge  the task of a toy judge that writes its scores: the same model, pairs of polite and\n"
    "         rude answers, and warm_up.jsonl, which teaches the form of an answer and no more\n";

/* <name>.jsonl, and <name>.h5 as a user would make it of that. */
static int build_pairs(const char *directory, const char *name, const struct demo_pair *pair,
                       int64_t n) {
    int code = command_finish(demo_write_pairs(directory, name, pair, n));
    if (code != EXIT_DONE) return code;
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
    code = build_command(8, tool);
    mem_free(tokenizer);
    mem_free(rows);
    mem_free(shard);
    return code;
}

static int write_texts(const char *directory, const struct demo_pair *pair) {
    struct buffer text = {0};
    demo_append_row(&text, json_pack("{s:s}", "text", pair->chosen));
    demo_append_row(&text, json_pack("{s:s}", "text", pair->rejected));
    int status = demo_write_file(directory, "texts.jsonl", text.data, text.length);
    buffer_free(&text);
    return status;
}

static int write_model(const char *directory, const struct demo_pair *pair) {
    enum { N_TEXTS = 2 * (N_TRAIN + N_HELD_OUT) };
    char *model = file_join(directory, "model");
    const char **text = mem_alloc(N_TEXTS, sizeof *text);
    for (int i = 0; i < N_TEXTS; i++) text[i] = i % 2 ? pair[i / 2].rejected : pair[i / 2].chosen;
    int status = demo_write_model(model, text, N_TEXTS, 256);
    mem_free(text);
    mem_free(model);
    return status;
}

static int demo_pairs(const char *directory) {
    struct demo_pair *pair = demo_pairs_make(demo_pair_make, N_TRAIN, N_HELD_OUT);
    int code = command_finish(write_model(directory, pair));
    if (code == EXIT_DONE) code = command_finish(write_texts(directory, pair + N_TRAIN));
    if (code == EXIT_DONE) code = build_pairs(directory, "train", pair, N_TRAIN);
    if (code == EXIT_DONE) code = build_pairs(directory, "held_out", pair + N_TRAIN, N_HELD_OUT);
    demo_pairs_free(pair, N_TRAIN + N_HELD_OUT);
    return code;
}

int demo_command(int argc, char **argv) {
    enum { OUT, JUDGE, HELP, N_OPTIONS };
    struct option option[N_OPTIONS] = {
        [OUT] = {"out", true}, [JUDGE] = {"judge", false}, [HELP] = {"help", false}};
    struct arguments arguments;
    int code;
    if (command_arguments(&arguments, option, N_OPTIONS, 0, usage, argc, argv, &code)) return code;
    arguments_free(&arguments);
    if (!option[OUT].value) {
        fail("--out is missing");
        return command_misuse(argv[0], usage);
    }
    return (option[JUDGE].value ? demo_judge : demo_pairs)(option[OUT].value);
}
