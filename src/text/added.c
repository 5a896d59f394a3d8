/* Added tokens: see added.h. */
#include "added.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "unicode.h"

enum { MOST_ADDED = 1 << 14, MOST_CONTENT = 1 << 16 };

/* --- tries --------------------------------------------------------------------------- */

static int32_t add_node(struct trie *trie, unsigned char byte) {
    ARRAY_RESERVE(trie->node, trie->n, trie->room);
    trie->node[trie->n] = (struct trie_node){-1, -1, -1, byte};
    return (int32_t)trie->n++;
}

static int32_t find_child(const struct trie *trie, int32_t node, unsigned char byte) {
    int32_t child = trie->node[node].child;
    while (child >= 0 && trie->node[child].byte != byte) child = trie->node[child].sibling;
    return child;
}

static void insert(struct trie *trie, const char *content, size_t length, int32_t token) {
    if (trie->n == 0) add_node(trie, 0);
    int32_t at = 0;
    for (size_t i = 0; i < length; i++) {
        int32_t child = find_child(trie, at, (unsigned char)content[i]);
        if (child < 0) {
            child = add_node(trie, (unsigned char)content[i]);
            trie->node[child].sibling = trie->node[at].child;
            trie->node[at].child = child;
        }
        at = child;
    }
    trie->node[at].token = token;
    trie->starts[(unsigned char)content[0]] = true;
}

/* The longest token at the start of text: its index, or -1. */
static int32_t match(const struct trie *trie, const char *text, size_t length, size_t *matched) {
    int32_t at = 0, found = -1;
    for (size_t i = 0; i < length; i++) {
        at = find_child(trie, at, (unsigned char)text[i]);
        if (at < 0) break;
        if (trie->node[at].token < 0) continue;
        found = trie->node[at].token;
        *matched = i + 1;
    }
    return found;
}

/* --- splitting ----------------------------------------------------------------------- */

static bool is_single_word(const char *text, size_t length, size_t from, size_t to) {
    size_t before = from, after = to;
    return (from == 0 || !(unicode_class(utf8_former(text, &before)) & UNICODE_WORD)) &&
           (to == length || !(unicode_class(utf8_next(text, &after)) & UNICODE_WORD));
}

static size_t space_start(const char *text, size_t from) {
    for (size_t at = from; at > 0; from = at)
        if (!(unicode_class(utf8_former(text, &at)) & UNICODE_SPACE)) break;
    return from;
}

static size_t space_end(const char *text, size_t length, size_t to) {
    for (size_t at = to; at < length; to = at)
        if (!(unicode_class(utf8_next(text, &at)) & UNICODE_SPACE)) break;
    return to;
}

int added_split(const struct added *added, const struct trie *trie, const char *text, size_t length, added_sink sink,
                void *self) {
    size_t done = 0;
    for (size_t at = 0; at < length && trie->n > 0;) {
        if (!trie->starts[(unsigned char)text[at]]) {
            at++;
            continue;
        }
        size_t matched = 0;
        int32_t index = match(trie, text + at, length - at, &matched);
        if (index < 0) {
            at++;
            continue;
        }
        const struct added_token *token = &added->token[index];
        size_t from = at, to = at + matched;
        at = to; /* the search goes on after the token's own text, whatever whitespace it swallows */
        if (token->single_word && !is_single_word(text, length, from, to)) continue;
        if (token->lstrip) from = MAX(space_start(text, from), done);
        if (token->rstrip) to = space_end(text, length, to);
        if (done < from && sink(self, NULL, text + done, from - done) != 0) return -1;
        if (sink(self, token, text + from, to - from) != 0) return -1;
        done = to;
    }
    return done < length ? sink(self, NULL, text + done, length - done) : 0;
}

/* --- reading ------------------------------------------------------------------------- */

const struct added_token *added_find(const struct added *added, const char *content, size_t length) {
    for (int64_t i = 0; i < added->n; i++)
        if (added->token[i].length == length && memcmp(added->token[i].content, content, length) == 0)
            return &added->token[i];
    return NULL;
}

