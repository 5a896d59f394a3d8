/* Matrix products by cuBLASLt: the only file that knows it.
 *
 *   (1) A row-major matrix is the transpose of a column-major one, so out (m, n) = op(a) op(b) is
 *       asked for as out^T = op(b)^T op(a)^T: A is b, B is a, and the bias runs along D's rows. The
 *       bias is an epilogue, what is added is C, in place or not: neither costs a pass of its own
 *       over out.
 *   (2) No TF32 in fp32: products of fp32 are asked for as CUBLAS_COMPUTE_32F_PEDANTIC, which is
 *       fp32 arithmetic and fp32 storage; and since NVIDIA_TF32_OVERRIDE and
 *       CUBLAS_EMULATE_SINGLE_PRECISION stand above what a program asks for, both are set to 0
 *       before the library is opened, which is when it reads them.
 *   (3) bf16 has fp32 accumulators; where a product is cut along k, its parts are summed in fp32:
 *       of the reduction schemes only COMPUTE_TYPE (and none) is allowed, which also leaves out
 *       those whose sums stand in bf16.
 *   (4) The algorithm is the library's first choice for the shape, strides and alignments, a pure
 *       function of them, and the workspace is ours and of one size: the same product has the same
 *       bits. Choices are kept in a table of N_PLACES; two products of one place push each other
 *       out, which changes no bit. (A choice costs tens of us on the host, a step has a dozen
 *       products, and the host is ahead of the device by more.)
 *   (5) Where the library has no algorithm with the epilogue or with C beside D, out is first
 *       filled with bias and add by a kernel, and the product is added to it: 4 (bf16) or 8 bytes
 *       more per element of out, and one more rounding where out is bf16 and has both, which no
 *       product of a model has.
 *   (6) Rows that must not know each other (linear_rows) have one algorithm whatever their number:
 *       the one for ALONE_ROWS rows of these sizes, dtypes and strides, without a cut along k. What
 *       an algorithm's number of rows decides is how many tiles there are: within a tile each
 *       element is one chain of sums along k, in steps that the algorithm's tile alone decides. Of
 *       addresses only that counts which all rows have in common. */
#include <stdlib.h>
#include <string.h>

#include <cublasLt.h>

#include "kernels.h"
#include "memory.h"

enum { N_PLACES = 4096, ALONE_ROWS = 128 };
static const size_t WORKSPACE = (size_t)32 << 20; /* what cuBLAS' manual gives Hopper */

/* What decides about an algorithm. Compared as bytes: all members are of one size. */
struct gemm_product {
    int64_t m, n, k;
    int64_t in, out; /* enum dtype */
    int64_t transpose_a, transpose_b, bias, add, alone;
    int64_t stride_a, stride_b, stride_out, stride_add;
    int64_t align_a, align_b, align_out, align_add; /* of the addresses, in bytes, at most 256 */
};

struct gemm_entry {
    struct gemm_product product;
    bool used, possible; /* possible: the library has an algorithm */
    cublasLtMatmulDesc_t descriptor;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algorithm;
};

struct cuda_matmul {
    cublasLtHandle_t handle;
    struct gemm_entry *entry; /* N_PLACES */
};

