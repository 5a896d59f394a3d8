/* One transformer block, forward and backward: see block.h.
 *
 *   sequential:  x_mid = x + o(attention(norm1(x)));   out = x_mid + mlp(norm2(x_mid))
 *   parallel:    out = x + o(attention(norm1(x))) + mlp(norm2(x))
 *   post_norm:   x_mid = x + norm1(o(attention(x)));   out = x_mid + norm2(mlp(x_mid))
 *   mlp(h) = down(silu(gate(h)) * up(h)), or down(gelu(up(h)))
 *
 * The residual is added inside the products (gemm with add), so that it is read and written once.
 * Gradients of what is trained are added straight into the unit's fp32 gradient. In fp32 the
 * residual's gradient enters products as it lies; in bf16 it is cast once before. */
#include "block.h"

#include <math.h>

#include "adapter.h"

/* The roles of a branch's norm and of the product that leads back to the stream. */
struct branch {
    enum role norm, norm_bias, out, out_bias;
    enum adapter_input adapters; /* of that product */
};
static const struct branch attention_branch = {ROLE_NORM1_WEIGHT, ROLE_NORM1_BIAS, ROLE_OUT_WEIGHT,
                                               ROLE_OUT_BIAS, ADAPTERS_OUT},
                           mlp_branch = {ROLE_NORM2_WEIGHT, ROLE_NORM2_BIAS, ROLE_DOWN_WEIGHT,
                                         ROLE_DOWN_BIAS, ADAPTERS_DOWN};

/* ---- views ---- */

static struct tensor matrix(const struct block *b, const void *data, int64_t rows, int64_t cols) {
    return tensor_make((void *)data, b->dtype, rows, cols);
}

static struct tensor residual(const struct block *b, float *data, int64_t rows) {
    return tensor_make(data, DTYPE_F32, rows, b->arch->D);
}

/* Element `first` on of a parameter. */
static const char *element(const struct block *b, const struct parameter *p, int64_t first) {
    return (const char *)b->weights.segment[p->segment] +
           (size_t)(p->offset + first) * dtype_bytes(b->dtype);
}

/* Rows [first, first + rows) of the matrix that begins with this role, whose pieces are quantised
 * each by itself: those that have some of the rows are made whole, one behind the other. */
static const char *dequantise(const struct block *b, enum role role, int64_t first, int64_t rows) {
    int64_t row = 0, made = 0, skipped = 0; /* rows before the piece; made; before the first made */
    int64_t cols = b->unit->by_role[role]->cols;
    for (; row < first + rows; role++) {
        const struct parameter *p = b->unit->by_role[role];
        if (row + p->rows > first) {
            char *out =
                (char *)b->scratch->dequantised + (size_t)(made * cols) * dtype_bytes(b->dtype);
            op_dequantise(b->dev, matrix(b, out, p->rows, cols),
                          (const char *)b->weights.segment[SEGMENT_QUANTISED] + p->offset);
            made += p->rows;
        } else {
            skipped += p->rows;
        }
        row += p->rows;
    }
    return (const char *)b->scratch->dequantised +
           (size_t)((first - skipped) * cols) * dtype_bytes(b->dtype);
}

/* Row `first` on of the matrix that begins with this role: it may reach over those that follow it
 * in the unit. What is quantised is valid until the next is asked for. */
static struct tensor weight(const struct block *b, enum role role, int64_t first, int64_t rows) {
    const struct parameter *p = b->unit->by_role[role];
    const char *data = p->segment == SEGMENT_QUANTISED ? dequantise(b, role, first, rows)
                                                       : element(b, p, first * p->cols);
    return matrix(b, data, rows, p->cols);
}

/* A vector of weights as one row; NULL where the unit has none. `out` is the caller's. */
static const struct tensor *vector(const struct block *b, enum role role, int64_t first,
                                   int64_t count, struct tensor *out) {
    const struct parameter *p = b->unit->by_role[role];
    if (!p) return NULL;
    *out = matrix(b, element(b, p, first), 1, count);
    return out;
}

