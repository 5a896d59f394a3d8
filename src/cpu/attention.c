/* Attention over a forest on the CPU, forward and backward, by blocks, so that no n x n matrix is
 * ever held.
 *
 *   forward:   S = scale q k^T where the query sees the key;  P = exp(S - lse);  out = P v
 *   backward:  D = rowsum(dout out);  dv = P^T dout;  dS = P (dout v^T - D);  dq = scale dS k;  dk
 *   = scale dS^T q
 *
 *   (1) The keys are cut into trees: runs of keys that no query from a later tree's first index on
 *       can see. A query belongs to the last tree that starts at or before it. Chunks of CHUNK keys
 *       and blocks of queries are counted from the tree's start, so no work crosses trees, and a
 *       tree's results do not depend on its company.
 *   (2) The query heads of one kv head go together: row r of a block is query r / group, head r %
 *       group of it. A tile of rows goes through the panels of keys that it sees at all, and masks
 *       only those that it does not see whole.
 *   (3) Every element of an output is summed in one fixed order: over keys ascending, or over
 *       queries ascending (attention_tile.h (3)). How the work is cut into tasks, which follows the
 *       number of threads, changes no bit.
 *   (4) A task is a kv head and a part of a tree. Forward: a span of queries against all keys they
 *       see, softmax online (Milakov and Gimelshein, 2018; Dao et al., 2022). Backward: a whole
 *       tree, dq, dk and dv in one pass of five products; or, for trees of more than KEY_BLOCK keys
 *       and for more threads than trees can use, pieces of keys (dk, dv: four products) and spans
 *       of queries (dq: three).
 *
 * Measured with the shapes of tests/bench/bench_attention.c on one core of an EPYC 9005 (peak 265
 * GFLOP/s in fp32, 550 in bf16), in CPU time, as the machine was busy with other work; medians of
 * three runs, GFLOP/s of visible pairs. Eight HH bf16x2 of 1,970 tokens, 8 heads over 4 of 64:
 * forward 3.6 ms (136) and backward 7.5 ms (165) in fp32, 2.3 ms (218) and 4.9 ms (253) in bf16.
 * One sequence of 4,096, two runs: 177-191 and 143-153 in fp32, 291-301 and 224-231 in bf16. Of the
 * time of the hh shapes 64 % is products, 15 % softmax and loops, 16 % packing in fp32; 53, 27, 16
 * in bf16. What was tried (single runs but for the first, so good to some 5 %):
 *   - bf16 widened to fp32 when packed, without vdpbf16ps: 10.5 ms for forward and backward instead
 *     of 7.2
 *   - rows fetched ahead: packing of rows that lie 4 KB apart falls from 16 % to 9 % of the time
 *     without unpacking
 *   - sums and maxima of a vector by shuffles instead of through memory: 4 % of the whole in fp32,
 *     14 % in bf16
 *   - chunks of 64, 96, 128, 192 keys: within 5 %; blocks of 64 and 128 rows alike, of 32 rows 6 to
 *     10 % slower */
#include <math.h>
#include <omp.h>

#include "attention_scratch.h"
#include "cpu.h"

enum { PREFETCH = 8 }; /* queries */
#define LOG2_E 1.44269504088896340736f

/* What a thread knows of the op it runs. */
struct worker {
    const struct attention *a;
    const struct heads *dq, *dk, *dv, *dout; /* backward only */
    struct tile_layout layout;
    int queries_per_kv, kv_head;
    struct scratch s;
};

static size_t workspace_bytes(const struct scratch_sizes *z, int64_t queries, int64_t keys,
                              int threads) {
    struct scratch s;
    return attention_plan_bytes(queries, keys, z->queries_per_kv) +
           (size_t)threads * scratch_lay_out(&s, z, NULL);
}

