/* The front door: what is checked here is assumed by every backend, and empty work ends here. */
#include "ops.h"

#include "nf4.h"

static bool number(enum dtype dtype) {
    return dtype == DTYPE_F32 || dtype == DTYPE_BF16;
}

static void check_tensor(const char *op, const char *name, const struct tensor *t, int64_t rows,
                         int64_t cols) {
    CHECK(number(t->dtype), "%s: %s is %s", op, name, dtype_name(t->dtype));
    CHECK(t->rows == rows && t->cols == cols, "%s: %s is (%lld, %lld), expected (%lld, %lld)", op,
          name, (long long)t->rows, (long long)t->cols, (long long)rows, (long long)cols);
    CHECK(t->stride >= cols || rows <= 1, "%s: %s has rows of %lld elements %lld apart", op, name,
          (long long)cols, (long long)t->stride);
    CHECK(t->data || rows * cols == 0, "%s: %s is NULL", op, name);
}

static void check_dtype(const char *op, const char *name, const struct tensor *t,
                        enum dtype dtype) {
    CHECK(t->dtype == dtype, "%s: %s is %s, expected %s", op, name, dtype_name(t->dtype),
          dtype_name(dtype));
}

static void check_typed(const char *op, const char *name, const struct tensor *t, int64_t rows,
                        int64_t cols, enum dtype dtype) {
    check_tensor(op, name, t, rows, cols);
    check_dtype(op, name, t, dtype);
}

static void check_heads(const char *op, const char *name, const struct heads *x,
                        const struct heads *like) {
    CHECK(number(x->dtype) && x->dtype == like->dtype, "%s: %s is %s, expected %s", op, name,
          dtype_name(x->dtype), dtype_name(like->dtype));
    CHECK(x->rows == like->rows && x->n_heads == like->n_heads && x->head_dim == like->head_dim,
          "%s: %s is (%lld, %d, %d), expected (%lld, %d, %d)", op, name, (long long)x->rows,
          x->n_heads, x->head_dim, (long long)like->rows, like->n_heads, like->head_dim);
    CHECK(x->n_heads > 0 && x->head_dim > 0 && x->head_stride >= x->head_dim,
          "%s: %s has %d heads of %d, %lld apart", op, name, x->n_heads, x->head_dim,
          (long long)x->head_stride);
    CHECK(x->data || x->rows == 0, "%s: %s is NULL", op, name);
}

#define CHECK_THERE(op, pointer) CHECK((pointer) != NULL, "%s: " #pointer " is NULL", op)

/* All shapes follow from a and out; whatever else is given must agree with them. False: there is no
 * work. */
static bool check_product(const char *op, const struct tensor *out, const struct tensor *a,
                          bool transpose_a, const struct tensor *b, bool transpose_b,
                          const struct tensor *bias, const struct tensor *add) {
    int64_t m = transpose_a ? a->cols : a->rows, k = transpose_a ? a->rows : a->cols,
            n = transpose_b ? b->rows : b->cols;
    check_tensor(op, "a", a, a->rows, a->cols);
    check_typed(op, "b", b, transpose_b ? n : k, transpose_b ? k : n, a->dtype);
    check_tensor(op, "out", out, m, n);
    CHECK(out->dtype == a->dtype || out->dtype == DTYPE_F32, "%s: out is %s of %s", op,
          dtype_name(out->dtype), dtype_name(a->dtype));
    if (bias) check_typed(op, "bias", bias, 1, n, a->dtype);
    if (add) {
        check_typed(op, "add", add, m, n, out->dtype);
        CHECK(add->data != out->data || add->stride == out->stride,
              "%s: add is out with another stride", op);
    }
    if (m == 0 || n == 0 || (k == 0 && !bias && add && add->data == out->data)) return false;
    CHECK(k > 0, "%s: an empty product must be added to something", op);
    return true;
}

