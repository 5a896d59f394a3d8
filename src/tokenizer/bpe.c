/* Byte-pair encoding, the merging: see bpe.h.
 *
 * Speed, the whole encoder on one core of an AVX-512 virtual machine, GPT-2's vocabulary on 2.4 MB
 * of HH dialogues, where the tokenizers library does 4.1 MB/s: 19 MB/s with every word merged by a
 * heap; 46 with words of up to SCAN_BYTES merged by scanning an array; 89 with a cache of words of
 * up to WORD_BYTES, 136 once it is warm. A "word" of a million bytes still takes n log n steps, by
 * the heap.
 *
 * Tokenizers without a pre-tokenizer (Llama 2, Gemma) have whole texts for words. These are cut
 * where no merge can join the two sides: before U+2581, and anywhere behind CUT_BYTES bytes; the
 * pieces go through the cache. On the same dialogues, with other work on the machine, Phi-3's does
 * 47 MB/s at first and 70 warm, the library 3.5; Qwen2.5's, which has a regular expression, 42 and
 * 50, the library 3.3 (one thread each, processor time, one run).
 */
#include "bpe.h"

#include <string.h>

#include "unicode.h"

enum { WORD_BYTES = 24, CACHE_BITS = 16, SCAN_BYTES = 64, CUT_BYTES = 12 };

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
    int64_t n_symbols, symbol_capacity;
    struct candidate *heap;
    int64_t n_heap, heap_capacity;
    struct buffer letters;
    struct ids first; /* symbols of a long word */
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
    mem_free(s->first.id);
    mem_free(s);
}

static inline void add_id(struct ids *out, int32_t id) {
    ARRAY_RESERVE(out->id, out->n, out->capacity);
    out->id[out->n++] = id;
}

/* --- first symbols ------------------------------------------------------------------- */

/* A token for each byte; runs of bytes without one become unk, one each or one together, or are
 * left out. */
static int64_t first_of_bytes(const struct bpe *b, const char *word, size_t length, int32_t *id) {
    int64_t n = 0;
    bool in_unk = false;
    for (size_t i = 0; i < length; i++) {
        int32_t found = b->byte_id[(unsigned char)word[i]];
        if (found < 0 && (b->unk < 0 || (in_unk && b->fuse_unk))) {
            if (b->missing_unk) return -1;
            continue;
        }
        in_unk = found < 0;
        id[n++] = found < 0 ? b->unk : found;
    }
    return n;
}

/* The tokens of its bytes: how many, or 0 if one is missing. */
static int64_t fall_back(const struct bpe *b, const char *bytes, size_t length, int32_t *id) {
    for (size_t i = 0; i < length; i++)
        if ((id[i] = b->fallback_id[(unsigned char)bytes[i]]) < 0) return 0;
    return (int64_t)length;
}

/* A character with the prefix, unless it is the word's first, and the suffix, if it is its last. */
static const char *with_affixes(const struct bpe *b, struct bpe_scratch *s, const char *word,
                                size_t from, size_t *to, bool is_last) {
    buffer_clear(&s->letters);
    if (from > 0) buffer_append(&s->letters, b->prefix.data, b->prefix.length);
    buffer_append(&s->letters, word + from, *to - from);
    if (is_last) buffer_append(&s->letters, b->suffix.data, b->suffix.length);
    *to = s->letters.length;
    return s->letters.data;
}

/* An unk waits until a token of the vocabulary or the end comes, so that tokens of bytes overtake
 * it, as in the library. */
static int64_t first_of_characters(const struct bpe *b, struct bpe_scratch *s, const char *word,
                                   size_t length, int32_t *id) {
    int64_t n = 0;
    bool has_affixes = b->prefix.length || b->suffix.length, waits = false;
    for (size_t at = 0; at < length;) {
        size_t from = at, n_bytes;
        uint32_t point = utf8_next(word, &at);
        const char *bytes = word + from;
        n_bytes = at - from;
        int32_t found;
        if (has_affixes) {
            size_t to = at;
            bytes = with_affixes(b, s, word, from, &to, at == length);
            n_bytes = to;
            found = bpe_id(b, bytes, n_bytes);
        } else {
            found = bpe_character(b, point);
        }
        if (found >= 0) {
            if (waits) id[n++] = b->unk;
            waits = false;
            id[n++] = found;
            continue;
        }
        int64_t fallen = b->byte_fallback ? fall_back(b, bytes, n_bytes, id + n) : 0;
        n += fallen;
        if (fallen > 0) continue;
        if (b->missing_unk) return -1;
        if (b->unk < 0) continue;
        if (waits && !b->fuse_unk) id[n++] = b->unk;
        waits = true;
    }
    if (waits) id[n++] = b->unk;
    return n;
}

static int64_t first_symbols(const struct bpe *b, struct bpe_scratch *s, const char *word,
                             size_t length, int32_t *id) {
    int64_t n = b->in_bytes ? first_of_bytes(b, word, length, id)
                            : first_of_characters(b, s, word, length, id);
    return n >= 0 ? n
                  : fail("model: unk_token \"%.100s\" is not in the vocabulary", b->missing_unk);
}

/* The most symbols that a word of that many bytes has at first. */
static size_t max_symbols(const struct bpe *b, size_t length) {
    return length * (1 + b->prefix.length) + b->suffix.length;
}

/* --- merging ------------------------------------------------------------------------- */

static void look_up(const struct bpe *b, struct bpe_scratch *s, int64_t at) {
    const struct merge *m = bpe_find_merge(b, s->id[at], s->id[at + 1]);
    s->rank[at] = m->rank < 0 ? INT32_MAX : m->rank;
    s->result[at] = m->id;
}

