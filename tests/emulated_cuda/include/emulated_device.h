/* What device code calls: vector types, warp operations, arithmetic, atomics. Part of
 * cuda_runtime.h. */
#ifndef EMULATED_DEVICE_H
#define EMULATED_DEVICE_H
#include <limits.h>
#include <math.h>
#include <string.h>

#include "emulated.h"

/* ---- vector types
 *
 * ---------------------------------------------------------------------------------------------- */
#define EMULATED_VECTORS(type, name)                                        \
    struct name##1 {                                                        \
        type x;                                                             \
    };                                                                      \
    struct alignas(2 * sizeof(type)) name##2 {                              \
        type x, y;                                                          \
    };                                                                      \
    struct name##3 {                                                        \
        type x, y, z;                                                       \
    };                                                                      \
    struct alignas(4 * sizeof(type) < 16 ? 4 * sizeof(type) : 16) name##4 { \
        type x, y, z, w;                                                    \
    };                                                                      \
    static inline name##1 make_##name##1(type x) {                          \
        return {x};                                                         \
    }                                                                       \
    static inline name##2 make_##name##2(type x, type y) {                  \
        return {x, y};                                                      \
    }                                                                       \
    static inline name##3 make_##name##3(type x, type y, type z) {          \
        return {x, y, z};                                                   \
    }                                                                       \
    static inline name##4 make_##name##4(type x, type y, type z, type w) {  \
        return {x, y, z, w};                                                \
    }
EMULATED_VECTORS(signed char, char)
EMULATED_VECTORS(unsigned char, uchar)
EMULATED_VECTORS(short, short)
EMULATED_VECTORS(unsigned short, ushort)
EMULATED_VECTORS(int, int)
EMULATED_VECTORS(float, float)
EMULATED_VECTORS(double, double)
EMULATED_VECTORS(long long, longlong)
EMULATED_VECTORS(unsigned long long, ulonglong)
struct uint1 {
    unsigned x;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline uint1 make_uint1(unsigned x) { return {x}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

/* ---- barriers
 *
 * ---------------------------------------------------------------------------------------------- */
static inline void __syncthreads(EMULATED_HERE) { emulated_barrier(0, file, line); }
static inline int __syncthreads_count(int predicate, EMULATED_HERE) {
    return emulated_barrier(predicate, file, line);
}
static inline int __syncthreads_or(int predicate, EMULATED_HERE) {
    return emulated_barrier(predicate, file, line) != 0;
}
static inline int __syncthreads_and(int predicate, EMULATED_HERE) {
    return emulated_barrier(!predicate, file, line) == 0;
}
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMULATED_HERE) {
    emulated_warp_barrier(mask, file, line);
}
static inline void __threadfence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* ---- shuffles and votes
 * ---------------------------------------------------------------------------------------------- */
static inline void emulated_full(unsigned mask) {
    if (mask != 0xFFFFFFFFu)
        emulated_abort("a warp operation with mask %08x: only full masks are allowed", mask);
}
struct emulated_shuffle {
    uint64_t value;
    unsigned source;
};
static inline void emulated_shuffle_all(emulated_shuffle *const lane[32]) {
    uint64_t value[32];
    for (int i = 0; i < 32; i++) value[i] = lane[i]->value;
    for (int i = 0; i < 32; i++) lane[i]->value = value[lane[i]->source];
}
template <class T>
inline T emulated_from_lane(unsigned mask, T value, unsigned source, const char *file, int line) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "a shuffle's type");
    emulated_full(mask);
    emulated_shuffle frame = {0, source};
    memcpy(&frame.value, &value, sizeof value);
    emulated_warp(frame, emulated_shuffle_all, file, line);
    memcpy(&value, &frame.value, sizeof value);
    return value;
}
static inline unsigned emulated_lane(void) { return threadIdx.x & 31; }
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATED_HERE) {
    unsigned first = emulated_lane() & ~(unsigned)(width - 1);
    return emulated_from_lane(mask, value, first + ((unsigned)source & (unsigned)(width - 1)), file,
                              line);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATED_HERE) {
    unsigned me = emulated_lane(), source = me ^ (unsigned)bits;
    bool inside = (source & 31) < ((me & ~(unsigned)(width - 1)) + (unsigned)width) && source < 32;
    return emulated_from_lane(mask, value, inside ? source : me, file, line);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned n, int width = 32, EMULATED_HERE) {
    unsigned me = emulated_lane(), last = me | (unsigned)(width - 1);
    return emulated_from_lane(mask, value, me + n <= last ? me + n : me, file, line);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned n, int width = 32, EMULATED_HERE) {
    unsigned me = emulated_lane(), first = me & ~(unsigned)(width - 1);
    return emulated_from_lane(mask, value, me >= first + n ? me - n : me, file, line);
}
struct emulated_vote {
    unsigned bits;
};
static inline void emulated_vote_all(emulated_vote *const lane[32]) {
    unsigned bits = 0;
    for (int i = 0; i < 32; i++) bits |= (lane[i]->bits != 0 ? 1u : 0u) << i;
    for (int i = 0; i < 32; i++) lane[i]->bits = bits;
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATED_HERE) {
    emulated_full(mask);
    emulated_vote frame = {predicate != 0};
    emulated_warp(frame, emulated_vote_all, file, line);
    return frame.bits;
}
static inline int __any_sync(unsigned mask, int predicate, EMULATED_HERE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, EMULATED_HERE) {
    return __ballot_sync(mask, predicate, file, line) == 0xFFFFFFFFu;
}