size_t cpu_attention_bytes(struct device *dev, const struct op_limits *limits) {
    size_t max = 0;
    if (limits->n_heads == 0) return 0;
    for (int kind = 0; kind < 4; kind++) {
        struct scratch_sizes z =
            scratch_sizes_make(limits->head_dim, limits->n_heads / limits->n_kv_heads,
                               limits->tokens, kind & 1, kind >> 1);
        size_t bytes = workspace_bytes(&z, limits->tokens, limits->tokens, cpu_of(dev)->threads);
        max = MAX(max, bytes);
    }
    return max;
}

/* ---- packed operands ---- */

/* The reach of a chunk's keys. False if no query from `query` on sees any. */
static bool load_reach(const struct worker *w, struct chunk *c, int64_t first, int n,
                       int32_t query) {
    int32_t max = 0;
    for (int i = 0; i < n; i++) max = MAX(max, w->a->reach[first + i]);
    if (max <= query) return false;
    c->index = (int32_t)first;
    c->n = n;
    c->n_panels = (n + LANES - 1) / LANES;
    for (int i = 0; i < c->n_panels * LANES; i++) c->reach[i] = i < n ? w->a->reach[first + i] : 0;
    for (int i = 0; i < c->n_panels * LANES; i++) {
        int tile = i / TILE_ROWS, panel = i / LANES;
        int32_t reach = c->reach[i];
        c->tile_max[tile] = i % TILE_ROWS ? MAX(c->tile_max[tile], reach) : reach;
        c->panel_max[panel] = i % LANES ? MAX(c->panel_max[panel], reach) : reach;
        c->panel_least[panel] = i % LANES ? MIN(c->panel_least[panel], reach) : reach;
    }
    return true;
}

/* The query head of a row. */
static int row_head(const struct worker *w, int row) {
    return w->kv_head * w->queries_per_kv + row % w->queries_per_kv;
}

/* Zeros rows [n, room) of width words. */
static void clear_rows(uint32_t *rows, int n, int capacity, int width) {
    memset(rows + (int64_t)n * width, 0, (size_t)(capacity - n) * width * 4);
}

/* Indices of the queries [first, end); what fills up the last tile has the last one's. */
static void load_indices(struct worker *w, int64_t first, int64_t end) {
    struct rows *r = &w->s.rows;
    r->n = (int)(end - first) * w->queries_per_kv;
    r->n_tiles = scratch_whole_tiles(r->n) / TILE_ROWS;
    for (int i = 0; i < r->n_tiles * TILE_ROWS; i++)
        r->at[i] = attention_query(w->a, first + MIN(i, r->n - 1) / w->queries_per_kv);
}

/* Which panels of the chunk the tile sees, rows being in ascending order. */
static void list_panels(struct panel_list *list, const struct rows *r, int tile,
                        const struct chunk *c) {
    int32_t first = r->at[tile * TILE_ROWS], last = r->at[tile * TILE_ROWS + TILE_ROWS - 1];
    list->n = 0;
    for (int p = 0; p < c->n_panels; p++) {
        int32_t key = c->index + p * LANES;
        if (key > last) break;
        if (c->panel_max[p] <= first) continue;
        list->panel[list->n] = p;
        list->whole[list->n++] = key + LANES - 1 <= first && c->panel_least[p] > last;
    }
}

/* x where the query sees the panel's keys, minus infinity elsewhere. */
VEC_INLINE vec mask_panel(vec x, const struct chunk *c, int panel, int32_t query) {
    ivec reach, key = vec_lanes() + (c->index + panel * LANES);
    memcpy(&reach, c->reach + panel * LANES, sizeof reach);
    return vec_choose((key <= query) & (reach > query), x, vec_all(-INFINITY));
}

/* ---- forward ---- */

VEC_INLINE float vec_largest(vec x) {
    for (int half = LANES / 2; half > 0; half /= 2) x = vec_max(x, vec_swap(x, half));
    return x[0];
}

/* Scores of one row (CHUNK) become exp(scale score - maximum), in place, or as bf16 from the row's
 * start with bf16x2; max and sum go on from what they were. Returns what the sums so far are to be
 * multiplied by. */
