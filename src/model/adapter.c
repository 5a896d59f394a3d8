/* LoRA beside a block's matrices: see adapter.h. All products are thin: one side is a rank.
 *
 *     low = s A x,         y += B low
 *     dB += dy^T low,      dlow = s B^T dy,      dA += dlow^T x,      dx += A^T dlow */
#include "adapter.h"

/* An adapter in a part: rows [row, row + count) of its B, which write columns from col on. */
struct share {
    const struct parameter *a, *b;
    int64_t row, col, count;
};

/* What of the part the block's adapters of this input write. */
struct shares {
    struct share item[3];
    int n;
    int64_t rank;
};

static struct shares find_shares(const struct block *b, enum adapter_input input,
                                 struct block_range part) {
    struct shares found = {.rank = b->adapters->rank};
    int64_t at = 0, part_end = part.first + part.count; /* rows of the fused matrix */
    for (int m = 0; m < N_MODULES && found.rank > 0; m++) {
        const struct parameter *w = b->unit->by_role[parameters_module_role(m)];
        if (parameters_module_input(m) != input || !w) continue;
        int64_t first = MAX(at, part.first), end = MIN(at + w->rows, part_end);
        const struct parameter *up = b->unit->by_role[parameters_b_role(m)];
        if (up && first < end)
            found.item[found.n++] = (struct share){b->unit->by_role[parameters_a_role(m)], up,
                                                   first - at, first - part.first, end - first};
        at += w->rows;
    }
    return found;
}

static struct tensor weights_of(const struct block *b, const struct parameter *p, int64_t row,
                                int64_t rows) {
    const char *at = (const char *)b->weights.segment[p->segment] +
                     (size_t)(p->offset + row * p->cols) * dtype_bytes(b->dtype);
    return tensor_make((void *)at, b->dtype, rows, p->cols);
}

static struct tensor gradient_of(const struct block *b, const struct parameter *p, int64_t row,
                                 int64_t rows) {
    return tensor_make(b->gradient + p->offset + row * p->cols, DTYPE_F32, rows, p->cols);
}

/* The A's of the shares as one matrix, by (1). */
static struct tensor joined_a(const struct block *b, const struct shares *s) {
    return weights_of(b, s->item[0].a, 0, s->n * s->rank);
}

static struct tensor low_of(const struct block *b, const struct shares *s, const void *low,
                            int64_t rows) {
    return tensor_make((void *)low, b->dtype, rows, s->n * s->rank);
}

void adapter_reduce(const struct block *b, enum adapter_input input, struct block_range part,
                    struct tensor in, void *low) {
    struct shares s = find_shares(b, input, part);
    if (s.n == 0) return;
    struct tensor to = low_of(b, &s, low, in.rows);
    block_linear(b, to, in, joined_a(b, &s), NULL, NULL);
    op_scale(b->dev, to, to, b->adapters->scale);
}

void adapter_expand(const struct block *b, enum adapter_input input, struct block_range part,
                    struct tensor out, const void *low) {
    struct shares s = find_shares(b, input, part);
    struct tensor from = low_of(b, &s, low, out.rows);
    for (int i = 0; i < s.n; i++) {
        const struct share *share = &s.item[i];
        struct tensor to = tensor_cols(out, share->col, share->count);
        block_linear(b, to, tensor_cols(from, i * s.rank, s.rank),
                     weights_of(b, share->b, share->row, share->count), NULL, &to);
    }
    b->dev->backend->progress(b->dev);
}

void adapter_backward(const struct block *b, enum adapter_input input, struct block_range part,
                      struct tensor dout, struct tensor in, const void *low, struct tensor din) {
    struct shares s = find_shares(b, input, part);
    if (s.n == 0) return;
    struct tensor kept = low_of(b, &s, low, in.rows),
                  dlow = low_of(b, &s, b->scratch->dlow, in.rows);
    for (int i = 0; i < s.n; i++) {
        const struct share *share = &s.item[i];
        struct tensor d = tensor_cols(dout, share->col, share->count);
        op_linear_backward_weight(b->dev, gradient_of(b, share->b, share->row, share->count), NULL,
                                  d, tensor_cols(kept, i * s.rank, s.rank));
        op_linear_backward_input(b->dev, tensor_cols(dlow, i * s.rank, s.rank), d,
                                 weights_of(b, share->b, share->row, share->count), NULL);
    }
    op_scale(b->dev, dlow, dlow, b->adapters->scale);
    op_linear_backward_weight(b->dev, gradient_of(b, s.item[0].a, 0, s.n * s.rank), NULL, dlow, in);
    op_linear_backward_input(b->dev, din, dlow, joined_a(b, &s), &din);
    b->dev->backend->progress(b->dev);
}
