/* Tokenizers: opening one from its files, and asking about its tokens. See tokenizer.h; encoding is
 * in encoder.c.
 *
 * Truncation and padding of tokenizer.json are not read: they only matter to callers that ask the
 * library to cut or pad, and templates do that here. */
#include "tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "file.h"
#include "json.h"
#include "tokenizer_state.h"
#include "unicode.h"

static const char main_file[] = "tokenizer.json", config_file[] = "tokenizer_config.json",
                  map_file[] = "special_tokens_map.json", model_file[] = "config.json";
enum { FILE_CEILING = 1 << 28 };

const struct tokenizer_file *tokenizer_find_file(const struct tokenizer_file *file, int n,
                                                 const char *name) {
    for (int i = 0; i < n; i++)
        if (strcmp(file[i].name, name) == 0) return &file[i];
    return NULL;
}

/* --- tokenizer.json ------------------------------------------------------------------ */

static int parse_parts(struct tokenizer *t, const json_t *json) {
    if (!json_is_object(json)) return fail("expected an object");
    if (bpe_parse(&t->bpe, json_object_get(json, "model")) != 0 ||
        pretokenizer_parse(&t->pretokenizer, json_object_get(json, "pre_tokenizer")) != 0 ||
        normalizer_parse(&t->normalizer, json_object_get(json, "normalizer")) != 0 ||
        detokenizer_parse(&t->detokenizer, json_object_get(json, "decoder")) != 0 ||
        frame_parse(&t->frame, json_object_get(json, "post_processor")) != 0)
        return -1;
    if (added_parse(&t->added, json_object_get(json, "added_tokens"), &t->bpe) != 0)
        return fail_context("added_tokens");
    if (pretokenizer_ends_in_letters(&t->pretokenizer) && bpe_take_bytes(&t->bpe))
        pretokenizer_drop_letters(&t->pretokenizer);
    return 0;
}

/* --- opening and closing ------------------------------------------------------------- */

static void keep_file(struct tokenizer *t, const struct tokenizer_file *file) {
    if (!file) return;
    char *data = mem_alloc((int64_t)file->length, 1);
    memcpy(data, file->data, file->length);
    t->file[t->n_files++] = (struct tokenizer_file){file->name, data, file->length};
}

static int open_parts(struct tokenizer *t, const struct tokenizer_file *file, int n,
                      const char *special) {
    const struct tokenizer_file *main = tokenizer_find_file(file, n, main_file);
    if (!main)
        return fail("%s is missing; hint: save the tokenizer with transformers' save_pretrained (a "
                    "fast tokenizer)",
                    main_file);
    json_t *json = json_parse(main->data, main->length);
    if (!json) return fail_context("%s", main_file);
    int status = parse_parts(t, json);
    json_decref(json);
    if (status != 0) {
        fail_context("%s", main_file);
        return fail_hint("byte-level BPE (GPT-2, Llama 3, Qwen) and BPE with byte fallback "
                         "(Llama 2, Mistral, Gemma) are read");
    }
    if (tokenizer_config_added(t, file, n) != 0) return -1;
    if (added_build(&t->added, &t->normalizer) != 0)
        return fail_context("%s: added_tokens", main_file);
    t->size = t->bpe.n_ids;
    if (t->added.n) t->size = MAX(t->size, t->added.token[t->added.n - 1].id + 1);
    return tokenizer_config_special(t, file, n, special);
}

struct tokenizer *tokenizer_open(const struct tokenizer_file *file, int n_files,
                                 const char *special) {
    unicode_start();
    struct tokenizer *t = mem_alloc(1, sizeof *t);
    if (open_parts(t, file, n_files, special) != 0) {
        tokenizer_free(t);
        return NULL;
    }
    static const char *const kept[TOKENIZER_FILES] = {main_file, config_file, map_file};
    for (int i = 0; i < TOKENIZER_FILES; i++) {
        const struct tokenizer_file *found = tokenizer_find_file(file, n_files, kept[i]);
        if (found) keep_file(t, &(struct tokenizer_file){kept[i], found->data, found->length});
    }
    return t;
}

