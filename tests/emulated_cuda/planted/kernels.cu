/* Bugs inside kernels. */
#include "planted.h"

enum { N = 64 };

/* Runs one kernel (out, bug) of n threads a block and compares out with want. */
template <class Want>
static bool check(void (*kernel)(float *, bool), unsigned grid, unsigned block, size_t shared_bytes,
                  bool bug, size_t n, Want want) {
    cudaStream_t stream = stream_new();
    float *out = device_new<float>(n), *host = new float[n];
    TRY(cudaMemsetAsync(out, 0, n * sizeof *out, stream));
    LAUNCH(kernel, grid, block, shared_bytes, stream, out, bug);
    TRY(cudaGetLastError());
    to_host(host, out, n, stream);
    bool right = true;
    for (size_t i = 0; i < n; i++) right &= host[i] == want(i);
    delete[] host;
    TRY(cudaFree(out));
    TRY(cudaStreamDestroy(stream));
    return right;
}

static __device__ float warp_sum(float x) {
    for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, bits);
    return x;
}

/* A block's sum without the barrier between the warps' sums and their sum. */
static __global__ void block_sum_kernel(float *out, bool bug) {
    SHARED(float, part, 32);
    float sum = warp_sum((float)threadIdx.x);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    if (!bug) __syncthreads();
    sum = 0;
    for (unsigned w = 0; w < blockDim.x / 32; w++) sum += part[w];
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
static bool missing_barrier(bool bug) {
    return check(block_sum_kernel, 3, N, 0, bug, 3 * N, [](size_t) { return N * (N - 1) / 2; });
}

/* The left or the right neighbour's value, without a barrier: right in one order of threads, wrong
 * in another. */
template <int STEP> static __global__ void neighbour_kernel(float *out, bool bug) {
    SHARED(float, x, N);
    x[threadIdx.x] = (float)threadIdx.x;
    if (!bug) __syncthreads();
    int other = (int)threadIdx.x + STEP;
    out[threadIdx.x] = x[other < 0 ? 0 : other < N ? other : N - 1];
}
static bool left_neighbour(bool bug) {
    return check(neighbour_kernel<-1>, 1, N, 0, bug, N,
                 [](size_t i) { return i ? (float)i - 1 : 0; });
}
static bool right_neighbour(bool bug) {
    return check(neighbour_kernel<1>, 1, N, 0, bug, N,
                 [](size_t i) { return i + 1 < N ? (float)i + 1 : (float)i; });
}

/* One warp writes, its other lanes read. A shuffle between them orders nothing. */
static __global__ void syncwarp_kernel(float *out, bool bug) {
    SHARED(float, x, 32);
    x[threadIdx.x] = warp_sum(1.0f) + (float)threadIdx.x;
    if (bug) warp_sum(0.0f);
    else __syncwarp();
    out[threadIdx.x] = x[31 - threadIdx.x];
}
static bool missing_syncwarp(bool bug) {
    return check(syncwarp_kernel, 1, 32, 0, bug, 32, [](size_t i) { return 32 + 31 - (float)i; });
}

/* A tile that the next round of a loop overwrites while others still read. */
static __global__ void loop_kernel(float *out, bool bug) {
    SHARED(float, tile, N);
    float sum = 0;
    for (int round = 0; round < 4; round++) {
        tile[threadIdx.x] = (float)(round + 1);
        __syncthreads();
        for (int i = 0; i < N; i++) sum += tile[i];
        if (!bug) __syncthreads();
    }
    out[threadIdx.x] = sum;
}
static bool missing_loop_barrier(bool bug) {
    return check(loop_kernel, 1, N, 0, bug, N, [](size_t) { return 10.0f * N; });
}

/* A block that takes what the block before it has written. */
static __global__ void chain_kernel(float *out, bool bug) {
    if (threadIdx.x == 0)
        out[blockIdx.x] = bug && blockIdx.x > 0 ? out[blockIdx.x - 1] + 1 : (float)(blockIdx.x + 1);
}
static bool block_order(bool bug) {
    return check(chain_kernel, 5, 32, 0, bug, 5, [](size_t i) { return (float)(i + 1); });
}

/* Two blocks that write the same place. */
static __global__ void blocks_write_kernel(float *out, bool bug) {
    out[(bug ? 0 : blockIdx.x * 32) + threadIdx.x] = 1;
}
static bool same_place(bool bug) {
    return check(blocks_write_kernel, 2, 32, 0, bug, 64,
                 [bug](size_t i) { return bug && i >= 32 ? 0.0f : 1.0f; });
}

static __global__ void outside_kernel(float *out, bool bug) {
    SHARED(float, before, N);
    SHARED(float, x, N);
    before[threadIdx.x] = x[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = x[(threadIdx.x + 1) % N] +
                       (bug && threadIdx.x == N - 1 ? 0 * before[(int)threadIdx.x + 1] : 0);
}
static bool outside_shared(bool bug) {
    return check(outside_kernel, 1, N, 0, bug, N, [](size_t) { return 1.0f; });
}

static __global__ void outside_dynamic_kernel(float *out, bool bug) {
    DYNAMIC_SHARED(bytes);
    float *x = reinterpret_cast<float *>(bytes);
    x[threadIdx.x + (bug ? 1 : 0)] = 1;
    out[threadIdx.x] = 1;
}
static bool outside_dynamic(bool bug) {
    return check(outside_dynamic_kernel, 1, N, N * sizeof(float), bug, N,
                 [](size_t) { return 1.0f; });
}

static __global__ void outside_device_kernel(float *out, bool bug) {
    out[threadIdx.x + (bug ? 1 : 0)] = 1;
}
static bool outside_device(bool bug) {
    return check(outside_device_kernel, 1, N, 0, bug, N,
                 [bug](size_t i) { return bug && i == 0 ? 0.0f : 1.0f; });
}

/* A sum that nobody set to 0: memory full of zeroes would hide it. */
static __global__ void uninitialised_kernel(float *out, bool bug) {
    SHARED(float, sum, 32);
    if (!bug) sum[threadIdx.x] = 0;
    sum[threadIdx.x] += 1;
    out[blockIdx.x * 32 + threadIdx.x] = sum[threadIdx.x];
}
static bool uninitialised_shared(bool bug) {
    return check(uninitialised_kernel, 2, 32, 0, bug, 64, [](size_t) { return 1.0f; });
}

static __global__ void divergent_kernel(float *out, bool bug) {
    if (bug && threadIdx.x >= 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = 1;
}
static bool divergent_barrier(bool bug) {
    return check(divergent_kernel, 1, N, 0, bug, N, [](size_t) { return 1.0f; });
}

static __global__ void early_return_kernel(float *out, bool bug) {
    if (bug && threadIdx.x >= 40) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
static bool early_return(bool bug) {
    return check(early_return_kernel, 1, N, 0, bug, N, [](size_t) { return 1.0f; });
}

static __global__ void exited_lane_kernel(float *out, bool bug) {
    if (bug && threadIdx.x % 32 == 7) return;
    out[threadIdx.x] = warp_sum(1.0f);
}
static bool exited_lane(bool bug) {
    return check(exited_lane_kernel, 1, N, 0, bug, N, [](size_t) { return 32.0f; });
}

static __global__ void partial_mask_kernel(float *out, bool bug) {
    out[threadIdx.x] = __any_sync(bug ? 0x0000FFFFu : 0xFFFFFFFFu, threadIdx.x == 3) ? 1.0f : 0.0f;
}
static bool partial_mask(bool bug) {
    return check(partial_mask_kernel, 1, 32, 0, bug, 32, [](size_t) { return 1.0f; });
}

/* 16 bytes at once from an array of floats, which nothing aligns to 16. */
static __global__ void misaligned_kernel(float *out, bool bug) {
    SHARED(float, x, 4 * N);
    SHARED(float4, y, N);
    for (int i = 0; i < 4; i++) x[4 * threadIdx.x + (unsigned)i] = 1;
    y[threadIdx.x] = make_float4(1, 1, 1, 1);
    __syncthreads();
    float4 got =
        bug ? *reinterpret_cast<const float4 *>(&x[4 * threadIdx.x]) : y[(threadIdx.x + 1) % N];
    out[threadIdx.x] = got.x + got.y + got.z + got.w;
}
static bool misaligned_vector(bool bug) {
    return check(misaligned_kernel, 1, N, 0, bug, N, [](size_t) { return 4.0f; });
}

/* Two tiles by asynchronous copies, the second one in use before it is waited for. */
static __global__ void copies_kernel(float *out, bool bug) {
    SHARED(float4, x, 2 * N);
    for (int half = 0; half < 2; half++) {
        emulated_copy_later(&x[half * N + (int)threadIdx.x],
                            reinterpret_cast<const float4 *>(out) + threadIdx.x, 16, half ? 8 : 16);
        emulated_copy_commit();
    }
    emulated_copy_wait(bug ? 1 : 0);
    __syncthreads();
    unsigned other = (threadIdx.x + 1) % N;
    float4 a = x[other], b = x[N + other];
    __syncthreads();
    out[4 * threadIdx.x] = a.x + a.w + b.x + b.w + 1; /* 0 + 0 + 0 + 0 (filled) + 1 */
}
static bool missing_copy_wait(bool bug) {
    return check(copies_kernel, 1, N, 0, bug, 4 * N, [](size_t i) { return i % 4 ? 0.0f : 1.0f; });
}

/* No bug: a last block that is told by a ticket, votes, counts, all shuffles, early and late
 * warps. */
static __global__ void all_sorts_kernel(float *out, bool) {
    SHARED(float, x, 256);
    unsigned t = threadIdx.x;
    x[t] = (float)t;
    int n = __syncthreads_count(t % 2 == 0), any = __syncthreads_or(t == 77),
        all = __syncthreads_and(t != 77);
    float ok = n == 128 && any && !all;
    ok *= __ballot_sync(0xFFFFFFFFu, t % 32 < 5) == 31u && !__all_sync(0xFFFFFFFFu, t % 32 == 0);
    ok *= __shfl_sync(0xFFFFFFFFu, t, 3) == t / 32 * 32 + 3 &&
          __shfl_sync(0xFFFFFFFFu, t, 3, 8) == t / 8 * 8 + 3;
    ok *= __shfl_down_sync(0xFFFFFFFFu, t, 1, 16) == (t % 16 == 15 ? t : t + 1);
    ok *= __shfl_up_sync(0xFFFFFFFFu, (double)t, 2) == (t % 32 < 2 ? t : t - 2);
    ok *= __shfl_xor_sync(0xFFFFFFFFu, (long long)t, 4) == (long long)(t ^ 4);
    for (unsigned warp = 0; warp < t / 32; warp++) __syncwarp();
    float sum = 0;
    for (int i = 0; i < 256; i++) sum += x[i];
    out[blockIdx.x * 256 + t] = ok * sum;
}
static bool no_bug(bool) {
    return check(all_sorts_kernel, 2, 256, 0, false, 512, [](size_t) { return 255.0f * 128; });
}

const struct planted planted_kernels[] = {
    {"missing_barrier", missing_barrier},
    {"left_neighbour", left_neighbour},
    {"right_neighbour", right_neighbour},
    {"missing_syncwarp", missing_syncwarp},
    {"missing_loop_barrier", missing_loop_barrier},
    {"block_order", block_order},
    {"same_place", same_place},
    {"outside_shared", outside_shared},
    {"outside_dynamic", outside_dynamic},
    {"outside_device", outside_device},
    {"uninitialised_shared", uninitialised_shared},
    {"divergent_barrier", divergent_barrier},
    {"early_return", early_return},
    {"exited_lane", exited_lane},
    {"partial_mask", partial_mask},
    {"misaligned_vector", misaligned_vector},
    {"missing_copy_wait", missing_copy_wait},
    {"no_bug", no_bug},
    {},
};
