/* Cutting a forest into tasks (attention_plan.h).
 *
 * Forward: spans of queries, each with all the keys it may see. Backward: whole trees; or pieces of
 * keys for dk and dv, and spans of queries for dq. */
#include "attention_plan.h"

enum { N_COST_CLASSES = 64 };

/* Each tree, or what it is cut into for both passes; and the same again in another order. */
size_t attention_plan_bytes(int64_t queries, int64_t keys, int queries_per_kv) {
    int64_t n = 2 * keys + 2 * (queries / attention_span_queries(queries_per_kv) + 1) +
                keys / KEY_PIECE + 1;
    return 2 * ROUND_UP((size_t)n * sizeof(struct attention_span), 64);
}

/* Roughly the (query, key) pairs of a task. */
static int64_t task_cost(const struct attention *a, const struct attention_span *t) {
    int64_t n = t->query_end - t->query_first;
    if (n == 0) return t->key_end - t->key_first;
    int64_t middle = attention_query(a, t->query_first + n / 2);
    return n * (MIN(MAX(middle, t->key_first), t->key_end) - t->key_first + CHUNK / 2);
}

/* The next tree from the key and query that t ends with; false at the end of both. */
static bool next_tree(const struct attention *a, struct attention_span *t) {
    int64_t keys = a->k.rows, queries = a->q.rows;
    if (t->key_end >= keys && t->query_end >= queries) return false;
    *t = (struct attention_span){t->key_end, t->key_end, t->query_end, t->query_end, true, true};
    int64_t max = 0;
    while (t->key_end < keys && (t->key_end == t->key_first || max > t->key_end)) {
        max = MAX(max, a->reach[t->key_end]);
        t->key_end++;
    }
    int64_t next = t->key_end < keys ? t->key_end : INT64_MAX;
    while (t->query_end < queries && attention_query(a, t->query_end) < next) t->query_end++;
    return true;
}

/* Spans of the tree's queries, each with the keys up to its last query. */
static void add_spans(struct attention_plan *p, struct attention_span tree) {
    int step = attention_span_queries(p->queries_per_kv);
    for (int64_t q = tree.query_first; q < tree.query_end; q += step) {
        struct attention_span t = tree;
        t.query_first = (int32_t)q;
        t.query_end = (int32_t)MIN(q + step, tree.query_end);
        int64_t causal = attention_query(p->a, t.query_end - 1) + 1;
        t.key_end = (int32_t)MAX(MIN(causal, tree.key_end), t.key_first);
        t.want_dkv = false;
        p->task[p->n++] = t;
    }
}

/* Pieces of the tree's keys, each with the query blocks from the first that can see it. */
static void add_pieces(struct attention_plan *p, struct attention_span tree) {
    int step = attention_block_queries(p->queries_per_kv);
    int64_t q = tree.query_first;
    for (int64_t k = tree.key_first; k < tree.key_end; k += KEY_PIECE) {
        struct attention_span t = tree;
        t.key_first = (int32_t)k;
        t.key_end = (int32_t)MIN(k + KEY_PIECE, tree.key_end);
        while (q + step < tree.query_end && attention_query(p->a, q + step - 1) < k) q += step;
        t.query_first = (int32_t)q;
        t.want_dq = false;
        p->task[p->n++] = t;
    }
}

/* Largest first, by powers of two, so that the last ones to run are short. */
static void sort_tasks(struct attention_plan *p) {
    int start[N_COST_CLASSES + 1] = {0};
    for (int i = 0; i < p->n; i++)
        start[__builtin_clzll((uint64_t)task_cost(p->a, &p->task[i]) | 1) + 1]++;
    for (int i = 0; i < N_COST_CLASSES; i++) start[i + 1] += start[i];
    for (int i = 0; i < p->n; i++)
        p->sorted[start[__builtin_clzll((uint64_t)task_cost(p->a, &p->task[i]) | 1)]++] =
            p->task[i];
}

static void lay_out(struct attention_plan *p, char *memory) {
    p->n = 0;
    p->task = (struct attention_span *)memory;
    p->sorted = (struct attention_span *)(memory + attention_plan_bytes(p->a->q.rows, p->a->k.rows,
                                                                        p->queries_per_kv) /
                                                       2);
}

void attention_plan_forward(struct attention_plan *p, char *memory) {
    struct attention_span tree = {0};
    lay_out(p, memory);
    while (next_tree(p->a, &tree)) add_spans(p, tree);
    sort_tasks(p);
}

/* One pass for each tree, unless it is too long to pack, or takes more than a thread's share: then
 * two passes, at 7/5 of the work, are done sooner. */
void attention_plan_backward(struct attention_plan *p, char *memory) {
    int64_t all = 0;
    struct attention_span tree = {0};
    lay_out(p, memory);
    while (next_tree(p->a, &tree)) all += task_cost(p->a, &tree);
    int64_t share = all * p->a->k.n_heads / p->threads;
    tree = (struct attention_span){0};
    while (next_tree(p->a, &tree)) {
        if (tree.key_end - tree.key_first <= KEY_BLOCK &&
            (p->threads == 1 || task_cost(p->a, &tree) <= share)) {
            p->task[p->n++] = tree;
            continue;
        }
        add_pieces(p, tree);
        add_spans(p, tree);
    }
    sort_tasks(p);
}
