/* Added tokens: see added.h. */
#include "added.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "unicode.h"

enum { MAX_ADDED = 1 << 14, MAX_CONTENT = 1 << 16 };

/* --- tries --------------------------------------------------------------------------- */

static int32_t add_node(struct trie *trie, unsigned char byte) {
    ARRAY_RESERVE(trie->node, trie->n, trie->capacity);
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

/* At each place the longest token wins, and the search goes on behind it. The sink is called for
 * each token and for each text between two of them, in order; -1 as soon as it returns -1. */
int added_split(const struct added *added, const struct trie *trie, const char *text, size_t length,
                added_sink sink, void *self) {
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
        /* the search goes on after the token's own text, whatever whitespace it swallows */
        at = to;
        if (token->single_word && !is_single_word(text, length, from, to)) continue;
        if (token->lstrip) from = MAX(space_start(text, from), done);
        if (token->rstrip) to = space_end(text, length, to);
        if (done < from && sink(self, NULL, text + done, from - done) != 0) return -1;
        /* Nothing is left of it when a former one swallowed all its whitespace. */
        if (from < to && sink(self, token, text + from, to - from) != 0) return -1;
        done = to;
    }
    return done < length ? sink(self, NULL, text + done, length - done) : 0;
}

/* --- reading ------------------------------------------------------------------------- */