VEC_INLINE float softmax_row(float *score, float *max, float *sum, const struct panel_list *list,
                             const struct chunk *c, int32_t query, float scale, const bool bf16x2) {
    vec top = vec_all(-INFINITY), total = {0};
    for (int i = 0; i < list->n; i++) {
        float *at = score + list->panel[i] * LANES;
        vec x = vec_load(at) * scale;
        if (!list->whole[i]) x = mask_panel(x, c, list->panel[i], query);
        vec_store(at, x);
        top = vec_max(x, top);
    }
    float highest = vec_largest(top), before = *max;
    highest = highest > before ? highest : before;
    float base = highest == -INFINITY ? 0 : highest;
    for (int i = 0; i < list->n; i++) {
        int at = list->panel[i] * LANES;
        vec p = vec_exp2(vec_load(score + at) - base);
        total += p;
        if (bf16x2)
            vec_put(score, DTYPE_BF16, at, LANES, p);
        else
            vec_store(score + at, p);
    }
    float factor = vec_exp2(vec_all(before - base))[0];
    *max = highest;
    *sum = *sum * factor + vec_sum(total);
    return factor;
}

static void forward_tile(struct worker *w, int tile, const struct chunk *c) {
    struct rows *r = &w->s.rows;
    const struct tile_layout *l = &w->layout;
    struct panel_list list;
    list_panels(&list, r, tile, c);
    if (list.n == 0) return;
    float *score = w->s.scores, factor[TILE_ROWS], scale = w->a->scale * LOG2_E;
    int row = tile * TILE_ROWS;
    tile_scores(score, r->q + (int64_t)row * l->row_words, c->k_panels, &list, l);
    for (int i = 0; i < TILE_ROWS; i++) {
        if (l->bf16x2)
            factor[i] = softmax_row(score + i * CHUNK, &r->max[row + i], &r->sum[row + i], &list, c,
                                    r->at[row + i], scale, true);
        else
            factor[i] = softmax_row(score + i * CHUNK, &r->max[row + i], &r->sum[row + i], &list, c,
                                    r->at[row + i], scale, false);
    }
    tile_accumulate(r->out + (int64_t)row * l->width, factor, (uint32_t *)score, CHUNK, 1,
                    c->v_rows, l->bf16x2 ? LANES / 2 : LANES, list.panel, list.n, l);
}

/* Packs the queries of a task and empties what they sum up. */
static void load_span(struct worker *w, const struct attention_span *t) {
    const struct heads *q = &w->a->q;
    const struct tile_layout *l = &w->layout;
    struct rows *r = &w->s.rows;
    load_indices(w, t->query_first, t->query_end);
    int capacity = r->n_tiles * TILE_ROWS;
    for (int i = 0; i < r->n; i++) {
        int64_t query = t->query_first + i / w->queries_per_kv;
        head_prefetch(q, MIN(query + PREFETCH, t->query_end - 1), row_head(w, i));
        pack_row(r->q + (int64_t)i * l->row_words, l, head_of(*q, query, row_head(w, i)), q->dtype);
    }
    clear_rows(r->q, r->n, capacity, l->row_words);
    for (int i = 0; i < capacity; i++) r->max[i] = -INFINITY;
    memset(r->sum, 0, (size_t)capacity * sizeof *r->sum);
    memset(r->out, 0, (size_t)capacity * l->width * 4);
}

/* out and lse. Every query sees a key, so its sum is at least 1. */
static void store_span(struct worker *w, const struct attention_span *t) {
    const struct attention *a = w->a;
    const struct rows *r = &w->s.rows;
    for (int i = 0; i < r->n; i++) {
        int64_t query = t->query_first + i / w->queries_per_kv;
        unpack_row(&a->out, query, row_head(w, i), r->out + (int64_t)i * w->layout.width,
                   1 / r->sum[i]);
        a->lse[query * a->q.n_heads + row_head(w, i)] = (r->max[i] + log2f(r->sum[i])) / LOG2_E;
    }
}