const struct added_token *added_by_id(const struct added *added, int64_t id) {
    int64_t low = 0, high = added->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (added->token[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < added->n && added->token[low].id == id ? &added->token[low] : NULL;
}

static int read_token(struct added *added, const json_t *json, const struct bpe *bpe, int64_t *most) {
    const json_t *content = json_object_get(json, "content");
    struct added_token t = {0};
    int64_t id = -1;
    if (!json_is_string(content)) return fail("\"content\": expected a string");
    t.length = json_string_length(content);
    const char *text = json_string_value(content);
    if (strlen(text) != t.length || t.length > MOST_CONTENT) return fail("\"content\": a zero byte, or too long");
    if (json_get_int(json, "id", 0, INT32_MAX - 1, &id) != 0 || json_get_bool(json, "special", &t.is_special) != 0 ||
        json_get_bool(json, "single_word", &t.single_word) != 0 || json_get_bool(json, "lstrip", &t.lstrip) != 0 ||
        json_get_bool(json, "rstrip", &t.rstrip) != 0)
        return -1;
    t.normalized = !t.is_special;
    if (json_get_bool(json, "normalized", &t.normalized) != 0) return -1;
    if (t.length == 0 || added_find(added, text, t.length)) return 0; /* the library passes over these */
    /* The library does not take the file's id but gives one itself; nearly always it is the same. */
    int known = bpe_id(bpe, text, t.length);
    int64_t given = known >= 0 ? known : *most >= bpe->n_tokens ? *most + 1 : bpe->n_tokens;
    if (id != given)
        return fail("\"%.100s\": has id %lld, expected %lld, which the tokenizers library gives it; hint: number the "
                    "added tokens from the vocabulary's size on, without gaps",
                    text, (long long)id, (long long)given);
    size_t taken;
    if (known < 0 && bpe_token(bpe, given, &taken))
        return fail("\"%.100s\": id %lld is taken by the vocabulary", text, (long long)given);
    t.id = (int)given;
    *most = MAX(*most, given);
    t.content = mem_copy_string(text);
    ARRAY_RESERVE(added->token, added->n, added->room);
    added->token[added->n++] = t;
    return 0;
}

static int compare_ids(const void *a, const void *b) {
    int x = ((const struct added_token *)a)->id, y = ((const struct added_token *)b)->id;
    return (x > y) - (x < y);
}

int added_parse(struct added *added, const json_t *json, const struct bpe *bpe) {
    *added = (struct added){0};
    if (!json || json_is_null(json)) return 0;
    if (!json_is_array(json) || json_array_size(json) > MOST_ADDED)
        return fail("added_tokens: expected a list of at most %d", MOST_ADDED);
    const json_t *token;
    size_t i;
    int64_t most = -1;
    json_array_foreach(json, i, token) if (read_token(added, token, bpe, &most) != 0) {
        added_free(added);
        return fail_context("added_tokens[%zu]", i);
    }
    if (added->n) qsort(added->token, (size_t)added->n, sizeof *added->token, compare_ids);
    return 0;
}

void added_build(struct added *added, void (*normalize)(const char *text, size_t length, struct buffer *out)) {
    struct buffer content = {0};
    for (int64_t i = 0; i < added->n; i++) {
        struct added_token *t = &added->token[i];
        buffer_clear(&content);
        if (normalize && t->normalized)
            normalize(t->content, t->length, &content);
        else
            buffer_append(&content, t->content, t->length);
        t->written = mem_copy_string(content.data);
        insert(t->normalized ? &added->normalized : &added->raw, content.data, content.length, (int32_t)i);
    }
    buffer_free(&content);
}

void added_free(struct added *added) {
    for (int64_t i = 0; i < added->n; i++) {
        mem_free(added->token[i].content);
        mem_free(added->token[i].written);
    }
    mem_free(added->token);
    mem_free(added->raw.node);
    mem_free(added->normalized.node);
    *added = (struct added){0};
}