#define LT_TRY(call)                                                                \
    do {                                                                            \
        cublasStatus_t status_ = (call);                                            \
        if (status_ != CUBLAS_STATUS_SUCCESS)                                       \
            cuda_die_at(__FILE__, __LINE__, #call, cublasGetStatusString(status_)); \
    } while (0)

/* ---- algorithms ---- */

static cudaDataType_t type_of(int64_t dtype) {
    return dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* A row-major matrix as the library sees it: columns are its rows. */
static cublasLtMatrixLayout_t layout_of(int64_t dtype, int64_t rows, int64_t cols, int64_t stride) {
    cublasLtMatrixLayout_t layout;
    LT_TRY(cublasLtMatrixLayoutCreate(&layout, type_of(dtype), (uint64_t)cols, (uint64_t)rows,
                                      stride));
    return layout;
}

static void set_operation(cublasLtMatmulDesc_t descriptor, cublasLtMatmulDescAttributes_t which,
                          bool transpose) {
    cublasOperation_t operation = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
    LT_TRY(cublasLtMatmulDescSetAttribute(descriptor, which, &operation, sizeof operation));
}

static void set_alignment(cublasLtMatmulPreference_t wish,
                          cublasLtMatmulPreferenceAttributes_t which, int64_t bytes) {
    uint32_t value = (uint32_t)bytes;
    LT_TRY(cublasLtMatmulPreferenceSetAttribute(wish, which, &value, sizeof value));
}

/* By (3), (4) and (6). False if there is no algorithm. */
static bool choose(cublasLtHandle_t handle, struct gemm_entry *e) {
    const struct gemm_product *p = &e->product;
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t found;
    memset(&found, 0, sizeof found);
    int n_found = 0;
    uint32_t schemes =
        p->alone ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    LT_TRY(cublasLtMatmulPreferenceCreate(&wish));
    LT_TRY(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &WORKSPACE, sizeof WORKSPACE));
    LT_TRY(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                &schemes, sizeof schemes));
    set_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p->align_b);
    set_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p->align_a);
    set_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                  p->add ? p->align_add : p->align_out);
    set_alignment(wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p->align_out);
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, e->descriptor, e->a, e->b, e->c,
                                                           e->d, wish, 1, &found, &n_found);
    LT_TRY(cublasLtMatmulPreferenceDestroy(wish));
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) LT_TRY(status);
    e->algorithm = found.algo;
    return status == CUBLAS_STATUS_SUCCESS && n_found > 0 && found.state == CUBLAS_STATUS_SUCCESS;
}

static void set_bias(cublasLtMatmulDesc_t descriptor, const void *bias) {
    LT_TRY(cublasLtMatmulDescSetAttribute(descriptor, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                          sizeof bias));
}

/* bias: some bias of that dtype and alignment. */
static void make_entry(cublasLtHandle_t handle, struct gemm_entry *e, const struct gemm_product *p,
                       const void *bias) {
    cublasComputeType_t arithmetic =
        p->in == DTYPE_F32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
    cublasLtEpilogue_t epilogue = p->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    memset(e, 0, sizeof *e);
    e->product = *p;
    e->used = true;
    LT_TRY(cublasLtMatmulDescCreate(&e->descriptor, arithmetic, CUDA_R_32F));
    set_operation(e->descriptor, CUBLASLT_MATMUL_DESC_TRANSA, p->transpose_b);
    set_operation(e->descriptor, CUBLASLT_MATMUL_DESC_TRANSB, p->transpose_a);
    LT_TRY(cublasLtMatmulDescSetAttribute(e->descriptor, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                          sizeof epilogue));
    if (p->bias) set_bias(e->descriptor, bias);
    e->a = p->transpose_b ? layout_of(p->in, p->n, p->k, p->stride_b)
                          : layout_of(p->in, p->k, p->n, p->stride_b);
    e->b = p->transpose_a ? layout_of(p->in, p->k, p->m, p->stride_a)
                          : layout_of(p->in, p->m, p->k, p->stride_a);
    e->c = layout_of(p->out, p->m, p->n, p->add ? p->stride_add : p->stride_out);
    e->d = layout_of(p->out, p->m, p->n, p->stride_out);
    e->possible = choose(handle, e);
}

static void free_entry(struct gemm_entry *e) {
    if (!e->used) return;
    LT_TRY(cublasLtMatmulDescDestroy(e->descriptor));
    LT_TRY(cublasLtMatrixLayoutDestroy(e->a));
    LT_TRY(cublasLtMatrixLayoutDestroy(e->b));
    LT_TRY(cublasLtMatrixLayoutDestroy(e->c));
    LT_TRY(cublasLtMatrixLayoutDestroy(e->d));
    e->used = false;
}