void op_gemm(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
             struct tensor b, bool transpose_b, const struct tensor *bias,
             const struct tensor *add) {
    if (check_product("gemm", &out, &a, transpose_a, &b, transpose_b, bias, add))
        dev->backend->gemm(dev, out, a, transpose_a, b, transpose_b, bias, add);
}

void op_linear_rows(struct device *dev, struct tensor out, struct tensor in, struct tensor weight,
                    const struct tensor *bias, const struct tensor *add) {
    if (check_product("linear_rows", &out, &in, false, &weight, true, bias, add))
        dev->backend->linear_rows(dev, out, in, weight, bias, add);
}

void op_linear_forward(struct device *dev, struct tensor out, struct tensor in,
                       struct tensor weight, const struct tensor *bias, const struct tensor *add) {
    op_gemm(dev, out, in, false, weight, true, bias, add);
}

void op_linear_backward_input(struct device *dev, struct tensor din, struct tensor dout,
                              struct tensor weight, const struct tensor *add) {
    op_gemm(dev, din, dout, false, weight, false, NULL, add);
}

void op_linear_backward_weight(struct device *dev, struct tensor dweight, float *dbias,
                               struct tensor dout, struct tensor in) {
    check_dtype("linear_backward_weight", "dweight", &dweight, DTYPE_F32);
    op_gemm(dev, dweight, dout, true, in, false, NULL, &dweight);
    if (dbias) op_column_sum(dev, dbias, dout);
}

void op_column_sum(struct device *dev, float *out, struct tensor in) {
    check_tensor("column_sum", "in", &in, in.rows, in.cols);
    if (in.rows == 0) return;
    CHECK_THERE("column_sum", out);
    dev->backend->column_sum(dev, out, in);
}

void op_cast(struct device *dev, struct tensor out, struct tensor in) {
    check_tensor("cast", "in", &in, in.rows, in.cols);
    check_tensor("cast", "out", &out, in.rows, in.cols);
    if (in.rows > 0 && in.cols > 0) dev->backend->cast(dev, out, in);
}

void op_dequantise(struct device *dev, struct tensor out, const void *quantised) {
    check_tensor("dequantise", "out", &out, out.rows, out.cols);
    CHECK(out.stride == out.cols || out.rows <= 1, "dequantise: rows of %lld elements %lld apart",
          (long long)out.cols, (long long)out.stride);
    if (out.rows == 0 || out.cols == 0) return;
    CHECK_THERE("dequantise", quantised);
    CHECK((uintptr_t)quantised % NF4_ALIGN == 0, "dequantise: bytes at %p", quantised);
    dev->backend->dequantise(dev, out, quantised);
}

void op_scale(struct device *dev, struct tensor out, struct tensor in, float factor) {
    check_tensor("scale", "in", &in, in.rows, in.cols);
    check_typed("scale", "out", &out, in.rows, in.cols, in.dtype);
    if (in.rows > 0 && in.cols > 0) dev->backend->scale(dev, out, in, factor);
}

void op_add(struct device *dev, struct tensor out, struct tensor a, struct tensor b) {
    check_tensor("add", "b", &b, b.rows, b.cols);
    check_typed("add", "a", &a, b.rows, b.cols, DTYPE_F32);
    check_typed("add", "out", &out, b.rows, b.cols, DTYPE_F32);
    if (b.rows > 0 && b.cols > 0) dev->backend->add(dev, out, a, b);
}

void op_norm_forward(struct device *dev, enum norm_kind kind, struct tensor out, float *stats,
                     struct tensor in, struct tensor weight, const struct tensor *bias, float eps) {
    static const char op[] = "norm_forward";
    check_typed(op, "in", &in, in.rows, in.cols, DTYPE_F32);
    check_tensor(op, "out", &out, in.rows, in.cols);
    check_typed(op, "weight", &weight, 1, in.cols, out.dtype);
    CHECK((bias != NULL) == (kind == NORM_LAYER),
          "norm_forward: a bias belongs to layer norm, and only to it");
    if (bias) check_typed(op, "bias", bias, 1, in.cols, out.dtype);
    if (in.rows == 0) return;
    CHECK_THERE(op, stats);
    dev->backend->norm_forward(dev, kind, out, stats, in, weight, bias, eps);
}

