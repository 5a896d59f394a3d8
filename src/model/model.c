/* The walk over a model's units, forward and backward, and the memory of both: see model.h.
 *
 * Memory is laid out by one function that runs twice: without a base, to tell the size
 * (model_plan), and with one, to set the pointers (model_init). What is kept per token and block,
 * in training, with w bytes of the compute dtype: 8 D (x and x_mid) + w (2 D + n_qkv + H d + F +
 * up, and (H + K) d with q and k norm), and statistics. With recompute 4 D, and one block's worth
 * in all; without training one block's worth in all, the stream in one place. Norms that stand
 * behind attention and MLP keep what they read: 8 D more. Adapters keep w times the ranks of a
 * block's. */
#include "model.h"

#include "adapter.h"
#include "block_memory.h"
#include "ends.h"
#include "feed.h"
#include "lm_head.h"
#include "memory.h"

enum { ALIGN = 256 };

struct model {
    struct device *dev;
    const struct arch *arch;
    const struct parameters *table;
    struct zero *z;
    struct model_options options;
    void *memory;

    struct block *block; /* (L) */
    struct block_scratch scratch;
    struct feed feed; /* of the micro-batch's numbers, to where these point: */
    const int32_t *token, *position, *reach, *order; /* (T) */
    const int32_t *row;                              /* (R) */
    int32_t *first_read;           /* (max_rows + 1) of the host: on its way to lm.first_read */
    float *inverse_frequency;      /* (rope_dims / 2) */
    float *rope, *rope_read;       /* (T, rope_dims), (R, rope_dims) */
    float *x, *x_rows;             /* (T, D) the input of block 0; (R, D) the output of the last */
    float *normed, *stats;         /* of the final norm: (R, D), (R, 2) */
    float *score, *dscore;         /* (R, n_scores); of HEAD_SCORE */
    struct lm_head lm;             /* of HEAD_LM */
    float *dx, *dx_rows, *dnormed; /* (T, D), (R, D), (R, D) */

    int64_t T, R;
    /* the last unit's weights, and with HEAD_LM the first one's; held to the backward */
    struct unit_weights head, words;
    bool holds_head;
};

/* ---- memory ---- */

static struct block_sizes sizes_of(const struct model *m) {
    return (struct block_sizes){m->arch, &m->options.adapters, m->options.dtype,
                                m->options.quantised};
}

/* Block l, whose input is x; returns its output, the next one's input. With recompute, and without
 * a backward, the blocks before the last share what they keep; without a backward the residual
 * stream stays in one place. */
static float *lay_out_block(struct layout *memory, struct model *m, int l, float *x, int64_t T,
                            int64_t R) {
    const struct arch *a = m->arch;
    const struct model_options *o = &m->options;
    struct block_sizes sizes = sizes_of(m);
    bool last = l == a->L - 1, has_backward = o->train && l >= o->frozen_blocks;
    int first = has_backward ? o->frozen_blocks : 0; /* of its like */
    int64_t Q = last ? R : T;
    struct block_kept *k = &m->block[l].kept;
    if (l > first && !last && (!has_backward || o->recompute)) {
        *k = m->block[first].kept;
    } else {
        block_lay_out_kept(memory, k, &sizes, last, T, Q);
        k->x_mid = has_backward && !a->parallel_residual ? layout_floats(memory, Q, a->D) : NULL;
    }
    k->all.x = x;
    k->read.x = last ? layout_floats(memory, Q, a->D) : x;
    k->out = has_backward ? layout_floats(memory, Q, a->D) : k->read.x;
    if (!has_backward) k->x_mid = k->read.x;
    return k->out;
}

static bool is_lm(const struct model *m) {
    return m->options.head.kind == HEAD_LM;
}

static void lay_out_head(struct layout *memory, struct model *m, int64_t R) {
    const struct model_options *o = &m->options;
    if (is_lm(m)) {
        float scale = o->temperature > 0 ? 1 / (float)o->temperature : 1;
        m->lm = (struct lm_head){
            .dev = m->dev, .dtype = o->dtype, .D = m->arch->D, .V = m->arch->V, .scale = scale};
        lm_head_lay_out(&m->lm, memory, R, o->max_reads, o->train);
    } else {
        m->score = layout_floats(memory, R, o->head.n_scores);
        m->dscore = layout_floats(memory, R, o->head.n_scores);
    }
}