/* NULL where the unit has none, or it is frozen. */
static float *gradient(const struct block *b, enum role role, int64_t first) {
    const struct parameter *p = b->unit->by_role[role];
    return p && p->segment == SEGMENT_TRAINED ? b->gradient + p->offset + first : NULL;
}

/* The gradients of rows [first, first + dout.cols) of a linear layer's weight and bias, where these
 * are trained. */
static void add_gradients(struct block *b, enum role role, enum role bias, int64_t first,
                          struct tensor dout, struct tensor in) {
    float *dweight = gradient(b, role, first * in.cols), *dbias = gradient(b, bias, first);
    if (dweight)
        op_linear_backward_weight(b->dev, tensor_make(dweight, DTYPE_F32, dout.cols, in.cols),
                                  dbias, dout, in);
    else if (dbias)
        op_column_sum(b->dev, dbias, dout);
    b->dev->backend->progress(b->dev);
}

static struct heads heads(const struct block *b, const void *data, int64_t rows, int n_heads,
                          int64_t first, int64_t row_stride, int64_t head_stride) {
    char *at = (char *)data + (size_t)first * dtype_bytes(b->dtype);
    struct heads h = {at, b->dtype, rows, n_heads, b->arch->d, row_stride, head_stride};
    return h;
}

int64_t block_qkv_cols(const struct arch *a) {
    return (int64_t)(a->H + 2 * a->K) * a->d;
}

int64_t block_up_cols(const struct arch *a) {
    return a->gated ? 2 * a->F : a->F;
}

struct block_range block_kv_range(const struct arch *a, bool rows_only) {
    int64_t q = (int64_t)a->H * a->d, all = block_qkv_cols(a);
    return rows_only && !a->interleaved_qkv ? (struct block_range){q, all - q}
                                            : (struct block_range){0, all};
}

struct block_range block_q_range(const struct arch *a, bool rows_only) {
    int64_t q = (int64_t)a->H * a->d, all = block_qkv_cols(a);
    return rows_only && !a->interleaved_qkv ? (struct block_range){0, q}
                                            : (struct block_range){0, all};
}

enum heads_part { HEADS_Q, HEADS_K, HEADS_V };

/* The heads of q in a buffer like the read rows' qkv, and of k and v in one like all tokens'. */
static struct heads part_heads(const struct block *b, const void *data, enum heads_part part) {
    const struct arch *a = b->arch;
    const struct rows_view *v = part == HEADS_Q ? &b->kept.read : &b->kept.all;
    int64_t cols = v->part.count;
    if (a->interleaved_qkv)
        return heads(b, data, v->n, a->H, (int64_t)part * a->d, cols, 3 * (int64_t)a->d);
    int64_t first = part == HEADS_Q ? 0 : (int64_t)(a->H + (part - HEADS_K) * a->K) * a->d;
    return heads(b, data, v->n, part == HEADS_Q ? a->H : a->K, first - v->part.first, cols, a->d);
}

/* q and k as attention reads them. */
static struct heads ready_q(const struct block *b) {
    const struct arch *a = b->arch;
    if (a->qk_norm == QK_NORM_NONE) return part_heads(b, b->kept.read.qkv, HEADS_Q);
    return heads(b, b->kept.q, b->Q, a->H, 0, (int64_t)a->H * a->d, a->d);
}

static struct heads ready_k(const struct block *b) {
    const struct arch *a = b->arch;
    if (a->qk_norm == QK_NORM_NONE) return part_heads(b, b->kept.all.qkv, HEADS_K);
    return heads(b, b->kept.k, b->kept.all.n, a->K, 0, (int64_t)a->K * a->d, a->d);
}

static void check_adjacent(const struct unit *unit, enum role first, enum role second) {
    const struct parameter *p = unit->by_role[first], *q = unit->by_role[second];
    CHECK(!q || (p && p->segment == q->segment && p->offset + parameter_extent(p) == q->offset),
          "%s does not follow its neighbour", q ? q->name : "");
}