void op_norm_backward(struct device *dev, enum norm_kind kind, struct tensor din, float *dweight,
                      float *dbias, struct tensor dout, struct tensor in, struct tensor weight,
                      const float *stats) {
    static const char op[] = "norm_backward";
    check_typed(op, "in", &in, in.rows, in.cols, DTYPE_F32);
    check_typed(op, "din", &din, in.rows, in.cols, DTYPE_F32);
    check_tensor(op, "dout", &dout, in.rows, in.cols);
    check_typed(op, "weight", &weight, 1, in.cols, dout.dtype);
    CHECK(!dbias || kind == NORM_LAYER, "norm_backward: a bias belongs to layer norm alone");
    if (in.rows == 0) return;
    CHECK_THERE(op, stats);
    dev->backend->norm_backward(dev, kind, din, dweight, dbias, dout, in, weight, stats);
}

void op_head_norm_forward(struct device *dev, struct heads out, float *stats, struct heads in,
                          struct tensor weight, float eps) {
    static const char op[] = "head_norm_forward";
    check_heads(op, "in", &in, &in);
    check_heads(op, "out", &out, &in);
    check_typed(op, "weight", &weight, 1, in.head_dim, in.dtype);
    if (in.rows == 0) return;
    CHECK_THERE(op, stats);
    dev->backend->head_norm_forward(dev, out, stats, in, weight, eps);
}

void op_head_norm_backward(struct device *dev, struct heads din, float *dweight, struct heads dout,
                           struct heads in, struct tensor weight, const float *stats) {
    static const char op[] = "head_norm_backward";
    check_heads(op, "in", &in, &in);
    check_heads(op, "din", &din, &in);
    check_heads(op, "dout", &dout, &in);
    check_typed(op, "weight", &weight, 1, in.head_dim, in.dtype);
    if (in.rows == 0) return;
    CHECK_THERE(op, stats);
    dev->backend->head_norm_backward(dev, din, dweight, dout, in, weight, stats);
}

void op_rope_table(struct device *dev, float *table, const int32_t *position, int64_t rows,
                   const float *inverse_frequency, int rope_dims) {
    CHECK(rows >= 0 && rope_dims > 0 && rope_dims % 2 == 0,
          "rope_table: %lld rows of %d dimensions", (long long)rows, rope_dims);
    if (rows == 0) return;
    CHECK_THERE("rope_table", table);
    CHECK_THERE("rope_table", position);
    CHECK_THERE("rope_table", inverse_frequency);
    dev->backend->rope_table(dev, table, position, rows, inverse_frequency, rope_dims);
}

void op_rope(struct device *dev, struct heads out, struct heads in, const float *table,
             int rope_dims, bool backward) {
    check_heads("rope", "in", &in, &in);
    check_heads("rope", "out", &out, &in);
    CHECK(rope_dims > 0 && rope_dims % 2 == 0 && rope_dims <= in.head_dim,
          "rope: %d dimensions of %d", rope_dims, in.head_dim);
    if (in.rows == 0) return;
    CHECK_THERE("rope", table);
    dev->backend->rope(dev, out, in, table, rope_dims, backward);
}

void op_swiglu_forward(struct device *dev, struct tensor out, struct tensor gate_up) {
    check_tensor("swiglu_forward", "out", &out, out.rows, out.cols);
    check_typed("swiglu_forward", "gate_up", &gate_up, out.rows, 2 * out.cols, out.dtype);
    if (out.rows > 0) dev->backend->swiglu_forward(dev, out, gate_up);
}