static void lay_out_activations(struct layout *memory, struct model *m, int64_t T, int64_t R) {
    const struct arch *a = m->arch;
    m->inverse_frequency = layout_floats(memory, 1, a->rope_dims / 2);
    m->rope = layout_floats(memory, T, a->rope_dims);
    m->rope_read = layout_floats(memory, R, a->rope_dims);
    m->normed = layout_floats(memory, R, a->D);
    m->stats = layout_floats(memory, R, 2);
    lay_out_head(memory, m, R);
    float *x = m->x = layout_floats(memory, T, a->D);
    for (int l = 0; l < a->L; l++) x = lay_out_block(memory, m, l, x, T, R);
    m->x_rows = x;
}

static void lay_out_scratch(struct layout *memory, struct model *m, int64_t T, int64_t R) {
    const struct arch *a = m->arch;
    size_t w = dtype_bytes(m->options.dtype);
    int64_t wide = MAX(block_qkv_cols(a), block_up_cols(a)),
            narrow = MAX(a->F, (int64_t)a->H * a->d);
    bool whole = a->qk_norm == QK_NORM_WHOLE, fp32 = m->options.dtype == DTYPE_F32;
    struct block_scratch *s = &m->scratch;
    struct block_sizes sizes = sizes_of(m);
    block_lay_out_scratch(memory, s, &sizes, T);
    if (is_lm(m)) lm_head_lay_out_scratch(&m->lm, memory, R, m->options.train);
    if (!m->options.train) return;
    m->dx = layout_floats(memory, T, a->D);
    m->dx_rows = layout_floats(memory, R, a->D);
    m->dnormed = layout_floats(memory, R, a->D);
    s->wide = layout_take(memory, T * wide, w);
    s->wide_read = layout_take(memory, R * block_q_range(a, true).count, w);
    s->narrow = layout_take(memory, T * narrow, w);
    s->dh1 = layout_take(memory, T * a->D, w);
    s->dh1_read = layout_take(memory, R * a->D, w);
    s->dh2 = a->parallel_residual ? layout_take(memory, T * a->D, w) : s->dh1;
    s->dx_cast = fp32 ? NULL : layout_take(memory, T * a->D, w);
    s->dproduct = a->post_norm ? layout_floats(memory, T, a->D) : NULL;
    int64_t ranks = 0;
    for (int i = 0; i < N_ADAPTER_INPUTS; i++)
        ranks = MAX(ranks, adapter_ranks(&m->options.adapters, i));
    s->dlow = layout_take(memory, T * ranks, w);
    s->draw = whole ? layout_floats(memory, T, (int64_t)a->H * a->d) : NULL;
}

/* Sets every pointer of m from the base, or counts: *scratch_bytes is the part that is not
 * activations. */
static size_t lay_out(struct model *m, void *base, size_t *scratch_bytes) {
    struct layout memory = {base, ALIGN, 0};
    int64_t T = whole_rows(m->options.max_tokens), R = whole_rows(m->options.max_rows);
    lay_out_activations(&memory, m, T, R);
    size_t activations = memory.used;
    lay_out_scratch(&memory, m, T, R);
    *scratch_bytes = memory.used - activations;
    return memory.used;
}

/* Token, position, reach, order, row; of HEAD_LM the first read of each row, and targets. */
static size_t feed_capacity(const struct model_options *o) {
    size_t reads =
        o->head.kind == HEAD_LM ? fed_bytes(o->max_rows + 1) + fed_bytes(o->max_reads) : 0;
    return 4 * fed_bytes(o->max_tokens) + fed_bytes(o->max_rows) + reads;
}

static struct op_limits limits_of(const struct arch *a, const struct model_options *o,
                                  const struct gemm_shape *gemm, int n_gemm) {
    int64_t width = MAX(MAX(block_qkv_cols(a), block_up_cols(a)), MAX(a->D, a->F));
    return (struct op_limits){.tokens = o->max_tokens,
                              .rows = o->max_rows,
                              .width = width,
                              .vocabulary = a->V,
                              .n_heads = a->H,
                              .n_kv_heads = a->K,
                              .head_dim = a->d,
                              .gemm = gemm,
                              .n_gemm = n_gemm};
}

