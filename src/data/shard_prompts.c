/* Groups of a new shard: see shard_prompts.h.
 *
 * How many tokens the forest of a group has is counted by levels: of all its sides the next `width`
 * tokens are read and counted as a forest; those whose tokens are all equal and go on are a class,
 * counted from there in the same way. So the memory is bounded by the number of sides, and not by
 * their length. */
#include "shard_prompts.h"

#include <stdlib.h>
#include <string.h>

#include "forest.h"
#include "memory.h"

enum { GROUP_BUDGET = 1 << 22, LEAST_WIDTH = 16 };

/* What of a side is not counted yet. */
struct rest {
    int64_t at, left; /* the first token's place in the spool; how many */
    int32_t *token;   /* the next ones, as far as they were read */
    int64_t n;
};

static int by_tokens(const void *a, const void *b) {
    const struct rest *x = a, *y = b;
    int order = memcmp(x->token, y->token, (size_t)MIN(x->n, y->n) * sizeof *x->token);
    return order ? order : x->n < y->n ? -1 : x->n > y->n;
}

static bool same_tokens(const struct rest *x, const struct rest *y) {
    return x->n == y->n && memcmp(x->token, y->token, (size_t)x->n * sizeof *x->token) == 0;
}

/* Reads the next tokens of all and adds the forest of them to *count. The block they lie in: to be
 * freed. */
static int32_t *count_level(const struct spool *spool, struct rest *rest, int64_t n, int64_t width,
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
        status = spool_tokens(spool, rest[i].at, rest[i].n, rest[i].token);
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

/* Tokens of the forest of the rests. -1 on an error. */
static int64_t count_rests(const struct spool *spool, struct rest *rest, int64_t n) {
    int64_t longest = 0, count = 0, n_classes = 0;
    if (n == 1) return rest->left;
    for (int64_t i = 0; i < n; i++) longest = MAX(longest, rest[i].left);
    int64_t width = MIN(longest, MAX(LEAST_WIDTH, GROUP_BUDGET / n));
    int32_t *block = count_level(spool, rest, n, width, &count);
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
        rest[i].at = spool_behind(spool, rest[i].at, rest[i].n);
        rest[i].left -= rest[i].n;
    }
    for (int64_t k = 0, start = 0; k < n_classes && count >= 0; start = end[k++]) {
        int64_t deeper = count_rests(spool, rest + start, end[k] - start);
        count = deeper < 0 ? -1 : count + deeper;
    }
    mem_free(end);
    return count;
}

/* The sides of a run, behind the n_rests that are there. */
static int add_rests(const struct spool *spool, const struct shard_run *run, struct rest **rest,
                     int64_t *n_rests) {
    int32_t n;
    int64_t at;
    if (spool_count(spool, run->at, &n) != 0) return -1;
    int32_t *length = mem_alloc(n, sizeof *length);
    int status = spool_lengths(spool, run->at, n, length, &at);
    *rest = mem_resize(*rest, *n_rests + n, sizeof **rest);
    for (int32_t i = 0; i < n && status == 0; i++) {
        (*rest)[(*n_rests)++] = (struct rest){at, length[i], NULL, 0};
        at = spool_behind(spool, at, length[i]);
    }
    mem_free(length);
    return status;
}

/* Tokens of the forest of a group of several runs. -1 on an error. */
static int64_t count_group(const struct spool *spool, const struct shard_run *run, int64_t n_runs) {
    struct rest *rest = NULL;
    int64_t n = 0;
    int status = 0;
    for (int64_t i = 0; i < n_runs && status == 0; i++)
        status = add_rests(spool, &run[i], &rest, &n);
    int64_t count = status == 0 ? count_rests(spool, rest, n) : -1;
    mem_free(rest);
    return count;
}

/* The columns of /group while they are written. */
struct groups {
    struct shard_column first, member, forest_tokens;
    int64_t n, n_members;
    struct answers *answers; /* NULL: there are none */
};

