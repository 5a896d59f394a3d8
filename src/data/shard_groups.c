/* Groups of a new shard: see shard_groups.h.
 *
 * How many tokens the forest of a group has is counted by levels: of all its sequences the next `width` tokens are
 * read and counted as a forest; those whose tokens are all equal and go on are a class, counted from there in the
 * same way. So the memory is bounded by the number of sequences, and not by their length. */
#include "shard_groups.h"

#include <stdlib.h>
#include <string.h>

#include "forest.h"
#include "memory.h"

enum { GROUP_BUDGET = 1 << 22, LEAST_WIDTH = 16 };

/* What of a sequence is not counted yet. */
struct rest {
    int64_t at, left; /* the first token in /token; how many */
    int32_t *token;   /* the next ones, as far as they were read */
    int64_t n;
};

static int by_prompt(const void *a, const void *b) {
    const struct shard_run *x = a, *y = b;
    if (x->prompt != y->prompt) return x->prompt < y->prompt ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

static int by_tokens(const void *a, const void *b) {
    const struct rest *x = a, *y = b;
    int order = memcmp(x->token, y->token, (size_t)MIN(x->n, y->n) * sizeof *x->token);
    return order ? order : x->n < y->n ? -1 : x->n > y->n;
}

static bool same_tokens(const struct rest *x, const struct rest *y) {
    return x->n == y->n && memcmp(x->token, y->token, (size_t)x->n * sizeof *x->token) == 0;
}

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Tokens as int32, whatever the file has; widened from the end, so that they can be read into the same memory. */
static int read_tokens(const struct shard_stored *stored, int64_t first, int64_t n, int32_t *out) {
    if (column_read(stored->token, first, n, out) != 0) return -1;
    const uint16_t *narrow = (const uint16_t *)out;
    if (stored->is_narrow)
        for (int64_t i = n - 1; i >= 0; i--) memcpy(out + i, &(int32_t){narrow[i]}, sizeof *out);
    return 0;
}

/* Reads the next tokens of all and adds the forest of them to *count. The block they lie in: to be freed. */
static int32_t *count_level(const struct shard_stored *stored, struct rest *rest, int64_t n, int64_t width,
                            int64_t *count) {
    int64_t sum = 0, n_read = 0;
    for (int64_t i = 0; i < n; i++) sum += rest[i].n = MIN(rest[i].left, width);
    int32_t *block = mem_alloc(sum, sizeof *block), *next = block;
    const int32_t **sequence = mem_alloc(n, sizeof *sequence);
    int32_t *length = mem_alloc(n, sizeof *length);
    int status = 0;
    for (int64_t i = 0; i < n && status == 0; i++) {
        rest[i].token = next;
        next += rest[i].n;
        status = read_tokens(stored, rest[i].at, rest[i].n, rest[i].token);
        if (rest[i].n == 0) continue;
        sequence[n_read] = rest[i].token;
        length[n_read++] = (int32_t)rest[i].n;
    }
    if (status == 0) *count += forest_count(n_read, sequence, length);
    mem_free(sequence);
    mem_free(length);
    if (status == 0) return block;
    mem_free(block);
    return NULL;
}

/* Tokens of the forest of the rests, of which no two are equal. -1 on an error. */
static int64_t count_rests(const struct shard_stored *stored, struct rest *rest, int64_t n) {
    int64_t longest = 0, count = 0, n_classes = 0;
    if (n == 1) return rest->left;
    for (int64_t i = 0; i < n; i++) longest = MAX(longest, rest[i].left);
    int64_t width = MIN(longest, MAX(LEAST_WIDTH, GROUP_BUDGET / n));
    int32_t *block = count_level(stored, rest, n, width, &count);
    if (!block) return -1;
    int64_t *end = NULL;
    if (width < longest) {
        qsort(rest, (size_t)n, sizeof *rest, by_tokens);
        end = mem_alloc(n, sizeof *end);
        for (int64_t i = 0; i < n; i++)
            if (i + 1 == n || !same_tokens(&rest[i], &rest[i + 1])) end[n_classes++] = i + 1;
    }
    mem_free(block);
    for (int64_t i = 0; i < n; i++) {
        rest[i].at += rest[i].n;
        rest[i].left -= rest[i].n;
    }
    for (int64_t k = 0, start = 0; k < n_classes && count >= 0; start = end[k++]) {
        int64_t deeper = count_rests(stored, rest + start, end[k] - start);
        count = deeper < 0 ? -1 : count + deeper;
    }
    mem_free(end);
    return count;
}

/* The different sequences of some runs, as numbers in new memory. NULL on an error. */
static int64_t *collect_sequences(const struct shard_stored *stored, const struct shard_run *run, int64_t n_runs,
                                  int64_t *n) {
    int64_t n_comparisons = 0, filled = 0;
    for (int64_t i = 0; i < n_runs; i++) n_comparisons += run[i].n;
    int64_t *number = mem_alloc(2 * n_comparisons, sizeof *number);
    int status = 0;
    for (int64_t i = 0; i < n_runs && status == 0; i++) {
        status = column_read(stored->chosen, run[i].first, run[i].n, number + filled);
        if (status == 0) status = column_read(stored->rejected, run[i].first, run[i].n, number + filled + run[i].n);
        filled += 2 * (int64_t)run[i].n;
    }
    if (status != 0) {
        mem_free(number);
        return NULL;
    }
    qsort(number, (size_t)filled, sizeof *number, by_number);
    *n = 0;
    for (int64_t i = 0; i < filled; i++)
        if (i == 0 || number[i] != number[i - 1]) number[(*n)++] = number[i];
    return number;
}

/* Tokens of the forest of a group of several runs. -1 on an error. */
static int64_t count_group(const struct shard_stored *stored, const struct shard_run *run, int64_t n_runs) {
    int64_t n, *number = collect_sequences(stored, run, n_runs, &n), count = 0;
    if (!number) return -1;
    struct rest *rest = mem_alloc(n, sizeof *rest);
    for (int64_t i = 0; i < n && count == 0; i++) {
        int64_t bound[2];
        if (column_read(stored->first, number[i], 2, bound) != 0)
            count = -1;
        else
            rest[i] = (struct rest){bound[0], bound[1] - bound[0], NULL, 0};
    }
    if (count == 0) count = count_rests(stored, rest, n);
    mem_free(rest);
    mem_free(number);
    return count;
}

/* The columns of /group while they are written. */
struct groups {
    struct shard_column first, member, forest_tokens;
    int64_t n_members;
};

static int write_group(struct groups *g, const struct shard_stored *stored, const struct shard_run *run,
                       int64_t n_runs) {
    int64_t count = n_runs == 1 ? run->forest_tokens : count_group(stored, run, n_runs);
    if (count < 0) return -1;
    if (count > INT32_MAX) return fail("a prompt with %lld tokens of answers", (long long)count);
    int status = column_append(&g->forest_tokens, &(int32_t){(int32_t)count}, 1);
    if (status == 0) status = column_append(&g->first, &g->n_members, 1);
    for (int64_t r = 0; r < n_runs; r++)
        for (int64_t i = run[r].first; i < run[r].first + run[r].n && status == 0; i++)
            status = column_append(&g->member, &i, 1);
    for (int64_t r = 0; r < n_runs; r++) g->n_members += run[r].n;
    return status;
}

/* Sorts the runs so that those of a group follow each other, which then have the group's first comparison for their
 * `prompt`. */
static void sort_runs(struct shard_run *run, int64_t n) {
    qsort(run, (size_t)n, sizeof *run, by_prompt);
    uint64_t former = 0, leader = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || run[i].prompt != former) leader = (uint64_t)run[i].first;
        former = run[i].prompt;
        run[i].prompt = leader;
    }
    qsort(run, (size_t)n, sizeof *run, by_prompt);
}

int groups_write(hid_t at, int64_t chunk, struct shard_run *run, int64_t n_runs, const struct shard_stored *stored) {
    struct groups g = {0};
    column_open(&g.first, at, "first", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&g.member, at, "member", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&g.forest_tokens, at, "forest_tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, chunk);
    sort_runs(run, n_runs);
    int status = 0;
    for (int64_t i = 0, end; i < n_runs && status == 0; i = end) {
        for (end = i + 1; end < n_runs && run[end].prompt == run[i].prompt;) end++;
        status = write_group(&g, stored, run + i, end - i);
    }
    if (status == 0) status = column_append(&g.first, &g.n_members, 1);
    struct shard_column *column[] = {&g.first, &g.member, &g.forest_tokens};
    for (int i = 0; i < 3; i++) {
        if (status == 0) status = column_finish(column[i]);
        if (column_close(column[i]) != 0) status = -1;
    }
    return status;
}
