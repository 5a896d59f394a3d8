/* Bugs in the order of streams, in what copies and libraries are given; and main. */
#include <cublasLt.h>
#include <mpi.h>
#include <nccl.h>

#include "planted.h"

enum { N = 256, BLOCK = 64 };

static __global__ void fill_kernel(float *out, float value) {
    out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}
static __global__ void add_kernel(float *out, const float *in) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] += in[i];
}

static bool all_are(const float *device, float value, cudaStream_t stream) {
    float host[N];
    to_host(host, device, N, stream);
    bool right = true;
    for (int i = 0; i < N; i++) right &= host[i] == value;
    return right;
}

/* One stream uses what another makes. The event's names are as in the program: compute waits for
 * communication. */
static bool missing_event(bool bug) {
    cudaStream_t compute = stream_new(), comm = stream_new();
    cudaEvent_t made;
    float *in = device_new<float>(N), *out = device_new<float>(N);
    TRY(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    TRY(cudaMemsetAsync(out, 0, N * sizeof *out, compute));
    LAUNCH(fill_kernel, N / BLOCK, BLOCK, 0, comm, in, 2.0f);
    TRY(cudaEventRecord(made, comm));
    if (!bug) TRY(cudaStreamWaitEvent(compute, made));
    LAUNCH(add_kernel, N / BLOCK, BLOCK, 0, compute, out, in);
    bool right = all_are(out, 2, compute);
    TRY(cudaStreamSynchronize(comm));
    return right;
}

/* The event is recorded before the work that it is to cover. */
static bool early_event(bool bug) {
    cudaStream_t compute = stream_new(), comm = stream_new();
    cudaEvent_t made;
    float *in = device_new<float>(N), *out = device_new<float>(N);
    TRY(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    TRY(cudaMemsetAsync(out, 0, N * sizeof *out, compute));
    if (bug) TRY(cudaEventRecord(made, comm));
    LAUNCH(fill_kernel, N / BLOCK, BLOCK, 0, comm, in, 2.0f);
    if (!bug) TRY(cudaEventRecord(made, comm));
    TRY(cudaStreamWaitEvent(compute, made));
    LAUNCH(add_kernel, N / BLOCK, BLOCK, 0, compute, out, in);
    bool right = all_are(out, 2, compute);
    TRY(cudaStreamSynchronize(comm));
    return right;
}

/* A pinned buffer that the host fills again before the copy has been made. */
static bool reused_pinned(bool bug) {
    cudaStream_t copies = stream_new();
    cudaEvent_t done;
    float *pinned, *device = device_new<float>(2 * N);
    TRY(cudaMallocHost(&pinned, N * sizeof *pinned));
    TRY(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    for (int batch = 0; batch < 2; batch++) {
        if (batch && !bug) TRY(cudaEventSynchronize(done));
        for (int i = 0; i < N; i++) pinned[i] = (float)(batch + 1);
        TRY(cudaMemcpyAsync(device + batch * N, pinned, N * sizeof *pinned, cudaMemcpyHostToDevice,
                            copies));
        TRY(cudaEventRecord(done, copies));
    }
    return all_are(device, 1, copies) && all_are(device + N, 2, copies);
}

/* The host reads before the copy has been waited for. */
static bool unawaited_copy(bool bug) {
    cudaStream_t stream = stream_new();
    float *pinned, *device = device_new<float>(N);
    TRY(cudaMallocHost(&pinned, N * sizeof *pinned));
    LAUNCH(fill_kernel, N / BLOCK, BLOCK, 0, stream, device, 5.0f);
    TRY(cudaMemcpyAsync(pinned, device, N * sizeof *pinned, cudaMemcpyDeviceToHost, stream));
    if (!bug) TRY(cudaStreamSynchronize(stream));
    bool right = pinned[N - 1] == 5;
    TRY(cudaStreamSynchronize(stream));
    return right;
}

/* Device memory that nobody has set to 0 is no zero. */
static bool uninitialised_device(bool bug) {
    cudaStream_t stream = stream_new();
    float *in = device_new<float>(N), *out = device_new<float>(N);
    if (!bug) TRY(cudaMemsetAsync(out, 0, N * sizeof *out, stream));
    LAUNCH(fill_kernel, N / BLOCK, BLOCK, 0, stream, in, 1.0f);
    LAUNCH(add_kernel, N / BLOCK, BLOCK, 0, stream, out, in);
    return all_are(out, 1, stream);
}

static bool host_pointer(bool bug) {
    cudaStream_t stream = stream_new();
    float *device = device_new<float>(N), host[N];
    LAUNCH(fill_kernel, N / BLOCK, BLOCK, 0, stream, bug ? host : device, 1.0f);
    return bug || all_are(device, 1, stream);
}

static bool freed_pointer(bool bug) {
    cudaStream_t stream = stream_new();
    float *device = device_new<float>(N);
    if (bug) TRY(cudaFree(device));
    LAUNCH(fill_kernel, N / BLOCK, BLOCK, 0, stream, device, 1.0f);
    return all_are(device, 1, stream);
}

static bool wrong_kind(bool bug) {
    cudaStream_t stream = stream_new();
    float *device = device_new<float>(N), host[N] = {};
    TRY(cudaMemcpyAsync(device, host, sizeof host,
                        bug ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice, stream));
    return all_are(device, 0, stream);
}

static bool long_copy(bool bug) {
    cudaStream_t stream = stream_new();
    float *device = device_new<float>(N - 1), host[N] = {};
    TRY(cudaMemcpyAsync(device, host, sizeof host - (bug ? 0 : sizeof(float)),
                        cudaMemcpyHostToDevice, stream));
    TRY(cudaStreamSynchronize(stream));
    return true;
}

/* More dynamic shared memory than a kernel may have without being told. */
static bool shared_limit(bool bug) {
    cudaStream_t stream = stream_new();
    float *device = device_new<float>(N);
    if (!bug)
        TRY(cudaFuncSetAttribute(fill_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 100 << 10));
    LAUNCH(fill_kernel, N / BLOCK, BLOCK, 100 << 10, stream, device, 1.0f);
    if (cudaGetLastError() != cudaSuccess) return false;
    return all_are(device, 1, stream);
}

/* ---- libraries
 *
 * ---------------------------------------------------------------------------------------------- */
static float element(const void *data, cudaDataType type, int64_t i) {
    return type == CUDA_R_32F ? static_cast<const float *>(data)[i]
                              : __bfloat162float(static_cast<const __nv_bfloat16 *>(data)[i]);
}
static void *small_integers(size_t n, cudaDataType type, unsigned *state) {
    float *numbers = new float[n];
    __nv_bfloat16 *halves = reinterpret_cast<__nv_bfloat16 *>(numbers);
    for (size_t i = 0; i < n; i++) {
        *state = *state * 1664525u + 1013904223u;
        float value = (float)(int)(*state >> 24 & 7) - 3;
        if (type == CUDA_R_32F) numbers[i] = value;
        else halves[i] = __float2bfloat16(value);
    }
    return numbers;
}
static void *on_device(const void *host, size_t bytes, cudaStream_t stream) {
    char *device = device_new<char>(bytes);
    to_device(device, static_cast<const char *>(host), bytes, stream);
    return device;
}

/* D = 2 op(A) op(B) + C + bias, sums of small integers, so exact; C in D's place or not. */
static bool product_right(int m, int n, int k, bool turn_a, bool turn_b, cudaDataType type,
                          bool with_c, bool with_bias, bool too_small) {
    unsigned state = (unsigned)(m * 31 + n * 7 + k);
    cudaStream_t stream = stream_new();
    size_t width = type == CUDA_R_32F ? 4 : 2;
    int lda = (turn_a ? k : m) + 3, ldb = (turn_b ? n : k) + 1, ldd = m + 2;
    size_t n_a = (size_t)lda * (size_t)(turn_a ? m : k),
           n_b = (size_t)ldb * (size_t)(turn_b ? k : n);
    size_t n_d = (size_t)ldd * (size_t)n;
    void *a = small_integers(n_a, type, &state), *b = small_integers(n_b, type, &state);
    float *c = static_cast<float *>(small_integers(n_d, CUDA_R_32F, &state)), *got = new float[n_d];
    void *bias = small_integers((size_t)m, type, &state);
    void *A = on_device(a, (n_a - (too_small ? 4 : 0)) * width, stream),
         *B = on_device(b, n_b * width, stream);
    void *C = on_device(c, n_d * 4, stream), *D = device_new<float>(n_d),
         *bias_device = on_device(bias, (size_t)m * width, stream);
    float alpha = 2, beta = with_c ? 1 : 0;
    cublasOperation_t op_a = turn_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                      op_b = turn_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    if (with_bias) {
        cublasLtHandle_t handle;
        cublasLtMatmulDesc_t desc;
        cublasLtMatrixLayout_t la, lb, ld;
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        cublasLtCreate(&handle);
        cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
        cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a);
        cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b);
        cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                       sizeof epilogue);
        cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias_device,
                                       sizeof bias_device);
        cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type,
                                       sizeof type);
        cublasLtMatrixLayoutCreate(&la, type, (uint64_t)(turn_a ? k : m),
                                   (uint64_t)(turn_a ? m : k), lda);
        cublasLtMatrixLayoutCreate(&lb, type, (uint64_t)(turn_b ? n : k),
                                   (uint64_t)(turn_b ? k : n), ldb);
        cublasLtMatrixLayoutCreate(&ld, CUDA_R_32F, (uint64_t)m, (uint64_t)n, ldd);
        if (cublasLtMatmul(handle, desc, &alpha, A, la, B, lb, &beta, C, ld, D, ld, nullptr,
                           nullptr, 0, stream))
            return false;
        cublasLtMatrixLayoutDestroy(la);
        cublasLtMatrixLayoutDestroy(lb);
        cublasLtMatrixLayoutDestroy(ld);
        cublasLtMatmulDescDestroy(desc);
        cublasLtDestroy(handle);
    } else {
        cublasHandle_t handle;
        cublasCreate(&handle);
        cublasSetStream(handle, stream);
        if (with_c) TRY(cudaMemcpyAsync(D, C, n_d * 4, cudaMemcpyDeviceToDevice, stream));
        if (cublasGemmEx(handle, op_a, op_b, m, n, k, &alpha, A, type, lda, B, type, ldb, &beta, D,
                         CUDA_R_32F, ldd, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT))
            return false;
        cublasDestroy(handle);
    }
    to_host(got, static_cast<const float *>(D), n_d, stream);
    bool right = true;
    for (int col = 0; col < n; col++)
        for (int row = 0; row < m; row++) {
            double sum = 0;
            for (int i = 0; i < k; i++)
                sum += (double)element(a, type,
                                       turn_a ? i + (int64_t)row * lda : row + (int64_t)i * lda) *
                       (double)element(b, type,
                                       turn_b ? col + (int64_t)i * ldb : i + (int64_t)col * ldb);
            double want = 2 * sum + (with_c ? c[row + col * ldd] : 0) +
                          (with_bias ? element(bias, type, row) : 0);
            right &= got[row + col * ldd] == (float)want;
        }
    for (void *memory : {A, B, C, D, bias_device}) TRY(cudaFree(memory));
    for (void *memory : {a, b, bias}) delete[] static_cast<float *>(memory);
    delete[] c;
    delete[] got;
    return right;
}
static bool products(bool bug) {
    bool right = true;
    for (int variant = 0; variant < 32; variant++)
        right &= product_right(17 + variant, 1 + variant % 13, variant % 2 ? 300 : 33, variant & 1,
                               variant & 2, variant & 4 ? CUDA_R_32F : CUDA_R_16BF, variant & 8,
                               variant & 16, bug);
    return right;
}