static void forward_task(struct worker *w, const struct attention_span *t) {
    const struct attention *a = w->a;
    struct chunk *c = w->s.chunk;
    load_span(w, t);
    for (int64_t k = t->key_first; k < t->key_end; k += CHUNK) {
        int n = (int)MIN(CHUNK, t->key_end - k);
        if (!load_reach(w, c, k, n, w->s.rows.at[0])) continue;
        pack_panels(c->k_panels, &w->layout, &a->k, k, n, w->kv_head);
        pack_rows(c->v_rows, &w->layout, &a->v, k, n, w->kv_head);
        for (int tile = 0; tile < w->s.rows.n_tiles; tile++) forward_tile(w, tile, c);
    }
    store_span(w, t);
}

/* ---- backward ---- */

static float row_dot(const void *x, enum dtype x_dtype, const void *y, enum dtype y_dtype, int n) {
    vec sum = {0};
    for (int i = 0; i < n; i += LANES)
        sum += vec_get(x, x_dtype, i, vec_room(n, i)) * vec_get(y, y_dtype, i, vec_room(n, i));
    return vec_sum(sum);
}

/* Row i of a block as a right operand of bf16x2: a word holds rows 2 j and 2 j + 1, of which the
 * last may be missing.
 */
static void pack_sum_pair(uint32_t *out, const struct worker *w, const struct heads *in,
                          int64_t first, int i) {
    const void *low = head_of(*in, first + i / w->queries_per_kv, row_head(w, i)), *high = NULL;
    if (i + 1 < w->s.rows.n)
        high = head_of(*in, first + (i + 1) / w->queries_per_kv, row_head(w, i + 1));
    pack_row_pair(out + (int64_t)(i / 2) * w->layout.width, &w->layout, low, high);
}

/* Packs queries [first, end): a block. */
static void load_block(struct worker *w, int64_t first, int64_t end) {
    const struct attention *a = w->a;
    const struct tile_layout *l = &w->layout;
    struct rows *r = &w->s.rows;
    load_indices(w, first, end);
    for (int i = 0; i < r->n; i++) {
        int64_t query = first + i / w->queries_per_kv, ahead = MIN(query + PREFETCH, end - 1);
        int head = row_head(w, i);
        const void *q = head_of(a->q, query, head), *dout = head_of(*w->dout, query, head);
        head_prefetch(&a->q, ahead, head);
        head_prefetch(&a->out, ahead, head);
        head_prefetch(w->dout, ahead, head);
        pack_row(r->q + (int64_t)i * l->row_words, l, q, a->q.dtype);
        pack_row(r->dout + (int64_t)i * l->row_words, l, dout, w->dout->dtype);
        if (l->bf16x2 && i % 2 == 0) {
            pack_sum_pair(r->q_sum, w, &a->q, first, i);
            pack_sum_pair(r->dout_sum, w, w->dout, first, i);
        }
        r->lse[i] = a->lse[query * a->q.n_heads + head] * LOG2_E;
        r->delta[i] =
            row_dot(dout, w->dout->dtype, head_of(a->out, query, head), a->out.dtype, l->head_dim);
    }
    int capacity = r->n_tiles * TILE_ROWS;
    for (int i = r->n; i < capacity; i++) r->lse[i] = r->delta[i] = 0;
    clear_rows(r->q, r->n, capacity, l->row_words);
    clear_rows(r->dout, r->n, capacity, l->row_words);
    if (!l->bf16x2) return;
    clear_rows(r->q_sum, (r->n + 1) / 2, capacity / 2, l->width);
    clear_rows(r->dout_sum, (r->n + 1) / 2, capacity / 2, l->width);
}

/* P and dS of one panel of a row, from the scores and dout v^T. */
VEC_INLINE void probabilities(vec *p, vec *ds, const float *score, const float *dscore,
                              const struct worker *w, int row, const struct chunk *c, int panel,
                              bool whole) {
    const struct rows *r = &w->s.rows;
    vec x = vec_load(score + panel * LANES) * (w->a->scale * LOG2_E) - r->lse[row];
    if (!whole) x = mask_panel(x, c, panel, r->at[row]);
    *p = vec_exp2(x);
    *ds = *p * (vec_load(dscore + panel * LANES) - r->delta[row]);
}