void op_swiglu_backward(struct device *dev, struct tensor dgate_up, struct tensor dout,
                        struct tensor gate_up) {
    static const char op[] = "swiglu_backward";
    check_tensor(op, "dout", &dout, dout.rows, dout.cols);
    check_typed(op, "gate_up", &gate_up, dout.rows, 2 * dout.cols, dout.dtype);
    check_typed(op, "dgate_up", &dgate_up, dout.rows, 2 * dout.cols, dout.dtype);
    if (dout.rows > 0) dev->backend->swiglu_backward(dev, dgate_up, dout, gate_up);
}

void op_gelu_forward(struct device *dev, struct tensor out, struct tensor in) {
    check_tensor("gelu_forward", "in", &in, in.rows, in.cols);
    check_typed("gelu_forward", "out", &out, in.rows, in.cols, in.dtype);
    if (in.rows > 0) dev->backend->gelu_forward(dev, out, in);
}

void op_gelu_backward(struct device *dev, struct tensor din, struct tensor dout, struct tensor in) {
    static const char op[] = "gelu_backward";
    check_tensor(op, "in", &in, in.rows, in.cols);
    check_typed(op, "dout", &dout, in.rows, in.cols, in.dtype);
    check_typed(op, "din", &din, in.rows, in.cols, in.dtype);
    if (in.rows > 0) dev->backend->gelu_backward(dev, din, dout, in);
}

static void check_attention(const char *op, const struct attention *a) {
    check_heads(op, "q", &a->q, &a->q);
    check_heads(op, "out", &a->out, &a->q);
    check_heads(op, "k", &a->k, &a->k);
    check_heads(op, "v", &a->v, &a->k);
    CHECK(a->k.dtype == a->q.dtype && a->k.head_dim == a->q.head_dim &&
              a->q.n_heads % a->k.n_heads == 0,
          "%s: q has %d heads of %d %s, k has %d of %d %s", op, a->q.n_heads, a->q.head_dim,
          dtype_name(a->q.dtype), a->k.n_heads, a->k.head_dim, dtype_name(a->k.dtype));
    CHECK(a->query || a->q.rows <= a->k.rows, "%s: %lld queries of %lld keys", op,
          (long long)a->q.rows, (long long)a->k.rows);
    CHECK(a->q.rows == 0 || (a->lse && a->reach), "%s: lse or reach is NULL", op);
}

void op_attention_forward(struct device *dev, const struct attention *a) {
    check_attention("attention_forward", a);
    if (a->q.rows > 0) dev->backend->attention_forward(dev, a);
}

void op_attention_backward(struct device *dev, struct heads dq, struct heads dk, struct heads dv,
                           struct heads dout, const struct attention *a) {
    static const char op[] = "attention_backward";
    check_attention(op, a);
    check_heads(op, "dq", &dq, &a->q);
    check_heads(op, "dout", &dout, &a->q);
    check_heads(op, "dk", &dk, &a->k);
    check_heads(op, "dv", &dv, &a->k);
    if (a->q.rows > 0 || a->k.rows > 0) dev->backend->attention_backward(dev, dq, dk, dv, dout, a);
}

static void check_pages(const char *op, const struct pages *pages, const struct heads *like) {
    CHECK(pages->dtype == like->dtype && pages->head_dim == like->head_dim,
          "%s: pages of heads of %d %s, expected %d %s", op, pages->head_dim,
          dtype_name(pages->dtype), like->head_dim, dtype_name(like->dtype));
    CHECK(pages->n >= 0 && pages->n <= INT32_MAX / PAGE_TOKENS && pages->n_kv_heads > 0,
          "%s: %lld pages of %d kv heads", op, (long long)pages->n, pages->n_kv_heads);
    CHECK(pages->key && pages->value &&
              ((uintptr_t)pages->key | (uintptr_t)pages->value) % PAGE_ALIGN == 0,
          "%s: pages at %p and %p", op, pages->key, pages->value);
}