/* Collectives of small integers, in place, in a group, of the world and of the even ranks. Run by
 * mpirun, or alone. */
static float number(int rank, size_t i) { return (float)((size_t)(rank + 1) * 3 + i % 5); }
static bool collectives_of(ncclComm_t comm, int rank, int size, cudaStream_t stream) {
    size_t n = 1000;
    float *data = device_new<float>(n * (size_t)size), *host = new float[n * (size_t)size];
    __nv_bfloat16 *bits = device_new<__nv_bfloat16>(64);
    bool right = true;
    for (int round = 0; round < 4; round++) {
        float *own = data + (size_t)rank * n;
        for (size_t i = 0; i < n * (size_t)size; i++) host[i] = number(rank, i);
        to_device(data, host, n * (size_t)size, stream);
        if (round == 0) ncclAllGather(own, data, n, ncclFloat, comm, stream);
        if (round == 1) ncclReduceScatter(data, own, n, ncclFloat, ncclSum, comm, stream);
        if (round == 2)
            ncclAllReduce(data, data, n * (size_t)size - 1, ncclFloat, ncclSum, comm, stream);
        if (round == 3) {
            ncclGroupStart();
            ncclBroadcast(data, data, n * (size_t)size, ncclFloat, size - 1, comm, stream);
            ncclAllReduce(data, data, n, ncclFloat, ncclMax, comm, stream);
            ncclGroupEnd();
        }
        to_host(host, data, n * (size_t)size, stream);
        for (size_t i = 0; i < n * (size_t)size; i++) {
            int owner = (int)(i / n);
            float sum = 0;
            for (int r = 0; r < size; r++) sum += number(r, i);
            if (round == 0) right &= host[i] == number(owner, i);
            if (round == 1) right &= owner != rank || host[i] == sum;
            if (round == 2) right &= host[i] == (i + 1 < n * (size_t)size ? sum : number(rank, i));
            if (round == 3) right &= host[i] == number(size - 1, i);
        }
    }
    __nv_bfloat16 halves[64];
    for (int i = 0; i < 64; i++) halves[i] = __float2bfloat16(number(rank, (size_t)i));
    to_device(bits, halves, 64, stream);
    right &= ncclAllReduce(bits, bits, 64, ncclBfloat16, ncclSum, comm, stream) == ncclSuccess;
    to_host(halves, bits, 64, stream);
    for (int i = 0; i < 64; i++) {
        float sum = 0;
        for (int r = 0; r < size; r++) sum += number(r, (size_t)i);
        right &= __bfloat162float(halves[i]) == sum;
    }
    TRY(cudaFree(data));
    TRY(cudaFree(bits));
    delete[] host;
    return right;
}