/* ---- arithmetic
 *
 * ---------------------------------------------------------------------------------------------- */
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
#define __expf(x) expf(x) /* glibc declares functions of these names */
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

#define EMULATED_MIN_MAX(type)                                              \
    static inline type min(type a, type b) { return a < b ? a : b; }        \
    static inline type max(type a, type b) { return a > b ? a : b; }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(long)
EMULATED_MIN_MAX(unsigned long)
EMULATED_MIN_MAX(long long)
EMULATED_MIN_MAX(unsigned long long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

template <class To, class From> inline To emulated_bits(From a) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To b;
    memcpy(&b, &a, sizeof b);
    return b;
}
static inline int __float_as_int(float a) { return emulated_bits<int>(a); }
static inline unsigned __float_as_uint(float a) { return emulated_bits<unsigned>(a); }
static inline float __int_as_float(int a) { return emulated_bits<float>(a); }
static inline float __uint_as_float(unsigned a) { return emulated_bits<float>(a); }
static inline long long __double_as_longlong(double a) { return emulated_bits<long long>(a); }
static inline double __longlong_as_double(long long a) { return emulated_bits<double>(a); }
static inline int __popc(unsigned a) { return __builtin_popcount(a); }
static inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
static inline int __clz(int a) { return a ? __builtin_clz((unsigned)a) : 32; }
static inline int __ffs(int a) { return __builtin_ffs(a); }

/* ---- memory
 *
 * ---------------------------------------------------------------------------------------------- */
template <class T> inline T __ldg(const T *p) { return *p; }
template <class T> inline T __ldcs(const T *p) { return *p; }
template <class T> inline T __ldcg(const T *p) { return *p; }
template <class T> inline void __stcs(T *p, T value) { *p = value; }
template <class T> inline void __stcg(T *p, T value) { *p = value; }
/* Integers only: sums of numbers must not depend on an order. */
static inline int atomicAdd(int *p, int n) { return __atomic_fetch_add(p, n, __ATOMIC_ACQ_REL); }
static inline unsigned atomicAdd(unsigned *p, unsigned n) {
    return __atomic_fetch_add(p, n, __ATOMIC_ACQ_REL);
}
static inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long n) {
    return __atomic_fetch_add(p, n, __ATOMIC_ACQ_REL);
}
static inline int atomicOr(int *p, int n) { return __atomic_fetch_or(p, n, __ATOMIC_ACQ_REL); }
static inline unsigned atomicOr(unsigned *p, unsigned n) {
    return __atomic_fetch_or(p, n, __ATOMIC_ACQ_REL);
}
template <class T> inline T atomicExch(T *p, T n) {
    return __atomic_exchange_n(p, n, __ATOMIC_ACQ_REL);
}
template <class T> inline T atomicCAS(T *p, T old, T n) {
    __atomic_compare_exchange_n(p, &old, n, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return old;
}
template <class T> inline T atomicMax(T *p, T n) {
    T old = __atomic_load_n(p, __ATOMIC_ACQUIRE);
    while (old < n &&
           !__atomic_compare_exchange_n(p, &old, n, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {}
    return old;
}

#endif