static int write_answers(const struct groups *g, const struct spool *spool,
                         const struct shard_run *run) {
    size_t n_bytes = 0;
    char *data = spool_answers(spool, run->at, &n_bytes);
    int status = data ? answers_append(g->answers, g->n, data, n_bytes) : -1;
    mem_free(data);
    return status;
}

static int write_group(struct groups *g, const struct spool *spool, const struct shard_run *run,
                       int64_t n_runs) {
    int64_t count = n_runs == 1 ? run->forest_tokens : count_group(spool, run, n_runs);
    if (count < 0) return -1;
    if (count > INT32_MAX) return fail("a prompt with %lld tokens of answers", (long long)count);
    int status = column_append(&g->forest_tokens, &(int32_t){(int32_t)count}, 1);
    if (status == 0) status = column_append(&g->first, &g->n_members, 1);
    for (int64_t r = 0; r < n_runs; r++)
        for (int64_t i = run[r].first; i < run[r].first + run[r].n && status == 0; i++)
            status = column_append(&g->member, &i, 1);
    for (int64_t r = 0; r < n_runs; r++) g->n_members += run[r].n;
    for (int64_t r = 0; r < n_runs && status == 0 && g->answers; r++)
        status = write_answers(g, spool, &run[r]);
    g->n++;
    return status;
}

static bool is_before(const struct shard_run *a, const struct shard_run *b) {
    return a->prompt != b->prompt ? a->prompt < b->prompt : a->at < b->at;
}

static void swap(struct shard_run *a, struct shard_run *b) {
    struct shard_run kept = *a;
    *a = *b;
    *b = kept;
}

/* By (prompt, at), which no two have in common. In place: qsort of glibc takes as much memory
 * again. Recursion takes the smaller part. */
static void sort_by_prompt(struct shard_run *run, int64_t n) {
    while (n > 1) {
        struct shard_run *middle = run + n / 2, *last = run + n - 1;
        if (is_before(middle, run)) swap(middle, run);
        if (is_before(last, run)) swap(last, run);
        if (is_before(last, middle)) swap(last, middle);
        const struct shard_run pivot = *middle;
        int64_t low = 0, high = n - 1;
        while (low <= high) {
            while (is_before(run + low, &pivot)) low++;
            while (is_before(&pivot, run + high)) high--;
            if (low <= high) swap(run + low++, run + high--);
        }
        bool is_left_smaller = high + 1 < n - low;
        sort_by_prompt(is_left_smaller ? run : run + low, is_left_smaller ? high + 1 : n - low);
        if (is_left_smaller) run += low;
        n = is_left_smaller ? n - low : high + 1;
    }
}

/* Sorts the runs so that those of a group follow each other, which then have the place of the
 * group's first run for their `prompt`. */
static void sort_runs(struct shard_run *run, int64_t n) {
    sort_by_prompt(run, n);
    uint64_t former = 0, leader = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || run[i].prompt != former) leader = (uint64_t)run[i].at;
        former = run[i].prompt;
        run[i].prompt = leader;
    }
    sort_by_prompt(run, n);
}

int groups_write(hid_t at, int64_t chunk, struct shard_run *run, int64_t n_runs,
                 const struct spool *spool, struct answers *answers) {
    struct groups g = {.answers = answers};
    column_open(&g.first, at, "first", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&g.member, at, "member", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&g.forest_tokens, at, "forest_tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, chunk);
    sort_runs(run, n_runs);
    int status = 0;
    for (int64_t i = 0, end; i < n_runs && status == 0; i = end) {
        for (end = i + 1; end < n_runs && run[end].prompt == run[i].prompt;) end++;
        status = write_group(&g, spool, run + i, end - i);
    }
    if (status == 0) status = column_append(&g.first, &g.n_members, 1);
    struct shard_column *column[] = {&g.first, &g.member, &g.forest_tokens};
    for (int i = 0; i < 3; i++) {
        if (status == 0) status = column_finish(column[i]);
        if (column_close(column[i]) != 0) status = -1;
    }
    return status;
}
