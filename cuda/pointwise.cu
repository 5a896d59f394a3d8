/* The elementwise ops: activations and conversion.
 *
 *   swiglu:  out = silu(gate) * up,  silu(g) = g / (1 + exp(-g));   with s = 1 / (1 + exp(-g)):
 *            dup = dout * g s,  dgate = dout * up * s (1 + g (1 - s))
 *   gelu:    out = x Phi(x);  din = dout (Phi(x) + x phi(x)),  Phi(x) = (1 + erf(x / sqrt 2)) / 2
 *
 * Bound by memory. Bytes per element of out (dout), bf16 | fp32: swiglu 6 | 12, backward 10 | 20,
 * gelu 4 | 8, backward 6 | 12; cast 6 between the two, add 10 | 12. One walk of the whole device
 * over (row, bundle), by which a row's width need not fit any block, and each thread has one
 * 16-byte access of each operand under way: with 31 to 45 registers (sm_90, bf16) 1,280 to 2,048
 * threads of a multiprocessor have 40 to 64 KB of reads under way, and a latency of 700 ns asks for
 * 25 KB at 4.8 TB/s. Without sums and with at most 40 instructions an element, no more than a third
 * of what a multiprocessor issues in the time that memory takes.
 *
 * Considered: a grid of rows, one block each (idle lanes where the width is no multiple of 2,048),
 * and a division per bundle instead of the walk's carry (70 instructions of 300). expf and the
 * division are the exact ones: the fast forms lose 2e-6 relative at |g| = 20, and memory would not
 * let them show. */
#include "kernels.h"

template <typename O, typename I, int N>
__global__ void cast_kernel(O *out, int64_t out_stride, const I *in, int64_t in_stride,
                            struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w))
        store<N>(out + at.row * out_stride + at.col * N,
                 load<N>(in + at.row * in_stride + at.col * N));
}

void cuda_cast(struct device *dev, struct tensor out, struct tensor in) {
    int n = fits(fits(out.dtype == DTYPE_F32 && in.dtype == DTYPE_F32 ? 4 : 8, out), in);
    struct walk w = walk_make(dev, in.rows, in.cols / n);
    BY_TYPE(out.dtype, O, BY_TYPE(in.dtype, I, BY_BUNDLE(n, N, {
                                      LAUNCH((cast_kernel<O, I, N>), w.blocks, BLOCK, 0,
                                             compute_stream(dev), (O *)out.data, out.stride,
                                             (const I *)in.data, in.stride, w);
                                  })));
    CUDA_LAUNCHED();
}

/* out may be in, and below a: a thread reads what it writes, and nobody else does. */
template <typename T, int N>
__global__ void scale_kernel(T *out, int64_t out_stride, const T *in, int64_t in_stride,
                             float factor, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        floats<N> x = load<N>(in + at.row * in_stride + at.col * N);
#pragma unroll
        for (int i = 0; i < N; i++) x.item[i] *= factor;
        store<N>(out + at.row * out_stride + at.col * N, x);
    }
}

void cuda_scale(struct device *dev, struct tensor out, struct tensor in, float factor) {
    int n = fits(fits(widest(in.dtype), out), in);
    struct walk w = walk_make(dev, in.rows, in.cols / n);
    BY_TYPE(in.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((scale_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)out.data, out.stride, (const T *)in.data, in.stride, factor, w);
            }));
    CUDA_LAUNCHED();
}

template <typename T, int N>
__global__ void add_kernel(float *out, int64_t out_stride, const float *a, int64_t a_stride,
                           const T *b, int64_t b_stride, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        floats<N> x = load<N>(a + at.row * a_stride + at.col * N),
                  y = load<N>(b + at.row * b_stride + at.col * N);
#pragma unroll
        for (int i = 0; i < N; i++) x.item[i] += y.item[i];
        store<N>(out + at.row * out_stride + at.col * N, x);
    }
}

void cuda_add(struct device *dev, struct tensor out, struct tensor a, struct tensor b) {
    int n = fits(fits(fits(widest(b.dtype), out), a), b);
    struct walk w = walk_make(dev, b.rows, b.cols / n);
    BY_TYPE(b.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((add_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (float *)out.data, out.stride, (const float *)a.data, a.stride,
                       (const T *)b.data, b.stride, w);
            }));
    CUDA_LAUNCHED();
}

/* ---- SwiGLU ---- */