const struct added_token *added_find(const struct added *added, const char *content,
                                     size_t length) {
    for (int64_t i = 0; i < added->n; i++)
        if (added->token[i].length == length &&
            memcmp(added->token[i].content, content, length) == 0)
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

static const struct added_token *find_id(const struct added *added, int64_t id) {
    for (int64_t i = 0; i < added->n; i++)
        if (added->token[i].id == id) return &added->token[i];
    return NULL;
}

/* Where a list starts to count: behind the ids given so far, or behind the vocabulary. */
static int64_t first_free(const struct added *added, const struct bpe *bpe) {
    int64_t max = -1;
    for (int64_t i = 0; i < added->n; i++) max = MAX(max, added->token[i].id);
    return MAX(max + 1, bpe->n_tokens);
}

/* Takes the token over; the content is copied. */
static void put_token(struct added *added, struct added_token t, const struct bpe *bpe,
                      int64_t *next) {
    const struct added_token *known = added_find(added, t.content, t.length);
    int id = known ? known->id : bpe_id(bpe, t.content, t.length);
    t.id = id >= 0 ? id : (int)(*next)++;
    t.content = mem_copy_string(t.content);
    const struct added_token *former = find_id(added, t.id);
    if (former) {
        struct added_token *place = &added->token[former - added->token];
        t.is_skipped |= known && former->is_skipped;
        mem_free(place->content);
        *place = t;
        return;
    }
    ARRAY_RESERVE(added->token, added->n, added->capacity);
    added->token[added->n++] = t;
}

static int read_token(struct added *added, const json_t *json, const struct bpe *bpe,
                      int64_t *next) {
    const json_t *content = json_object_get(json, "content");
    struct added_token t = {0};
    if (!json_is_string(content)) return fail("\"content\": expected a string");
    t.length = json_string_length(content);
    t.content = (char *)json_string_value(content);
    if (strlen(t.content) != t.length || t.length > MAX_CONTENT)
        return fail("\"content\": a zero byte, or too long");
    if (json_get_bool(json, "special", &t.is_special) != 0 ||
        json_get_bool(json, "single_word", &t.single_word) != 0 ||
        json_get_bool(json, "lstrip", &t.lstrip) != 0 ||
        json_get_bool(json, "rstrip", &t.rstrip) != 0)
        return -1;
    t.normalized = !t.is_special;
    t.is_skipped = t.is_special;
    if (json_get_bool(json, "normalized", &t.normalized) != 0) return -1;
    if (added->n == MAX_ADDED) return fail("more than %d", MAX_ADDED);
    if (t.length > 0) put_token(added, t, bpe, next); /* the library passes over empty ones */
    return 0;
}

struct numbered {
    int64_t id;
    const json_t *json;
};

static int compare_numbers(const void *a, const void *b) {
    int64_t x = ((const struct numbered *)a)->id, y = ((const struct numbered *)b)->id;
    return (x > y) - (x < y);
}

/* {"7": {...}, "8": {...}} in the order of the numbers. */
static int parse_numbered(struct added *added, const json_t *json, const struct bpe *bpe) {
    int64_t n = 0, next = first_free(added, bpe);
    struct numbered *list = mem_alloc((int64_t)json_object_size(json), sizeof *list);
    const char *key;
    json_t *token;
    int status = 0;
    json_object_foreach((json_t *)json, key, token) {
        char *end;
        list[n].id = strtoll(key, &end, 10);
        list[n++].json = token;
        if (*end || end == key) status = fail("\"%.100s\": expected an id", key);
    }
    if (n) qsort(list, (size_t)n, sizeof *list, compare_numbers);
    for (int64_t i = 0; i < n && status == 0; i++)
        if (read_token(added, list[i].json, bpe, &next) != 0)
            status = fail_context("\"%lld\"", (long long)list[i].id);
    mem_free(list);
    return status;
}

int added_parse(struct added *added, const json_t *json, const struct bpe *bpe) {
    if (!json || json_is_null(json)) return 0;
    if (json_is_object(json)) return parse_numbered(added, json, bpe);
    if (!json_is_array(json)) return fail("expected a list");
    const json_t *token;
    size_t i;
    int64_t next = first_free(added, bpe);
    json_array_foreach(json, i, token) if (read_token(added, token, bpe, &next) !=
                                           0) return fail_context("[%zu]", i);
    return 0;
}

void added_make_special(struct added *added, const char *content, const struct bpe *bpe) {
    struct added_token t = {
        .content = (char *)content, .length = strlen(content), .is_special = true};
    const struct added_token *known = added_find(added, content, t.length);
    if (known) t = *known;
    t.content = (char *)content;
    t.is_special = t.is_skipped = true;
    int64_t next = first_free(added, bpe);
    if (t.length > 0 && (known || bpe_id(bpe, content, t.length) >= 0))
        put_token(added, t, bpe, &next);
}

static int compare_ids(const void *a, const void *b) {
    int x = ((const struct added_token *)a)->id, y = ((const struct added_token *)b)->id;
    return (x > y) - (x < y);
}

/* The content as the text will show it. */
static int normal_content(const struct added_token *t, const struct normalizer *normalizer,
                          struct normalizer_scratch *scratch, struct buffer *out) {
    const char *text = t->content;
    size_t length = t->length;
    int64_t lead;
    if (t->normalized && normalizer_run(normalizer, scratch, &text, &length, &lead) != 0) return -1;
    buffer_clear(out);
    buffer_append(out, text, length);
    buffer_append(out, "", 0);
    return 0;
}

/* Orders the tokens by id and builds the tries: one for the raw text, one for what the
 * normalizer makes of it. */
int added_build(struct added *added, const struct normalizer *normalizer) {
    struct buffer content = {0};
    struct normalizer_scratch scratch = {0};
    int status = 0;
    if (added->n) qsort(added->token, (size_t)added->n, sizeof *added->token, compare_ids);
    for (int64_t i = 0; i < added->n && status == 0; i++) {
        struct added_token *t = &added->token[i];
        status = normal_content(t, normalizer, &scratch, &content);
        if (status != 0) break;
        t->written = mem_copy_string(content.data);
        if (content.length == 0)
            status = fail("\"%.100s\": the normalizer leaves nothing of it", t->content);
        else
            insert(t->normalized ? &added->normalized : &added->raw, content.data, content.length,
                   (int32_t)i);
    }
    /* A token is skipped if what it writes is known for special. */
    for (int64_t i = 0; i < added->n && status == 0; i++) {
        struct added_token *t = &added->token[i];
        if (strcmp(t->written, t->content) == 0) continue;
        const struct added_token *same = added_find(added, t->written, strlen(t->written));
        t->is_skipped = same && same->is_special;
    }
    buffer_free(&content);
    normalizer_scratch_free(&scratch);
    return status;
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
