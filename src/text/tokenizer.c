/* Tokenizers: opening one from its files, and asking about its tokens. See tokenizer.h; encoding is in encoder.c.
 *
 * Truncation and padding of tokenizer.json are not read: they only matter to callers that ask the library to cut or
 * pad, and templates do that here. */
#include "tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "file.h"
#include "json.h"
#include "tokenizer_state.h"
#include "unicode.h"

static const char main_file[] = "tokenizer.json", config_file[] = "tokenizer_config.json",
                  map_file[] = "special_tokens_map.json", model_file[] = "config.json";
enum { BOS, EOS, PAD, N_ROLES };
static const char *const role_name[N_ROLES] = {"bos", "eos", "pad"};
enum { FILE_CEILING = 1 << 28 };

static const struct tokenizer_file *find_file(const struct tokenizer_file *file, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (strcmp(file[i].name, name) == 0) return &file[i];
    return NULL;
}

/* --- tokenizer.json ------------------------------------------------------------------ */

static int parse_normalizer(struct tokenizer *t, const json_t *json) {
    if (!json || json_is_null(json)) return 0;
    const char *type = NULL;
    if (!json_is_object(json)) return fail("expected an object or null");
    if (json_get_string(json, "type", &type) != 0) return -1;
    if (!type) return fail("\"type\" is missing");
    if (strcmp(type, "Sequence") == 0) {
        const json_t *part, *list = json_object_get(json, "normalizers");
        size_t i;
        if (!json_is_array(list)) return fail("Sequence: \"normalizers\": expected a list");
        json_array_foreach(list, i, part) if (parse_normalizer(t, part) != 0) return -1;
        return 0;
    }
    if (strcmp(type, "NFC") != 0) return fail("%s is not implemented (NFC is)", type);
    t->normalize = unicode_nfc; /* twice is the same as once */
    return 0;
}

static int check_decoder(const json_t *json) {
    const char *type = NULL;
    if (json_get_string(json, "type", &type) != 0) return fail_context("decoder");
    return type && strcmp(type, "ByteLevel") == 0
               ? 0
               : fail("decoder: %s is not implemented (ByteLevel is)", type ? type : "none");
}

static int parse_parts(struct tokenizer *t, const json_t *json) {
    if (!json_is_object(json)) return fail("expected an object");
    if (bpe_parse(&t->bpe, json_object_get(json, "model")) != 0 ||
        pretokenizer_parse(&t->pretokenizer, json_object_get(json, "pre_tokenizer")) != 0 ||
        added_parse(&t->added, json_object_get(json, "added_tokens"), &t->bpe) != 0 ||
        check_decoder(json_object_get(json, "decoder")) != 0 ||
        frame_parse(&t->frame, json_object_get(json, "post_processor")) != 0)
        return -1;
    if (parse_normalizer(t, json_object_get(json, "normalizer")) != 0) return fail_context("normalizer");
    added_build(&t->added, t->normalize);
    t->size = t->bpe.n_ids;
    if (t->added.n) t->size = MAX(t->size, t->added.token[t->added.n - 1].id + 1);
    return 0;
}

/* --- BOS, EOS and pad ---------------------------------------------------------------- */

struct special {
    int id[N_ROLES];
    bool is_named; /* some file has a key for one of the roles, null or not */
    const char *from[N_ROLES];
};

static int set_special(const struct tokenizer *t, struct special *s, int role, const char *token, const char *from) {
    int id = tokenizer_id(t, token);
    if (id < 0)
        return fail("%s: the %s token \"%.100s\" is not in the vocabulary or the added tokens of %s", from,
                    role_name[role], token, main_file);
    if (s->id[role] < 0) {
        s->id[role] = id;
        s->from[role] = from;
    }
    return 0;
}

