/* Byte-level BPE: see bpe.h.
 *
 * Speed, the whole encoder on one core of an AVX-512 virtual machine, GPT-2's vocabulary on 2.4 MB of HH dialogues,
 * where the tokenizers library does 4.1 MB/s: 19 MB/s with every word merged by a heap; 46 with words of up to
 * SCAN_BYTES merged by scanning an array; 89 with a cache of words of up to WORD_BYTES, 136 once it is warm. A "word"
 * of a million bytes still takes n log n steps, by the heap. */
#include "bpe.h"

#include <string.h>

#include "json.h"
#include "unicode.h"

enum { MOST_IDS = 1 << 22, MOST_MERGES = 1 << 23, MOST_TOKEN_BYTES = 1 << 20 };
enum { WORD_BYTES = 24, CACHE_BITS = 16, SCAN_BYTES = 64 };

/* --- the byte alphabet --------------------------------------------------------------- */

/* GPT-2's: printable Latin-1 bytes stand for themselves, the others for U+0100 and up, in their order. */
static uint32_t letter_of_byte(int byte) {
    bool is_itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    if (is_itself) return (uint32_t)byte;
    int before = byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67;
    return 0x100 + (uint32_t)before;
}

/* -1 for a letter outside the alphabet. */
static int byte_of_letter(uint32_t letter) {
    if (letter < 0x100) return letter_of_byte((int)letter) == letter ? (int)letter : -1;
    if (letter >= 0x100 + 68) return -1;
    int before = (int)letter - 0x100;
    return before <= 32 ? before : before < 67 ? before - 33 + 127 : 173;
}

void bpe_append_bytes(const char *token, size_t length, struct buffer *out) {
    size_t start = out->length;
    for (size_t at = 0; at < length;) {
        int byte = byte_of_letter(utf8_next(token, &at));
        char c = (char)byte;
        if (byte < 0) {
            out->length = start;
            buffer_append(out, token, length);
            return;
        }
        buffer_append(out, &c, 1);
    }
}

/* --- hash tables --------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 32;
}

static uint64_t hash_bytes(const char *data, size_t length) {
    uint64_t h = length, part;
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(&part, data, 8);
        h = mix(h ^ part);
    }
    part = 0;
    memcpy(&part, data, length);
    return mix(h ^ part);
}

/* The slot of the token, or the free one where it belongs. */
static int64_t find_slot(const struct bpe *b, const char *token, size_t length) {
    int64_t at = (int64_t)(hash_bytes(token, length) & (uint64_t)b->slot_mask);
    for (;; at = (at + 1) & b->slot_mask) {
        int32_t id = b->slot[at];
        if (id < 0) return at;
        if ((size_t)b->length[id] == length && memcmp(b->text.data + b->first[id], token, length) == 0) return at;
    }
}

int bpe_id(const struct bpe *b, const char *token, size_t length) {
    return b->slot[find_slot(b, token, length)];
}

const char *bpe_token(const struct bpe *b, int64_t id, size_t *length) {
    if (id < 0 || id >= b->n_ids || b->first[id] < 0) return NULL;
    *length = (size_t)b->length[id];
    return b->text.data + b->first[id];
}

/* The entry of the pair, or the free one where it belongs. */
static inline struct merge *find_merge(const struct bpe *b, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint64_t at = mix(pair) & b->merge_mask;; at = (at + 1) & b->merge_mask) {
        struct merge *m = &b->merge[at];
        if (m->rank < 0 || m->pair == pair) return m;
    }
}

/* --- merging ------------------------------------------------------------------------- */

struct word_entry {
    uint64_t key[WORD_BYTES / 8]; /* the word's bytes, then zeros */
    uint32_t first;               /* its ids in the arena */
    uint16_t n;
    uint16_t length; /* 0: free */
};
struct candidate {
    int32_t rank, at, id;
};
struct symbol {
    int32_t id, former, next;
};
struct bpe_scratch {
    struct word_entry *entry; /* (1 << CACHE_BITS) */
    int64_t n_entries;
    struct ids arena;
    int32_t id[SCAN_BYTES], rank[SCAN_BYTES], result[SCAN_BYTES];
    struct symbol *symbol;
    int64_t n_symbols, symbol_room;
    struct candidate *heap;
    int64_t n_heap, heap_room;
    struct buffer letters;
};

struct bpe_scratch *bpe_scratch_new(void) {
    struct bpe_scratch *s = mem_alloc(1, sizeof *s);
    s->entry = mem_alloc((int64_t)1 << CACHE_BITS, sizeof *s->entry);
    return s;
}

void bpe_scratch_free(struct bpe_scratch *s) {
    if (!s) return;
    mem_free(s->entry);
    mem_free(s->arena.id);
    mem_free(s->symbol);
    mem_free(s->heap);
    buffer_free(&s->letters);
    mem_free(s);
}