/* A word of up to SCAN_BYTES bytes: the ranks of all neighbours stand in an array, which is
 * searched for the least one before each merge. */
static int merge_by_scan(const struct bpe *b, struct bpe_scratch *s, const char *word,
                         size_t length, struct ids *out) {
    int64_t n = first_symbols(b, s, word, length, s->id);
    if (n < 0) return -1;
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
    return 0;
}

static bool is_before(struct candidate a, struct candidate b) {
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void push(const struct bpe *b, struct bpe_scratch *s, int32_t at) {
    int32_t next = s->symbol[at].next;
    if (next < 0) return;
    const struct merge *m = bpe_find_merge(b, s->symbol[at].id, s->symbol[next].id);
    if (m->rank < 0) return;
    ARRAY_RESERVE(s->heap, s->n_heap, s->heap_capacity);
    struct candidate added = {m->rank, at, m->id};
    int64_t i = s->n_heap++;
    for (; i > 0 && is_before(added, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
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

/* Any length: a linked list of symbols and a heap of candidates. A candidate whose pair has changed
 * since is passed over: the pair that stands there now has a candidate of its own. */
static int merge_by_heap(const struct bpe *b, struct bpe_scratch *s, const char *word,
                         size_t length, struct ids *out) {
    while ((size_t)s->first.capacity < max_symbols(b, length))
        ARRAY_RESERVE(s->first.id, s->first.capacity, s->first.capacity);
    int64_t n = first_symbols(b, s, word, length, s->first.id);
    if (n < 0) return -1;
    while (s->symbol_capacity < n) ARRAY_RESERVE(s->symbol, s->symbol_capacity, s->symbol_capacity);
    for (int64_t i = 0; i < n; i++)
        s->symbol[i] =
            (struct symbol){s->first.id[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    s->n_heap = 0;
    for (int64_t i = 0; i < n; i++) push(b, s, (int32_t)i);
    while (s->n_heap) {
        struct candidate c = pop(s);
        struct symbol *left = &s->symbol[c.at];
        if (left->id < 0 || left->next < 0) continue;
        struct symbol *right = &s->symbol[left->next];
        const struct merge *m = bpe_find_merge(b, left->id, right->id);
        if (m->rank != c.rank) continue;
        left->id = c.id;
        right->id = -1;
        left->next = right->next;
        if (left->next >= 0) s->symbol[left->next].former = c.at;
        if (left->former >= 0) push(b, s, left->former);
        push(b, s, c.at);
    }
    for (int64_t i = n ? 0 : -1; i >= 0; i = s->symbol[i].next) add_id(out, s->symbol[i].id);
    return 0;
}

static int merge_word(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t length,
                      struct ids *out) {
    if (b->ignore_merges) {
        buffer_clear(&s->letters);
        if (b->in_bytes) bpe_append_letters(word, length, &s->letters);
        int whole =
            b->in_bytes ? bpe_id(b, s->letters.data, s->letters.length) : bpe_id(b, word, length);
        if (whole >= 0) {
            add_id(out, whole);
            return 0;
        }
    }
    return max_symbols(b, length) <= SCAN_BYTES ? merge_by_scan(b, s, word, length, out)
                                                : merge_by_heap(b, s, word, length, out);
}

/* --- the cache of words -------------------------------------------------------------- */

/* The cache forgets everything when it is three quarters full: simple, and rare (50,000 different
 * words). */
static void clear_cache(struct bpe_scratch *s) {
    memset(s->entry, 0, sizeof *s->entry << CACHE_BITS);
    s->n_entries = 0;
    s->arena.n = 0;
}

static int encode_piece(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t length,
                        struct ids *out) {
    if (length > WORD_BYTES) return merge_word(b, s, word, length, out);
    uint64_t key[WORD_BYTES / 8] = {0};
    memcpy(key, word, length);
    uint64_t mask = ((uint64_t)1 << CACHE_BITS) - 1;
    uint64_t at = bpe_mix(bpe_mix(bpe_mix(key[0] ^ length) ^ key[1]) ^ key[2]) & mask;
    struct word_entry *e = &s->entry[at];
    while (e->length && (e->length != length || memcmp(e->key, key, sizeof key) != 0))
        e = &s->entry[at = (at + 1) & mask];
    if (!e->length) {
        int64_t first = s->arena.n;
        if (merge_word(b, s, word, length, &s->arena) != 0) return -1;
        memcpy(e->key, key, sizeof key);
        e->first = (uint32_t)first;
        e->n = (uint16_t)(s->arena.n - first);
        e->length = (uint16_t)length;
        s->n_entries++;
    }
    for (int i = 0; i < e->n; i++) add_id(out, s->arena.id[e->first + (uint32_t)i]);
    if (s->n_entries > (int64_t)mask / 4 * 3) clear_cache(s);
    return 0;
}

int bpe_encode_word(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t length,
                    struct ids *out) {
    if (length == 0) return 0;
    if (length <= WORD_BYTES || b->in_bytes || !b->cuts.are_built)
        return encode_piece(b, s, word, length, out);
    size_t from = 0, at = 0;
    uint32_t former = utf8_next(word, &at);
    while (at < length) {
        size_t next = at;
        uint32_t point = utf8_next(word, &next);
        if ((point == 0x2581 || at - from >= CUT_BYTES) && bpe_may_cut(b, former, point)) {
            if (encode_piece(b, s, word + from, at - from, out) != 0) return -1;
            from = at;
        }
        former = point;
        at = next;
    }
    return encode_piece(b, s, word + from, length - from, out);
}