/* The keys bos_token, eos_token and pad_token: a string, an object with "content", or null. */
static int read_special_file(const struct tokenizer *t, struct special *s, const struct tokenizer_file *file) {
    if (!file) return 0;
    json_t *json = json_parse(file->data, file->length);
    if (!json) return fail_context("%s", file->name);
    int status = json_is_object(json) ? 0 : fail("%s: expected an object", file->name);
    for (int role = 0; role < N_ROLES && status == 0; role++) {
        char key[16];
        snprintf(key, sizeof key, "%s_token", role_name[role]);
        const json_t *value = json_object_get(json, key);
        s->is_named |= value != NULL;
        if (!value || json_is_null(value)) continue;
        const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
        if (!json_is_string(content) || strlen(json_string_value(content)) != json_string_length(content))
            status = fail("%s: \"%s\": expected a string, or an object with \"content\"", file->name, key);
        else
            status = set_special(t, s, role, json_string_value(content), file->name);
    }
    json_decref(json);
    return status;
}

/* The role that "eos=..." at text names, or -1. */
static int role_at(const char *text) {
    for (int role = 0; role < N_ROLES; role++)
        if (strncmp(text, role_name[role], 3) == 0 && text[3] == '=') return role;
    return -1;
}

/* "eos=</s>,pad=<pad>": a token reaches to the end or to a comma that another role follows. One that contradicts a
 * file is an error: neither can be chosen without the user's saying so. */
static int read_special_option(const struct tokenizer *t, struct special *s, const char *option) {
    while (option && *option) {
        int role = role_at(option);
        if (role < 0) return fail("special tokens: expected bos=..., eos=... or pad=..., found \"%.100s\"", option);
        const char *from = option + 4, *to = from;
        while (*to && !(*to == ',' && role_at(to + 1) >= 0)) to++;
        char *token = mem_format("%.*s", (int)MIN(to - from, INT32_MAX), from);
        int known = s->id[role], status = set_special(t, s, role, token, "special tokens asked for");
        if (status == 0 && known >= 0 && known != tokenizer_id(t, token))
            status =
                fail("special tokens: %s=\"%.100s\" was asked for, but %s says \"%.100s\"; hint: change it there",
                     role_name[role], token, s->from[role], tokenizer_token(t, known));
        mem_free(token);
        if (status != 0) return -1;
        option = *to ? to + 1 : to;
    }
    return 0;
}

/* config.json's ids, which are often wrong: only when nothing else names any role. */
static int read_model_config(const struct tokenizer *t, struct special *s, const struct tokenizer_file *file) {
    if (!file || s->is_named) return 0;
    json_t *json = json_parse(file->data, file->length);
    if (!json) return fail_context("%s", file->name);
    int status = json_is_object(json) ? 0 : fail("%s: expected an object", file->name);
    for (int role = 0; role < N_ROLES && status == 0; role++) {
        char key[24];
        snprintf(key, sizeof key, "%s_token_id", role_name[role]);
        const json_t *value = json_object_get(json, key);
        if (json_is_array(value)) value = json_array_get(value, 0);
        if (!value || json_is_null(value) || s->id[role] >= 0) continue;
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= t->size || !tokenizer_token(t, (int)id))
            status = fail("%s: \"%s\": expected the id of a token of %s", file->name, key, main_file);
        else
            s->id[role] = (int)id;
    }
    json_decref(json);
    return status;
}

static void set_frame_side(const int32_t **side, int64_t *n, int id) {
    if (id < 0) return;
    int32_t *made = mem_alloc(1, sizeof *made);
    *made = id;
    *side = made;
    *n = 1;
}

/* add_bos_token and add_eos_token: where tokenizer_config.json has one of them, they replace the frame. A role
 * without a token adds none. */
