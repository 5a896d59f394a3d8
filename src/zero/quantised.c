/* Quantised parameters while they are loaded: see quantised.h. */
#include "quantised.h"

#include <float.h>
#include <string.h>

#include "memory.h"
#include "nf4.h"

enum {
    PIECE_BLOCKS = 1 << 14,
    PIECE = PIECE_BLOCKS * NF4_BLOCK, /* elements on the host at a time */
    BLOCK_BYTES = NF4_BLOCK / 2
};

/* Elements [first, first + count) into the piece. */
static int read_piece(struct quantised_source *q, const struct parameter *p, int64_t first,
                      int64_t count) {
    if (!q->piece) q->piece = mem_alloc(PIECE, sizeof *q->piece);
    return q->reader->read(q->reader->self, p, first, count, q->piece);
}

/* ---- codes ---- */

/* Bytes [first, first + count) of the codes: those of whole blocks, of which the first and the last
 * may be wanted in part. */
static int read_codes(struct quantised_source *q, const struct parameter *p, int64_t first,
                      int64_t count, uint8_t *out) {
    uint8_t *code = mem_alloc(PIECE / 2, 1);
    int status = 0;
    int64_t end = first + count, block = first / BLOCK_BYTES;
    while (status == 0 && block * BLOCK_BYTES < end) {
        int64_t element = block * NF4_BLOCK, at = block * BLOCK_BYTES;
        int64_t n_blocks = MIN((end - at + BLOCK_BYTES - 1) / BLOCK_BYTES, PIECE_BLOCKS);
        int64_t n = MIN(n_blocks * NF4_BLOCK, p->count - element);
        int64_t from = MAX(first, at), to = MIN(end, at + n_blocks * BLOCK_BYTES);
        status = read_piece(q, p, element, n);
        if (status == 0) {
            nf4_quantise(code, q->piece, n);
            memcpy(out + (from - first), code + (from - at), (size_t)(to - from));
        }
        block += n_blocks;
    }
    mem_free(code);
    return status;
}

/* ---- what stands behind them ---- */

static int find_all_absmax(struct quantised_source *q, const struct parameter *p, float *absmax) {
    for (int64_t first = 0; first < p->count; first += PIECE) {
        int64_t n = MIN(p->count - first, PIECE);
        if (read_piece(q, p, first, n) != 0) return -1;
        nf4_find_absmax(absmax + first / NF4_BLOCK, q->piece, n);
    }
    int64_t n_blocks = nf4_layout_make(p->count).n_blocks;
    for (int64_t b = 0; b < n_blocks; b++)
        if (!(absmax[b] <= FLT_MAX))
            return fail("%s: expected finite numbers to quantise, found others among elements "
                        "%lld to %lld; hint: the model is damaged",
                        p->name, (long long)(b * NF4_BLOCK), (long long)((b + 1) * NF4_BLOCK - 1));
    return 0;
}

static int make_behind(struct quantised_source *q, const struct parameter *p) {
    struct nf4_layout at = nf4_layout_make(p->count);
    if (q->of == p) return 0;
    mem_free(q->behind);
    q->of = NULL;
    q->behind = mem_alloc(at.bytes - at.absmax, 1);
    float *absmax = mem_alloc(at.n_blocks, sizeof *absmax);
    int status = find_all_absmax(q, p, absmax);
    if (status == 0) {
        nf4_quantise_absmax(q->behind, (float *)(void *)(q->behind + (at.scale - at.absmax)),
                            (float *)(void *)(q->behind + (at.offset - at.absmax)), absmax,
                            at.n_blocks);
        q->of = p;
    }
    mem_free(absmax);
    return status;
}

int quantised_read(struct quantised_source *q, const struct parameter *p, int64_t first,
                   int64_t count, uint8_t *out) {
    struct nf4_layout at = nf4_layout_make(p->count);
    int64_t end = first + count, codes_end = (p->count + 1) / 2;
    CHECK(first >= 0 && end <= at.bytes, "%s: bytes %lld + %lld of %lld", p->name, (long long)first,
          (long long)count, (long long)at.bytes);
    memset(out, 0, (size_t)count); /* the bytes between the parts */
    if (first < codes_end && read_codes(q, p, first, MIN(end, codes_end) - first, out) != 0)
        return -1;
    if (end <= at.absmax) return 0;
    if (make_behind(q, p) != 0) return -1;
    int64_t from = MAX(first, at.absmax);
    memcpy(out + (from - first), q->behind + (from - at.absmax), (size_t)(end - from));
    return 0;
}

/* Elements [first, end) of those from `from` on, whose codes these are. */
static void take_back(const struct quantised_source *q, const struct nf4_layout *at, int64_t first,
                      int64_t end, const uint8_t *code, int64_t from, float *out) {
    static const float values[16] = {NF4_VALUES};
    const struct nf4_map *map = nf4_absmax_map();
    float absmax = 0;
    for (int64_t i = first; i < end; i++) {
        if (i == first || i % NF4_BLOCK == 0)
            absmax = nf4_absmax(map, q->behind, at, i / NF4_BLOCK);
        uint8_t two = code[(i - from) / 2];
        *out++ = values[i % 2 == 0 ? two >> 4 : two & 15] * absmax;
    }
}

int quantised_read_back(struct quantised_source *q, const struct parameter *p, int64_t first,
                        int64_t count, float *out) {
    struct nf4_layout at = nf4_layout_make(p->count);
    int64_t end = first + count;
    if (make_behind(q, p) != 0) return -1;
    uint8_t *code = mem_alloc(PIECE / 2, 1);
    int status = 0;
    for (int64_t from = first / NF4_BLOCK * NF4_BLOCK; from < end && status == 0; from += PIECE) {
        int64_t to = MIN(end, from + PIECE), begin = MAX(first, from);
        status = read_codes(q, p, from / 2, (to - from + 1) / 2, code);
        if (status == 0) take_back(q, &at, begin, to, code, from, out + (begin - first));
    }
    mem_free(code);
    return status;
}

void quantised_free(struct quantised_source *q) {
    mem_free(q->piece);
    mem_free(q->behind);
}