void block_check_layout(const struct unit *unit) {
    check_adjacent(unit, ROLE_QKV_WEIGHT, ROLE_K_WEIGHT);
    check_adjacent(unit, ROLE_K_WEIGHT, ROLE_V_WEIGHT);
    check_adjacent(unit, ROLE_QKV_BIAS, ROLE_K_BIAS);
    check_adjacent(unit, ROLE_K_BIAS, ROLE_V_BIAS);
    check_adjacent(unit, ROLE_UP_WEIGHT, ROLE_UP2_WEIGHT);
    check_adjacent(unit, ROLE_UP_BIAS, ROLE_UP2_BIAS);
}

void block_linear(const struct block *b, struct tensor out, struct tensor in, struct tensor w,
                  const struct tensor *bias, const struct tensor *add) {
    if (b->paging)
        op_linear_rows(b->dev, out, in, w, bias, add);
    else
        op_linear_forward(b->dev, out, in, w, bias, add);
}

static void progress(const struct block *b) {
    b->dev->backend->progress(b->dev);
}

/* ---- forward ---- */

static void norm_forward(struct block *b, const struct branch *r, void *out, float *stats,
                         float *in, int64_t rows) {
    struct tensor w, bias;
    int64_t D = b->arch->D;
    vector(b, r->norm, 0, D, &w);
    op_norm_forward(b->dev, b->arch->norm, matrix(b, out, rows, D), stats, residual(b, in, rows), w,
                    vector(b, r->norm_bias, 0, D, &bias), b->arch->norm_eps);
}

/* h (rows, D): what a branch reads of the stream. */
static void enter(struct block *b, const struct branch *r, void *h, float *stats, float *x,
                  int64_t rows) {
    if (b->arch->post_norm)
        op_cast(b->dev, matrix(b, h, rows, b->arch->D), residual(b, x, rows));
    else
        norm_forward(b, r, h, stats, x, rows);
}

/* to (Q, D) = x + the branch's last product, or the norm of that product, which is kept then. */
static void leave(struct block *b, const struct branch *r, struct tensor to, struct tensor x,
                  struct tensor in, const void *low, float *product, float *stats) {
    int64_t D = b->arch->D;
    struct block_range all = {0, D};
    struct tensor bias, w = weight(b, r->out, 0, D);
    const struct tensor *shift = vector(b, r->out_bias, 0, D, &bias);
    if (!b->arch->post_norm) {
        block_linear(b, to, in, w, shift, &x);
        adapter_expand(b, r->adapters, all, to, low);
        return;
    }
    block_linear(b, residual(b, product, b->Q), in, w, shift, NULL);
    adapter_expand(b, r->adapters, all, residual(b, product, b->Q), low);
    norm_forward(b, r, b->scratch->normed, stats, product, b->Q);
    op_add(b->dev, to, x, matrix(b, b->scratch->normed, b->Q, D));
}

/* The view's part of q, k and v. */
static void project(struct block *b, const struct rows_view *v) {
    struct tensor bias;
    struct tensor h = matrix(b, v->h, v->n, b->arch->D),
                  qkv = matrix(b, v->qkv, v->n, v->part.count);
    enter(b, &attention_branch, v->h, v->stats, v->x, v->n);
    block_linear(b, qkv, h, weight(b, ROLE_QKV_WEIGHT, v->part.first, v->part.count),
                 vector(b, ROLE_QKV_BIAS, v->part.first, v->part.count, &bias), NULL);
    adapter_reduce(b, ADAPTERS_QKV, v->part, h, v->low);
    adapter_expand(b, ADAPTERS_QKV, v->part, qkv, v->low);
}

static void project_qkv(struct block *b) {
    const struct rows_view *all = &b->kept.all, *read = &b->kept.read;
    project(b, all);
    progress(b);
    if (!b->rows_only) return;
    op_gather_rows(b->dev, residual(b, read->x, read->n), residual(b, all->x, all->n), b->row);
    project(b, read);
}

