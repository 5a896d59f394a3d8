/* What the first rows of a file have in common: see format_look.h. */
#include "format_look.h"

#include <string.h>

#include "hash.h"
#include "json.h"

enum { MAX_PLACES = 1024, N_SLOTS = 2048, MAX_SEEN = 64, MAX_DEPTH = 32, LONG_TEXT = 64 };

/* Values at one place of the rows: a column, or what lies deeper in it. All elements of a list are
 * at one place. */
struct look_place {
    uint64_t hash;
    char *name;     /* of a column; NULL: it lies deeper */
    int n_values;   /* that are not null */
    int n_full;     /* of a column: strings, lists and objects with something in them */
    int n_texts;    /* of these: words, or something long */
    int n_strings;  /* with something in them */
    int n_messages; /* of these: messages as JSON */
    int n_seen;     /* different values, as far as they are counted */
    uint64_t *seen; /* (n_seen): their hashes */
    bool is_read;
};

struct looks {
    struct look_place *place; /* (n) */
    int n, capacity;
    int n_packed;          /* places whose strings hold messages */
    int16_t slot[N_SLOTS]; /* open addressing by the hash: place + 1, or 0 */
};

struct looks *looks_new(void) {
    return mem_alloc(1, sizeof(struct looks));
}

void looks_free(struct looks *l) {
    if (!l) return;
    for (int i = 0; i < l->n; i++) {
        mem_free(l->place[i].name);
        mem_free(l->place[i].seen);
    }
    mem_free(l->place);
    mem_free(l);
}

/* --- places --- */

static uint64_t hash_below(uint64_t parent, const char *key) {
    return hash128(key, strlen(key), (uint32_t)(parent ^ parent >> 32)).low;
}

static int16_t *find_slot(struct looks *l, uint64_t hash) {
    uint64_t at = hash % N_SLOTS;
    while (l->slot[at] && l->place[l->slot[at] - 1].hash != hash) at = (at + 1) % N_SLOTS;
    return &l->slot[at];
}

static const struct look_place *find_place(const struct looks *l, uint64_t hash) {
    int16_t slot = *find_slot((struct looks *)l, hash);
    return slot ? &l->place[slot - 1] : NULL;
}

/* NULL: there are too many. */
static struct look_place *add_place(struct looks *l, uint64_t hash, const char *name) {
    int16_t *slot = find_slot(l, hash);
    if (*slot) return &l->place[*slot - 1];
    if (l->n == MAX_PLACES) return NULL;
    ARRAY_RESERVE(l->place, l->n, l->capacity);
    l->place[l->n] = (struct look_place){.hash = hash, .name = name ? mem_copy_string(name) : NULL};
    *slot = (int16_t)++l->n;
    return &l->place[l->n - 1];
}

/* --- what values are --- */

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Words, or something long: not an id, a label or a date. */
static bool is_text(const json_t *value) {
    const char *text = json_string_value(value);
    const json_t *element = json_array_get(value, 0);
    if (element) return value_is_message(element) || is_text(element);
    if (!text) return false;
    size_t n = json_string_length(value), first = 0;
    if (n >= LONG_TEXT) return true;
    while (first < n && is_blank(text[first])) first++;
    while (n > first && is_blank(text[n - 1])) n--;
    for (; first < n; first++)
        if (is_blank(text[first])) return true;
    return false;
}

/* The messages in a string of JSON, as a new reference; NULL: it holds none. */
static json_t *text_messages(const json_t *string) {
    const char *text = json_string_value(string);
    if (!text || !memchr("[{", text[strspn(text, " \t\r\n")], 2)) return NULL;
    json_t *inner = json_parse(text, json_string_length(string));
    if (value_is_message(inner) || value_is_message(json_array_get(inner, 0))) return inner;
    json_decref(inner);
    return NULL;
}

static void count_different(struct look_place *place, const json_t *value) {
    if (place->n_seen == MAX_SEEN) return;
    char *text = json_text(value);
    uint64_t hash = hash128(text, strlen(text), 0).low;
    mem_free(text);
    for (int i = 0; i < place->n_seen; i++)
        if (place->seen[i] == hash) return;
    if (!place->seen) place->seen = mem_alloc(MAX_SEEN, sizeof *place->seen);
    place->seen[place->n_seen++] = hash;
}

/* --- looking --- */

static bool is_packed(const struct look_place *place) {
    return place && 2 * place->n_messages > place->n_strings;
}

static void look_at_string(struct looks *l, uint64_t hash, const json_t *value) {
    if (json_string_length(value) == 0) return;
    struct look_place *place = add_place(l, hash, NULL);
    if (!place) return;
    json_t *messages = text_messages(value);
    l->n_packed -= is_packed(place);
    place->n_strings++;
    place->n_messages += messages != NULL;
    l->n_packed += is_packed(place);
    json_decref(messages);
}

/* Messages are not looked into: what one says is its own. */
static void look_into(struct looks *l, uint64_t hash, const json_t *value, int depth) {
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_string(value)) look_at_string(l, hash, value);
    if (depth == MAX_DEPTH || value_is_message(value)) return;
    json_array_foreach(value, i, member) look_into(l, hash_below(hash, "[]"), member, depth + 1);
    if (!json_is_object(value)) return;
    json_object_foreach((json_t *)value, key, member)
        look_into(l, hash_below(hash, key), member, depth + 1);
}