static inline void add_id(struct ids *out, int32_t id) {
    ARRAY_RESERVE(out->id, out->n, out->room);
    out->id[out->n++] = id;
}

/* The first symbols of a word: a token for each byte; runs of bytes without one become unk, one each or one together,
 * or are left out. */
static int64_t first_symbols(const struct bpe *b, const char *word, size_t length, int32_t *id) {
    int64_t n = 0;
    bool in_unk = false;
    for (size_t i = 0; i < length; i++) {
        int32_t found = b->byte_id[(unsigned char)word[i]];
        if (found < 0 && (b->unk < 0 || (in_unk && b->fuse_unk))) continue;
        in_unk = found < 0;
        id[n++] = found < 0 ? b->unk : found;
    }
    return n;
}

static void look_up(const struct bpe *b, struct bpe_scratch *s, int64_t at) {
    const struct merge *m = find_merge(b, s->id[at], s->id[at + 1]);
    s->rank[at] = m->rank < 0 ? INT32_MAX : m->rank;
    s->result[at] = m->id;
}

/* Up to SCAN_BYTES bytes: the ranks of all neighbours stand in an array, whose least is sought again for each merge.
 */
static void merge_by_scan(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t length,
                          struct ids *out) {
    int64_t n = first_symbols(b, word, length, s->id);
    for (int64_t i = 0; i + 1 < n; i++) look_up(b, s, i);
    while (n > 1) {
        int64_t best = 0;
        for (int64_t i = 1; i + 1 < n; i++)
            if (s->rank[i] < s->rank[best]) best = i;
        if (s->rank[best] == INT32_MAX) break;
        s->id[best] = s->result[best];
        size_t moved = (size_t)(n - best - 2) * sizeof *s->id;
        memmove(s->id + best + 1, s->id + best + 2, moved);
        memmove(s->rank + best + 1, s->rank + best + 2, moved);
        memmove(s->result + best + 1, s->result + best + 2, moved);
        n--;
        if (best > 0) look_up(b, s, best - 1);
        if (best + 1 < n) look_up(b, s, best);
    }
    for (int64_t i = 0; i < n; i++) add_id(out, s->id[i]);
}