/* The heads of a row side by side, as one row. */
static struct tensor side_by_side(struct heads x) {
    CHECK(x.head_stride == x.head_dim, "heads that do not stand side by side");
    return (struct tensor){x.data, x.dtype, x.rows, (int64_t)x.n_heads * x.head_dim, x.row_stride};
}

/* The same in fp32, which norms of rows take. */
static struct tensor raw_rows(struct block *b, struct heads x) {
    struct tensor rows = side_by_side(x);
    if (rows.dtype == DTYPE_F32) return rows;
    struct tensor raw = tensor_make(b->scratch->raw, DTYPE_F32, rows.rows, rows.cols);
    op_cast(b->dev, raw, rows);
    return raw;
}

/* role: ROLE_Q_NORM or ROLE_K_NORM. */
static void qk_norm_forward(struct block *b, enum role role, struct heads out, float *stats,
                            struct heads in) {
    const struct arch *a = b->arch;
    struct tensor w;
    vector(b, role, 0, b->unit->by_role[role]->count, &w);
    if (a->qk_norm == QK_NORM_WHOLE)
        op_norm_forward(b->dev, NORM_RMS, side_by_side(out), stats, raw_rows(b, in), w, NULL,
                        a->norm_eps);
    else
        op_head_norm_forward(b->dev, out, stats, in, w, a->norm_eps);
}

static void norm_and_rotate(struct block *b) {
    const struct arch *a = b->arch;
    struct block_kept *k = &b->kept;
    struct heads raw_q = part_heads(b, k->read.qkv, HEADS_Q),
                 raw_k = part_heads(b, k->all.qkv, HEADS_K);
    struct heads q = ready_q(b), key = ready_k(b);
    if (a->qk_norm != QK_NORM_NONE) {
        qk_norm_forward(b, ROLE_Q_NORM, q, k->q_stats, raw_q);
        qk_norm_forward(b, ROLE_K_NORM, key, k->k_stats, raw_k);
    }
    op_rope(b->dev, q, q, b->kept.read.rope, a->rope_dims, false);
    op_rope(b->dev, key, key, b->kept.all.rope, a->rope_dims, false);
    progress(b);
}

static struct heads attended_heads(const struct block *b) {
    const struct arch *a = b->arch;
    return heads(b, b->kept.attention, b->Q, a->H, 0, (int64_t)a->H * a->d, a->d);
}

static float attention_scale(const struct block *b) {
    return (float)(1 / sqrt((double)b->arch->d));
}

static struct attention attention_of(const struct block *b) {
    return (struct attention){.q = ready_q(b),
                              .k = ready_k(b),
                              .v = part_heads(b, b->kept.all.qkv, HEADS_V),
                              .out = attended_heads(b),
                              .lse = b->kept.lse,
                              .query = b->row,
                              .reach = b->reach,
                              .scale = attention_scale(b)};
}

static void attend_paged(struct block *b) {
    const struct block_paging *p = b->paging;
    struct paged_attention attention = {.q = ready_q(b),
                                        .out = attended_heads(b),
                                        .pages = b->pages,
                                        .table = p->page,
                                        .table_stride = p->table_stride,
                                        .max_length = p->max_length,
                                        .row_table = p->table,
                                        .length = p->length,
                                        .scale = attention_scale(b)};
    op_write_pages(b->dev, &b->pages, ready_k(b), part_heads(b, b->kept.all.qkv, HEADS_V),
                   p->write_from, p->write_slot, p->n_writes);
    op_attention_paged(b->dev, &attention);
}

static void attend(struct block *b) {
    if (b->paging) {
        attend_paged(b);
    } else {
        struct attention attention = attention_of(b);
        op_attention_forward(b->dev, &attention);
    }
    progress(b);
}

static void activate(struct block *b) {
    struct tensor act = matrix(b, b->kept.act, b->Q, b->arch->F);
    struct tensor up = matrix(b, b->kept.up, b->Q, block_up_cols(b->arch));
    if (b->arch->gated)
        op_swiglu_forward(b->dev, act, up);
    else
        op_gelu_forward(b->dev, act, up);
}