/* ---- life ---- */

struct model_bytes model_plan(struct device *dev, const struct arch *arch,
                              const struct model_options *options) {
    struct model m = {.dev = dev, .arch = arch, .options = *options};
    struct gemm_shape *gemm;
    int n_gemm = model_gemm_shapes(arch, options, &gemm);
    struct op_limits limits = limits_of(arch, options, gemm, n_gemm);
    size_t scratch;
    m.block = mem_alloc(arch->L, sizeof *m.block);
    size_t total = lay_out(&m, NULL, &scratch);
    size_t workspace = dev->backend->reserve_bytes(dev, &limits);
    struct model_bytes bytes = {total - scratch + feed_bytes(feed_capacity(options)),
                                scratch + workspace, workspace};
    mem_free(m.block);
    mem_free(gemm);
    return bytes;
}

size_t model_plan_arena(struct device *dev, const struct arch *arch,
                        const struct model_options *options) {
    struct model m = {.dev = dev, .arch = arch, .options = *options};
    struct layout kept = {NULL, ALIGN, 0};
    size_t scratch;
    m.block = mem_alloc(arch->L, sizeof *m.block);
    layout_floats(&kept, 1, arch->rope_dims / 2);
    size_t total = lay_out(&m, NULL, &scratch);
    mem_free(m.block);
    return total - kept.used;
}

void model_reserve(struct device *dev, const struct arch *arch,
                   const struct model_options *options) {
    struct gemm_shape *gemm;
    int n_gemm = model_gemm_shapes(arch, options, &gemm);
    struct op_limits limits = limits_of(arch, options, gemm, n_gemm);
    dev->backend->reserve(dev, &limits);
    mem_free(gemm);
}

/* Gives back what is held for the head. */
static void release_head(struct model *m) {
    if (!m->holds_head) return;
    zero_release(m->z, m->arch->L + 1);
    if (is_lm(m)) zero_release(m->z, 0);
    m->holds_head = false;
}

/* The memory is laid out twice: first for its size, then to give every tensor its place in it. */
struct model *model_init(struct device *dev, const struct arch *arch,
                         const struct parameters *table, struct zero *z,
                         const struct model_options *options) {
    CHECK(options->max_tokens > 0 && options->max_rows > 0, "a model for no tokens");
    CHECK(options->head.kind == HEAD_LM ? options->max_reads > 0 : options->head.n_scores > 0,
          "a head for nothing");
    CHECK(options->head.kind == table->head.kind && options->head.n_scores == table->head.n_scores,
          "a model with another head than its parameters");
    CHECK(options->frozen_blocks <= parameters_frozen_blocks(table), "%d blocks without a backward",
          options->frozen_blocks);
    CHECK(options->adapters.rank == table->adapters.rank, "adapters of rank %d, planned for %d",
          table->adapters.rank, options->adapters.rank);
    CHECK(options->quantised == parameters_largest_quantised(table), "scratch for %lld elements",
          (long long)options->quantised);
    struct model *m = mem_alloc(1, sizeof *m);
    m->dev = dev;
    m->arch = arch;
    m->table = table;
    m->z = z;
    m->options = *options;
    m->block = mem_alloc(arch->L, sizeof *m->block);
    size_t scratch;
    m->memory = dev->backend->alloc(dev, lay_out(m, NULL, &scratch));
    lay_out(m, m->memory, &scratch);
    feed_init(&m->feed, dev, feed_capacity(options), EVENT_FEED_MODEL);
    m->first_read = mem_alloc(options->max_rows + 1, sizeof *m->first_read);
    for (int l = 0; l < arch->L; l++) {
        struct block *b = &m->block[l];
        b->dev = dev;
        b->arch = arch;
        b->unit = &table->unit[l + 1];
        b->adapters = &m->options.adapters;
        b->dtype = options->dtype;
        b->rows_only = l == arch->L - 1;
        b->scratch = &m->scratch;
        block_check_layout(b->unit);
    }
    model_reserve(dev, arch, options);
    size_t bytes = (size_t)arch->rope_dims / 2 * sizeof(float);
    dev->backend->copy_in(dev, m->inverse_frequency, arch->inverse_frequency, bytes,
                          STREAM_COMPUTE);
    dev->backend->synchronize(dev, STREAM_COMPUTE);
    return m;
}

