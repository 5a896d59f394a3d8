/* The files beside tokenizer.json: what they say of added tokens, of BOS, EOS and pad, and of the
 * frame, as transformers' AutoTokenizer takes it for a fast tokenizer.
 *
 * added_tokens_decoder may add tokens and give known ones other properties; the special tokens that
 * a file names are found in texts, even if tokenizer.json only has them in its vocabulary. */
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tokenizer_state.h"

static const char main_file[] = "tokenizer.json", config_file[] = "tokenizer_config.json",
                  map_file[] = "special_tokens_map.json", model_file[] = "config.json";
enum { BOS, EOS, PAD, UNK, N_ROLES };
static const char *const role_name[N_ROLES] = {"bos", "eos", "pad", "unk"};

/* --- added tokens -------------------------------------------------------------------- */

/* The text of "<s>" or {"content": "<s>"}, or NULL. */
static const char *token_text(const json_t *value) {
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static void add_named(struct tokenizer *t, const json_t *json) {
    static const char *const key[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"};
    static const char *const list[] = {"additional_special_tokens", "extra_special_tokens"};
    for (int i = 0; i < 7; i++) {
        const char *text = token_text(json_object_get(json, key[i]));
        if (text) added_make_special(&t->added, text, &t->bpe);
    }
    const json_t *value;
    size_t k;
    for (int i = 0; i < 2; i++) json_array_foreach(json_object_get(json, list[i]), k, value) {
            const char *text = token_text(value);
            if (text) added_make_special(&t->added, text, &t->bpe);
        }
}

int tokenizer_config_added(struct tokenizer *t, const struct tokenizer_file *file, int n) {
    bool has_decoder = false;
    for (int i = 0; i < 2; i++) {
        const struct tokenizer_file *found =
            tokenizer_find_file(file, n, i ? map_file : config_file);
        /* the map is from before the time of added_tokens_decoder */
        if (!found || has_decoder) continue;
        json_t *json = json_parse(found->data, found->length);
        if (!json) return fail_context("%s", found->name);
        const json_t *decoder = i == 0 ? json_object_get(json, "added_tokens_decoder") : NULL;
        has_decoder = decoder != NULL;
        int status = added_parse(&t->added, decoder, &t->bpe);
        if (status == 0) add_named(t, json);
        json_decref(json);
        if (status != 0) return fail_context("%s: \"added_tokens_decoder\"", found->name);
    }
    return 0;
}

/* --- BOS, EOS and pad ---------------------------------------------------------------- */

struct special {
    int id[N_ROLES];
    bool is_named; /* some file has a key for BOS, EOS or pad, null or not */
    const char *from[N_ROLES];
};

static int set_special(const struct tokenizer *t, struct special *s, int role, const char *token,
                       const char *from) {
    int id = tokenizer_id(t, token);
    if (id < 0)
        return fail(
            "%s: the %s token \"%.100s\" is not in the vocabulary or the added tokens of %s", from,
            role_name[role], token, main_file);
    if (s->id[role] < 0) {
        s->id[role] = id;
        s->from[role] = from;
    }
    return 0;
}

/* The keys bos_token, eos_token and pad_token: a string, an object with "content", or null. */
static int read_special_file(const struct tokenizer *t, struct special *s,
                             const struct tokenizer_file *file) {
    if (!file) return 0;
    json_t *json = json_parse(file->data, file->length);
    if (!json) return fail_context("%s", file->name);
    int status = json_is_object(json) ? 0 : fail("%s: expected an object", file->name);
    for (int role = 0; role < N_ROLES && status == 0; role++) {
        char key[16];
        snprintf(key, sizeof key, "%s_token", role_name[role]);
        const json_t *value = json_object_get(json, key);
        s->is_named |= value != NULL && role != UNK;
        if (role == UNK && !(token_text(value) && tokenizer_id(t, token_text(value)) >= 0))
            continue;
        if (!value || json_is_null(value)) continue;
        const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
        if (!json_is_string(content) ||
            strlen(json_string_value(content)) != json_string_length(content))
            status = fail("%s: \"%s\": expected a string, or an object with \"content\"",
                          file->name, key);
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

/* "eos=</s>,pad=<pad>": a token reaches to the end or to a comma that another role follows. One
 * that contradicts a file is an error: neither can be chosen without the user's saying so. */
static int read_special_option(const struct tokenizer *t, struct special *s, const char *option) {
    while (option && *option) {
        int role = role_at(option);
        if (role < 0)
            return fail(
                "special tokens: expected bos=..., eos=..., pad=... or unk=..., found \"%.100s\"",
                option);
        const char *from = option + 4, *to = from;
        while (*to && !(*to == ',' && role_at(to + 1) >= 0)) to++;
        char *token = mem_format("%.*s", (int)MIN(to - from, INT32_MAX), from);
        int known = s->id[role],
            status = set_special(t, s, role, token, "special tokens asked for");
        if (status == 0 && known >= 0 && known != tokenizer_id(t, token))
            status = fail("special tokens: %s=\"%.100s\" was asked for, but %s says \"%.100s\"; "
                          "hint: change it there",
                          role_name[role], token, s->from[role], tokenizer_token(t, known));
        mem_free(token);
        if (status != 0) return -1;
        option = *to ? to + 1 : to;
    }
    return 0;
}

/* config.json's ids, which are often wrong: only when nothing else names any role. */
static int read_model_config(const struct tokenizer *t, struct special *s,
                             const struct tokenizer_file *file) {
    if (!file || s->is_named) return 0;
    json_t *json = json_parse(file->data, file->length);
    if (!json) return fail_context("%s", file->name);
    int status = json_is_object(json) ? 0 : fail("%s: expected an object", file->name);
    for (int role = 0; role < UNK && status == 0; role++) {
        char key[24];
        snprintf(key, sizeof key, "%s_token_id", role_name[role]);
        const json_t *value = json_object_get(json, key);
        if (json_is_array(value)) value = json_array_get(value, 0);
        if (!value || json_is_null(value) || s->id[role] >= 0) continue;
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= t->size || !tokenizer_token(t, (int)id))
            status =
                fail("%s: \"%s\": expected the id of a token of %s", file->name, key, main_file);
        else
            s->id[role] = (int)id;
    }
    json_decref(json);
    return status;
}

int tokenizer_config_special(struct tokenizer *t, const struct tokenizer_file *file, int n,
                             const char *option) {
    struct special s = {.id = {-1, -1, -1, -1}};
    if (read_special_file(t, &s, tokenizer_find_file(file, n, config_file)) != 0 ||
        read_special_file(t, &s, tokenizer_find_file(file, n, map_file)) != 0 ||
        read_special_option(t, &s, option) != 0 ||
        read_model_config(t, &s, tokenizer_find_file(file, n, model_file)) != 0)
        return -1;
    t->bos = s.id[BOS];
    t->eos = s.id[EOS];
    t->pad = s.id[PAD];
    return 0;
}