/* up stands n_cols behind gate in each row of gate_up. */
template <typename T, int N>
__global__ void swiglu_forward_kernel(T *out, int64_t out_stride, const T *gate_up,
                                      int64_t in_stride, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        const T *gate = gate_up + at.row * in_stride + at.col * N;
        floats<N> g = load<N>(gate), u = load<N>(gate + w.n * N), y;
#pragma unroll
        for (int i = 0; i < N; i++) y.item[i] = g.item[i] / (1.0f + expf(-g.item[i])) * u.item[i];
        store<N>(out + at.row * out_stride + at.col * N, y);
    }
}

void cuda_swiglu_forward(struct device *dev, struct tensor out, struct tensor gate_up) {
    int n = fits(fits(widest(out.dtype), out), tensor_cols(gate_up, out.cols, out.cols));
    n = fits(n, gate_up);
    struct walk w = walk_make(dev, out.rows, out.cols / n);
    BY_TYPE(out.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((swiglu_forward_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)out.data, out.stride, (const T *)gate_up.data, gate_up.stride, w);
            }));
    CUDA_LAUNCHED();
}

template <typename T, int N>
__global__ void swiglu_backward_kernel(T *dgate_up, int64_t out_stride, const T *dout,
                                       int64_t dout_stride, const T *gate_up, int64_t in_stride,
                                       struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        const T *gate = gate_up + at.row * in_stride + at.col * N;
        T *dgate = dgate_up + at.row * out_stride + at.col * N;
        floats<N> g = load<N>(gate), u = load<N>(gate + w.n * N), dg, du;
        floats<N> d = load<N>(dout + at.row * dout_stride + at.col * N);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float s = 1.0f / (1.0f + expf(-g.item[i]));
            du.item[i] = d.item[i] * (g.item[i] * s);
            dg.item[i] = d.item[i] * u.item[i] * (s * (1.0f + g.item[i] * (1.0f - s)));
        }
        store<N>(dgate, dg);
        store<N>(dgate + w.n * N, du);
    }
}

void cuda_swiglu_backward(struct device *dev, struct tensor dgate_up, struct tensor dout,
                          struct tensor gate_up) {
    int n = fits(fits(fits(widest(dout.dtype), dout), gate_up), dgate_up);
    n = fits(fits(n, tensor_cols(gate_up, dout.cols, dout.cols)),
             tensor_cols(dgate_up, dout.cols, dout.cols));
    struct walk w = walk_make(dev, dout.rows, dout.cols / n);
    BY_TYPE(dout.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((swiglu_backward_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)dgate_up.data, dgate_up.stride, (const T *)dout.data, dout.stride,
                       (const T *)gate_up.data, gate_up.stride, w);
            }));
    CUDA_LAUNCHED();
}

/* ---- GELU ---- */

/* Phi(x), the normal distribution's share below x. */
__device__ static inline float normal_share(float x) {
    return 0.5f + 0.5f * erff(x * 0.70710678118654752f);
}

template <typename T, int N>
__global__ void gelu_forward_kernel(T *out, int64_t out_stride, const T *in, int64_t in_stride,
                                    struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        floats<N> x = load<N>(in + at.row * in_stride + at.col * N);
#pragma unroll
        for (int i = 0; i < N; i++) x.item[i] *= normal_share(x.item[i]);
        store<N>(out + at.row * out_stride + at.col * N, x);
    }
}

void cuda_gelu_forward(struct device *dev, struct tensor out, struct tensor in) {
    int n = fits(fits(widest(in.dtype), out), in);
    struct walk w = walk_make(dev, in.rows, in.cols / n);
    BY_TYPE(in.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((gelu_forward_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)out.data, out.stride, (const T *)in.data, in.stride, w);
            }));
    CUDA_LAUNCHED();
}

template <typename T, int N>
__global__ void gelu_backward_kernel(T *din, int64_t out_stride, const T *dout, int64_t dout_stride,
                                     const T *in, int64_t in_stride, struct walk w) {
    const float density = 0.39894228040143268f; /* phi(0) = 1 / sqrt(2 pi) */
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        floats<N> x = load<N>(in + at.row * in_stride + at.col * N);
        floats<N> d = load<N>(dout + at.row * dout_stride + at.col * N);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float z = x.item[i];
            d.item[i] *= normal_share(z) + z * (density * expf(z * z * -0.5f));
        }
        store<N>(din + at.row * out_stride + at.col * N, d);
    }
}

void cuda_gelu_backward(struct device *dev, struct tensor din, struct tensor dout,
                        struct tensor in) {
    int n = fits(fits(fits(widest(in.dtype), din), dout), in);
    struct walk w = walk_make(dev, in.rows, in.cols / n);
    BY_TYPE(in.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((gelu_backward_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)din.data, din.stride, (const T *)dout.data, dout.stride,
                       (const T *)in.data, in.stride, w);
            }));
    CUDA_LAUNCHED();
}