/* FNV-1a, by words. */
static uint64_t hash_product(const struct gemm_product *p) {
    const int64_t *word = reinterpret_cast<const int64_t *>(p);
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < sizeof *p / sizeof *word; i++)
        hash = (hash ^ (uint64_t)word[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

static struct gemm_entry *get_entry(struct cuda_matmul *m, const struct gemm_product *p,
                                    const void *bias) {
    struct gemm_entry *e = &m->entry[hash_product(p) % N_PLACES];
    if (e->used && memcmp(&e->product, p, sizeof *p) == 0) return e;
    free_entry(e);
    make_entry(m->handle, e, p, bias);
    return e;
}

struct cuda_matmul *cuda_matmul_open(struct device *dev) {
    (void)dev;
    struct cuda_matmul *m = (struct cuda_matmul *)mem_alloc(1, sizeof *m);
    setenv("NVIDIA_TF32_OVERRIDE", "0", 1); /* by (2) */
    setenv("CUBLAS_EMULATE_SINGLE_PRECISION", "0", 1);
    LT_TRY(cublasLtCreate(&m->handle));
    m->entry = (struct gemm_entry *)mem_alloc(N_PLACES, sizeof *m->entry);
    return m;
}

void cuda_matmul_close(struct cuda_matmul *m) {
    if (!m) return;
    for (int i = 0; i < N_PLACES; i++) free_entry(&m->entry[i]);
    LT_TRY(cublasLtDestroy(m->handle));
    mem_free(m->entry);
    mem_free(m);
}

/* ---- calls ---- */

struct gemm_call {
    struct tensor out, a, b;
    bool transpose_a, transpose_b;
    const void *bias; /* of out's dtype, or NULL */
    const struct tensor *add;
    bool alone; /* by (6) */
};

static int64_t alignment(const void *address) {
    uintptr_t bits = reinterpret_cast<uintptr_t>(address) | 256;
    return (int64_t)(bits & -bits);
}

static int64_t stride_of(const struct tensor *t) {
    return MAX(t->stride, t->cols);
}

/* What the addresses of all rows have in common, up to the 16 bytes that a kernel may ask for. */
static int64_t row_alignment(const struct tensor *t) {
    int64_t bits = stride_of(t) * (int64_t)dtype_bytes(t->dtype) | 16;
    return MIN(alignment(t->data), bits & -bits);
}

/* The product that a call asks for, with what its algorithm may depend on: strides and the
 * alignment of each pointer. */
static struct gemm_product product_of(const struct gemm_call *c) {
    struct gemm_product p;
    memset(&p, 0, sizeof p);
    p.m = c->out.rows;
    p.n = c->out.cols;
    p.k = c->transpose_a ? c->a.rows : c->a.cols;
    p.in = c->a.dtype;
    p.out = c->out.dtype;
    p.transpose_a = c->transpose_a;
    p.transpose_b = c->transpose_b;
    p.bias = c->bias != nullptr;
    p.add = c->add != nullptr;
    p.stride_a = stride_of(&c->a);
    p.stride_b = stride_of(&c->b);
    p.stride_out = stride_of(&c->out);
    p.align_a = alignment(c->a.data);
    p.align_b = alignment(c->b.data);
    p.align_out = alignment(c->out.data);
    if (c->add) {
        p.stride_add = stride_of(c->add);
        p.align_add = alignment(c->add->data);
    }
    if (c->alone) {
        p.alone = true;
        p.m = ALONE_ROWS;
        p.align_a = row_alignment(&c->a);
        p.align_out = row_alignment(&c->out);
        if (c->add) p.align_add = row_alignment(c->add);
    }
    return p;
}

static void set_rows(cublasLtMatrixLayout_t layout, int64_t rows) {
    uint64_t count = (uint64_t)rows;
    LT_TRY(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_COLS, &count,
                                            sizeof count));
}

/* False if the library has no algorithm for it. */
static bool multiply(struct device *dev, const struct gemm_call *c, void *workspace) {
    struct gemm_product p = product_of(c);
    struct gemm_entry *e = get_entry(cuda_of(dev)->matmul, &p, c->bias);
    if (!e->possible) return false;
    float one = 1, beta = c->add ? 1 : 0;
    if (c->bias) set_bias(e->descriptor, c->bias);
    if (c->alone) set_rows(e->b, c->a.rows), set_rows(e->c, c->a.rows), set_rows(e->d, c->a.rows);
    LT_TRY(cublasLtMatmul(cuda_of(dev)->matmul->handle, e->descriptor, &one, c->b.data, e->a,
                          c->a.data, e->b, &beta, c->add ? c->add->data : c->out.data, e->c,
                          c->out.data, e->d, &e->algorithm, workspace, WORKSPACE,
                          compute_stream(dev, "cuda_gemm")));
    return true;
}

/* By (5): out = bias (NULL: 0) + add (NULL: 0; may be out). */
template <typename T, int N>
__global__ void fill_kernel(T *out, int64_t out_stride, const T *bias, const T *add_to,
                            int64_t add_stride, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        floats<N> x = bias ? load<N>(bias + at.col * N) : zeros<N>();
        if (add_to) add(&x, load<N>(add_to + at.row * add_stride + at.col * N));
        store<N>(out + at.row * out_stride + at.col * N, x);
    }
}