void model_free(struct model *m) {
    if (!m) return;
    release_head(m);
    feed_free(&m->feed);
    mem_free(m->first_read);
    m->dev->backend->release(m->dev, m->memory);
    mem_free(m->block);
    mem_free(m);
}

/* The frequencies stay: they are first, and alone. */
void *model_arena(struct model *m, size_t *bytes) {
    size_t scratch, kept = (size_t)((char *)m->rope - (char *)m->memory);
    release_head(m); /* of a forward without a backward: an evaluation */
    *bytes = lay_out(m, m->memory, &scratch) - kept;
    return m->rope;
}

/* ---- forward ---- */

/* out (R + 1): the reads of row r are [out[r], out[r + 1]). Their targets are below V. */
static void find_reads(int32_t *out, const struct reads *reads, int64_t R, int64_t V) {
    int64_t at = 0;
    for (int64_t r = 0; r < R; r++) {
        out[r] = (int32_t)at;
        for (; at < reads->n && reads->row[at] == r; at++)
            CHECK(reads->target[at] >= 0 && reads->target[at] < V, "word %d of %lld",
                  reads->target[at], (long long)V);
    }
    CHECK(at == reads->n, "read %lld of %lld is of row %d, out of order", (long long)at,
          (long long)reads->n, reads->row[at]);
    out[R] = (int32_t)at;
}

/* The arrays of a micro-batch in one copy: those of the forest, then the reads'. */
static void send_batch(struct model *m, const struct forest *batch, const struct reads *reads) {
    struct fed part[] = {{batch->token, &m->token, m->T},
                         {batch->position, &m->position, m->T},
                         {batch->reach, &m->reach, m->T},
                         {batch->order, &m->order, m->T},
                         {batch->row, &m->row, m->R},
                         {m->first_read, &m->lm.first_read, m->R + 1},
                         {reads ? reads->target : NULL, &m->lm.target, reads ? reads->n : 0}};
    if (reads) find_reads(m->first_read, reads, m->R, m->arch->V);
    feed_arrays(&m->feed, part, reads ? 7 : 5);
}

float *model_doutput(struct model *m) {
    return is_lm(m) ? m->lm.doutput : m->dscore;
}

/* The gradient of the head's output begins at zero. */
static void clear_doutput(struct model *m, const struct reads *reads) {
    int64_t n = reads ? reads->n * N_LM_OUTPUTS : m->R * m->options.head.n_scores;
    float *d = model_doutput(m);
    if (d) m->dev->backend->zero(m->dev, d, (size_t)n * sizeof *d, STREAM_COMPUTE);
}

/* Sends the micro-batch and makes what all blocks share: the rotations of its positions, once for
 * all tokens and once gathered for the read rows. */
static void take_batch(struct model *m, const struct forest *batch, const struct reads *reads) {
    CHECK((reads != NULL) == is_lm(m), "reads of tokens are for a language model's head");
    CHECK(!reads || reads->n <= m->options.max_reads, "%lld reads, planned for %lld",
          (long long)reads->n, (long long)m->options.max_reads);
    CHECK(batch->n <= m->options.max_tokens && batch->n_rows <= m->options.max_rows,
          "a micro-batch of %lld tokens and %lld read rows, planned for %lld and %lld",
          (long long)batch->n, (long long)batch->n_rows, (long long)m->options.max_tokens,
          (long long)m->options.max_rows);
    m->T = batch->n;
    m->R = batch->n_rows;
    if (m->T == 0) return;
    send_batch(m, batch, reads);
    int dims = m->arch->rope_dims;
    op_rope_table(m->dev, m->rope, m->position, m->T, m->inverse_frequency, dims);
    op_gather_rows(m->dev, tensor_make(m->rope_read, DTYPE_F32, m->R, dims),
                   tensor_make(m->rope, DTYPE_F32, m->T, dims), m->row);
    clear_doutput(m, reads);
}

