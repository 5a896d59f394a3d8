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
static const char *const role_name[SPECIAL_ROLES] = {"bos", "eos", "unk", "sep",
                                                     "pad", "cls", "mask"};

/* The text of "<s>" or {"content": "<s>"}, or NULL. */
static const char *token_text(const json_t *value) {
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static const json_t *role_value(const json_t *json, enum special_role role) {
    char key[16];
    snprintf(key, sizeof key, "%s_token", role_name[role]);
    return json_object_get(json, key);
}

/* --- added tokens -------------------------------------------------------------------- */

static void add_named(struct tokenizer *t, const json_t *json) {
    static const char *const list[] = {"additional_special_tokens", "extra_special_tokens"};
    for (int role = 0; role < SPECIAL_ROLES; role++) {
        const char *text = token_text(role_value(json, (enum special_role)role));
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

/* --- special tokens ------------------------------------------------------------------ */

static int role_at(const char *text) {
    for (int role = 0; role < SPECIAL_ROLES; role++) {
        size_t n = strlen(role_name[role]);
        if (strncmp(text, role_name[role], n) == 0 && text[n] == '=') return role;
    }
    return -1;
}

int special_parse(const char *option, special_take *take, void *self) {
    while (option && *option) {
        int role = role_at(option);
        if (role < 0)
            return fail("special tokens: expected bos=..., eos=..., pad=..., unk=..., sep=..., "
                        "cls=... or mask=..., found \"%.100s\"; hint: --special "
                        "'bos=<s>,eos=</s>'",
                        option);
        const char *from = option + strlen(role_name[role]) + 1, *to = from;
        while (*to && !(*to == ',' && role_at(to + 1) >= 0)) to++;
        char *token = mem_format("%.*s", (int)MIN(to - from, INT32_MAX), from);
        int status = take(self, (enum special_role)role, token);
        mem_free(token);
        if (status != 0) return -1;
        option = *to ? to + 1 : to;
    }
    return 0;
}

const char *special_name(enum special_role role) {
    return role_name[role];
}

const char *tokenizer_special(const struct tokenizer *t, enum special_role role) {
    return t->special[role];
}

/* BOS, EOS and pad are put into ids, and so have to be tokens; what the other roles name is for
 * templates alone. */
static bool is_put(enum special_role role) {
    return role == SPECIAL_BOS || role == SPECIAL_EOS || role == SPECIAL_PAD;
}

/* What is known while the files are read. */
struct special_reading {
    struct tokenizer *t;
    int id[SPECIAL_ROLES];           /* -1: none */
    const char *from[SPECIAL_ROLES]; /* the file that named the role */
    bool is_named;                   /* some file has a key for BOS, EOS or pad, null or not */
};

static int no_token(enum special_role role, const char *token, const char *from) {
    return fail("%s: the %s token \"%.100s\" is not in the vocabulary or the added tokens of %s",
                from, role_name[role], token, main_file);
}

static void set_special(struct special_reading *s, enum special_role role, const char *token,
                        int id, const char *from) {
    s->t->special[role] = mem_copy_string(token);
    s->id[role] = id;
    s->from[role] = from;
}

/* The keys bos_token, eos_token, ... of one file: a string, an object with "content", or null. The
 * first file that names a role counts, but all are checked. */
static int read_special_file(struct special_reading *s, const struct tokenizer_file *file) {
    if (!file) return 0;
    json_t *json = json_parse(file->data, file->length);
    if (!json) return fail_context("%s", file->name);
    int status = json_is_object(json) ? 0 : fail("%s: expected an object", file->name);
    for (int i = 0; i < SPECIAL_ROLES && status == 0; i++) {
        enum special_role role = (enum special_role)i;
        const json_t *value = role_value(json, role);
        const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
        const char *text = token_text(value);
        bool is_text = text && strlen(text) == json_string_length(content);
        s->is_named |= value != NULL && is_put(role);
        if (!value || json_is_null(value) || (!is_text && !is_put(role))) continue;
        int id = is_text ? tokenizer_id(s->t, text) : -1;
        if (!is_text)
            status = fail("%s: \"%s_token\": expected a string, or an object with \"content\"",
                          file->name, role_name[role]);
        else if (is_put(role) && id < 0)
            status = no_token(role, text, file->name);
        else if (!s->t->special[role])
            set_special(s, role, text, id, file->name);
    }
    json_decref(json);
    return status;
}

/* A token that contradicts a file is an error, since only the user can say which one is meant. */
static int take_special(void *self, enum special_role role, const char *token) {
    static const char from[] = "special tokens asked for";
    struct special_reading *s = self;
    const char *known = s->t->special[role];
    int id = tokenizer_id(s->t, token);
    if (id < 0) return no_token(role, token, from);
    if (known && s->id[role] >= 0 && s->id[role] != id)
        return fail("special tokens: %s=\"%.100s\" was asked for, but %s says \"%.100s\"; hint: "
                    "change it there",
                    role_name[role], token, s->from[role], known);
    if (!known) set_special(s, role, token, id, from);
    return 0;
}

/* config.json's ids, which are often wrong: only when nothing else names any role. */
static int read_model_config(struct special_reading *s, const struct tokenizer_file *file) {
    struct tokenizer *t = s->t;
    if (!file || s->is_named) return 0;
    json_t *json = json_parse(file->data, file->length);
    if (!json) return fail_context("%s", file->name);
    int status = json_is_object(json) ? 0 : fail("%s: expected an object", file->name);
    for (int role = 0; role < SPECIAL_ROLES && status == 0; role++) {
        char key[24];
        snprintf(key, sizeof key, "%s_token_id", role_name[role]);
        const json_t *value = json_object_get(json, key);
        if (json_is_array(value)) value = json_array_get(value, 0);
        if (!is_put((enum special_role)role) || !value || json_is_null(value) || t->special[role])
            continue;
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= t->size || !tokenizer_token(t, (int)id))
            status =
                fail("%s: \"%s\": expected the id of a token of %s", file->name, key, main_file);
        else
            set_special(s, (enum special_role)role, tokenizer_token(t, (int)id), (int)id,
                        file->name);
    }
    json_decref(json);
    return status;
}

int tokenizer_config_special(struct tokenizer *t, const struct tokenizer_file *file, int n,
                             const char *option) {
    struct special_reading s = {.t = t};
    for (int role = 0; role < SPECIAL_ROLES; role++) s.id[role] = -1;
    if (read_special_file(&s, tokenizer_find_file(file, n, config_file)) != 0 ||
        read_special_file(&s, tokenizer_find_file(file, n, map_file)) != 0 ||
        special_parse(option, take_special, &s) != 0 ||
        read_model_config(&s, tokenizer_find_file(file, n, model_file)) != 0)
        return -1;
    t->bos = s.id[SPECIAL_BOS];
    t->eos = s.id[SPECIAL_EOS];
    t->pad = s.id[SPECIAL_PAD];
    return 0;
}