void op_write_pages(struct device *dev, const struct pages *pages, struct heads k, struct heads v,
                    const int32_t *from, const int32_t *slot, int64_t n) {
    static const char op[] = "write_pages";
    check_heads(op, "k", &k, &k);
    check_heads(op, "v", &v, &k);
    CHECK(n >= 0 && pages->n_kv_heads == k.n_heads, "%s: %lld rows of %d heads, of pages %d", op,
          (long long)n, k.n_heads, pages->n_kv_heads);
    if (n == 0) return;
    check_pages(op, pages, &k);
    CHECK_THERE(op, from);
    CHECK_THERE(op, slot);
    dev->backend->write_pages(dev, pages, k, v, from, slot, n);
}

void op_attention_paged(struct device *dev, const struct paged_attention *a) {
    static const char op[] = "attention_paged";
    check_heads(op, "q", &a->q, &a->q);
    check_heads(op, "out", &a->out, &a->q);
    if (a->q.rows == 0) return;
    check_pages(op, &a->pages, &a->q);
    CHECK(a->q.n_heads % a->pages.n_kv_heads == 0, "%s: %d heads of %d kv heads", op, a->q.n_heads,
          a->pages.n_kv_heads);
    CHECK(a->max_length > 0 && a->max_length <= a->table_stride * PAGE_TOKENS,
          "%s: %lld positions of %lld pages", op, (long long)a->max_length,
          (long long)a->table_stride);
    CHECK(a->scale > 0, "%s: a scale of %g", op, (double)a->scale);
    CHECK_THERE(op, a->table);
    CHECK_THERE(op, a->row_table);
    CHECK_THERE(op, a->length);
    dev->backend->attention_paged(dev, a);
}

void op_embed_forward(struct device *dev, struct tensor out, struct tensor weight,
                      const int32_t *token) {
    check_tensor("embed_forward", "weight", &weight, weight.rows, out.cols);
    check_typed("embed_forward", "out", &out, out.rows, out.cols, DTYPE_F32);
    if (out.rows == 0) return;
    CHECK_THERE("embed_forward", token);
    dev->backend->embed_forward(dev, out, weight, token);
}

void op_embed_backward(struct device *dev, float *dweight, struct tensor dout, const int32_t *token,
                       const int32_t *order) {
    static const char op[] = "embed_backward";
    check_typed(op, "dout", &dout, dout.rows, dout.cols, DTYPE_F32);
    if (dout.rows == 0) return;
    CHECK_THERE(op, dweight);
    CHECK_THERE(op, token);
    CHECK_THERE(op, order);
    dev->backend->embed_backward(dev, dweight, dout, token, order);
}

void op_gather_rows(struct device *dev, struct tensor out, struct tensor in, const int32_t *index) {
    check_tensor("gather_rows", "in", &in, in.rows, in.cols);
    check_typed("gather_rows", "out", &out, out.rows, in.cols, in.dtype);
    if (out.rows == 0) return;
    CHECK_THERE("gather_rows", index);
    dev->backend->gather_rows(dev, out, in, index);
}

void op_scatter_add_rows(struct device *dev, struct tensor out, struct tensor in,
                         const int32_t *index) {
    static const char op[] = "scatter_add_rows";
    check_typed(op, "out", &out, out.rows, out.cols, DTYPE_F32);
    check_typed(op, "in", &in, in.rows, out.cols, DTYPE_F32);
    if (in.rows == 0) return;
    CHECK_THERE(op, index);
    dev->backend->scatter_add_rows(dev, out, in, index);
}

void op_head_forward(struct device *dev, struct tensor score, struct tensor in,
                     struct tensor weight) {
    static const char op[] = "head_forward";
    check_typed(op, "in", &in, in.rows, in.cols, DTYPE_F32);
    check_typed(op, "weight", &weight, weight.rows, in.cols, DTYPE_F32);
    check_typed(op, "score", &score, in.rows, weight.rows, DTYPE_F32);
    if (in.rows > 0) dev->backend->head_forward(dev, score, in, weight);
}