/* A tile's scores and dscores (rows of CHUNK) become P and dS. */
static void differentiate_tile(const struct worker *w, float *score, float *dscore, int row,
                               const struct panel_list *list, const struct chunk *c) {
    for (int i = 0; i < TILE_ROWS; i++, score += CHUNK, dscore += CHUNK)
        for (int j = 0; j < list->n; j++) {
            vec p, ds;
            probabilities(&p, &ds, score, dscore, w, row + i, c, list->panel[j], list->whole[j]);
            vec_store(score + list->panel[j] * LANES, p);
            vec_store(dscore + list->panel[j] * LANES, ds);
        }
}

VEC_INLINE void store_pair(uint32_t *out, hvec low, hvec high) {
    uvec words = __builtin_convertvector(low, uvec) | __builtin_convertvector(high, uvec) << 16;
    memcpy(out, &words, sizeof words);
}

/* The same as bf16: P and dS of the tile with two rows in a word, to p_words and ds_words, and dS
 * with two keys in a word, to ds_rows. */
static void differentiate_tile_bf16x2(const struct worker *w, const float *score,
                                      const float *dscore, int row, const struct panel_list *list,
                                      const struct chunk *c) {
    uint32_t *p_words = w->s.p_words + row / 2 * CHUNK, *ds_words = w->s.ds_words + row / 2 * CHUNK;
    uint16_t *ds_rows = (uint16_t *)w->s.ds_rows;
    for (int i = 0; i < TILE_ROWS; i += 2) {
        for (int j = 0; j < list->n; j++) {
            int panel = list->panel[j], at = panel * LANES;
            vec p[2], ds[2];
            hvec p_half[2], ds_half[2];
            for (int k = 0; k < 2; k++) {
                int64_t first = (int64_t)(i + k) * CHUNK;
                probabilities(&p[k], &ds[k], score + first, dscore + first, w, row + i + k, c,
                              panel, list->whole[j]);
                p_half[k] = vec_to_bf16(p[k]);
                ds_half[k] = vec_to_bf16(ds[k]);
                memcpy(ds_rows + first + at, &ds_half[k], sizeof ds_half[k]);
            }
            store_pair(p_words + i / 2 * CHUNK + at, p_half[0], p_half[1]);
            store_pair(ds_words + i / 2 * CHUNK + at, ds_half[0], ds_half[1]);
        }
    }
}

/* P and dS of one tile; dq of its rows, unless NULL, += dS k. */
static void backward_tile(struct worker *w, int tile, const struct chunk *c, float *dq) {
    const struct tile_layout *l = &w->layout;
    const struct rows *r = &w->s.rows;
    struct panel_list list;
    list_panels(&list, r, tile, c);
    if (list.n == 0) return;
    int row = tile * TILE_ROWS;
    float *score = w->s.scores + (l->bf16x2 ? 0 : row * CHUNK),
          *dscore = w->s.dscores + (l->bf16x2 ? 0 : row * CHUNK);
    tile_scores(score, r->q + (int64_t)row * l->row_words, c->k_panels, &list, l);
    tile_scores(dscore, r->dout + (int64_t)row * l->row_words, c->v_panels, &list, l);
    if (l->bf16x2)
        differentiate_tile_bf16x2(w, score, dscore, row, &list, c);
    else
        differentiate_tile(w, score, dscore, row, &list, c);
    if (!dq) return;
    if (l->bf16x2)
        tile_accumulate(dq + (int64_t)row * l->width, NULL, w->s.ds_rows, CHUNK / 2, 1, c->k_rows,
                        LANES / 2, list.panel, list.n, l);
    else
        tile_accumulate(dq + (int64_t)row * l->width, NULL, (uint32_t *)dscore, CHUNK, 1, c->k_rows,
                        LANES, list.panel, list.n, l);
}

/* dk and dv of a tile of keys += over the row tiles that see it, which are neighbours: a key is
 * seen by the queries [its index, its reach). */
