/* Batches of rows through a model whose keys and values lie in pages: see decoder.h.
 *
 * The blocks are those of a model without a backward: the residual stream stays in one place, all
 * blocks but the last share what they keep, and the last computes everything after keys and values
 * for the rows alone whose logits are wanted. */
#include "decoder.h"

#include "block_memory.h"
#include "ends.h"
#include "feed.h"
#include "memory.h"

enum { ALIGN = 256 };

struct decoder {
    struct device *dev;
    const struct arch *arch;
    const struct parameters *table;
    struct zero *z;
    struct decoder_options options;
    void *own; /* NULL: the memory is the caller's */

    struct block *block; /* (L) */
    struct block_scratch scratch;
    /* (rope_dims / 2), (max_rows, rope_dims), (max_logits, rope_dims) */
    float *inverse_frequency, *rope, *rope_read;
    float *x, *x_read;     /* (max_rows, D), (max_logits, D): the residual stream */
    float *normed, *stats; /* (max_logits, D), (max_logits, 2) */
    void *cast;            /* (max_logits, D) c: normed as the product takes it; NULL in fp32 */
    float *logits;         /* (max_logits, V) */
    /* (n_units): where stage 3's weights are gathered to, NULL elsewhere; and, while they are held,
     * where the weights are */
    struct unit_weights *gathered, *weights;
    bool is_held;

    struct feed feed; /* of the batch's numbers, to where these and the pagings point: */
    const int32_t *token, *position, *logits_row;
    /* of all rows, for all blocks but the last, and of the rows with logits */
    struct block_paging all, read;
    /* arrays of the host (max_rows), (max_logits) on their way there */
    int32_t *length, *read_length, *read_table;
};

/* ---- memory ---- */

static struct block_sizes sizes_of(const struct decoder *d) {
    return (struct block_sizes){d->arch, &d->options.adapters, d->options.dtype,
                                d->options.quantised};
}

static void lay_out_blocks(struct layout *memory, struct decoder *d, int64_t T, int64_t R) {
    const struct arch *a = d->arch;
    struct block_sizes sizes = sizes_of(d);
    int last = a->L - 1;
    if (last > 0) block_lay_out_kept(memory, &d->block[0].kept, &sizes, false, T, T);
    block_lay_out_kept(memory, &d->block[last].kept, &sizes, true, T, R);
    for (int l = 0; l < a->L; l++) {
        struct block_kept *k = &d->block[l].kept;
        if (l < last) *k = d->block[0].kept;
        k->all.x = d->x;
        k->read.x = k->x_mid = k->out = l == last ? d->x_read : d->x;
    }
    block_lay_out_scratch(memory, &d->scratch, &sizes, MAX(T, R));
}

static void lay_out_pages(struct layout *memory, struct decoder *d) {
    const struct arch *a = d->arch;
    const struct decoder_options *o = &d->options;
    int64_t elements = o->n_pages * a->K * PAGE_TOKENS * a->d;
    for (int l = 0; l < a->L; l++) {
        struct pages *p = &d->block[l].pages;
        *p = (struct pages){NULL, NULL, o->dtype, o->n_pages, a->K, a->d};
        p->key = layout_take(memory, elements, dtype_bytes(o->dtype));
        p->value = layout_take(memory, elements, dtype_bytes(o->dtype));
    }
}

static enum dtype segment_dtype(const struct decoder *d, int unit, int segment) {
    if (segment == SEGMENT_QUANTISED) return DTYPE_U8;
    return d->table->unit[unit].fp32 ? DTYPE_F32 : d->options.dtype;
}

static size_t segment_bytes(const struct decoder *d, int unit, int segment) {
    return (size_t)d->table->unit[unit].count[segment] *
           dtype_bytes(segment_dtype(d, unit, segment));
}

static void lay_out_gathered(struct layout *memory, struct decoder *d) {
    for (int u = 0; u < d->table->n_units; u++)
        for (int s = 0; s < N_SEGMENTS; s++) {
            size_t bytes = segment_bytes(d, u, s);
            void *at = bytes > 0 ? layout_take(memory, (int64_t)bytes, 1) : NULL;
            d->gathered[u].segment[s] = at;
        }
}

