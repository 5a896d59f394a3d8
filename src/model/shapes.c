/* The matrix products of a step: see model_gemm_shapes. */
#include "adapter.h"
#include "lm_head.h"
#include "memory.h"
#include "model.h"

struct shape_list {
    struct gemm_shape *shape;
    int n, capacity;
    const struct model_options *options;
    bool post_norm; /* what leads back to the residual is not added to it by the product */
};

static void add_shape(struct shape_list *list, struct gemm_shape shape) {
    ARRAY_RESERVE(list->shape, list->n, list->capacity);
    list->shape[list->n++] = shape;
}

/* One linear layer of n outputs and k inputs in `count` blocks, over all tokens or over the read
 * rows: its forward, and in training its gradients by input and by weight. */
static void add_linear(struct shape_list *list, int count, int64_t n, int64_t k, bool rows_only,
                       bool bias, bool to_residual) {
    enum dtype c = list->options->dtype, out = to_residual ? DTYPE_F32 : c;
    int64_t rows = rows_only ? list->options->max_rows : list->options->max_tokens;
    if (count == 0) return;
    add_shape(list, (struct gemm_shape){c, out, rows, n, k, false, true, bias,
                                        to_residual && !list->post_norm,
                                        rows_only ? GEMM_M_IS_ROWS : GEMM_M_IS_TOKENS, count});
    if (!list->options->train) return;
    add_shape(list, (struct gemm_shape){c, c, rows, k, n, false, false, false, false,
                                        rows_only ? GEMM_M_IS_ROWS : GEMM_M_IS_TOKENS, count});
    add_shape(list, (struct gemm_shape){c, DTYPE_F32, n, k, rows, true, false, false, true,
                                        rows_only ? GEMM_K_IS_ROWS : GEMM_K_IS_TOKENS, count});
}

/* An adapter beside a linear layer: its two thin products. */
static void add_adapter(struct shape_list *list, enum adapter_input input, int count, int64_t n,
                        int64_t k, bool rows_only, bool to_residual) {
    const struct adapters *a = &list->options->adapters;
    if (a->modules[input] == 0) return;
    add_linear(list, count, adapter_ranks(a, input), k, rows_only, false, false);
    add_linear(list, count * a->modules[input], n / a->modules[input], a->rank, rows_only, false,
               to_residual);
}

/* o, up and down, which the last block has for the read rows only. */
static void add_after_attention(struct shape_list *list, const struct arch *a, int count,
                                bool rows_only) {
    int64_t width = (int64_t)a->H * a->d, up = block_up_cols(a);
    add_linear(list, count, a->D, width, rows_only, a->out_bias, true);
    add_adapter(list, ADAPTERS_OUT, count, a->D, width, rows_only, true);
    add_linear(list, count, up, a->D, rows_only, a->mlp_bias, false);
    add_adapter(list, ADAPTERS_UP, count, up, a->D, rows_only, false);
    add_linear(list, count, a->D, a->F, rows_only, a->mlp_bias, true);
    add_adapter(list, ADAPTERS_DOWN, count, a->D, a->F, rows_only, true);
}

/* The products of a block of rows with `words` of the vocabulary, `count` of them. */
static void add_words(struct shape_list *list, int64_t D, int64_t words, int64_t count) {
    enum dtype c = list->options->dtype;
    bool train = list->options->train;
    int64_t max = list->options->max_rows, rows = MIN(max, (int64_t)LM_HEAD_ROWS);
    int n = (int)(count * ((max + rows - 1) / rows));
    if (n == 0 || words == 0) return;
    add_shape(list, (struct gemm_shape){c, DTYPE_F32, rows, words, D, false, true, false, false,
                                        GEMM_M_IS_ROWS, train ? 2 * n : n});
    if (!train) return;
    add_shape(list, (struct gemm_shape){c, DTYPE_F32, rows, D, words, false, false, false, true,
                                        GEMM_M_IS_ROWS, n});
    add_shape(list, (struct gemm_shape){c, DTYPE_F32, words, D, rows, true, false, false, true,
                                        GEMM_K_IS_ROWS, n});
}

static void add_lm_head(struct shape_list *list, const struct arch *a) {
    add_words(list, a->D, LM_HEAD_WORDS, a->V / LM_HEAD_WORDS);
    add_words(list, a->D, a->V % LM_HEAD_WORDS, 1);
}

int model_gemm_shapes(const struct arch *a, const struct model_options *options,
                      struct gemm_shape **out) {
    struct shape_list list = {.options = options, .post_norm = a->post_norm};
    add_linear(&list, a->L - 1, block_qkv_cols(a), a->D, false, a->qkv_bias, false);
    add_adapter(&list, ADAPTERS_QKV, a->L, block_qkv_cols(a), a->D, false, false);
    add_after_attention(&list, a, a->L - 1, false);
    add_linear(&list, 1, block_kv_range(a, true).count, a->D, false, a->qkv_bias, false);
    add_linear(&list, 1, block_q_range(a, true).count, a->D, true, a->qkv_bias, false);
    add_after_attention(&list, a, 1, true);
    if (options->head.kind == HEAD_LM) add_lm_head(&list, a);
    *out = list.shape;
    return list.n;
}
