/* Products. Operands become float in packed panels of ROWS rows of a and COLS columns of b, so that
 * bf16 and transposes cost nothing in the inner loop. Sums over k run in chunks, the chunks' sums
 * are added: nearer to the truth than one long sum of floats, as a GPU's are. */
#include "blas.h"
#include "emulation.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, COLS = 6 };
static const int64_t CHUNK = 256;
typedef float row_vector __attribute__((vector_size(ROWS * sizeof(float)), aligned(64)));

static size_t type_bytes(cudaDataType type) { return type == CUDA_R_16BF ? 2 : 4; }

static inline float load(const struct matrix *x, int64_t i) {
    if (x->type == CUDA_R_32F) return static_cast<const float *>(x->data)[i];
    return __bfloat162float(static_cast<const __nv_bfloat16 *>(x->data)[i]);
}
static inline void store(const struct matrix *x, int64_t i, float value) {
    void *data = const_cast<void *>(x->data);
    if (x->type == CUDA_R_32F) static_cast<float *>(data)[i] = value;
    else static_cast<__nv_bfloat16 *>(data)[i] = __float2bfloat16(value);
}

/* Panels of `width` rows of x (rows, k), the last one filled up with 0: out[panel][k][width]. */
static void pack(float *out, const struct matrix *x, int64_t rows, int64_t k, int width) {
    for (int64_t first = 0; first < rows; first += width, out += k * width)
        for (int64_t j = 0; j < k; j++)
            for (int i = 0; i < width; i++) {
                int64_t row = first + i, at = x->transpose ? row * x->ld + j : row + j * x->ld;
                out[j * width + i] = row < rows ? load(x, at) : 0;
            }
}

/* total[COLS] of ROWS: the product of two panels. */
static void multiply_panels(row_vector *total, const float *a, const float *b, int64_t k,
                            int64_t chunk) {
    for (int j = 0; j < COLS; j++) total[j] = row_vector{};
    for (int64_t first = 0; first < k; first += chunk) {
        int64_t end = first + chunk < k ? first + chunk : k;
        row_vector sum[COLS] = {};
        for (int64_t i = first; i < end; i++) {
            row_vector column = *reinterpret_cast<const row_vector *>(a + i * ROWS);
            for (int j = 0; j < COLS; j++) sum[j] += column * b[i * COLS + j];
        }
        for (int j = 0; j < COLS; j++) total[j] += sum[j];
    }
}

static float *panels(int64_t rows, int64_t k, int width) {
    void *at;
    size_t bytes = (size_t)((rows + width - 1) / width * width * k + ROWS) * sizeof(float);
    if (posix_memalign(&at, 64, bytes) != 0) emulated_abort("no memory");
    return static_cast<float *>(at);
}

static void for_each_column(const struct matrix *x, int64_t rows, int64_t cols,
                            void (*f)(const void *, size_t)) {
    if (!RACE_CHECK || !x->data) return;
    if (x->transpose) std::swap(rows, cols);
    for (int64_t j = 0; j < cols; j++)
        f(static_cast<const char *>(x->data) + (size_t)(j * x->ld) * type_bytes(x->type),
          (size_t)rows * type_bytes(x->type));
}
static void is_read(const void *at, size_t bytes) { race_read(at, bytes); }
static void is_written(const void *at, size_t bytes) { race_write(const_cast<void *>(at), bytes); }

static void say_accesses(const struct product *p) {
    for_each_column(&p->a, p->m, p->k, is_read);
    for_each_column(&p->b, p->k, p->n, is_read);
    for_each_column(&p->bias, p->m, 1, is_read);
    if (p->beta != 0) for_each_column(&p->c, p->m, p->n, is_read);
    for_each_column(&p->d, p->m, p->n, is_written);
}

static void multiply(const struct product *p) {
    struct matrix b = p->b;
    b.transpose = !b.transpose; /* panels of its columns */
    float *packed_a = panels(p->m, p->k, ROWS), *packed_b = panels(p->n, p->k, COLS);
    pack(packed_a, &p->a, p->m, p->k, ROWS);
    pack(packed_b, &b, p->n, p->k, COLS);
    for (int64_t row = 0; row < p->m; row += ROWS)
        for (int64_t col = 0; col < p->n; col += COLS) {
            row_vector total[COLS];
            multiply_panels(total, packed_a + row * p->k, packed_b + col * p->k, p->k,
                            p->chunk ? p->chunk : CHUNK);
            for (int64_t j = 0; j < COLS && col + j < p->n; j++)
                for (int64_t i = 0; i < ROWS && row + i < p->m; i++) {
                    float value = p->alpha * total[j][i];
                    if (p->beta != 0) value += p->beta * load(&p->c, row + i + (col + j) * p->c.ld);
                    if (p->bias.data) value += load(&p->bias, row + i);
                    store(&p->d, row + i + (col + j) * p->d.ld, value);
                }
        }
    free(packed_a);
    free(packed_b);
}