/* Sets every pointer from the base, or counts. */
static size_t lay_out(struct decoder *d, void *base) {
    struct layout memory = {base, ALIGN, 0};
    const struct decoder_options *o = &d->options;
    const struct arch *a = d->arch;
    int64_t T = whole_rows(o->max_rows), R = whole_rows(o->max_logits);
    d->inverse_frequency = layout_floats(&memory, 1, a->rope_dims / 2);
    d->rope = layout_floats(&memory, T, a->rope_dims);
    d->rope_read = layout_floats(&memory, R, a->rope_dims);
    d->x = layout_floats(&memory, T, a->D);
    d->x_read = layout_floats(&memory, R, a->D);
    d->normed = layout_floats(&memory, R, a->D);
    d->stats = layout_floats(&memory, R, 2);
    d->cast = o->dtype == DTYPE_F32 ? NULL : layout_take(&memory, R * a->D, dtype_bytes(o->dtype));
    d->logits = layout_floats(&memory, R, a->V);
    lay_out_blocks(&memory, d, T, R);
    lay_out_pages(&memory, d);
    if (o->gathers) lay_out_gathered(&memory, d);
    return memory.used;
}

static int64_t max_writes(const struct decoder_options *o) {
    return o->max_rows + (PAGE_TOKENS - 1) * o->max_tables;
}

/* Token, position, table and length of rows; writes; rows, tables and lengths of logits; pages. */
static size_t feed_capacity(const struct decoder_options *o) {
    return 4 * fed_bytes(o->max_rows) + 2 * fed_bytes(max_writes(o)) +
           3 * fed_bytes(o->max_logits) + fed_bytes(o->max_tables * o->table_pages);
}

static struct op_limits limits_of(const struct arch *a, const struct decoder_options *o) {
    int64_t width = MAX(MAX(block_qkv_cols(a), block_up_cols(a)), MAX(a->D, a->F));
    return (struct op_limits){.tokens = o->max_rows,
                              .rows = o->max_logits,
                              .width = width,
                              .vocabulary = a->V,
                              .n_heads = a->H,
                              .n_kv_heads = a->K,
                              .head_dim = a->d,
                              .linear_rows = MAX(o->max_rows, o->max_logits),
                              .sampled_rows = o->max_logits};
}

/* ---- life ---- */

static void take_arrays(struct decoder *d) {
    d->block = mem_alloc(d->arch->L, sizeof *d->block);
    d->gathered = mem_alloc(d->table->n_units, sizeof *d->gathered);
    d->weights = mem_alloc(d->table->n_units, sizeof *d->weights);
}

static void free_arrays(struct decoder *d) {
    mem_free(d->block);
    mem_free(d->gathered);
    mem_free(d->weights);
}

struct decoder_bytes decoder_plan(struct device *dev, const struct arch *arch,
                                  const struct parameters *table,
                                  const struct decoder_options *options) {
    struct decoder d = {.dev = dev, .arch = arch, .table = table, .options = *options};
    struct op_limits limits = limits_of(arch, options);
    take_arrays(&d);
    size_t workspace = dev->backend->reserve_bytes(dev, &limits);
    struct decoder_bytes bytes = {lay_out(&d, NULL), feed_bytes(feed_capacity(options)) + workspace,
                                  workspace};
    free_arrays(&d);
    return bytes;
}

static void check_options(const struct decoder_options *o, const struct parameters *table,
                          const struct zero *z) {
    CHECK(table->head.kind == HEAD_LM, "a decoder of a model without words");
    CHECK(o->max_rows > 0 && o->max_logits > 0 && o->max_tables > 0, "a decoder for no rows");
    CHECK(o->n_pages > 0 && o->table_pages > 0 && o->n_pages <= INT32_MAX / PAGE_TOKENS,
          "a decoder with %lld pages", (long long)o->n_pages);
    CHECK(o->adapters.rank == table->adapters.rank, "adapters of rank %d, planned for %d",
          table->adapters.rank, o->adapters.rank);
    CHECK(o->quantised == parameters_largest_quantised(table), "scratch for %lld elements",
          (long long)o->quantised);
    CHECK(o->gathers == zero_gathers(z), "weights that are gathered: %d, planned: %d",
          zero_gathers(z), o->gathers);
}

static void init_blocks(struct decoder *d) {
    for (int l = 0; l < d->arch->L; l++) {
        struct block *b = &d->block[l];
        b->dev = d->dev;
        b->arch = d->arch;
        b->unit = &d->table->unit[l + 1];
        b->adapters = &d->options.adapters;
        b->dtype = d->options.dtype;
        b->rows_only = l == d->arch->L - 1;
        b->scratch = &d->scratch;
        block_check_layout(b->unit);
    }
}