void op_head_backward(struct device *dev, struct tensor din, struct tensor dweight,
                      struct tensor dscore, struct tensor in, struct tensor weight) {
    static const char op[] = "head_backward";
    check_typed(op, "in", &in, in.rows, in.cols, DTYPE_F32);
    check_typed(op, "din", &din, in.rows, in.cols, DTYPE_F32);
    check_typed(op, "weight", &weight, weight.rows, in.cols, DTYPE_F32);
    check_typed(op, "dweight", &dweight, weight.rows, in.cols, DTYPE_F32);
    check_typed(op, "dscore", &dscore, in.rows, weight.rows, DTYPE_F32);
    if (in.rows == 0) return;
    dev->backend->head_backward(dev, din, dweight, dscore, in, weight);
}

static void check_logits(const char *op, const struct logits *l) {
    const struct tensor *b = &l->block;
    check_typed(op, "block", b, b->rows, b->cols, DTYPE_F32);
    CHECK(l->first_row >= 0 && l->first_word >= 0 && l->first_word + b->cols <= l->vocabulary,
          "%s: words %lld + %lld of %lld", op, (long long)l->first_word, (long long)b->cols,
          (long long)l->vocabulary);
    CHECK(l->scale > 0, "%s: logits times %g", op, (double)l->scale);
    CHECK(b->rows == 0 || (l->first_read && l->target && l->state && l->output),
          "%s: a buffer is NULL", op);
}

void op_logits_reduce(struct device *dev, const struct logits *logits) {
    check_logits("logits_reduce", logits);
    if (logits->block.rows > 0) dev->backend->logits_reduce(dev, logits);
}

void op_logits_gradient(struct device *dev, struct tensor out, const struct logits *logits,
                        const float *doutput) {
    static const char op[] = "logits_gradient";
    check_logits(op, logits);
    check_tensor(op, "out", &out, logits->block.rows, logits->block.cols);
    CHECK(out.data != logits->block.data || out.stride == logits->block.stride,
          "logits_gradient: out is the block with another stride");
    if (out.rows == 0) return;
    CHECK_THERE(op, doutput);
    dev->backend->logits_gradient(dev, out, logits, doutput);
}

void op_square_norm(struct device *dev, double *out, const float *in, int64_t n) {
    CHECK(out && n >= 0 && (in || n == 0), "square_norm: %lld elements", (long long)n);
    if (n > 0) dev->backend->square_norm(dev, out, in, n);
}

void op_clip(struct device *dev, struct clip *out, const double *square_norm, int n,
             double max_norm) {
    CHECK(out && square_norm && n > 0 && max_norm >= 0, "clip: %d norms, at %g", n, max_norm);
    dev->backend->clip(dev, out, square_norm, n, max_norm);
}

void op_adamw(struct device *dev, struct tensor weight, float *master, float *moment1,
              float *moment2, float *gradient, int64_t n, const struct adamw *rates,
              const struct clip *clip) {
    if (weight.data) check_tensor("adamw", "weight", &weight, 1, n);
    CHECK(n >= 0 && rates && clip, "adamw: %lld elements", (long long)n);
    CHECK(n == 0 || (master && moment1 && moment2 && gradient), "adamw: a buffer is NULL");
    CHECK(weight.data != master || !master || weight.dtype == DTYPE_F32,
          "adamw: weight is master, as %s", dtype_name(weight.dtype));
    if (n > 0) dev->backend->adamw(dev, weight, master, moment1, moment2, gradient, n, rates, clip);
}

void op_comparison_loss(struct device *dev, float *dscore, double *tally, const float *score,
                        const struct comparison_loss *how, const struct comparisons *c,
                        float scale) {
    CHECK(c->n >= 0, "comparison_loss: %lld comparisons", (long long)c->n);
    CHECK(!c->free_threshold == !c->dfree_threshold,
          "comparison_loss: a learned threshold has a gradient");
    bool knows_ties = how->kind == COMPARISON_RAO_KUPPER || how->kind == COMPARISON_DAVIDSON;
    CHECK(!knows_ties || c->free_threshold || how->threshold > 0,
          "comparison_loss: the threshold is %g", how->threshold);
    if (c->n == 0) return;
    CHECK(dscore && tally && score && c->a && c->b, "comparison_loss: a buffer is NULL");
    dev->backend->comparison_loss(dev, dscore, tally, score, how, c, scale);
}

