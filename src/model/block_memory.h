/* The memory of a block's forward, laid out for a model and for a decoder alike. */
#ifndef RANKWISE_BLOCK_MEMORY_H
#define RANKWISE_BLOCK_MEMORY_H
#include "block.h"
#include "layout.h"

struct block_sizes {
    const struct arch *arch; /* not owned, like adapters */
    const struct adapters *adapters;
    enum dtype dtype;
    int64_t quantised; /* parameters_largest_quantised */
};

/* What a block keeps but for its residual streams. T and Q are whole quanta of rows. */
void block_lay_out_kept(struct layout *memory, struct block_kept *k, const struct block_sizes *s,
                        bool rows_only, int64_t T, int64_t Q);
/* What holds nothing from one block to the next, of a forward of up to T rows: only the norms of
 * some families and quantised matrices need any of it. */
void block_lay_out_scratch(struct layout *memory, struct block_scratch *scratch,
                           const struct block_sizes *s, int64_t T);

static inline float *layout_floats(struct layout *memory, int64_t rows, int64_t cols) {
    return layout_take(memory, rows * cols, sizeof(float));
}

/* Memory for per-token rows has whole quanta of them, by tensor.h (1). */
static inline int64_t whole_rows(int64_t rows) {
    return ROUND_UP(MAX(rows, 1), ROW_QUANTUM);
}
#endif