static ncclComm_t join(int rank, int size, MPI_Comm mpi) {
    ncclUniqueId id;
    ncclComm_t comm;
    if (rank == 0) ncclGetUniqueId(&id);
    if (size > 1) MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, mpi);
    return ncclCommInitRank(&comm, size, id, rank) == ncclSuccess ? comm : nullptr;
}
static bool collectives(bool bug) {
    MPI_Init(nullptr, nullptr);
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    cudaStream_t stream = stream_new();
    ncclComm_t world = join(rank, size, MPI_COMM_WORLD), part;
    MPI_Comm half;
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
    int part_rank, part_size;
    MPI_Comm_rank(half, &part_rank);
    MPI_Comm_size(half, &part_size);
    part = join(part_rank, part_size, half);
    bool right = world && part && collectives_of(world, rank, size, stream);
    right = right && collectives_of(part, part_rank, part_size, stream);
    if (bug) { /* one rank sends less than the others expect */
        float *data = device_new<float>(64);
        ncclAllReduce(data, data, rank == 0 ? 63 : 64, ncclFloat, ncclSum, world, stream);
        cudaStreamSynchronize(stream);
    }
    ncclCommDestroy(part);
    ncclCommDestroy(world);
    MPI_Comm_free(&half);
    int mine = right, all;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    MPI_Finalize();
    return all;
}