/* The block of layer l, set for this micro-batch and these weights. */
static struct block *set_block(struct model *m, int l, struct unit_weights weights,
                               float *gradient) {
    struct block *b = &m->block[l];
    b->Q = b->rows_only ? m->R : m->T;
    b->reach = m->reach;
    b->row = b->rows_only ? m->row : NULL;
    b->kept.all.n = m->T;
    b->kept.all.rope = m->rope;
    b->kept.read.n = b->Q;
    b->kept.read.rope = b->rows_only ? m->rope_read : m->rope;
    b->weights = weights;
    b->gradient = gradient;
    return b;
}

static const float *last_weight(const struct model *m, enum role role) {
    return ends_last(m->table, m->head, role);
}

static void embed_forward(struct model *m, struct unit_weights w) {
    op_embed_forward(m->dev, tensor_make(m->x, DTYPE_F32, m->T, m->arch->D),
                     ends_embedding(m->table, w, m->options.dtype), m->token);
}

/* The score head's weight, or its gradient. */
static struct tensor score_weight(const struct model *m, float *data) {
    return tensor_make(data, DTYPE_F32, m->options.head.n_scores, m->arch->D);
}

/* What the language model's head multiplies with. */
static struct tensor words_weight(const struct model *m) {
    return ends_words(m->table, m->words, m->options.dtype);
}

/* Its gradient, in that of unit 0; without memory where it is not trained. */
static struct tensor words_gradient(const struct model *m, float *gradient) {
    const struct parameter *p = ends_head(m->table);
    bool trained = gradient && p->segment == SEGMENT_TRAINED;
    return tensor_make(trained ? gradient + p->offset : NULL, DTYPE_F32, p->rows, p->cols);
}

static void head_forward(struct model *m) {
    struct tensor x = tensor_make(m->x_rows, DTYPE_F32, m->R, m->arch->D), normed = x;
    normed.data = m->normed;
    ends_norm(m->dev, m->arch, m->table, m->head, normed, m->stats, x);
    if (is_lm(m))
        lm_head_forward(&m->lm, normed, words_weight(m));
    else
        op_head_forward(m->dev, tensor_make(m->score, DTYPE_F32, m->R, m->options.head.n_scores),
                        normed, score_weight(m, (float *)last_weight(m, ROLE_SCORE)));
}

/* A rank without tokens takes part in the gathers all the same. In training what the head needs
 * stays held until its backward. A language model's head needs two units: the last one, which is
 * small, is taken before the walk, so that the last block can have the first one gathered. */
const float *model_forward(struct model *m, const struct forest *batch, const struct reads *reads) {
    const struct arch *a = m->arch;
    int last = a->L + 1, behind = is_lm(m) ? 0 : last;
    release_head(m); /* what is held is of a forward without a backward: an evaluation */
    take_batch(m, batch, reads);

    if (is_lm(m)) m->head = zero_weights(m->z, last, 0);
    struct unit_weights w = zero_weights(m->z, 0, 1);
    if (m->T > 0) embed_forward(m, w);
    zero_release(m->z, 0);
    for (int u = 1; u <= a->L; u++) {
        w = zero_weights(m->z, u, u < a->L ? u + 1 : behind);
        if (m->T > 0) block_forward(set_block(m, u - 1, w, NULL), false);
        zero_release(m->z, u);
    }
    if (is_lm(m))
        m->words = zero_weights(m->z, 0, -1);
    else
        m->head = zero_weights(m->z, last, -1);
    if (m->T > 0) head_forward(m);
    m->holds_head = true;
    if (!m->options.train) release_head(m);
    return is_lm(m) ? m->lm.output : m->score;
}

/* ---- backward ---- */

static float *last_gradient(const struct model *m, float *gradient, enum role role) {
    const struct parameter *p = m->table->unit[m->arch->L + 1].by_role[role];
    return p && p->segment == SEGMENT_TRAINED ? gradient + p->offset : NULL;
}

const float *model_tie_threshold(const struct model *m) {
    bool is_there = m->table->unit[m->arch->L + 1].by_role[ROLE_TIE_THRESHOLD];
    return is_there ? last_weight(m, ROLE_TIE_THRESHOLD) : NULL;
}

float *model_dtie_threshold(struct model *m) {
    return last_gradient(m, zero_gradient(m->z, m->arch->L + 1), ROLE_TIE_THRESHOLD);
}

