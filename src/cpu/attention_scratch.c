/* The layout of a thread's scratch: see attention_scratch.h. */
#include "attention_scratch.h"

#include "layout.h"

int scratch_whole_tiles(int64_t rows) {
    return (int)ROUND_UP(rows, TILE_ROWS);
}

static void lay_out_chunks(struct scratch *s, const struct scratch_sizes *z,
                           struct layout *memory) {
    int n = (int)(ROUND_UP(z->keys, CHUNK) / CHUNK);
    int64_t panels = (int64_t)CHUNK * z->layout.depth, rows = (int64_t)CHUNK * z->layout.width;
    int64_t rows_words = z->layout.bf16x2 ? rows / 2 : rows;
    s->chunk = layout_take(memory, n, sizeof *s->chunk);
    for (int i = 0; i < n; i++) {
        struct chunk c = {.k_panels = layout_take(memory, panels, 4)};
        if (z->backward) {
            c.v_panels = layout_take(memory, panels, 4);
            c.k_rows = layout_take(memory, rows_words, 4);
            c.dk = layout_take(memory, rows, 4);
            c.dv = layout_take(memory, rows, 4);
        } else {
            c.v_rows = layout_take(memory, rows_words, 4);
        }
        if (memory->base) s->chunk[i] = c;
    }
}

static void lay_out_rows(struct rows *r, const struct scratch_sizes *z, struct layout *memory) {
    const struct tile_layout *l = &z->layout;
    int64_t span =
        scratch_whole_tiles((int64_t)attention_span_queries(z->queries_per_kv) * z->queries_per_kv);
    int64_t block = scratch_whole_tiles((int64_t)attention_block_queries(z->queries_per_kv) *
                                        z->queries_per_kv);
    int64_t n = z->backward ? block : span;
    r->at = layout_take(memory, n, sizeof *r->at);
    r->q = layout_take(memory, n * l->row_words, 4);
    if (!z->backward) {
        r->max = layout_take(memory, n, 4);
        r->sum = layout_take(memory, n, 4);
        r->out = layout_take(memory, n * l->width, 4);
        return;
    }
    r->dout = layout_take(memory, n * l->row_words, 4);
    r->q_sum = l->bf16x2 ? layout_take(memory, n / 2 * l->width, 4) : r->q;
    r->dout_sum = l->bf16x2 ? layout_take(memory, n / 2 * l->width, 4) : r->dout;
    r->lse = layout_take(memory, n, 4);
    r->delta = layout_take(memory, n, 4);
    r->dq = layout_take(memory, span + block, (size_t)l->width * 4);
}

size_t scratch_lay_out(struct scratch *s, const struct scratch_sizes *z, char *base) {
    struct layout memory = {base, 64, 0};
    int64_t block = z->backward
                        ? scratch_whole_tiles((int64_t)attention_block_queries(z->queries_per_kv) *
                                              z->queries_per_kv)
                        : TILE_ROWS;
    bool bf16x2 = z->layout.bf16x2;
    lay_out_chunks(s, z, &memory);
    lay_out_rows(&s->rows, z, &memory);
    s->scores = layout_take(&memory, (bf16x2 ? TILE_ROWS : block) * CHUNK, 4);
    s->dscores = layout_take(&memory, (bf16x2 ? TILE_ROWS : block) * CHUNK, 4);
    s->p_words = layout_take(&memory, bf16x2 ? block / 2 * CHUNK : 0, 4);
    s->ds_words = layout_take(&memory, bf16x2 ? block / 2 * CHUNK : 0, 4);
    s->ds_rows = layout_take(&memory, bf16x2 ? TILE_ROWS * CHUNK / 2 : 0, 4);
    return memory.used;
}

struct scratch_sizes scratch_sizes_make(int head_dim, int queries_per_kv, int64_t keys, bool bf16x2,
                                        bool backward) {
    return (struct scratch_sizes){layout_make(head_dim, bf16x2), queries_per_kv,
                                  backward ? MIN(KEY_BLOCK, keys) : CHUNK, backward};
}