static bool is_before(struct candidate a, struct candidate b) {
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void push(const struct bpe *b, struct bpe_scratch *s, int32_t at) {
    int32_t next = s->symbol[at].next;
    if (next < 0) return;
    const struct merge *m = find_merge(b, s->symbol[at].id, s->symbol[next].id);
    if (m->rank < 0) return;
    ARRAY_RESERVE(s->heap, s->n_heap, s->heap_room);
    struct candidate added = {m->rank, at, m->id};
    int64_t i = s->n_heap++;
    for (; i > 0 && is_before(added, s->heap[(i - 1) / 2]); i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = added;
}

static struct candidate pop(struct bpe_scratch *s) {
    struct candidate top = s->heap[0], moved = s->heap[--s->n_heap];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < s->n_heap; i = child) {
        if (child + 1 < s->n_heap && is_before(s->heap[child + 1], s->heap[child])) child++;
        if (!is_before(s->heap[child], moved)) break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = moved;
    return top;
}

/* Any length: a linked list of symbols and a heap of candidates. A candidate whose pair has changed since is passed
 * over: the pair that stands there now has a candidate of its own. */
static void merge_by_heap(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t length,
                          struct ids *out) {
    int32_t *id = mem_alloc((int64_t)length, sizeof *id);
    int64_t n = first_symbols(b, word, length, id);
    while (s->symbol_room < n) ARRAY_RESERVE(s->symbol, s->symbol_room, s->symbol_room);
    for (int64_t i = 0; i < n; i++)
        s->symbol[i] = (struct symbol){id[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    mem_free(id);
    s->n_heap = 0;
    for (int64_t i = 0; i < n; i++) push(b, s, (int32_t)i);
    while (s->n_heap) {
        struct candidate c = pop(s);
        struct symbol *left = &s->symbol[c.at];
        if (left->id < 0 || left->next < 0) continue;
        struct symbol *right = &s->symbol[left->next];
        const struct merge *m = find_merge(b, left->id, right->id);
        if (m->rank != c.rank) continue;
        left->id = c.id;
        right->id = -1;
        left->next = right->next;
        if (left->next >= 0) s->symbol[left->next].former = c.at;
        if (left->former >= 0) push(b, s, left->former);
        push(b, s, c.at);
    }
    for (int64_t i = n ? 0 : -1; i >= 0; i = s->symbol[i].next) add_id(out, s->symbol[i].id);
}

static void merge_word(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t length, struct ids *out) {
    if (b->ignore_merges) {
        buffer_clear(&s->letters);
        for (size_t i = 0; i < length; i++) {
            char utf8[4];
            int n = utf8_write(utf8, letter_of_byte((unsigned char)word[i]));
            buffer_append(&s->letters, utf8, (size_t)n);
        }
        int whole = bpe_id(b, s->letters.data, s->letters.length);
        if (whole >= 0) {
            add_id(out, whole);
            return;
        }
    }
    if (length <= SCAN_BYTES)
        merge_by_scan(b, s, word, length, out);
    else
        merge_by_heap(b, s, word, length, out);
}

/* The cache forgets everything when it is three quarters full: simple, and rare (50,000 different words). */
static void clear_cache(struct bpe_scratch *s) {
    memset(s->entry, 0, sizeof *s->entry << CACHE_BITS);
    s->n_entries = 0;
    s->arena.n = 0;
}

void bpe_encode_word(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t length, struct ids *out) {
    if (length == 0) return;
    if (length > WORD_BYTES) {
        merge_word(b, s, word, length, out);
        return;
    }
    uint64_t key[WORD_BYTES / 8] = {0};
    memcpy(key, word, length);
    uint64_t mask = ((uint64_t)1 << CACHE_BITS) - 1;
    uint64_t at = mix(mix(mix(key[0] ^ length) ^ key[1]) ^ key[2]) & mask;
    struct word_entry *e = &s->entry[at];
    while (e->length && (e->length != length || memcmp(e->key, key, sizeof key) != 0))
        e = &s->entry[at = (at + 1) & mask];
    if (!e->length) {
        int64_t first = s->arena.n;
        merge_word(b, s, word, length, &s->arena);
        memcpy(e->key, key, sizeof key);
        e->first = (uint32_t)first;
        e->n = (uint16_t)(s->arena.n - first);
        e->length = (uint16_t)length;
        s->n_entries++;
    }
    for (int i = 0; i < e->n; i++) add_id(out, s->arena.id[e->first + (uint32_t)i]);
    if (s->n_entries > (int64_t)mask / 4 * 3) clear_cache(s);
}

/* --- reading ------------------------------------------------------------------------- */

static int64_t power_above(int64_t n) {
    int64_t power = 16;
    while (power < n) power *= 2;
    return power;
}

static int read_vocabulary(struct bpe *b, json_t *vocab) {
    if (!json_is_object(vocab)) return fail("vocab: expected an object");
    const char *token;
    json_t *value;
    b->n_tokens = (int64_t)json_object_size(vocab);
    if (b->n_tokens == 0) return fail("vocab: is empty");
    json_object_foreach(vocab, token, value) {
        if (!json_is_integer(value)) return fail("vocab[\"%.100s\"]: expected an integer", token);
        int64_t id = json_integer_value(value);
        if (id < 0 || id >= MOST_IDS)
            return fail("vocab[\"%.100s\"]: expected an id from 0 to %d, found %lld", token, MOST_IDS - 1,
                        (long long)id);
        if (strlen(token) > MOST_TOKEN_BYTES)
            return fail("vocab[\"%.100s...\"]: longer than %d bytes", token, MOST_TOKEN_BYTES);
        b->n_ids = MAX(b->n_ids, id + 1);
    }
    b->first = mem_alloc(b->n_ids, sizeof *b->first);
    b->length = mem_alloc(b->n_ids, sizeof *b->length);
    memset(b->first, 0xFF, (size_t)b->n_ids * sizeof *b->first);
    int64_t n_slots = power_above(2 * b->n_tokens);
    b->slot = mem_alloc(n_slots, sizeof *b->slot);
    b->slot_mask = n_slots - 1;
    memset(b->slot, 0xFF, (size_t)n_slots * sizeof *b->slot);
    json_object_foreach(vocab, token, value) {
        int64_t id = json_integer_value(value);
        size_t length = strlen(token);
        if (b->first[id] >= 0)
            return fail("vocab: \"%.100s\" and \"%.100s\" have the same id %lld", b->text.data + b->first[id], token,
                        (long long)id);
        b->first[id] = (int64_t)b->text.length;
        b->length[id] = (int32_t)length;
        buffer_append(&b->text, token, length + 1);
        b->slot[find_slot(b, token, length)] = (int32_t)id;
    }
    return 0;
}

/* The two sides of a merge: "a b" or ["a", "b"]. */
static int merge_sides(const json_t *merge, const char *side[2], size_t length[2]) {
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *space = strchr(text, ' ');
        size_t whole = json_string_length(merge);
        if (!space || strchr(space + 1, ' ') || strlen(text) != whole)
            return fail("expected two tokens with one space between, found \"%.100s\"", text);
        side[0] = text;
        length[0] = (size_t)(space - text);
        side[1] = space + 1;
        length[1] = whole - length[0] - 1;
        return 0;
    }
    if (!json_is_array(merge) || json_array_size(merge) != 2) return fail("expected \"a b\" or [\"a\", \"b\"]");
    for (size_t i = 0; i < 2; i++) {
        const json_t *part = json_array_get(merge, i);
        if (!json_is_string(part)) return fail("expected two strings");
        side[i] = json_string_value(part);
        length[i] = json_string_length(part);
    }
    return 0;
}

static int read_merge(struct bpe *b, const json_t *merge, int32_t rank, struct buffer *joined) {
    const char *side[2];
    size_t length[2];
    if (merge_sides(merge, side, length) != 0) return -1;
    int id[3];
    buffer_clear(joined);
    for (int i = 0; i < 2; i++) {
        id[i] = bpe_id(b, side[i], length[i]);
        if (id[i] < 0) return fail("\"%.*s\" is not in the vocabulary", (int)MIN(length[i], 100), side[i]);
        buffer_append(joined, side[i], length[i]);
    }
    id[2] = bpe_id(b, joined->data, joined->length);
    if (id[2] < 0) return fail("its result \"%.100s\" is not in the vocabulary", joined->data);
    struct merge *m = find_merge(b, id[0], id[1]);
    *m = (struct merge){(uint64_t)(uint32_t)id[0] << 32 | (uint32_t)id[1], rank, id[2]};
    return 0;
}

static int read_merges(struct bpe *b, const json_t *merges) {
    if (!json_is_array(merges)) return fail("merges: expected a list");
    if (json_array_size(merges) > MOST_MERGES) return fail("merges: more than %d", MOST_MERGES);
    int64_t n = power_above(2 * (int64_t)json_array_size(merges));
    b->merge = mem_alloc(n, sizeof *b->merge);
    b->merge_mask = (uint64_t)n - 1;
    for (int64_t i = 0; i < n; i++) b->merge[i].rank = -1;
    struct buffer joined = {0};
    const json_t *merge;
    size_t i;
    int status = 0;
    int32_t rank = 0;
    json_array_foreach(merges, i, merge) {
        bool is_header = json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0;
        if (!is_header) status = read_merge(b, merge, rank++, &joined);
        if (status != 0) {
            fail_context("merges[%zu]", i);
            break;
        }
    }
    buffer_free(&joined);
    return status;
}

/* Options that change the ids and are not built. */
static int check_options(const json_t *json) {
    static const char *const prefixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = "BPE";
    if (json_get_string(json, "type", &type) != 0) return -1;
    if (strcmp(type, "BPE") != 0) return fail("\"type\": %s is not implemented (BPE is)", type);
    for (int i = 0; i < 2; i++) {
        const char *text = "";
        if (json_get_string(json, prefixes[i], &text) != 0) return -1;
        if (*text) return fail("%s \"%s\" is not implemented", prefixes[i], text);
    }
    double dropout = 0;
    bool byte_fallback = false;
    if (json_get_number(json, "dropout", &dropout) != 0 || json_get_bool(json, "byte_fallback", &byte_fallback) != 0)
        return -1;
    if (dropout != 0) return fail("dropout %g is not implemented: expected null", dropout);
    return byte_fallback ? fail("byte_fallback is not implemented") : 0;
}

static int read_all(struct bpe *b, const json_t *json) {
    const char *unk = NULL;
    if (!json_is_object(json)) return fail("expected an object");
    if (check_options(json) != 0 || json_get_string(json, "unk_token", &unk) != 0 ||
        json_get_bool(json, "fuse_unk", &b->fuse_unk) != 0 ||
        json_get_bool(json, "ignore_merges", &b->ignore_merges) != 0 ||
        read_vocabulary(b, json_object_get(json, "vocab")) != 0 ||
        read_merges(b, json_object_get(json, "merges")) != 0)
        return -1;
    b->unk = unk ? bpe_id(b, unk, strlen(unk)) : -1;
    for (int i = 0; i < 256; i++) {
        char letter[4];
        int n = utf8_write(letter, letter_of_byte(i));
        b->byte_id[i] = bpe_id(b, letter, (size_t)n);
        if (b->byte_id[i] < 0 && unk && b->unk < 0) return fail("unk_token \"%.100s\" is not in the vocabulary", unk);
    }
    return 0;
}

int bpe_parse(struct bpe *b, const json_t *json) {
    *b = (struct bpe){0};
    if (read_all(b, json) == 0) return 0;
    bpe_free(b);
    return fail_context("model");
}

void bpe_free(struct bpe *b) {
    buffer_free(&b->text);
    mem_free(b->first);
    mem_free(b->length);
    mem_free(b->slot);
    mem_free(b->merge);
    *b = (struct bpe){0};
}