/* dnormed = the gradient of the final norm's output, from doutput. words: the gradient of unit 0,
 * NULL where nothing of it is trained. */
static void output_backward(struct model *m, float *gradient, float *words, struct tensor dnormed,
                            struct tensor normed) {
    if (is_lm(m))
        lm_head_backward(&m->lm, dnormed, words_gradient(m, words), normed, words_weight(m));
    else
        op_head_backward(m->dev, dnormed, score_weight(m, last_gradient(m, gradient, ROLE_SCORE)),
                         tensor_make(m->dscore, DTYPE_F32, m->R, m->options.head.n_scores), normed,
                         score_weight(m, (float *)last_weight(m, ROLE_SCORE)));
}

/* dx_rows = the gradient of the last block's output. */
static void head_backward(struct model *m, float *gradient, float *words) {
    const struct arch *a = m->arch;
    struct tensor x = tensor_make(m->x_rows, DTYPE_F32, m->R, a->D), dx = x, normed = x,
                  dnormed = x;
    dx.data = m->dx_rows;
    normed.data = m->normed;
    dnormed.data = m->dnormed;
    struct tensor w =
        tensor_make((float *)last_weight(m, ROLE_FINAL_NORM_WEIGHT), DTYPE_F32, 1, a->D);
    output_backward(m, gradient, words, dnormed, normed);
    m->dev->backend->zero(m->dev, m->dx_rows, (size_t)(m->R * a->D) * sizeof(float),
                          STREAM_COMPUTE);
    op_norm_backward(m->dev, a->norm, dx, last_gradient(m, gradient, ROLE_FINAL_NORM_WEIGHT),
                     last_gradient(m, gradient, ROLE_FINAL_NORM_BIAS), dnormed, x, w, m->stats);
}

static void backward_unit(struct model *m, int u, struct unit_weights w, float *gradient) {
    if (m->T == 0) return;
    struct block *b = set_block(m, u - 1, w, gradient);
    if (m->options.recompute && !b->rows_only) block_forward(b, true);
    block_backward(b, m->dx, b->rows_only ? m->dx_rows : m->dx);
}

static void embed_backward(struct model *m, float *gradient) {
    const struct parameter *p = m->table->unit[0].by_role[ROLE_EMBEDDING];
    if (m->T > 0 && p->segment == SEGMENT_TRAINED)
        op_embed_backward(m->dev, gradient + p->offset,
                          tensor_make(m->dx, DTYPE_F32, m->T, m->arch->D), m->token, m->order);
}

/* The units in the order opposite to the forward, down to the lowest that has something to learn. A
 * unit's weights are given back and its gradient handed to zero as soon as its block is done, so
 * that both travel while the next block computes. The embedding's backward needs no weights. */
void model_backward(struct model *m, bool last_microbatch) {
    int last = m->arch->L + 1, lowest = parameters_lowest_trained(m->table);
    CHECK(m->options.train && m->holds_head, "a backward without its forward");
    float *gradient = zero_gradient(m->z, last);
    float *words = is_lm(m) && lowest == 0 ? zero_gradient(m->z, 0) : NULL;
    if (m->T > 0) head_backward(m, gradient, words);
    release_head(m);
    zero_reduce(m->z, last, last_microbatch);
    for (int u = m->arch->L; u >= MAX(lowest, 1); u--) {
        struct unit_weights w = zero_weights(m->z, u, u > MAX(lowest, 1) ? u - 1 : -1);
        backward_unit(m, u, w, zero_gradient(m->z, u));
        zero_release(m->z, u);
        zero_reduce(m->z, u, last_microbatch);
    }
    if (lowest > 0) return;
    embed_backward(m, zero_gradient(m->z, 0));
    zero_reduce(m->z, 0, last_microbatch);
}

void model_copy_hidden(struct model *m, int layer, float *out) {
    CHECK(layer >= 0 && layer < m->arch->L && m->options.train, "no hidden state of layer %d",
          layer);
    size_t bytes = (size_t)(m->T * m->arch->D) * sizeof *out;
    m->dev->backend->copy_out(m->dev, out, m->block[layer].kept.all.x, bytes, STREAM_COMPUTE);
    m->dev->backend->synchronize(m->dev, STREAM_COMPUTE);
}