struct decoder *decoder_init(struct device *dev, const struct arch *arch,
                             const struct parameters *table, struct zero *z,
                             const struct decoder_options *options, void *memory) {
    struct decoder *d = mem_alloc(1, sizeof *d);
    const struct backend *b = dev->backend;
    check_options(options, table, z);
    *d = (struct decoder){.dev = dev, .arch = arch, .table = table, .z = z, .options = *options};
    CHECK((uintptr_t)memory % PAGE_ALIGN == 0, "memory at %p", memory);
    take_arrays(d);
    if (!memory) memory = d->own = b->alloc(dev, lay_out(d, NULL));
    lay_out(d, memory);
    init_blocks(d);
    d->length = mem_alloc(options->max_rows, sizeof *d->length);
    d->read_length = mem_alloc(options->max_logits, sizeof *d->read_length);
    d->read_table = mem_alloc(options->max_logits, sizeof *d->read_table);
    feed_init(&d->feed, dev, feed_capacity(options), EVENT_FEED_DECODER);
    struct op_limits limits = limits_of(arch, options);
    b->reserve(dev, &limits);
    return d;
}

void decoder_free(struct decoder *d) {
    if (!d) return;
    feed_free(&d->feed);
    if (d->own) d->dev->backend->release(d->dev, d->own);
    mem_free(d->length);
    mem_free(d->read_length);
    mem_free(d->read_table);
    free_arrays(d);
    mem_free(d);
}

const struct decoder_options *decoder_options_of(const struct decoder *d) {
    return &d->options;
}

/* ---- weights ---- */

/* The unit's weights while zero holds them, to their own place. */
static void keep_unit(struct decoder *d, int unit, struct unit_weights from) {
    d->weights[unit] = from;
    if (!d->options.gathers) return;
    for (int s = 0; s < N_SEGMENTS; s++) {
        size_t bytes = segment_bytes(d, unit, s);
        if (bytes == 0) continue;
        d->dev->backend->copy(d->dev, (void *)d->gathered[unit].segment[s], from.segment[s], bytes,
                              STREAM_COMPUTE);
    }
    d->weights[unit] = d->gathered[unit];
}

/* What else lies in memory that was given may have been written since: so do the frequencies. */
void decoder_hold(struct decoder *d) {
    CHECK(!d->is_held, "held twice");
    int n = d->table->n_units;
    for (int u = 0; u < n; u++) {
        keep_unit(d, u, zero_weights(d->z, u, u + 1 < n ? u + 1 : -1));
        zero_release(d->z, u);
    }
    size_t bytes = (size_t)d->arch->rope_dims / 2 * sizeof(float);
    d->dev->backend->copy_in(d->dev, d->inverse_frequency, d->arch->inverse_frequency, bytes,
                             STREAM_COMPUTE);
    d->dev->backend->synchronize(d->dev, STREAM_COMPUTE);
    d->is_held = true;
}

void decoder_let_go(struct decoder *d) {
    CHECK(d->is_held, "let go and not held");
    d->is_held = false;
}

/* ---- a batch ---- */

static void check_batch(const struct decoder *d, const struct decode_batch *b) {
    const struct decoder_options *o = &d->options;
    CHECK(d->is_held, "a batch without weights");
    CHECK(b->n <= o->max_rows && b->n_logits <= o->max_logits && b->n_tables <= o->max_tables &&
              b->n_writes <= max_writes(o),
          "%lld rows, %lld logits, %lld tables, %lld writes, planned for %lld, %lld, %lld, %lld",
          (long long)b->n, (long long)b->n_logits, (long long)b->n_tables, (long long)b->n_writes,
          (long long)o->max_rows, (long long)o->max_logits, (long long)o->max_tables,
          (long long)max_writes(o));
    for (int64_t i = 0; i < b->n; i++) {
        CHECK(b->device_token || (b->token[i] >= 0 && b->token[i] < d->arch->V), "word %d of %lld",
              b->token[i], (long long)d->arch->V);
        CHECK(b->table[i] >= 0 && b->table[i] < b->n_tables && b->position[i] >= 0 &&
                  b->position[i] < o->table_pages * PAGE_TOKENS,
              "row %lld: position %d of table %d", (long long)i, b->position[i], b->table[i]);
    }
    for (int64_t i = 0; i < b->n_writes; i++)
        CHECK(b->write_from[i] >= 0 && b->write_from[i] < b->n && b->write_slot[i] >= 0 &&
                  b->write_slot[i] < o->n_pages * PAGE_TOKENS,
              "row %d to slot %d", b->write_from[i], b->write_slot[i]);
}

