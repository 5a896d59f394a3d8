/* What a thread of attention.c works in: packed rows of queries, chunks of keys, and scores.
 *
 * Sizes follow the head, the pass and the number of keys packed at once; counting and placing are
 * one function (layout.h). */
#ifndef RANKWISE_CPU_ATTENTION_SCRATCH_H
#define RANKWISE_CPU_ATTENTION_SCRATCH_H
#include "attention_plan.h"

/* At most CHUNK keys, packed. */
struct chunk {
    int32_t index; /* forest index of the first key */
    int n, n_panels;
    int32_t reach[CHUNK];           /* 0 beyond the last key: nobody sees those */
    int32_t tile_max[CHUNK_TILES]; /* the largest reach of a tile of keys */
    int32_t panel_least[CHUNK_PANELS], panel_max[CHUNK_PANELS];
    uint32_t *k_panels, *v_panels, *k_rows, *v_rows;
    float *dk, *dv; /* (CHUNK, width) */
};

/* Rows of queries, packed. */
struct rows {
    int n, n_tiles;
    int32_t *at; /* forest index; the last one's in what fills up the last tile */
    uint32_t *q, *dout;
    uint32_t *q_sum, *dout_sum; /* as right operands; without bf16x2 the same as q, dout */
    float *max, *sum, *out;    /* forward: running maximum (times log2 e) and sum, (n, width) */
    float *lse, *delta, *dq;    /* backward: lse times log2 e; D; (n, width) */
};

/* What a thread works in. */
struct scratch {
    struct chunk *chunk; /* KEY_BLOCK / CHUNK of them; forward: 1 */
    struct rows rows;
    float *scores, *dscores;      /* (BLOCK_ROWS, CHUNK): P and dS; with bf16x2 one tile of them */
    uint32_t *p_words, *ds_words; /* bf16x2: P and dS (BLOCK_ROWS / 2, CHUNK), two rows in a word */
    uint32_t *ds_rows; /* bf16x2: dS of a tile (TILE_ROWS, CHUNK / 2), two keys in a word */
};

struct scratch_sizes {
    struct tile_layout layout;
    int queries_per_kv;
    int64_t keys; /* packed at once */
    bool backward;
};

struct scratch_sizes scratch_sizes_make(int head_dim, int queries_per_kv, int64_t keys, bool bf16x2,
                                        bool backward);

/* Rows of queries, in whole tiles. */
int scratch_whole_tiles(int64_t rows);

/* Lays a thread's scratch out from the base; its size if that is NULL. */
size_t scratch_lay_out(struct scratch *s, const struct scratch_sizes *z, char *base);
#endif