/* The MLP up to the input of its last product. */
static void expand_mlp(struct block *b) {
    struct block_range all = {0, block_up_cols(b->arch)};
    struct tensor bias, up = matrix(b, b->kept.up, b->Q, all.count),
                        h = matrix(b, b->kept.h2, b->Q, b->arch->D);
    block_linear(b, up, h, weight(b, ROLE_UP_WEIGHT, 0, all.count),
                 vector(b, ROLE_UP_BIAS, 0, all.count, &bias), NULL);
    progress(b);
    adapter_reduce(b, ADAPTERS_UP, all, h, b->kept.low_up);
    adapter_expand(b, ADAPTERS_UP, all, up, b->kept.low_up);
    activate(b);
}

/* again: the second forward, inside backward with recomputation, which leaves out what backward
 * does not read. */
void block_forward(struct block *b, bool again) {
    const struct arch *a = b->arch;
    struct block_kept *k = &b->kept;
    struct tensor x = residual(b, k->read.x, b->Q), out = residual(b, k->out, b->Q);
    struct tensor mid = a->parallel_residual ? out : residual(b, k->x_mid, b->Q);
    struct tensor attended = matrix(b, k->attention, b->Q, (int64_t)a->H * a->d),
                  act = matrix(b, k->act, b->Q, a->F);
    struct block_range width = {0, a->D};

    project_qkv(b);
    norm_and_rotate(b);
    attend(b);
    /* x may be where mid is: norm2 of x comes before mid is written. */
    if (a->parallel_residual) enter(b, &mlp_branch, k->h2, k->stats2, k->read.x, b->Q);
    adapter_reduce(b, ADAPTERS_OUT, width, attended, k->low_out);
    if (!a->parallel_residual || !again)
        leave(b, &attention_branch, mid, x, attended, k->low_out, k->product1, k->read.stats);
    if (!a->parallel_residual) enter(b, &mlp_branch, k->h2, k->stats2, k->x_mid, b->Q);
    progress(b);

    expand_mlp(b);
    adapter_reduce(b, ADAPTERS_DOWN, width, act, k->low_down);
    if (!again || a->post_norm)
        leave(b, &mlp_branch, out, mid, act, k->low_down, k->product2, k->stats2);
    progress(b);
}

/* ---- backward ---- */

static void norm_backward(struct block *b, const struct branch *r, float *din, const void *dout,
                          float *in, const float *stats, int64_t rows) {
    struct tensor w;
    int64_t D = b->arch->D;
    vector(b, r->norm, 0, D, &w);
    op_norm_backward(b->dev, b->arch->norm, residual(b, din, rows), gradient(b, r->norm, 0),
                     gradient(b, r->norm_bias, 0), matrix(b, dout, rows, D), residual(b, in, rows),
                     w, stats);
    progress(b);
}

static void zero(struct block *b, void *data, int64_t rows, int64_t cols, enum dtype dtype) {
    b->dev->backend->zero(b->dev, data, (size_t)(rows * cols) * dtype_bytes(dtype), STREAM_COMPUTE);
}

/* The gradient of the residual stream as products take it. */
static struct tensor cast_residual(struct block *b, float *dx) {
    if (b->dtype == DTYPE_F32) return residual(b, dx, b->Q);
    struct tensor cast = matrix(b, b->scratch->dx_cast, b->Q, b->arch->D);
    op_cast(b->dev, cast, residual(b, dx, b->Q));
    return cast;
}

/* The counterpart of leave(): the gradient of the branch's last product, as products take it, from
 * dx (Q, D), that of the stream behind it. */
static struct tensor leave_backward(struct block *b, const struct branch *r, float *dx,
                                    float *product, const float *stats) {
    struct tensor dout = cast_residual(b, dx);
    if (!b->arch->post_norm) return dout;
    float *dproduct = b->scratch->dproduct;
    zero(b, dproduct, b->Q, b->arch->D, DTYPE_F32);
    norm_backward(b, r, dproduct, dout.data, product, stats, b->Q);
    return cast_residual(b, dproduct);
}