static void fill(struct device *dev, const struct gemm_call *c) {
    int n = fits(fits(widest(c->out.dtype), c->out), c->bias, c->out.dtype);
    if (c->add) n = fits(n, *c->add);
    struct walk w = walk_make(dev, c->out.rows, c->out.cols / n);
    BY_TYPE(c->out.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((fill_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)c->out.data, c->out.stride, (const T *)c->bias,
                       (const T *)(c->add ? c->add->data : nullptr), c->add ? c->add->stride : 0,
                       w);
            }));
    CUDA_LAUNCHED();
}

static size_t bias_bytes(int64_t cols) {
    return ROUND_UP((size_t)cols * sizeof(float), (size_t)256);
}

/* The library wants the bias in out's dtype and at a multiple of 16 bytes: if it is not so, that is
 * made behind the library's workspace. */
static const void *ready_bias(struct device *dev, const struct tensor *bias, enum dtype dtype,
                              void *workspace) {
    if (!bias) return nullptr;
    if (bias->dtype == dtype && at_multiple(bias->data, 16)) return bias->data;
    struct tensor copy = tensor_make((char *)workspace + WORKSPACE, dtype, 1, bias->cols);
    cuda_cast(dev, copy, *bias);
    return copy.data;
}

static void compute(struct device *dev, struct gemm_call c, const struct tensor *bias) {
    char *workspace =
        (char *)cuda_workspace(dev, WORKSPACE + (bias ? bias_bytes(c.out.cols) : 0));
    c.bias = ready_bias(dev, bias, c.out.dtype, workspace);
    if (multiply(dev, &c, workspace)) return;
    if (c.bias || (c.add && c.add->data != c.out.data)) {
        fill(dev, &c);
        c.bias = nullptr;
        c.add = &c.out;
        if (multiply(dev, &c, workspace)) return;
    }
    die("cuBLASLt has no algorithm for %s (%lld, %lld) = (%lld, %lld)%s (%lld, %lld)%s of %s",
        dtype_name(c.out.dtype), (long long)c.out.rows, (long long)c.out.cols, (long long)c.a.rows,
        (long long)c.a.cols, c.transpose_a ? "^T" : "", (long long)c.b.rows, (long long)c.b.cols,
        c.transpose_b ? "^T" : "", dtype_name(c.a.dtype));
}

void cuda_gemm(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
               struct tensor b, bool transpose_b, const struct tensor *bias,
               const struct tensor *add) {
    struct gemm_call c = {out, a, b, transpose_a, transpose_b, nullptr, add, false};
    compute(dev, c, bias);
}

void cuda_linear_rows(struct device *dev, struct tensor out, struct tensor in, struct tensor weight,
                      const struct tensor *bias, const struct tensor *add) {
    struct gemm_call c = {out, in, weight, false, true, nullptr, add, true};
    compute(dev, c, bias);
}

size_t cuda_matmul_bytes(const struct op_limits *limits) {
    int64_t cols = limits->width;
    for (int i = 0; i < limits->n_gemm; i++) cols = MAX(cols, limits->gemm[i].n);
    return WORKSPACE + bias_bytes(cols);
}

/* Chooses for the largest shapes, so that the library has read its tables before step 0. The
 * addresses are those of the workspace: arenas are as aligned. */
void cuda_matmul_reserve(struct device *dev, const struct op_limits *limits) {
    void *place = cuda_workspace(dev, cuda_matmul_bytes(limits));
    for (int i = 0; i < limits->n_gemm; i++) {
        const struct gemm_shape *s = &limits->gemm[i];
        int64_t m = MAX(1, s->m), k = MAX(1, s->k);
        struct gemm_call c = {
            tensor_make(place, s->out, m, s->n),
            tensor_make(place, s->in, s->transpose_a ? k : m, s->transpose_a ? m : k),
            tensor_make(place, s->in, s->transpose_b ? s->n : k, s->transpose_b ? k : s->n),
            s->transpose_a,
            s->transpose_b,
            s->bias ? place : nullptr,
            nullptr,
            false};
        if (s->add) c.add = &c.out;
        struct gemm_product p = product_of(&c);
        get_entry(cuda_of(dev)->matmul, &p, c.bias);
    }
}
