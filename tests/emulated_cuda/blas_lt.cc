/* cuBLASLt's descriptions of a product. What it would not do on a device is refused here, too. As
 * there, the shape decides about the algorithm, and the algorithm about the order of sums. */
#include "blas.h"
#include "emulation.h"

#include <string.h>

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque {
    cublasComputeType_t compute;
    cudaDataType scale;
    int32_t transpose_a, transpose_b;
    uint32_t epilogue;
    const void *bias;
    int32_t bias_type; /* -1: that of D */
};
struct cublasLtMatrixLayoutOpaque {
    cudaDataType type;
    int64_t rows, cols, ld;
};
struct cublasLtMatmulPreferenceOpaque {
    uint64_t workspace_bytes;
};

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    if (int code = settings_failure("cublasLtCreate")) return (cublasStatus_t)code;
    *handle = new cublasLtContext();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion(void) { return 130000; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType scale) {
    if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC)
        emulated_abort("cublasLtMatmulDescCreate: compute type %d, which rounds inputs", compute);
    if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    *desc = new cublasLtMatmulDescOpaque{
        compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, -1};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t set(void *field, size_t field_bytes, const void *value, size_t bytes) {
    if (!value || bytes != field_bytes) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&desc->transpose_a, sizeof desc->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&desc->transpose_b, sizeof desc->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set(&desc->epilogue, sizeof desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set(&desc->bias, sizeof desc->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return set(&desc->bias_type, sizeof desc->bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET: return CUBLAS_STATUS_SUCCESS;
    default:
        emulated_abort("cublasLtMatmulDescSetAttribute: attribute %d is not emulated", attribute);
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld) {
    *layout = new cublasLtMatrixLayoutOpaque{type, (int64_t)rows, (int64_t)cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes) {
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(&layout->rows, sizeof layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return set(&layout->cols, sizeof layout->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return set(&layout->ld, sizeof layout->ld, value, bytes);
    default:
        emulated_abort("cublasLtMatrixLayoutSetAttribute: attribute %d is not emulated", attribute);
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    *preference = new cublasLtMatmulPreferenceOpaque();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return set(&preference->workspace_bytes, sizeof preference->workspace_bytes, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t shapes(cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                             cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                             cublasLtMatrixLayout_t d, struct product *p) {
    bool turned_a = desc->transpose_a != CUBLAS_OP_N, turned_b = desc->transpose_b != CUBLAS_OP_N;
    *p = {};
    p->m = d->rows;
    p->n = d->cols;
    p->k = turned_a ? a->rows : a->cols;
    if ((turned_a ? a->cols : a->rows) != p->m || (turned_b ? b->cols : b->rows) != p->k ||
        (turned_b ? b->rows : b->cols) != p->n || c->rows != d->rows || c->cols != d->cols ||
        c->type != d->type)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT && desc->epilogue != CUBLASLT_EPILOGUE_BIAS)
        emulated_abort("cublasLtMatmul: epilogue %u is not emulated", desc->epilogue);
    p->a = {nullptr, a->type, a->ld, turned_a};
    p->b = {nullptr, b->type, b->ld, turned_b};
    p->c = {nullptr, c->type, c->ld, false};
    p->d = {nullptr, d->type, d->ld, false};
    return CUBLAS_STATUS_SUCCESS;
}

/* product.chunk of the algorithm that the library would take. */
static int64_t chunk_of(const struct product &p) { return p.n < 16 ? 128 : 256; }

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int n_wanted,
                                              cublasLtMatmulHeuristicResult_t *results,
                                              int *n_found) {
    struct product p;
    *n_found = 0;
    cublasStatus_t status = shapes(desc, a, b, c, d, &p);
    if (status != CUBLAS_STATUS_SUCCESS || n_wanted < 1) return status;
    static const char *plain = getenv("EMU_PLAIN_PRODUCTS");
    if (plain && *plain && (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT || c->ld != d->ld))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    results[0] = {};
    results[0].workspaceSize =
        preference->workspace_bytes < 4096 ? preference->workspace_bytes : 4096;
    results[0].algo.data[0] = (uint64_t)chunk_of(p);
    *n_found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *A, cublasLtMatrixLayout_t a, const void *B,
                              cublasLtMatrixLayout_t b, const void *beta, const void *C,
                              cublasLtMatrixLayout_t c, void *D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
    if (int code = settings_failure("cublasLtMatmul")) return (cublasStatus_t)code;
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    struct product p;
    cublasStatus_t status = shapes(desc, a, b, c, d, &p);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (workspace_bytes)
        memory_check(workspace, workspace_bytes, "cublasLtMatmul", "the workspace");
    if (C == D && c->ld != d->ld) return CUBLAS_STATUS_INVALID_VALUE;
    p.alpha = *static_cast<const float *>(alpha);
    p.beta = *static_cast<const float *>(beta);
    p.chunk = algorithm ? (int64_t)algorithm->data[0] : chunk_of(p);
    p.a.data = A;
    p.b.data = B;
    p.c.data = C;
    p.d.data = D;
    if (desc->epilogue == CUBLASLT_EPILOGUE_BIAS)
        p.bias = {desc->bias, desc->bias_type < 0 ? d->type : (cudaDataType)desc->bias_type, p.m,
                  false};
    return product_put("cublasLtMatmul", &p, stream);
}