struct tokenizer *tokenizer_open_directory(const char *directory, const char *special) {
    static const char *const names[] = {main_file, config_file, map_file, model_file};
    struct buffer data[4] = {{0}};
    struct tokenizer_file file[4];
    int n = 0, status = 0;
    for (int i = 0; i < 4 && status == 0; i++) {
        bool is_file = !file_is_directory(directory) && file_exists(directory);
        if (is_file && i > 0) break;
        char *path = is_file ? mem_copy_string(directory) : file_join(directory, names[i]);
        if (file_exists(path)) {
            status = file_read(path, FILE_CEILING, &data[i]);
            file[n++] = (struct tokenizer_file){names[i], data[i].data, data[i].length};
        }
        mem_free(path);
    }
    struct tokenizer *t = status == 0 ? tokenizer_open(file, n, special) : NULL;
    if (status == 0 && !t) fail_context("%s", directory);
    for (int i = 0; i < 4; i++) buffer_free(&data[i]);
    return t;
}

void tokenizer_free(struct tokenizer *t) {
    if (!t) return;
    bpe_free(&t->bpe);
    added_free(&t->added);
    normalizer_free(&t->normalizer);
    detokenizer_free(&t->detokenizer);
    frame_free(&t->frame);
    pretokenizer_free(&t->pretokenizer);
    for (int i = 0; i < t->n_files; i++) mem_free((void *)t->file[i].data);
    for (int role = 0; role < SPECIAL_ROLES; role++) mem_free(t->special[role]);
    mem_free(t);
}

/* --- questions ----------------------------------------------------------------------- */

void tokenizer_files_clear(struct tokenizer_file *file, int n) {
    for (int i = 0; i < n; i++) {
        mem_free((void *)file[i].name);
        mem_free((void *)file[i].data);
    }
}

int tokenizer_files(const struct tokenizer *t, const struct tokenizer_file **file) {
    *file = t->file;
    return t->n_files;
}

int64_t tokenizer_size(const struct tokenizer *t) {
    return t->size;
}

int tokenizer_id(const struct tokenizer *t, const char *token) {
    const struct added_token *added = added_find(&t->added, token, strlen(token));
    return added ? added->id : bpe_id(&t->bpe, token, strlen(token));
}

int tokenizer_bos(const struct tokenizer *t) {
    return t->bos;
}

int tokenizer_eos(const struct tokenizer *t) {
    return t->eos;
}

int tokenizer_pad(const struct tokenizer *t) {
    return t->pad;
}

struct frame tokenizer_frame(const struct tokenizer *t) {
    return t->frame;
}

const char *tokenizer_token(const struct tokenizer *t, int id) {
    const struct added_token *added = added_by_id(&t->added, id);
    size_t length;
    return added ? added->written : bpe_token(&t->bpe, id, &length);
}

bool tokenizer_added(const struct tokenizer *t, int index, int *id, const char **content,
                     bool *is_special) {
    if (index < 0 || index >= t->added.n) return false;
    *id = t->added.token[index].id;
    *content = t->added.token[index].content;
    *is_special = t->added.token[index].is_special;
    return true;
}

/* A place in a text, and how far the search for it has come. */
struct boundary {
    size_t at, walked;
    bool moves_on;
};

static int keep_token(void *self, const struct added_token *token, const char *text,
                      size_t length) {
    struct boundary *b = self;
    (void)text;
    if (token && b->walked < b->at && b->at < b->walked + length)
        b->at = b->walked + (b->moves_on ? length : 0);
    b->walked += length;
    return 0;
}

size_t tokenizer_boundary(const struct tokenizer *t, const char *text, size_t length, size_t at,
                          bool moves_on) {
    struct boundary b = {.at = at, .moves_on = moves_on};
    if (at == 0 || at == length) return at;
    added_split(&t->added, &t->added.raw, text, length, keep_token, &b);
    return b.at;
}