void op_ranking_loss(struct device *dev, float *dscore, double *tally, const float *score,
                     enum ranking_kind kind, const struct rankings *r, float scale) {
    CHECK(r->n >= 0 && r->n_members >= 0 && (r->n > 0 || r->n_members == 0),
          "ranking_loss: %lld members of %lld lists", (long long)r->n_members, (long long)r->n);
    if (r->n_members == 0) return;
    CHECK(dscore && tally && score && r->first && r->place && r->rank && r->part,
          "ranking_loss: a buffer is NULL");
    dev->backend->ranking_loss(dev, dscore, tally, score, kind, r, scale);
}

void op_answer_loss(struct device *dev, float *dscore, double *tally, const float *score,
                    enum answer_kind kind, const struct answer_targets *a, float scale) {
    CHECK(a->n >= 0, "answer_loss: %lld answers", (long long)a->n);
    if (a->n == 0) return;
    CHECK(dscore && tally && score && a->place && a->target, "answer_loss: a buffer is NULL");
    dev->backend->answer_loss(dev, dscore, tally, score, kind, a, scale);
}

void op_completion_loss(struct device *dev, float *doutput, double *tally, const float *output,
                        const struct completion_loss *how, const float *weight, int64_t n,
                        float scale) {
    CHECK(n >= 0, "completion_loss: %lld reads", (long long)n);
    if (n == 0) return;
    CHECK(doutput && tally && output, "completion_loss: a buffer is NULL");
    dev->backend->completion_loss(dev, doutput, tally, output, how, weight, n, scale);
}

void op_policy_loss(struct device *dev, float *doutput, double *tally, const float *output,
                    const struct policy_loss *how, const struct policy_reads *r, float scale) {
    CHECK(r->n >= 0 && r->n_sequences >= 0 && (r->n > 0) == (r->n_sequences > 0),
          "policy_loss: %lld reads of %lld completions", (long long)r->n,
          (long long)r->n_sequences);
    CHECK(how->epsilon >= 0 && how->epsilon_high >= 0 && how->delta >= 0,
          "policy_loss: clips at %g, %g and %g", how->epsilon, how->epsilon_high, how->delta);
    if (r->n == 0) return;
    CHECK(doutput && tally && output && r->first && r->place && r->advantage && r->weight &&
              r->log_ratio,
          "policy_loss: a buffer is NULL");
    CHECK(r->reference || how->kl == POLICY_KL_NONE, "policy_loss: there is no reference");
    dev->backend->policy_loss(dev, doutput, tally, output, how, r, scale);
}

void op_sample(struct device *dev, int32_t *token, float *log_probability, struct tensor logits,
               const struct sampling *how, const uint64_t *key, uint32_t *seen) {
    static const char op[] = "sample";
    check_typed(op, "logits", &logits, logits.rows, logits.cols, DTYPE_F32);
    CHECK(how->greedy || how->temperature > 0, "sample: temperature %g", how->temperature);
    CHECK(how->top_k >= 0 && how->top_p >= 0 && how->min_p >= 0 && how->min_p <= 1,
          "sample: top_k %d, top_p %g, min_p %g", (int)how->top_k, how->top_p, how->min_p);
    CHECK(how->repetition_penalty == 1 || (how->repetition_penalty > 0 && seen),
          "sample: repetition penalty %g", how->repetition_penalty);
    CHECK(how->greedy || key, "sample: key is NULL");
    if (logits.rows == 0) return;
    CHECK(logits.cols > 0 && logits.cols <= INT32_MAX, "sample: %lld words",
          (long long)logits.cols);
    CHECK_THERE(op, token);
    CHECK_THERE(op, log_probability);
    dev->backend->sample(dev, token, log_probability, logits, how, key, seen);
}
