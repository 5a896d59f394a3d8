/* What a block's forward needs: see block_memory.h. */
#include "block_memory.h"

#include "adapter.h"

static void lay_out_view(struct layout *memory, struct rows_view *v, const struct block_sizes *s,
                         struct block_range part, int64_t rows) {
    size_t w = dtype_bytes(s->dtype);
    v->part = part;
    v->low = layout_take(memory, rows * adapter_ranks(s->adapters, ADAPTERS_QKV), w);
    v->stats = layout_floats(memory, rows, 2);
    v->h = layout_take(memory, rows * s->arch->D, w);
    v->qkv = layout_take(memory, rows * part.count, w);
}

void block_lay_out_kept(struct layout *memory, struct block_kept *k, const struct block_sizes *s,
                        bool rows_only, int64_t T, int64_t Q) {
    const struct arch *a = s->arch;
    size_t w = dtype_bytes(s->dtype);
    lay_out_view(memory, &k->all, s, block_kv_range(a, rows_only), T);
    k->read = k->all;
    if (rows_only) lay_out_view(memory, &k->read, s, block_q_range(a, true), Q);
    k->low_out = layout_take(memory, Q * adapter_ranks(s->adapters, ADAPTERS_OUT), w);
    k->low_up = layout_take(memory, Q * adapter_ranks(s->adapters, ADAPTERS_UP), w);
    k->low_down = layout_take(memory, Q * adapter_ranks(s->adapters, ADAPTERS_DOWN), w);
    if (a->qk_norm != QK_NORM_NONE) {
        k->q = layout_take(memory, Q * a->H * a->d, w);
        k->k = layout_take(memory, T * a->K * a->d, w);
        bool whole = a->qk_norm == QK_NORM_WHOLE;
        k->q_stats = layout_floats(memory, Q, whole ? 2 : a->H);
        k->k_stats = layout_floats(memory, T, whole ? 2 : a->K);
    }
    k->attention = layout_take(memory, Q * a->H * a->d, w);
    k->lse = layout_floats(memory, Q, a->H);
    k->stats2 = layout_floats(memory, Q, 2);
    k->h2 = layout_take(memory, Q * a->D, w);
    k->up = layout_take(memory, Q * block_up_cols(a), w);
    k->act = layout_take(memory, Q * a->F, w);
    if (!a->post_norm) return;
    k->product1 = layout_floats(memory, Q, a->D);
    k->product2 = layout_floats(memory, Q, a->D);
}

void block_lay_out_scratch(struct layout *memory, struct block_scratch *scratch,
                           const struct block_sizes *s, int64_t T) {
    const struct arch *a = s->arch;
    size_t w = dtype_bytes(s->dtype);
    bool raw = a->qk_norm == QK_NORM_WHOLE && s->dtype != DTYPE_F32;
    scratch->normed = a->post_norm ? layout_take(memory, T * a->D, w) : NULL;
    scratch->dequantised = s->quantised > 0 ? layout_take(memory, s->quantised, w) : NULL;
    scratch->raw = raw ? layout_floats(memory, T, (int64_t)a->H * a->d) : NULL;
}
