/* The forest batch: sequences to a trie of shared prefixes in preorder. See forest.h for what holds
 * afterwards.
 *
 * Sorted by their tokens, sequences that share a prefix are neighbours, and a walk over them is a
 * preorder walk of the trie: each sequence adds the tokens beyond its common prefix with the one
 * before it. Hence
 *
 *   sort -> common prefix of neighbours -> append what is new, close what is left
 *
 * which costs O(tokens + sequences log sequences):
 *
 *   (a) The sort is a three-way radix quicksort (Bentley and Sedgewick, "Fast algorithms for
 *   sorting and searching
 *       strings", 1997) that first skips the common prefix of its whole range by comparing blocks:
 *       a stem of thousands of tokens with hundreds of branches is read about once per branch. It
 *       sorts indices in place.
 *   (b) path[d] is the row at depth d of the sequence laid out last; leaving a row sets its reach.
 *   (c) order is a least-significant-digit radix sort of the rows by token, stable, hence by
 *   (token, row).
 *
 * Measured on one core of a 2-core Xeon with AVX-512, HH pairs, best of 200: 8 pairs (1,496 forest
 * tokens) 7.5 us, 512 pairs (111,550 forest tokens) 0.48 ms. */
#include "forest.h"

#include <string.h>

#include "memory.h"

enum { DIGIT_BITS = 11, N_DIGITS = 1 << DIGIT_BITS, BLOCK = 8 };

/* The sequences while they are sorted; borrowed. */
struct strings {
    const int32_t *const *sequence;
    const int32_t *length;
};

/* How many of n tokens are equal from the start. */
static int64_t common(const int32_t *a, const int32_t *b, int64_t n) {
    int64_t i = 0;
    while (i + BLOCK <= n && memcmp(a + i, b + i, BLOCK * sizeof *a) == 0) i += BLOCK;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

static int64_t common_prefix(const struct strings *s, int32_t a, int32_t b) {
    return common(s->sequence[a], s->sequence[b], MIN(s->length[a], s->length[b]));
}

/* The token at a depth; an end sorts before every token, so that a prefix stands before what
 * continues it. */
static int32_t key(const struct strings *s, int32_t index, int64_t depth) {
    return depth < s->length[index] ? s->sequence[index][depth] : -1;
}

static int32_t median(int32_t a, int32_t b, int32_t c) {
    return a < b ? (b < c ? b : MAX(a, c)) : (a < c ? a : MAX(b, c));
}

static void swap(int32_t *a, int32_t *b) {
    int32_t kept = *a;
    *a = *b;
    *b = kept;
}

/* The depth down to which all n sequences agree, given that they do down to `depth`. */
static int64_t agreed_depth(const struct strings *s, const int32_t *index, int64_t n,
                            int64_t depth) {
    int64_t agreed = s->length[index[0]] - depth;
    for (int64_t i = 1; i < n && agreed > 0; i++) {
        int64_t both = MIN(agreed, s->length[index[i]] - depth);
        agreed = common(s->sequence[index[0]] + depth, s->sequence[index[i]] + depth, both);
    }
    return depth + agreed;
}

/* Sorts n indices whose sequences agree down to `depth`. Recursion takes the smaller parts: at most
 * log2(n) deep. */
static void sort(const struct strings *s, int32_t *index, int64_t n, int64_t depth) {
    while (n > 1) {
        depth = agreed_depth(s, index, n, depth);
        int32_t pivot = median(key(s, index[0], depth), key(s, index[n / 2], depth),
                               key(s, index[n - 1], depth));
        int64_t low = 0, at = 0, high = n;
        while (at < high) {
            int32_t k = key(s, index[at], depth);
            if (k < pivot)
                swap(&index[low++], &index[at++]);
            else if (k > pivot)
                swap(&index[at], &index[--high]);
            else
                at++;
        }
        /* The three parts: below, equal (which needs no more when they have ended: they are
         * identical), above. */
        struct part {
            int32_t *index;
            int64_t n, depth;
        } part[3] = {{index, low, depth},
                     {index + low, pivot < 0 ? 0 : high - low, depth + 1},
                     {index + high, n - high, depth}};
        int largest = 0;
        for (int k = 1; k < 3; k++)
            if (part[k].n > part[largest].n) largest = k;
        for (int k = 0; k < 3; k++)
            if (k != largest) sort(s, part[k].index, part[k].n, part[k].depth);
        index = part[largest].index;
        n = part[largest].n;
        depth = part[largest].depth;
    }
}

static void sort_all(const struct strings *s, int32_t *index, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        CHECK(s->length[i] >= 1, "sequence %lld has %d tokens", (long long)i, s->length[i]);
        index[i] = (int32_t)i;
    }
    sort(s, index, n, 0);
}