const struct planted planted_host[] = {
    {"missing_event", missing_event},
    {"early_event", early_event},
    {"reused_pinned", reused_pinned},
    {"unawaited_copy", unawaited_copy},
    {"uninitialised_device", uninitialised_device},
    {"host_pointer", host_pointer},
    {"freed_pointer", freed_pointer},
    {"wrong_kind", wrong_kind},
    {"long_copy", long_copy},
    {"shared_limit", shared_limit},
    {"products", products},
    {"collectives", collectives},
    {},
};

int main(int argc, char **argv) {
    bool bug = argc == 3 && strcmp(argv[2], "bug") == 0;
    if (argc != 3 || (!bug && strcmp(argv[2], "good") != 0)) {
        fprintf(stderr, "usage: planted NAME|every bug|good\n");
        return 2;
    }
    bool every = strcmp(argv[1], "every") == 0, right = true;
    int n_run = 0;
    for (const struct planted *list : {planted_kernels, planted_host})
        for (; list->name; list++) {
            if (every ? list->run == collectives : strcmp(list->name, argv[1]) != 0) continue;
            bool good = list->run(bug);
            if (every) fprintf(stderr, "%s: %s\n", list->name, good ? "right" : "WRONG");
            right &= good;
            n_run++;
        }
    if (!n_run) fprintf(stderr, "planted: no %s\n", argv[1]);
    return !n_run ? 2 : right ? 0 : 3;
}
