/* What kernels are written with. The same source is compiled by nvcc for GPUs and by a C++ compiler
 * for the host, where tests/emulated_cuda supplies the headers; only this file and ptx.h know of
 * the difference.
 *
 * Rules that make a kernel mean the same in both:
 *   (1) blockDim.x is a multiple of 32, one dimension. Barriers and warp operations are reached by
 *       all threads that they concern, at one source line, with full masks; no thread returns
 *       before a barrier.
 *   (2) __syncwarp between a write to shared memory and another lane's read of it. No thread waits
 *       in a loop for another thread or block.
 *   (3) No inline PTX outside ptx.h, no std:: in device code, bf16 only by __bfloat162float and
 *       __float2bfloat16, no dependence on the layout of fragments except what ptx.h documents.
 *   (4) No atomics on numbers; sums run in an order that the shapes alone decide. */
#ifndef RANKWISE_CUDA_GPU_H
#define RANKWISE_CUDA_GPU_H
#include <stdint.h>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

typedef __nv_bfloat16 bf16;

#ifdef RANKWISE_EMULATED
#include "emulated.h" /* LAUNCH, SHARED, DYNAMIC_SHARED */
#else
/* Puts kernel<<<grid, block, shared bytes>>>(...) on a stream. A templated kernel stands in
 * parentheses. */
#define LAUNCH(kernel, grid, block, shared, stream, ...) \
    (kernel<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__))
/* An array of n of the block's shared memory; DYNAMIC_SHARED: the bytes that the launch asked
 * for. */
#define SHARED(type, name, n) __shared__ type name[n]
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#endif
#endif