void looks_add(struct looks *l, const json_t *row) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)row, key, value) {
        if (json_is_null(value)) continue;
        uint64_t hash = hash_below(0, key);
        struct look_place *place = add_place(l, hash, key);
        if (!place) return;
        place->n_values++;
        place->n_full +=
            json_string_length(value) || json_array_size(value) || json_object_size(value);
        place->n_texts += is_text(value);
        count_different(place, value);
        look_into(l, hash, value, 0);
    }
}

/* --- texts that hold messages --- */

static json_t *unpacked(const struct looks *l, uint64_t hash, json_t *value, int depth);

static json_t *unpack_string(const struct look_place *place, json_t *value) {
    if (json_string_length(value) == 0 || !is_packed(place)) return json_incref(value);
    json_t *messages = text_messages(value);
    if (!messages)
        fail("expected messages as JSON in a string, as most of the first rows have, found %s",
             value_shown(value));
    return messages;
}

/* Replaces the members of a copy. */
static int unpack_members(const struct looks *l, uint64_t hash, json_t *copy, int depth) {
    const char *key;
    json_t *member, *made;
    size_t i;
    json_array_foreach(copy, i, member) {
        if (!(made = unpacked(l, hash_below(hash, "[]"), member, depth + 1))) return -1;
        json_array_set_new(copy, i, made);
    }
    if (!json_is_object(copy)) return 0;
    json_object_foreach(copy, key, member) {
        made = unpacked(l, hash_below(hash, key), member, depth + 1);
        if (!made) return depth < 0 ? fail_context("\"%s\"", key) : -1;
        json_object_set_new_nocheck(copy, key, made);
    }
    return 0;
}

/* A new reference, or NULL with error_text(). The row itself has depth -1. */
static json_t *unpacked(const struct looks *l, uint64_t hash, json_t *value, int depth) {
    if (json_is_string(value)) return unpack_string(find_place(l, hash), value);
    bool is_row = depth < 0;
    if (depth == MAX_DEPTH || (!is_row && value_is_message(value))) return json_incref(value);
    if (!json_is_array(value) && !json_is_object(value)) return json_incref(value);
    json_t *copy = json_copy(value);
    if (unpack_members(l, hash, copy, depth) == 0) return copy;
    json_decref(copy);
    return NULL;
}

json_t *looks_unpack(const struct looks *l, const json_t *row) {
    if (l->n_packed == 0) return json_incref((json_t *)row);
    return unpacked(l, 0, (json_t *)row, -1);
}

/* --- columns that nobody reads --- */

void looks_read(struct looks *l, const char *column) {
    struct look_place *place = add_place(l, hash_below(0, column), column);
    if (place) place->is_read = true;
}

bool looks_is_read(const struct looks *l, const char *column) {
    const struct look_place *place = find_place(l, hash_below(0, column));
    return place && place->is_read;
}

static bool has_word(const char *name, const char *const *words) {
    for (size_t n; *name; name += n) {
        n = strcspn(name, "_- .");
        for (int i = 0; words[i]; i++)
            if (strlen(words[i]) == n && strncasecmp(words[i], name, n) == 0) return true;
        n += name[n] != 0;
    }
    return false;
}

/* Names of what stands before an answer, and names of what is said about a row. */
static const char *const before[] = {
    "prompt",       "prompts", "question", "instruction",   "query",    "input",   "context",
    "conversation", "history", "dialogue", "conversations", "messages", "message", "body",
    "post",         "user",    "title",    "trajectory",    "system",   "dialog",  "images",
    "image",        "tools",   "videos",   "documents",     "passages", NULL};
static const char *const about[] = {"id",       "ids",    "index",  "idx",    "hash",    "source",
                                    "sources",  "origin", "model",  "models", "dataset", "type",
                                    "category", "subset", "split",  "lang",   "name",    "license",
                                    "language", "url",    "score",  "scores", "rating",  "ratings",
                                    "length",   "tokens", "date",   "time",   "author",  "version",
                                    "label",    "labels", "reason", "tags",   "tag",     "topic",
                                    "domain",   "config", "margin", "weight", NULL};

/* Whether it may be what an answer is given to: by its name, or by texts that differ. */
static bool is_context(const struct look_place *place) {
    if (!place->name || place->is_read || place->n_full == 0) return false;
    if (has_word(place->name, about)) return false;
    if (has_word(place->name, before)) return true;
    if (place->n_values > 2 && place->n_seen == 1) return false;
    return 8 * place->n_seen >= MIN(place->n_values, 8 * MAX_SEEN) &&
           2 * place->n_texts > place->n_values;
}

int looks_unread(const struct looks *l, const json_t *row, struct buffer *out) {
    enum { MAX_NAMES = 8 };
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        const struct look_place *place = &l->place[i];
        if (!is_context(place)) continue;
        const json_t *value = row ? json_object_get(row, place->name) : NULL;
        if (row && !json_string_length(value) && !json_array_size(value)) continue;
        if (n++ < MAX_NAMES) buffer_format(out, "%s%s", n > 1 ? ", " : "", place->name);
    }
    if (n > MAX_NAMES) buffer_append_text(out, ", ...");
    return n;
}

int looks_mixed(const struct looks *l, struct buffer *out) {
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        const struct look_place *place = &l->place[i];
        if (!place->name || place->n_messages == 0 || is_packed(place)) continue;
        buffer_format(out, "%s%s (%d of %d)", n++ ? ", " : "", place->name, place->n_messages,
                      place->n_strings);
    }
    return n;
}