/* The counterpart of enter(): dx (rows, D) += */
static void enter_backward(struct block *b, const struct branch *r, float *dx, const void *dh,
                           float *x, const float *stats, int64_t rows) {
    struct tensor stream = residual(b, dx, rows);
    if (b->arch->post_norm)
        op_add(b->dev, stream, stream, matrix(b, dh, rows, b->arch->D));
    else
        norm_backward(b, r, dx, dh, x, stats, rows);
}

/* dh2 = the gradient of what the MLP read, from dout (Q, D), that of the MLP's. */
static void mlp_backward(struct block *b, struct tensor dout) {
    const struct arch *a = b->arch;
    int64_t up_cols = block_up_cols(a);
    struct tensor act = matrix(b, b->kept.act, b->Q, a->F),
                  up = matrix(b, b->kept.up, b->Q, up_cols);
    struct tensor dact = matrix(b, b->scratch->narrow, b->Q, a->F),
                  dup = matrix(b, b->scratch->wide, b->Q, up_cols);
    struct tensor h = matrix(b, b->kept.h2, b->Q, a->D),
                  dh = matrix(b, b->scratch->dh2, b->Q, a->D);

    add_gradients(b, ROLE_DOWN_WEIGHT, ROLE_DOWN_BIAS, 0, dout, act);
    op_linear_backward_input(b->dev, dact, dout, weight(b, ROLE_DOWN_WEIGHT, 0, a->D), NULL);
    progress(b);
    adapter_backward(b, ADAPTERS_DOWN, (struct block_range){0, a->D}, dout, act, b->kept.low_down,
                     dact);
    if (a->gated)
        op_swiglu_backward(b->dev, dup, dact, up);
    else
        op_gelu_backward(b->dev, dup, dact, up);
    progress(b);
    add_gradients(b, ROLE_UP_WEIGHT, ROLE_UP_BIAS, 0, dup, h);
    op_linear_backward_input(b->dev, dh, dup, weight(b, ROLE_UP_WEIGHT, 0, up_cols), NULL);
    progress(b);
    adapter_backward(b, ADAPTERS_UP, (struct block_range){0, up_cols}, dup, h, b->kept.low_up, dh);
}

/* d: the gradient, in place of that of the norm's output. */
static void qk_norm_backward(struct block *b, enum role role, struct heads d, struct heads in,
                             const float *stats) {
    struct tensor w;
    vector(b, role, 0, b->unit->by_role[role]->count, &w);
    if (b->arch->qk_norm == QK_NORM_HEADS) {
        op_head_norm_backward(b->dev, d, gradient(b, role, 0), d, in, w, stats);
        return;
    }
    struct tensor rows = side_by_side(d),
                  draw = tensor_make(b->scratch->draw, DTYPE_F32, rows.rows, rows.cols);
    zero(b, draw.data, draw.rows, draw.cols, DTYPE_F32);
    op_norm_backward(b->dev, NORM_RMS, draw, gradient(b, role, 0), NULL, rows, raw_rows(b, in), w,
                     stats);
    op_cast(b->dev, rows, draw);
}

static void unrotate(struct block *b, struct heads dq, struct heads dk) {
    const struct arch *a = b->arch;
    struct block_kept *k = &b->kept;
    op_rope(b->dev, dq, dq, b->kept.read.rope, a->rope_dims, true);
    op_rope(b->dev, dk, dk, b->kept.all.rope, a->rope_dims, true);
    if (a->qk_norm == QK_NORM_NONE) return;
    qk_norm_backward(b, ROLE_Q_NORM, dq, part_heads(b, k->read.qkv, HEADS_Q), k->q_stats);
    qk_norm_backward(b, ROLE_K_NORM, dk, part_heads(b, k->all.qkv, HEADS_K), k->k_stats);
}

/* The counterpart of project() but for its norm: dh (n, D) =, the gradients of the view's part of
 * the fused weight +=. */