static void backward_key_tile(struct worker *w, int key_tile, const struct chunk *c) {
    const struct tile_layout *l = &w->layout;
    const struct rows *r = &w->s.rows;
    int key = key_tile * TILE_ROWS, first = 0, end = r->n_tiles, none = 0;
    while (first < end && r->at[first * TILE_ROWS + TILE_ROWS - 1] < c->index + key) first++;
    while (end > first && r->at[(end - 1) * TILE_ROWS] >= c->tile_max[key_tile]) end--;
    if (first == end) return;
    int words = l->bf16x2 ? TILE_ROWS / 2 : TILE_ROWS; /* of a tile of rows */
    const uint32_t *p = l->bf16x2 ? w->s.p_words : (uint32_t *)w->s.scores;
    const uint32_t *ds = l->bf16x2 ? w->s.ds_words : (uint32_t *)w->s.dscores;
    int64_t from = (int64_t)first * words;
    int depth = (end - first) * words;
    tile_accumulate(c->dv + (int64_t)key * l->width, NULL, p + from * CHUNK + key, 1, CHUNK,
                    r->dout_sum + from * l->width, depth, &none, 1, l);
    tile_accumulate(c->dk + (int64_t)key * l->width, NULL, ds + from * CHUNK + key, 1, CHUNK,
                    r->q_sum + from * l->width, depth, &none, 1, l);
}

/* One block of rows against one chunk of keys. */
static void backward_block(struct worker *w, const struct chunk *c, float *dq, bool want_dkv) {
    const struct rows *r = &w->s.rows;
    if (c->n == 0 || c->index > r->at[r->n - 1]) return;
    for (int tile = 0; tile < r->n_tiles; tile++) backward_tile(w, tile, c, dq);
    if (!want_dkv) return;
    for (int tile = 0; tile * TILE_ROWS < c->n; tile++) backward_key_tile(w, tile, c);
}

/* Packs keys [first, end). Returns the number of chunks; those that no query from `query` on sees
 * are left empty. */
static int load_keys(struct worker *w, int64_t first, int64_t end, int32_t query) {
    const struct attention *a = w->a;
    const struct tile_layout *l = &w->layout;
    int n_chunks = 0;
    for (int64_t k = first; k < end; k += CHUNK) {
        struct chunk *c = &w->s.chunk[n_chunks++];
        int n = (int)MIN(CHUNK, end - k);
        memset(c->dk, 0, (size_t)CHUNK * l->width * 4);
        memset(c->dv, 0, (size_t)CHUNK * l->width * 4);
        c->n = 0;
        if (!load_reach(w, c, k, n, query)) continue;
        pack_panels(c->k_panels, l, &a->k, k, n, w->kv_head);
        pack_panels(c->v_panels, l, &a->v, k, n, w->kv_head);
        pack_rows(c->k_rows, l, &a->k, k, n, w->kv_head);
    }
    return n_chunks;
}

static void store_dq(const struct worker *w, int64_t first, int64_t end) {
    for (int64_t q = first, row = 0; q < end; q++)
        for (int h = 0; h < w->queries_per_kv; h++, row++)
            unpack_row(w->dq, q, w->kv_head * w->queries_per_kv + h,
                       w->s.rows.dq + row * w->layout.width, w->a->scale);
}

static void store_dkv(const struct worker *w, int64_t first, int64_t end) {
    for (int64_t k = first; k < end; k++) {
        const struct chunk *c = &w->s.chunk[(k - first) / CHUNK];
        int64_t at = (k - first) % CHUNK * w->layout.width;
        unpack_row(w->dk, k, w->kv_head, c->dk + at, w->a->scale);
        unpack_row(w->dv, k, w->kv_head, c->dv + at, 1);
    }
}

/* Queries [first, end), a span, against the keys [key_first, key_end), which are packed here unless
 * n_chunks says they are already. */
