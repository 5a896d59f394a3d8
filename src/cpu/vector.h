/* Vectors of floats for the CPU kernels: GCC's vector extension, so that one source serves every
 * x86 and other CPUs.
 *
 * A kernel walks a row as
 *
 *     for (i = 0; i < n; i += LANES) { m = vec_room(n, i); ... vec_get(p, dtype, i, m) ... }
 *
 * where m is LANES but for the last step; vec_get fills what is beyond m with zeros, and vec_put
 * writes m elements only. dtype must be a constant at compile time (BY_DTYPE below), else each
 * access is a branch.
 *
 * Infinities and NaN go through every function as IEEE has them: nothing here needs -ffast-math. */
#ifndef RANKWISE_CPU_VECTOR_H
#define RANKWISE_CPU_VECTOR_H
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif
#include "tensor.h"

#if defined __AVX512F__
enum { LANES = 16 };
#elif defined __AVX__
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

/* The one place where typedefs are needed: the attribute belongs to a type. */
typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef uint16_t hvec __attribute__((vector_size(LANES * 2)));
typedef double dvec __attribute__((vector_size(LANES * 8)));

#define VEC_INLINE static inline __attribute__((always_inline))

static inline void *row_of(struct tensor t, int64_t row) {
    return (char *)t.data + (size_t)(row * t.stride) * dtype_bytes(t.dtype);
}

static inline void *head_of(struct heads x, int64_t row, int head) {
    return (char *)x.data +
           (size_t)(row * x.row_stride + head * x.head_stride) * dtype_bytes(x.dtype);
}

/* Runs the statement with `name` a constant: DTYPE_BF16 or DTYPE_F32. */
#define BY_DTYPE(actual, name, ...)             \
    do {                                        \
        if ((actual) == DTYPE_BF16) {           \
            const enum dtype name = DTYPE_BF16; \
            __VA_ARGS__;                        \
        } else {                                \
            const enum dtype name = DTYPE_F32;  \
            __VA_ARGS__;                        \
        }                                       \
    } while (0)

VEC_INLINE int vec_room(int64_t n, int64_t i) {
    return n - i < LANES ? (int)(n - i) : LANES;
}

VEC_INLINE vec vec_all(float x) {
    return x - (vec){0}; /* not +: keeps the sign of zero */
}

VEC_INLINE vec vec_choose(ivec mask, vec yes, vec no) {
    return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask));
}

VEC_INLINE vec vec_from_bf16(hvec bits) {
    return (vec)(__builtin_convertvector(bits, uvec) << 16);
}

/* Round to nearest, ties to even. The instruction takes subnormal numbers as zero; the other path
 * keeps them. */
VEC_INLINE hvec vec_to_bf16(vec x) {
#ifdef __AVX512BF16__
    return (hvec)_mm512_cvtneps_pbh((__m512)x);
#else
    uvec bits = (uvec)x;
    uvec rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    uvec quiet = bits >> 16 | 0x40;
    uvec nan = (uvec)(x != x);
    return __builtin_convertvector((rounded & ~nan) | (quiet & nan), hvec);
#endif
}