static void project_backward(struct block *b, void *dh, const void *dqkv,
                             const struct rows_view *v) {
    struct tensor d = matrix(b, dqkv, v->n, v->part.count), h = matrix(b, v->h, v->n, b->arch->D),
                  din = matrix(b, dh, v->n, b->arch->D);
    add_gradients(b, ROLE_QKV_WEIGHT, ROLE_QKV_BIAS, v->part.first, d, h);
    op_linear_backward_input(b->dev, din, d,
                             weight(b, ROLE_QKV_WEIGHT, v->part.first, v->part.count), NULL);
    progress(b);
    adapter_backward(b, ADAPTERS_QKV, v->part, d, h, v->low, din);
}

/* dh1 and dh1_read = the gradients of what the projections read, from dout (Q, D), that of o's
 * output. */
static void attention_backward(struct block *b, struct tensor dout) {
    const struct arch *a = b->arch;
    struct block_scratch *s = b->scratch;
    int64_t width = (int64_t)a->H * a->d;
    const struct rows_view *all = &b->kept.all, *read = &b->kept.read;
    void *dqkv = s->wide, *dqkv_read = b->rows_only ? s->wide_read : s->wide;

    struct tensor attended = matrix(b, b->kept.attention, b->Q, width),
                  dattended = matrix(b, s->narrow, b->Q, width);
    add_gradients(b, ROLE_OUT_WEIGHT, ROLE_OUT_BIAS, 0, dout, attended);
    op_linear_backward_input(b->dev, dattended, dout, weight(b, ROLE_OUT_WEIGHT, 0, a->D), NULL);
    progress(b);
    adapter_backward(b, ADAPTERS_OUT, (struct block_range){0, a->D}, dout, attended,
                     b->kept.low_out, dattended);
    if (b->rows_only &&
        /* q's columns for all tokens, and k's and v's for the read rows, have none */
        a->interleaved_qkv) {
        zero(b, dqkv, all->n, all->part.count, b->dtype);
        zero(b, dqkv_read, read->n, read->part.count, b->dtype);
    }
    struct attention attention = attention_of(b);
    struct heads dq = part_heads(b, dqkv_read, HEADS_Q), dk = part_heads(b, dqkv, HEADS_K),
                 dv = part_heads(b, dqkv, HEADS_V);
    op_attention_backward(b->dev, dq, dk, dv, heads(b, s->narrow, b->Q, a->H, 0, width, a->d),
                          &attention);
    progress(b);
    unrotate(b, dq, dk);
    progress(b);
    project_backward(b, s->dh1, dqkv, all);
    if (b->rows_only) project_backward(b, s->dh1_read, dqkv_read, read);
}

void block_backward(struct block *b, float *dx, float *dx_read) {
    const struct arch *a = b->arch;
    struct block_kept *k = &b->kept;
    struct block_scratch *s = b->scratch;
    const struct rows_view *all = &k->all, *read = &k->read;
    struct tensor dout = leave_backward(b, &mlp_branch, dx_read, k->product2, k->stats2);
    mlp_backward(b, dout);
    if (!a->parallel_residual) {
        enter_backward(b, &mlp_branch, dx_read, s->dh2, k->x_mid, k->stats2, b->Q);
        dout = leave_backward(b, &attention_branch, dx_read, k->product1, read->stats);
    }
    attention_backward(b, dout);
    if (a->parallel_residual)
        enter_backward(b, &mlp_branch, dx_read, s->dh2, read->x, k->stats2, b->Q);
    if (b->rows_only) { /* the read rows were entered twice: for q, and among all for k and v */
        enter_backward(b, &attention_branch, dx_read, s->dh1_read, read->x, read->stats, b->Q);
        zero(b, dx, all->n, a->D, DTYPE_F32);
    }
    enter_backward(b, &attention_branch, dx, s->dh1, all->x, all->stats, all->n);
    if (b->rows_only)
        op_scatter_add_rows(b->dev, residual(b, dx, all->n), residual(b, dx_read, b->Q), b->row);
}