static void backward_span(struct worker *w, const struct attention_span *t, int64_t first,
                          int64_t end, int n_chunks) {
    int step = attention_block_queries(w->queries_per_kv);
    float *dq = w->s.rows.dq;
    memset(dq, 0,
           (size_t)(scratch_whole_tiles((end - first) * w->queries_per_kv)) * w->layout.width * 4);
    for (int64_t k = t->key_first; k < t->key_end; k += KEY_BLOCK) {
        if (!t->want_dkv)
            n_chunks =
                load_keys(w, k, MIN(k + KEY_BLOCK, t->key_end), attention_query(w->a, first));
        for (int64_t q = first; q < end; q += step) {
            load_block(w, q, MIN(q + step, end));
            for (int i = 0; i < n_chunks; i++)
                backward_block(w, &w->s.chunk[i],
                               t->want_dq ? dq + (q - first) * w->queries_per_kv * w->layout.width
                                          : NULL,
                               t->want_dkv);
        }
    }
    if (t->want_dq) store_dq(w, first, end);
}

static void backward_task(struct worker *w, const struct attention_span *t) {
    int n_chunks = 0, step = attention_span_queries(w->queries_per_kv);
    bool any = t->query_first < t->query_end;
    if (t->want_dkv)
        n_chunks = load_keys(w, t->key_first, t->key_end,
                             any ? attention_query(w->a, t->query_first) : INT32_MAX);
    for (int64_t q = t->query_first; q < t->query_end; q += step)
        backward_span(w, t, q, MIN(q + step, t->query_end), n_chunks);
    if (t->want_dkv) store_dkv(w, t->key_first, t->key_end);
}

/* ---- the ops ---- */

/* Runs every task for every kv head, on as many threads as there are tasks for. */
static void run(struct device *dev, struct worker common, bool backward) {
    const struct attention *a = common.a;
    struct attention_plan p = {
        .a = a, .queries_per_kv = common.queries_per_kv, .threads = cpu_of(dev)->threads};
    struct scratch_sizes z = scratch_sizes_make(a->q.head_dim, common.queries_per_kv, a->k.rows,
                                                common.layout.bf16x2, backward);
    struct scratch none;
    size_t list_bytes = attention_plan_bytes(a->q.rows, a->k.rows, common.queries_per_kv),
           bytes = scratch_lay_out(&none, &z, NULL);
    char *memory = cpu_workspace(dev, workspace_bytes(&z, a->q.rows, a->k.rows, p.threads));
    if (backward)
        attention_plan_backward(&p, memory);
    else
        attention_plan_forward(&p, memory);
    int64_t n = (int64_t)p.n * a->k.n_heads;
#pragma omp parallel num_threads(n < p.threads ? MAX((int)n, 1) : p.threads)
    {
        struct worker w = common;
        scratch_lay_out(&w.s, &z, memory + list_bytes + (size_t)omp_get_thread_num() * bytes);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i++) {
            w.kv_head = (int)(i % a->k.n_heads);
            if (backward)
                backward_task(&w, &p.sorted[i / a->k.n_heads]);
            else
                forward_task(&w, &p.sorted[i / a->k.n_heads]);
        }
    }
}

void cpu_attention_forward(struct device *dev, const struct attention *a) {
    bool bf16x2 = a->q.dtype == DTYPE_BF16 && a->k.dtype == DTYPE_BF16 && a->v.dtype == DTYPE_BF16;
    run(dev,
        (struct worker){.a = a,
                        .layout = layout_make(a->q.head_dim, bf16x2),
                        .queries_per_kv = a->q.n_heads / a->k.n_heads},
        false);
}

void cpu_attention_backward(struct device *dev, struct heads dq, struct heads dk, struct heads dv,
                            struct heads dout, const struct attention *a) {
    bool bf16x2 = a->q.dtype == DTYPE_BF16 && a->k.dtype == DTYPE_BF16 && a->v.dtype == DTYPE_BF16;
    struct worker w = {.a = a, .dq = &dq, .dk = &dk, .dv = &dv, .dout = &dout};
    w.layout = layout_make(a->q.head_dim, bf16x2 && dout.dtype == DTYPE_BF16);
    w.queries_per_kv = a->q.n_heads / a->k.n_heads;
    run(dev, w, true);
}