void forest_init(struct forest *f, int64_t tokens, int64_t sequences, int64_t reads) {
    CHECK(MIN(tokens, MIN(sequences, reads)) >= 0 && MAX(tokens, MAX(sequences, reads)) < INT32_MAX,
          "%lld tokens, %lld sequences, %lld reads", (long long)tokens, (long long)sequences,
          (long long)reads);
    *f = (struct forest){
        .capacity_tokens = tokens, .capacity_sequences = sequences, .capacity_reads = reads};
    f->token = mem_alloc(tokens, sizeof *f->token);
    f->position = mem_alloc(tokens, sizeof *f->position);
    f->reach = mem_alloc(tokens, sizeof *f->reach);
    f->order = mem_alloc(tokens, sizeof *f->order);
    f->stack = mem_alloc(tokens, sizeof *f->stack);
    f->row = mem_alloc(reads, sizeof *f->row);
    f->read = mem_alloc(reads, sizeof *f->read);
    f->sorted = mem_alloc(sequences, sizeof *f->sorted);
    f->first_read = mem_alloc(sequences + 1, sizeof *f->first_read);
    f->read_order = mem_alloc(reads, sizeof *f->read_order);
}

void forest_free(struct forest *f) {
    mem_free(f->token);
    mem_free(f->position);
    mem_free(f->reach);
    mem_free(f->order);
    mem_free(f->stack);
    mem_free(f->row);
    mem_free(f->read);
    mem_free(f->sorted);
    mem_free(f->first_read);
    mem_free(f->read_order);
    *f = (struct forest){0};
}

/* f->read_order = the reads by their sequence, whose own begin at f->first_read. */
static void sort_reads(struct forest *f, int64_t n_sequences, const struct forest_read *read) {
    int32_t *first = f->first_read;
    memset(first, 0, (size_t)(n_sequences + 1) * sizeof *first);
    for (int64_t i = 0; i < f->n_reads; i++) {
        CHECK(read[i].sequence >= 0 && read[i].sequence < n_sequences, "read %lld of sequence %d",
              (long long)i, read[i].sequence);
        first[read[i].sequence]++;
    }
    for (int64_t s = 1; s <= n_sequences; s++) first[s] += first[s - 1]; /* where s ends */
    for (int64_t i = f->n_reads - 1; i >= 0; i--)
        f->read_order[--first[read[i].sequence]] = (int32_t)i;
}

/* The rows of a sequence's reads, while `path` is its path. */
static void place_reads(struct forest *f, const int32_t *path, int32_t index, int32_t length,
                        const struct forest_read *read) {
    if (!read) f->read[index] = path[length - 1];
    for (int32_t k = read ? f->first_read[index] : 0; read && k < f->first_read[index + 1]; k++) {
        int32_t i = f->read_order[k];
        CHECK(read[i].position >= 0 && read[i].position < length, "read %d: position %d of %d", i,
              read[i].position, length);
        f->read[i] = path[read[i].position];
    }
}

/* Lays n sorted sequences out; f->stack is the path of (b). f->read has rows afterwards. */
static void lay_out(struct forest *f, const struct strings *s, int64_t n_sequences,
                    const struct forest_read *read) {
    int32_t *path = f->stack, open = 0, n = 0;
    for (int64_t k = 0; k < n_sequences; k++) {
        int32_t index = f->sorted[k], length = s->length[index];
        int32_t shared = k ? (int32_t)common_prefix(s, f->sorted[k - 1], index) : 0;
        CHECK(f->capacity_tokens - n >= length - shared, "a forest of more than %lld tokens",
              (long long)f->capacity_tokens);
        for (int32_t d = shared; d < open; d++) f->reach[path[d]] = n;
        for (int32_t d = shared; d < length; d++, n++) {
            f->token[n] = s->sequence[index][d];
            f->position[n] = d;
            path[d] = n;
        }
        open = length;
        place_reads(f, path, index, length, read);
    }
    for (int32_t d = 0; d < open; d++) f->reach[path[d]] = n;
    f->n = n;
}

/* f->row from the rows in f->read, which become indices in it. */
static void list_rows(struct forest *f) {
    int32_t *index = f->stack;
    memset(index, -1, (size_t)f->n * sizeof *index);
    for (int64_t i = 0; i < f->n_reads; i++) index[f->read[i]] = 0;
    f->n_rows = 0;
    for (int64_t i = 0; i < f->n; i++) {
        if (index[i] < 0) continue;
        index[i] = (int32_t)f->n_rows;
        f->row[f->n_rows++] = (int32_t)i;
    }
    for (int64_t i = 0; i < f->n_reads; i++) f->read[i] = index[f->read[i]];
}

/* One pass of (c): moves the rows of `from` to `to`, sorted by one digit of their token. */
static void sort_digit(const int32_t *token, int64_t n, int shift, const int32_t *from,
                       int32_t *to) {
    int32_t count[N_DIGITS] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i++) count[token[i] >> shift & (N_DIGITS - 1)]++;
    for (int k = 0; k < N_DIGITS; k++) {
        int32_t here = count[k];
        count[k] = sum;
        sum += here;
    }
    for (int64_t i = 0; i < n; i++) {
        int32_t row = from[i];
        to[count[token[row] >> shift & (N_DIGITS - 1)]++] = row;
    }
}

