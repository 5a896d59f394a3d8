/* All inline PTX, each instruction with a twin for the host that means the same.
 *
 * The layouts are those of the PTX ISA, chapter "Instruction Set", sections "Warp-level matrix load
 * instruction: ldmatrix" and "Matrix Fragments for mma.m16n8k16 with floating point type";
 * tests/gpu/ptx_layout.cu checks wrappers and twins against them. With g = lane / 4 and t = lane %
 * 4, lane holds
 *
 *   A (16 x 16)  a[0] (g, 2t..2t+1)      a[1] (g+8, 2t..2t+1)    a[2] (g, 2t+8..2t+9)    a[3] (g+8,
 *   2t+8..2t+9)
 *   B (16 x 8)   b0 (2t..2t+1, g)        b1 (2t+8..2t+9, g)
 *   C (16 x 8)   c[0], c[1] (g, 2t..2t+1)                        c[2], c[3] (g+8, 2t..2t+1)
 *
 * a register of bf16 holding two neighbours, the first one in its low half. So the accumulators of
 * two neighbouring products (16 x 16) are, rounded, an A fragment (tile_sum of
 * attention_tile.h). */
#ifndef RANKWISE_CUDA_PTX_H
#define RANKWISE_CUDA_PTX_H
#include "gpu.h"

/* ---- cp.async: copies from global to shared memory that do not pass through registers ---- */

#ifndef RANKWISE_EMULATED

__device__ __forceinline__ uint32_t shared_address(const void *shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/* 16 bytes, both addresses aligned to it; zeros, and nothing is read, unless `there`. */
__device__ __forceinline__ void copy_async_16(void *shared, const void *global, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(global), "r"(there ? 16 : 0)
                 : "memory");
}

/* 4 bytes, likewise. */
__device__ __forceinline__ void copy_async_4(void *shared, const void *global, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(global), "r"(there ? 4 : 0)
                 : "memory");
}

/* What this thread has started since the last commit is one group. */
__device__ __forceinline__ void copy_commit() {
    asm volatile("cp.async.commit_group;" : : : "memory");
}

/* Until at most N of this thread's groups, the latest ones, are under way. Other threads see the
 * bytes after a barrier. */
template <int N> __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
}

/* ---- matrices ---- */

/* Four 8 x 8 matrices of bf16: lane 8 m + i gives the address of row i of matrix m (16 bytes,
 * aligned); r[m] of a lane is (g, 2t..2t+1) of matrix m. */
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const bf16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* The same, r[m] being (2t..2t+1, g) of matrix m. */
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const bf16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void multiply_one(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* c (16 x 16) += a (16 x 16) b (16 x 16): two products, c[0] with b[0], b[1] and c[1] with b[2],
 * b[3]. */
__device__ __forceinline__ void multiply_matrices(float (*c)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[4]) {
    multiply_one(c[0], a, b[0], b[1]);
    multiply_one(c[1], a, b[2], b[3]);
}

/* ---- numbers ---- */

/* Two floats rounded to bf16, the first one in the low half. */
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

/* 2^x within 2 units in the last place; results below 2^-126 are 0. */
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else

/* Twins: tests/emulated_cuda/include/emulated.h says how lanes meet, and when the bytes of copies
 * move. */
static inline void copy_async_16(void *shared, const void *global, bool there) {
    emulated_copy_later(shared, global, 16, there ? 16 : 0);
}

static inline void copy_async_4(void *shared, const void *global, bool there) {
    emulated_copy_later(shared, global, 4, there ? 4 : 0);
}

static inline void copy_commit() {
    emulated_copy_commit();
}

template <int N> static inline void copy_wait() {
    emulated_copy_wait(N);
}

/* Each lane brings the row it has the address of. */
struct matrices_frame {
    bf16 row[8];
    uint32_t r[4];
};

static inline uint32_t pair_of(bf16 low, bf16 high) {
    return (uint32_t)__bfloat16_as_ushort(low) | (uint32_t)__bfloat16_as_ushort(high) << 16;
}

static inline void matrices_all(matrices_frame *const lane[32]) {
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++) {
            const bf16 *row = lane[8 * m + i / 4]->row;
            lane[i]->r[m] = pair_of(row[i % 4 * 2], row[i % 4 * 2 + 1]);
        }
}

static inline void matrices_transposed_all(matrices_frame *const lane[32]) {
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++) {
            int row = 8 * m + i % 4 * 2;
            lane[i]->r[m] = pair_of(lane[row]->row[i / 4], lane[row + 1]->row[i / 4]);
        }
}

static inline void matrices_meet(uint32_t (&r)[4], const bf16 *row,
                                 void (*all)(matrices_frame *const lane[32])) {
    matrices_frame frame;
    if (reinterpret_cast<uintptr_t>(row) % 16 || !emulated_is_shared(row, 16))
        emulated_abort("ldmatrix of a row at %p, which is not 16 aligned bytes of shared memory",
                       (const void *)row);
    for (int i = 0; i < 8; i++) frame.row[i] = row[i];
    emulated_warp(frame, all);
    for (int m = 0; m < 4; m++) r[m] = frame.r[m];
}

static inline void load_matrices(uint32_t (&r)[4], const bf16 *row) {
    matrices_meet(r, row, matrices_all);
}

static inline void load_matrices_transposed(uint32_t (&r)[4], const bf16 *row) {
    matrices_meet(r, row, matrices_transposed_all);
}

struct multiply_frame {
    float c[2][4];
    uint32_t a[4], b[4];
};

static inline float half_of(uint32_t word, int which) {
    return __bfloat162float(__ushort_as_bfloat16((unsigned short)(word >> 16 * which)));
}

static inline void multiply_all(multiply_frame *const lane[32]) {
    float a[16][16], b[16][16], c[16][16];
    for (int i = 0; i < 32; i++) {
        const multiply_frame *f = lane[i];
        int g = i / 4, t = i % 4;
        for (int e = 0; e < 8; e++) {
            a[g + e / 2 % 2 * 8][2 * t + e % 2 + e / 4 * 8] = half_of(f->a[e / 2], e % 2);
            b[2 * t + e % 2 + e / 2 % 2 * 8][g + e / 4 * 8] = half_of(f->b[e / 2], e % 2);
            c[g + e / 2 % 2 * 8][2 * t + e % 2 + e / 4 * 8] = f->c[e / 4][e % 4];
        }
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 16; j++) c[i][j] += a[i][k] * b[k][j];
    for (int i = 0; i < 32; i++)
        for (int e = 0; e < 8; e++)
            lane[i]->c[e / 4][e % 4] = c[i / 4 + e / 2 % 2 * 8][2 * (i % 4) + e % 2 + e / 4 * 8];
}

static inline void multiply_matrices(float (*c)[4], const uint32_t (&a)[4],
                                     const uint32_t (&b)[4]) {
    multiply_frame frame;
    for (int i = 0; i < 4; i++) {
        frame.a[i] = a[i];
        frame.b[i] = b[i];
        frame.c[0][i] = c[0][i];
        frame.c[1][i] = c[1][i];
    }
    emulated_warp(frame, multiply_all);
    for (int i = 0; i < 4; i++) {
        c[0][i] = frame.c[0][i];
        c[1][i] = frame.c[1][i];
    }
}

static inline uint32_t pack_bf16(float low, float high) {
    return pair_of(__float2bfloat16(low), __float2bfloat16(high));
}

static inline float exp2_fast(float x) {
    float y = exp2f(x);
    return y < 0x1p-126f ? 0 : y;
}
#endif
#endif
