/* The files of a demo: see demo.h. */
#include <string.h>

#include "demo.h"
#include "file.h"
#include "json.h"

enum { SEED = 1 };

struct demo_pair *demo_pairs_make(demo_make_fn *make, int64_t n_train, int64_t n_held_out) {
    struct demo_pair *pair = mem_alloc(n_train + n_held_out, sizeof *pair);
    int64_t n[2] = {0, 0}, max[2] = {n_train, n_held_out};
    for (int64_t index = 0; n[0] < max[0] || n[1] < max[1]; index++) {
        bool is_held_out;
        struct demo_pair made = make(SEED, index, &is_held_out);
        if (n[is_held_out] == max[is_held_out])
            demo_pair_free(&made);
        else
            pair[is_held_out * n_train + n[is_held_out]++] = made;
    }
    return pair;
}

void demo_pairs_free(struct demo_pair *pair, int64_t n) {
    for (int64_t i = 0; i < n; i++) demo_pair_free(&pair[i]);
    mem_free(pair);
}

int demo_write_file(const char *directory, const char *name, const char *text, size_t length) {
    char *path = file_join(directory, name);
    int status = file_replace(path, text, length);
    mem_free(path);
    return status;
}

static int write_json(const char *directory, const char *name, json_t *value) {
    CHECK(value, "%s: not JSON", name);
    char *text = json_text(value);
    json_decref(value);
    int status = demo_write_file(directory, name, text, strlen(text));
    mem_free(text);
    return status;
}

static json_t *tokenizer_config(void) {
    return json_pack("{s:s, s:s, s:s}", "tokenizer_class", "PreTrainedTokenizerFast", "eos_token",
                     "<|endoftext|>", "bos_token", "<|endoftext|>");
}

static json_t *model_config(int64_t vocabulary, int64_t max_positions) {
    return json_pack(
        "{s:[s], s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:I, s:f, s:f, s:f, s:b}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "vocab_size",
        (json_int_t)vocabulary, "hidden_size", 64, "intermediate_size", 192, "num_hidden_layers", 2,
        "num_attention_heads", 4, "num_key_value_heads", 2, "head_dim", 16, "hidden_act", "silu",
        "max_position_embeddings", (json_int_t)max_positions, "rope_theta", 10000.0, "rms_norm_eps",
        1e-6, "initializer_range", 0.1, "tie_word_embeddings", 1);
}

int demo_write_model(const char *directory, const char *const *text, int64_t n,
                     int64_t max_positions) {
    struct buffer tokenizer = {0};
    int64_t vocabulary;
    demo_tokenizer_write(text, n, &tokenizer, &vocabulary);
    int status = file_make_directory(directory);
    if (status == 0)
        status = demo_write_file(directory, "tokenizer.json", tokenizer.data, tokenizer.length);
    buffer_free(&tokenizer);
    if (status == 0) status = write_json(directory, "tokenizer_config.json", tokenizer_config());
    if (status != 0) return -1;
    return write_json(directory, "config.json", model_config(vocabulary, max_positions));
}

void demo_append_row(struct buffer *out, json_t *row) {
    char *text = json_text(row);
    buffer_format(out, "%s\n", text);
    mem_free(text);
    json_decref(row);
}

int demo_write_pairs(const char *directory, const char *name, const struct demo_pair *pair,
                     int64_t n) {
    struct buffer text = {0};
    for (int64_t i = 0; i < n; i++)
        demo_append_row(
            &text, json_pack("{s:s, s:s}", "chosen", pair[i].chosen, "rejected", pair[i].rejected));
    char *file = mem_format("%s.jsonl", name);
    int status = demo_write_file(directory, file, text.data, text.length);
    buffer_free(&text);
    mem_free(file);
    return status;
}