/* A row sees the positions up to its own. */
static void find_lengths(struct decoder *d, const struct decode_batch *b) {
    int32_t max = 0;
    for (int64_t i = 0; i < b->n; i++) {
        d->length[i] = b->position[i] + 1;
        max = MAX(max, d->length[i]);
    }
    for (int64_t i = 0; i < b->n_logits; i++) {
        int32_t row = b->logits_row[i];
        CHECK(row >= 0 && row < b->n, "logits of row %d of %lld", row, (long long)b->n);
        d->read_length[i] = d->length[row];
        d->read_table[i] = b->table[row];
    }
    d->all.max_length = d->read.max_length = max;
    d->all.table_stride = d->read.table_stride = d->options.table_pages;
    d->all.n_writes = d->read.n_writes = b->n_writes;
}

static void send_batch(struct decoder *d, const struct decode_batch *b) {
    struct fed part[] = {{b->position, &d->position, b->n},
                         {b->table, &d->all.table, b->n},
                         {d->length, &d->all.length, b->n},
                         {b->write_from, &d->all.write_from, b->n_writes},
                         {b->write_slot, &d->all.write_slot, b->n_writes},
                         {b->logits_row, &d->logits_row, b->n_logits},
                         {d->read_table, &d->read.table, b->n_logits},
                         {d->read_length, &d->read.length, b->n_logits},
                         {b->page, &d->all.page, b->n_tables * d->options.table_pages},
                         {b->token, &d->token, b->n}};
    find_lengths(d, b);
    feed_arrays(&d->feed, part, b->device_token ? 9 : 10);
    if (b->device_token) d->token = b->device_token;
    d->read.page = d->all.page;
    d->read.write_from = d->all.write_from;
    d->read.write_slot = d->all.write_slot;
}

static struct tensor floats_of(float *data, int64_t rows, int64_t cols) {
    return tensor_make(data, DTYPE_F32, rows, cols);
}

/* What all blocks share: the stream's beginning and the rotations. */
static void begin(struct decoder *d, const struct decode_batch *b) {
    int dims = d->arch->rope_dims;
    op_rope_table(d->dev, d->rope, d->position, b->n, d->inverse_frequency, dims);
    op_gather_rows(d->dev, floats_of(d->rope_read, b->n_logits, dims),
                   floats_of(d->rope, b->n, dims), d->logits_row);
    op_embed_forward(d->dev, floats_of(d->x, b->n, d->arch->D),
                     ends_embedding(d->table, d->weights[0], d->options.dtype), d->token);
}

static void run_block(struct decoder *d, int l, const struct decode_batch *batch) {
    struct block *b = &d->block[l];
    b->Q = b->rows_only ? batch->n_logits : batch->n;
    b->row = b->rows_only ? d->logits_row : NULL;
    b->paging = b->rows_only ? &d->read : &d->all;
    b->kept.all.n = batch->n;
    b->kept.all.rope = d->rope;
    b->kept.read.n = b->Q;
    b->kept.read.rope = b->rows_only ? d->rope_read : d->rope;
    b->weights = d->weights[l + 1];
    block_forward(b, false);
}

static struct tensor make_logits(struct decoder *d, int64_t n) {
    const struct arch *a = d->arch;
    struct tensor normed = floats_of(d->normed, n, a->D), ready = normed,
                  logits = floats_of(d->logits, n, a->V);
    ends_norm(d->dev, a, d->table, d->weights[d->table->n_units - 1], normed, d->stats,
              floats_of(d->x_read, n, a->D));
    if (d->cast) {
        ready = tensor_make(d->cast, d->options.dtype, n, a->D);
        op_cast(d->dev, ready, normed);
    }
    op_linear_rows(d->dev, logits, ready, ends_words(d->table, d->weights[0], d->options.dtype),
                   NULL, NULL);
    return logits;
}

struct tensor decoder_forward(struct decoder *d, const struct decode_batch *batch) {
    check_batch(d, batch);
    if (batch->n == 0) return floats_of(d->logits, 0, d->arch->V);
    send_batch(d, batch);
    begin(d, batch);
    for (int l = 0; l < d->arch->L; l++) run_block(d, l, batch);
    return make_logits(d, batch->n_logits);
}
