/* Rotary positions: the table of cosines and sines, and the rotation of heads.
 *
 *   table (row) = cos, then sin, of position * inverse_frequency (rounded to fp32)
 *   (out[i], out[i + half]) = (x cos - y sin, y cos + x sin) of (x, y) = (in[i], in[i + half]),
 *   half = rope_dims / 2;  what is left of a head is copied; backward is the rotation by the
 *   negative angle.
 *
 * The table is made once for all layers by one thread an angle, with the full range reduction:
 * positions of a million times a frequency of 1 are exact to a unit. The rotation is bound by
 * memory: 4 bytes per element of bf16 (8 fp32), and the table's 8 bytes per pair, which all heads
 * of a row share through the caches. A thread has a bundle of pairs: two 16-byte reads of each half
 * where half is a multiple of 8, else of 4 (head_dim 24, 40, ...), else single elements. In
 * place a thread reads both halves before it writes them, and what is only copied is left out of
 * the walk. The table's kernel has a stack frame of 32 bytes for the reduction of large angles; the
 * rotation 40 registers. */
#include "kernels.h"

__global__ void rope_table_kernel(float *table, const int32_t *position,
                                  const float *inverse_frequency, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        float angle = (float)position[at.row] * inverse_frequency[at.col], sine, cosine;
        sincosf(angle, &sine, &cosine);
        table[at.row * 2 * w.n + at.col] = cosine;
        table[at.row * 2 * w.n + w.n + at.col] = sine;
    }
}

void cuda_rope_table(struct device *dev, float *table, const int32_t *position, int64_t rows,
                     const float *inverse_frequency, int rope_dims) {
    struct walk w = walk_make(dev, rows, rope_dims / 2);
    LAUNCH(rope_table_kernel, w.blocks, BLOCK, 0, compute_stream(dev), table, position,
           inverse_frequency, w);
    CUDA_LAUNCHED();
}

struct rope {
    void *out;
    const void *in;
    const float *table;
    int64_t out_row, out_head, in_row, in_head; /* strides */
    /* bundles of a head: that are turned, and with those copied */
    int n_turned, n_all;
    int half; /* rope_dims / 2 */
    float sign;
};

/* A thread turns N pairs at a time, or copies N elements that are not rotated. */
template <typename T, int N> __global__ void rope_kernel(struct rope a, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        int head = (int)at.col / a.n_all, i = (int)at.col % a.n_all;
        const T *in = (const T *)a.in + at.row * a.in_row + head * a.in_head;
        T *out = (T *)a.out + at.row * a.out_row + head * a.out_head;
        if (i >= a.n_turned) {
            int rest = 2 * a.half + (i - a.n_turned) * N;
            store<N>(out + rest, load<N>(in + rest));
            continue;
        }
        const float *table = a.table + at.row * 2 * a.half + i * N;
        floats<N> cosine = load<N>(table), sine = load<N>(table + a.half);
        floats<N> x = load<N>(in + i * N), y = load<N>(in + a.half + i * N), u, v;
#pragma unroll
        for (int e = 0; e < N; e++) {
            float s = sine.item[e] * a.sign;
            u.item[e] = x.item[e] * cosine.item[e] - y.item[e] * s;
            v.item[e] = y.item[e] * cosine.item[e] + x.item[e] * s;
        }
        store<N>(out + i * N, u);
        store<N>(out + a.half + i * N, v);
    }
}

void cuda_rope(struct device *dev, struct heads out, struct heads in, const float *table,
               int rope_dims, bool backward) {
    int half = rope_dims / 2, n = fits(fits(fits(widest(in.dtype), out), in), table, DTYPE_F32);
    while (n > 1 && half % n != 0) n = n == 8 ? 4 : 1;
    int rest = out.data == in.data ? 0 : in.head_dim - rope_dims;
    struct rope a = {out.data,
                     in.data,
                     table,
                     out.row_stride,
                     out.head_stride,
                     in.row_stride,
                     in.head_stride,
                     half / n,
                     (half + rest) / n,
                     half,
                     backward ? -1.0f : 1.0f};
    struct walk w = walk_make(dev, in.rows, (int64_t)in.n_heads * a.n_all);
    BY_TYPE(in.dtype, T, BY_BUNDLE(n, N, {
        LAUNCH((rope_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev), a, w);
    }));
    CUDA_LAUNCHED();
}