static void sort_rows(struct forest *f) {
    int32_t all = 0;
    for (int64_t i = 0; i < f->n; i++) {
        f->order[i] = (int32_t)i;
        all |= f->token[i];
    }
    CHECK(all >= 0, "a negative token");
    int32_t *from = f->order, *to = f->stack;
    for (int shift = 0; shift < 31 && all >> shift != 0; shift += DIGIT_BITS) {
        sort_digit(f->token, f->n, shift, from, to);
        int32_t *kept = from;
        from = to;
        to = kept;
    }
    if (from != f->order) memcpy(f->order, from, (size_t)f->n * sizeof *from);
}

void forest_build(struct forest *f, int64_t n_sequences, const int32_t *const *sequence,
                  const int32_t *length, int64_t n_reads, const struct forest_read *read) {
    f->n_reads = read ? n_reads : n_sequences;
    CHECK(n_sequences <= f->capacity_sequences && f->n_reads <= f->capacity_reads,
          "%lld sequences and %lld reads in room for %lld and %lld", (long long)n_sequences,
          (long long)f->n_reads, (long long)f->capacity_sequences, (long long)f->capacity_reads);
    struct strings s = {sequence, length};
    if (read) sort_reads(f, n_sequences, read);
    sort_all(&s, f->sorted, n_sequences);
    lay_out(f, &s, n_sequences, read);
    list_rows(f);
    sort_rows(f);
}

int64_t forest_count(int64_t n_sequences, const int32_t *const *sequence, const int32_t *length) {
    struct strings s = {sequence, length};
    int32_t pair[2], *index = n_sequences <= 2 ? pair : mem_alloc(n_sequences, sizeof *index);
    sort_all(&s, index, n_sequences);
    int64_t n = 0;
    for (int64_t k = 0; k < n_sequences; k++)
        n += length[index[k]] - (k ? common_prefix(&s, index[k - 1], index[k]) : 0);
    if (index != pair) mem_free(index);
    return n;
}

/* (1), and (2) as far as it can be seen without the sequences: the children of a row have ascending
 * tokens. open[d] is the row at depth d, child[d] the latest token seen at depth d below the
 * present parent (-1: none). */
static int validate_tree(const struct forest *f, int32_t *open, int32_t *child) {
    int32_t depth = 0;
    for (int32_t i = 0; i < f->n; i++) {
        while (depth > 0 && f->reach[open[depth - 1]] <= i) depth--;
        int64_t limit = depth ? f->reach[open[depth - 1]] : f->n;
        if (f->reach[i] <= i || f->reach[i] > limit)
            return fail("row %d: expected a reach of %d to %lld, found %d", i, i + 1,
                        (long long)limit, f->reach[i]);
        if (f->position[i] != depth)
            return fail("row %d: expected position %d, found %d", i, depth, f->position[i]);
        if (f->token[i] <= child[depth])
            return fail("row %d: expected a token above its sibling's %d, found %d", i,
                        child[depth], f->token[i]);
        child[depth] = f->token[i];
        open[depth++] = i;
        if (depth < f->n) child[depth] = -1;
    }
    return 0;
}

/* (3): ascending rows, one at every leaf, each somebody's. */
static int validate_reads(const struct forest *f, int32_t *n_owners) {
    for (int64_t i = 0; i < f->n_reads; i++) {
        int32_t read = f->read[i];
        if (read < 0 || read >= f->n_rows)
            return fail("read %lld: row %d is not one", (long long)i, read);
        n_owners[read]++;
    }
    int64_t k = 0;
    for (int32_t i = 0; i < f->n; i++) {
        bool is_read = k < f->n_rows && f->row[k] == i;
        if (is_read && n_owners[k] == 0) return fail("row %d is listed and nobody's read", i);
        if (!is_read && f->reach[i] == i + 1) return fail("row %d is a leaf that is not read", i);
        k += is_read;
    }
    return k == f->n_rows ? 0
                          : fail("read %lld: its row is not above the one before it", (long long)k);
}

/* (4) */
static int validate_order(const struct forest *f) {
    for (int64_t i = 0; i < f->n; i++) {
        int32_t row = f->order[i];
        if (row < 0 || row >= f->n)
            return fail("order %lld: row %d does not exist", (long long)i, row);
        if (i == 0) continue;
        int32_t former = f->order[i - 1];
        if (f->token[former] > f->token[row] ||
            (f->token[former] == f->token[row] && former >= row))
            return fail("order %lld: rows %d and %d are out of order", (long long)i, former, row);
    }
    return 0;
}

int forest_validate(const struct forest *f) {
    int32_t *open = mem_alloc(f->n, sizeof *open), *child = mem_alloc(f->n, sizeof *child);
    int32_t *n_owners = mem_alloc(f->n_rows, sizeof *n_owners);
    if (f->n) child[0] = -1;
    int status = validate_tree(f, open, child);
    if (status == 0) status = validate_reads(f, n_owners);
    if (status == 0) status = validate_order(f);
    mem_free(open);
    mem_free(child);
    mem_free(n_owners);
    return status;
}
