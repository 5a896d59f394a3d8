/* Weights from NF4 into the dtype that products take: nf4.h has the formula.
 *
 * Bound by memory: 2.52 bytes per element for bf16, 4.52 for fp32. A thread takes 8 codes, one
 * access of 4 bytes, and writes one bundle of 8 bf16 or two of fp32, so that a warp reads and
 * writes without gaps. Codes are looked up in 16 words of shared memory, which lie in 16 banks: no
 * lane waits for another. Absmax codes are looked up in the map, a kernel's argument; the 8 threads
 * of a block of weights ask for the same place.
 *
 * Considered: 32 codes a thread in one access of 16 bytes (stores of neighbouring lanes lie 64
 * bytes apart), and a table of pairs by byte (256 entries of shared memory, with bank conflicts).
 */
#include "kernels.h"
#include "nf4.h"

enum { CODES = 8 };

__constant__ float values[16] = {NF4_VALUES};

/* n elements in all. N: the bundle of stores. */
template <typename T, int N>
__global__ void dequantise_kernel(T *out, const uint8_t *quantised, struct nf4_layout layout,
                                  const __grid_constant__ struct nf4_map map, int64_t n,
                                  struct walk w) {
    SHARED(float, value, 16);
    if (threadIdx.x < 16) value[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        int64_t first = at.col * CODES;
        float absmax =
            nf4_absmax(&map, quantised + layout.absmax, &layout, first / NF4_BLOCK);
        uint32_t codes = *reinterpret_cast<const uint32_t *>(quantised + first / 2);
#pragma unroll
        for (int j = 0; j < CODES; j += N) {
            floats<N> x;
#pragma unroll
            for (int i = 0; i < N; i++) /* the high half of each byte comes first */
                x.item[i] = value[codes >> 4 * ((j + i) ^ 1) & 15] * absmax;
            if (first + j + N <= n) store<N>(out + first + j, x);
            for (int i = 0; first + j + N > n && first + j + i < n; i++)
                from_float(&out[first + j + i], x.item[i]);
        }
    }
}

void cuda_dequantise(struct device *dev, struct tensor out, const void *quantised) {
    int64_t n = out.rows * out.cols;
    int bundle = fits(widest(out.dtype), out.data, out.dtype);
    struct walk w = walk_make(dev, 1, pieces(n, CODES));
    BY_TYPE(out.dtype, T, BY_BUNDLE(bundle, N, {
                LAUNCH((dequantise_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)out.data, (const uint8_t *)quantised, nf4_layout_make(n),
                       *nf4_absmax_map(), n, w);
            }));
    CUDA_LAUNCHED();
}