VEC_INLINE vec vec_load(const float *p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

VEC_INLINE void vec_store(float *p, vec x) {
    memcpy(p, &x, sizeof x);
}

VEC_INLINE vec vec_get(const void *data, enum dtype dtype, int64_t i, int m) {
    if (dtype == DTYPE_F32) {
        const float *p = (const float *)data + i;
        if (m == LANES) return vec_load(p);
        vec x = {0};
        memcpy(&x, p, (size_t)m * sizeof *p);
        return x;
    }
    const uint16_t *p = (const uint16_t *)data + i;
    hvec bits = {0};
    if (m == LANES)
        memcpy(&bits, p, sizeof bits);
    else
        memcpy(&bits, p, (size_t)m * sizeof *p);
    return vec_from_bf16(bits);
}

VEC_INLINE void vec_put(void *data, enum dtype dtype, int64_t i, int m, vec x) {
    if (dtype == DTYPE_F32) {
        float *p = (float *)data + i;
        if (m == LANES)
            vec_store(p, x);
        else
            memcpy(p, &x, (size_t)m * sizeof *p);
        return;
    }
    uint16_t *p = (uint16_t *)data + i;
    hvec bits = vec_to_bf16(x);
    if (m == LANES)
        memcpy(p, &bits, sizeof bits);
    else
        memcpy(p, &bits, (size_t)m * sizeof *p);
}

/* 0, 1, 2, ... */
VEC_INLINE ivec vec_lanes(void) {
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    ivec x;
    memcpy(&x, lane, sizeof x);
    return x;
}

/* Lane i = lane from[i] of a followed by b. */
VEC_INLINE vec vec_shuffle(vec a, vec b, ivec from) {
#ifdef __clang__
    vec x;
    for (int i = 0; i < LANES; i++) x[i] = from[i] < LANES ? a[from[i]] : b[from[i] - LANES];
    return x;
#else
    return __builtin_shuffle(a, b, from);
#endif
}

/* Lane i = lane i ^ half: what the sum and the largest of all lanes are found with, in a fixed
 * order. */
VEC_INLINE vec vec_swap(vec x, int half) {
    return vec_shuffle(x, x, vec_lanes() ^ half);
}

VEC_INLINE float vec_sum(vec x) {
    for (int half = LANES / 2; half > 0; half /= 2) x += vec_swap(x, half);
    return x[0];
}

/* Swaps the off-diagonal blocks of `step` x `step` words in each block twice as large: with step 1,
 * 2, 4, ... this transposes x (LANES vectors). */
VEC_INLINE void vec_transpose_step(vec x[LANES], const int step) {
    ivec lane = vec_lanes(), second = (lane & step) != 0;
    ivec low = lane + (second & (LANES - step)), high = lane + (second & LANES) + (~second & step);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        if (i & step) continue;
        vec upper = x[i], lower = x[i + step];
        x[i] = vec_shuffle(upper, lower, low);
        x[i + step] = vec_shuffle(upper, lower, high);
    }
}

VEC_INLINE void vec_transpose(vec x[LANES]) {
    vec_transpose_step(x, 1);
    vec_transpose_step(x, 2);
    if (LANES > 4) vec_transpose_step(x, 4);
    if (LANES > 8) vec_transpose_step(x, 8);
}

/* a if it is less (greater) than b, else b: b where one is NaN. */
VEC_INLINE vec vec_min(vec a, vec b) {
#ifdef __AVX512F__
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#else
    return vec_choose(a < b, a, b);
#endif
}

VEC_INLINE vec vec_max(vec a, vec b) {
#ifdef __AVX512F__
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return vec_choose(a > b, a, b);
#endif
}

/* x * 2^n; n is whole, or NaN as x is. In two factors where there is no instruction: one alone
 * could overflow. */
VEC_INLINE vec vec_scale(vec x, vec n) {
#ifdef __AVX512F__
    return (vec)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    ivec power = (ivec)(n + 0x1.8p23f) - 0x4b400000, low = power >> 1;
    return x * (vec)((low + 127) << 23) * (vec)((power - low + 127) << 23);
#endif
}

/* e^x, to 1.2e-7 relative; 0 and infinity where float ends, NaN stays. x = n ln2 + r with |r| <=
 * ln2 / 2; e^r by the polynomial of degree 6 with the least relative error, 2e-9. */
VEC_INLINE vec vec_exp(vec x) {
    const float shift = 0x1.8p23f; /* adding it rounds to an integer */
    x = vec_max(vec_all(-104), vec_min(vec_all(89), x));
    vec n = (x * 0x1.715476p0f + shift) - shift;
    vec r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    vec p = r * 0x1.6ae6e0p-10f + 0x1.1267d8p-7f;
    p = p * r + 0x1.555824p-5f;
    p = p * r + 0x1.555418p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return vec_scale(p, n);
}

/* erf, to 1.2e-7 relative: two polynomials found by minimax fitting (N. Juffa), both taken, one
 * chosen. */
VEC_INLINE vec vec_erf(vec x) {
    vec t = (vec)((ivec)x & 0x7fffffff), s = x * x;
    vec far = t * -1.72853470e-5f + 3.83197126e-4f;
    far = far * s + (t * -3.88396438e-3f + 2.42546219e-2f);
    far = far * t - 1.06777877e-1f;
    far = far * t - 6.34846687e-1f;
    far = far * t - 1.28717512e-1f;
    far = 1.0f - vec_exp(far * t - t);
    far = (vec)((ivec)far | ((ivec)x & (int32_t)0x80000000));
    vec near = s * -5.96761703e-4f + 4.99119423e-3f;
    near = near * s - 2.67681349e-2f;
    near = near * s + 1.12819925e-1f;
    near = near * s - 3.76125336e-1f;
    near = near * s + 1.28379166e-1f;
    near = near * x + x;
    return vec_choose(t > 0.927734375f, far, near);
}
#endif