static int read_frame(struct tokenizer *t, const struct tokenizer_file *file) {
    if (!file) return 0;
    json_t *json = json_parse(file->data, file->length);
    if (!json) return fail_context("%s", file->name);
    bool add_bos = false, add_eos = false;
    bool is_there = json_object_get(json, "add_bos_token") || json_object_get(json, "add_eos_token");
    int status =
        json_get_bool(json, "add_bos_token", &add_bos) != 0 || json_get_bool(json, "add_eos_token", &add_eos) != 0
            ? fail_context("%s", file->name)
            : 0;
    json_decref(json);
    if (status != 0 || !is_there) return status;
    frame_free(&t->frame);
    set_frame_side(&t->frame.before, &t->frame.n_before, add_bos ? t->bos : -1);
    set_frame_side(&t->frame.after, &t->frame.n_after, add_eos ? t->eos : -1);
    return 0;
}

static int read_special(struct tokenizer *t, const struct tokenizer_file *file, int n, const char *option) {
    struct special s = {.id = {-1, -1, -1}};
    if (read_special_file(t, &s, find_file(file, n, config_file)) != 0 ||
        read_special_file(t, &s, find_file(file, n, map_file)) != 0 || read_special_option(t, &s, option) != 0 ||
        read_model_config(t, &s, find_file(file, n, model_file)) != 0)
        return -1;
    t->bos = s.id[BOS];
    t->eos = s.id[EOS];
    t->pad = s.id[PAD];
    return read_frame(t, find_file(file, n, config_file));
}

/* --- opening and closing ------------------------------------------------------------- */

static void keep_file(struct tokenizer *t, const struct tokenizer_file *file) {
    if (!file) return;
    char *data = mem_alloc((int64_t)file->length, 1);
    memcpy(data, file->data, file->length);
    t->file[t->n_files++] = (struct tokenizer_file){file->name, data, file->length};
}

static int open_parts(struct tokenizer *t, const struct tokenizer_file *file, int n, const char *special) {
    const struct tokenizer_file *main = find_file(file, n, main_file);
    if (!main)
        return fail("%s is missing; hint: save the tokenizer with transformers' save_pretrained (a fast tokenizer)",
                    main_file);
    json_t *json = json_parse(main->data, main->length);
    int status = json ? parse_parts(t, json) : -1;
    json_decref(json);
    if (status != 0) return fail_context("%s", main_file);
    return read_special(t, file, n, special);
}

struct tokenizer *tokenizer_open(const struct tokenizer_file *file, int n_files, const char *special) {
    unicode_start();
    struct tokenizer *t = mem_alloc(1, sizeof *t);
    if (open_parts(t, file, n_files, special) != 0) {
        tokenizer_free(t);
        return NULL;
    }
    static const char *const kept[TOKENIZER_FILES] = {main_file, config_file, map_file};
    for (int i = 0; i < TOKENIZER_FILES; i++) {
        const struct tokenizer_file *found = find_file(file, n_files, kept[i]);
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
        char *path = file_join(directory, names[i]);
        if (file_exists(path)) {
            status = file_read(path, FILE_CEILING, &data[i]);
            file[n++] = (struct tokenizer_file){names[i], data[i].data, data[i].length};
        }
        mem_free(path);
    }
    struct tokenizer *t = status == 0 ? tokenizer_open(file, n, special) : NULL;
    if (status == 0 && !t) fail_context("%s", directory);
    if (!t) fail_hint("byte-level BPE as in GPT-2, Llama 3, Qwen and GPT-NeoX is read");
    for (int i = 0; i < 4; i++) buffer_free(&data[i]);
    return t;
}

void tokenizer_free(struct tokenizer *t) {
    if (!t) return;
    bpe_free(&t->bpe);
    added_free(&t->added);
    frame_free(&t->frame);
    pretokenizer_free(&t->pretokenizer);
    for (int i = 0; i < t->n_files; i++) mem_free((void *)t->file[i].data);
    mem_free(t);
}

/* --- questions ----------------------------------------------------------------------- */

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

bool tokenizer_added(const struct tokenizer *t, int index, int *id, const char **content, bool *is_special) {
    if (index < 0 || index >= t->added.n) return false;
    *id = t->added.token[index].id;
    *content = t->added.token[index].content;
    *is_special = t->added.token[index].is_special;
    return true;
}
