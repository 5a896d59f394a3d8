/* NF4 with double quantisation (Dettmers et al., "QLoRA", NeurIPS 2023), in bitsandbytes' numbers.
 *
 * A matrix of n numbers, row-major, is cut into blocks of NF4_BLOCK, and these into groups of
 * NF4_GROUP blocks. absmax is the largest magnitude in a block.
 *
 *     offset       the mean of absmax over the whole matrix                             float
 *     scale        of a group: the largest |absmax - offset| in it                      float
 *     absmax code  of a block: the place in the map nearest to (absmax - offset) / scale   8 bits
 *     code         of x: the place in NF4_VALUES nearest to x / absmax                     4 bits
 *
 *     x becomes    NF4_VALUES[code] * (map[absmax code] * scale + offset)
 *
 * That is 4.127 bits for each number. All of it is fp32, rounded after each operation:
 *
 *   (1) x / absmax is x * (1 / absmax) in a whole block and a division in the last, partial one;
 *       the same for absmax codes. A divisor below 1e-38 counts as 1e-38, so that zeros stay zeros.
 *   (2) Nearest is decided by the middle of two neighbours, itself in fp32; the middle goes to the
 *       lower one.
 *   (3) The mean is summed in double, so that nothing but the matrix decides it. bitsandbytes sums
 *       in fp32 in an order of its own: the same number for weights that are bf16 in their file,
 *       else sometimes its neighbour.
 *   (4) bitsandbytes' CPU build looks absmax codes up in a table of 65,536 steps, by which one of
 *       600 differs by one place; (2) is what its GPU kernels and its Python do. */
#ifndef RANKWISE_NF4_H
#define RANKWISE_NF4_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

enum { NF4_BLOCK = 64, NF4_GROUP = 256, NF4_ALIGN = 64 };

#define NF4_VALUES                                                                                \
    -1.0f, -0x1.647362p-1f, -0x1.0cd66p-1f, -0x1.94654p-2f, -0x1.23449ap-2f, -0x1.7a6a7ep-3f,     \
        -0x1.74f0e2p-4f, 0.0f, 0x1.45f5fep-4f, 0x1.4995c6p-3f, 0x1.f809bap-3f, 0x1.5a0674p-2f,    \
        0x1.c3497p-2f, 0x1.200f56p-1f, 0x1.722766p-1f, 1.0f

/* bitsandbytes' signed dynamic map, ascending. */
struct nf4_map {
    float value[256];
};
const struct nf4_map *nf4_absmax_map(void);

/* The bytes of a quantised matrix: codes, two to a byte and the first in the high half; absmax
 * codes; scales; offset. Each part begins at a multiple of NF4_ALIGN bytes, and so ends the whole;
 * the bytes between are zero, but for the low half of an odd last code, which is that of 0.0. */
struct nf4_layout {
    int64_t n_blocks, n_groups;
    int64_t absmax, scale, offset, bytes; /* bytes from the first code */
};

static inline struct nf4_layout nf4_layout_make(int64_t n) {
    struct nf4_layout at;
    at.n_blocks = (n + NF4_BLOCK - 1) / NF4_BLOCK;
    at.n_groups = (at.n_blocks + NF4_GROUP - 1) / NF4_GROUP;
    at.absmax = ROUND_UP((n + 1) / 2, NF4_ALIGN);
    at.scale = at.absmax + ROUND_UP(at.n_blocks, NF4_ALIGN);
    at.offset = at.scale + ROUND_UP(at.n_groups * (int64_t)sizeof(float), NF4_ALIGN);
    at.bytes = at.offset + NF4_ALIGN;
    return at;
}

/* What the values of a block's codes are multiplied by; behind: what stands behind the codes. The
 * product is rounded before the sum: the intrinsic, or a volatile variable, keeps compilers from
 * making one operation of the two. */
static inline HD float nf4_absmax(const struct nf4_map *map, const uint8_t *behind,
                                  const struct nf4_layout *at, int64_t block) {
    float value = map->value[behind[block]];
    const uint8_t *scales = behind + (at->scale - at->absmax),
                  *offset = behind + (at->offset - at->absmax);
    float scale = ((const float *)(const void *)scales)[block / NF4_GROUP];
#ifdef __CUDA_ARCH__
    return __fmul_rn(value, scale) + *(const float *)(const void *)offset;
#else
    volatile float product = value * scale;
    return product + *(const float *)(const void *)offset;
#endif
}

/* The absmax of each block of in (n), which begins at a block; NaN where the block has one. */
void nf4_find_absmax(float *absmax, const float *in, int64_t n);
/* The codes of in (n), which begins at a block: (n + 1) / 2 bytes. Only a matrix's end may be a
 * partial block. */
void nf4_quantise(uint8_t *code, const float *in, int64_t n);
/* From the absmax of all blocks of a matrix: code (n_blocks), scale (of each group), offset. */
void nf4_quantise_absmax(uint8_t *code, float *scale, float *offset, const float *absmax,
                         int64_t n_blocks);

#ifdef __cplusplus
}
#endif
#endif