static bool fits(const struct matrix *x, int64_t rows, int64_t cols, const char *call,
                 const char *name) {
    if (x->transpose) std::swap(rows, cols);
    if (x->type != CUDA_R_32F && x->type != CUDA_R_16BF) return false;
    if (x->ld < rows || x->ld < 1) return false;
    if (rows && cols)
        memory_check(x->data, (size_t)(x->ld * (cols - 1) + rows) * type_bytes(x->type), call,
                     name);
    return (uintptr_t)x->data % type_bytes(x->type) == 0;
}

cublasStatus_t product_put(const char *call, const struct product *p, cudaStream_t stream) {
    if (int code = settings_failure(call)) return (cublasStatus_t)code;
    if (p->m < 0 || p->n < 0 || p->k < 0 || p->a.type != p->b.type)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!fits(&p->a, p->m, p->k, call, "A") || !fits(&p->b, p->k, p->n, call, "B") ||
        !fits(&p->d, p->m, p->n, call, "D"))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p->beta != 0 && !fits(&p->c, p->m, p->n, call, "C")) return CUBLAS_STATUS_INVALID_VALUE;
    if (p->bias.data && !fits(&p->bias, p->m, 1, call, "the bias"))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p->m == 0 || p->n == 0) return CUBLAS_STATUS_SUCCESS;
    struct product own = *p;
    stream_put(stream, [own] {
        say_accesses(&own);
        race_quietly([&] { multiply(&own); });
    });
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- cuBLAS
 *
 * ---------------------------------------------------------------------------------------------- */
struct cublasContext {
    cudaStream_t stream;
};

const char *cublasGetStatusName(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR: return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "an unknown status";
}
const char *cublasGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS ? "success" : cublasGetStatusName(status);
}
cublasStatus_t cublasCreate(cublasHandle_t *handle) {
    if (int code = settings_failure("cublasCreate")) return (cublasStatus_t)code;
    *handle = new cublasContext();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *workspace, size_t bytes) {
    memory_check(workspace, bytes, "cublasSetWorkspace", "the workspace");
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t mode) {
    if (mode == CUBLAS_TF32_TENSOR_OP_MATH)
        emulated_abort("cublasSetMathMode: TF32, which is off everywhere");
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetPointerMode(cublasHandle_t, cublasPointerMode_t mode) {
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasSetAtomicsMode(cublasHandle_t, cublasAtomicsMode_t mode) {
    return mode == CUBLAS_ATOMICS_NOT_ALLOWED ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasSetSmCountTarget(cublasHandle_t, int) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasGetVersion(cublasHandle_t, int *version) {
    *version = 130000;
    return CUBLAS_STATUS_SUCCESS;
}

static bool exact(cublasComputeType_t compute) {
    return compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_PEDANTIC;
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transpose_a,
                               cublasOperation_t transpose_b, int64_t m, int64_t n, int64_t k,
                               const void *alpha, const void *A, cudaDataType a_type, int64_t lda,
                               const void *B, cudaDataType b_type, int64_t ldb, const void *beta,
                               void *C, cudaDataType c_type, int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!exact(compute))
        emulated_abort("cublasGemmEx: compute type %d, which rounds inputs", compute);
    struct matrix c = {C, c_type, ldc, false};
    struct product p = {m,
                        n,
                        k,
                        {A, a_type, lda, transpose_a != CUBLAS_OP_N},
                        {B, b_type, ldb, transpose_b != CUBLAS_OP_N},
                        c,
                        c,
                        {},
                        *static_cast<const float *>(alpha),
                        *static_cast<const float *>(beta)};
    return product_put("cublasGemmEx", &p, handle->stream);
}
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transpose_a,
                            cublasOperation_t transpose_b, int m, int n, int k, const void *alpha,
                            const void *A, cudaDataType a_type, int lda, const void *B,
                            cudaDataType b_type, int ldb, const void *beta, void *C,
                            cudaDataType c_type, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t algorithm) {
    return cublasGemmEx_64(handle, transpose_a, transpose_b, m, n, k, alpha, A, a_type, lda, B,
                           b_type, ldb, beta, C, c_type, ldc, compute, algorithm);
}
cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transpose_a,
                           cublasOperation_t transpose_b, int m, int n, int k, const float *alpha,
                           const float *A, int lda, const float *B, int ldb, const float *beta,
                           float *C, int ldc) {
    return cublasGemmEx_64(handle, transpose_a, transpose_b, m, n, k, alpha, A, CUDA_R_32F, lda, B,
                           CUDA_R_32F, ldb, beta, C, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F,
                           CUBLAS_GEMM_DEFAULT);
}
/* y = alpha op(A) x + beta y: a product with one column. */
cublasStatus_t cublasSgemv(cublasHandle_t handle, cublasOperation_t transpose, int m, int n,
                           const float *alpha, const float *A, int lda, const float *x, int incx,
                           const float *beta, float *y, int incy) {
    if (incy != 1) return CUBLAS_STATUS_NOT_SUPPORTED;
    bool turned = transpose != CUBLAS_OP_N;
    return cublasGemmEx_64(handle, transpose, CUBLAS_OP_T, turned ? n : m, 1, turned ? m : n, alpha,
                           A, CUDA_R_32F, lda, x, CUDA_R_32F, incx, beta, y, CUDA_R_32F,
                           turned ? n : m, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}
