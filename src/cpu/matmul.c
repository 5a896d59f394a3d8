/* Matrix products by oneDNN: the only file that knows it. Compiles with oneDNN 2.6 (Debian 12) and
 * 3.x.
 *
 *   (1) A primitive is made once for each shape, its strides and what is added, and kept with its
 *       memory objects; a call only sets their pointers. reserve() makes those that will be asked
 *       for.
 *   (2) Rows that follow the number of tokens are rounded up to ROW_QUANTUM, so that there are few
 *       shapes: as rows of the output (what lies beyond is overwritten), or as the inner size (the
 *       inputs' rows beyond are zeroed first).
 *   (3) Scratch memory is ours: the workspace.
 *   (4) A CPU without bf16 instructions converts to fp32 here, and says so once. */
#include <dnnl.h>
#include <omp.h>
#include <string.h>

#include "cpu.h"
#include "log.h"
#include "memory.h"
#include "vector.h"

enum { INNER_PIECE = 31 * ROW_QUANTUM };

enum adding { ADD_NOTHING, ADD_TO_OUT, ADD_ANOTHER };

/* What decides about a primitive. Compared as bytes: all members are of one size. */
struct product {
    int64_t m, n, k;
    int64_t in, out; /* enum dtype */
    int64_t transpose_a, transpose_b, bias;
    int64_t adding; /* enum adding */
    int64_t stride_a, stride_b, stride_out, stride_add;
    int64_t threads; /* oneDNN cuts the work for them when it makes the primitive */
};

struct entry {
    struct product product;
    dnnl_primitive_t primitive; /* NULL: a free place */
    dnnl_memory_t a, b, bias, out, add, scratch;
    size_t scratch_bytes;
};

struct matmul {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct entry *entry; /* a hash table with open places: at most half full */
    int64_t n, capacity; /* capacity is a power of two */
    bool told;           /* (4) */
};

static void try_dnnl(dnnl_status_t status, const char *what) {
    if (status != dnnl_success) die("oneDNN: %s failed with status %d", what, (int)status);
}
#define DNNL_TRY(call) try_dnnl(call, #call)

/* ---- what differs between oneDNN 2 and 3 ---- */

#if DNNL_VERSION_MAJOR >= 3
#define DESC(md) (md)
#define CONST_DESC const_dnnl_memory_desc_t
static void describe(dnnl_memory_desc_t *md, const dnnl_dims_t dims, dnnl_data_type_t dtype,
                     const dnnl_dims_t strides) {
    DNNL_TRY(dnnl_memory_desc_create_with_strides(md, 2, dims, dtype, strides));
}
static void drop(dnnl_memory_desc_t md) {
    if (md) DNNL_TRY(dnnl_memory_desc_destroy(md));
}
static void append_sum(dnnl_post_ops_t ops) {
    DNNL_TRY(dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef));
}
static dnnl_primitive_desc_t describe_product(dnnl_engine_t engine, dnnl_primitive_attr_t attr,
                                              dnnl_memory_desc_t a, dnnl_memory_desc_t b,
                                              dnnl_memory_desc_t bias, dnnl_memory_desc_t out) {
    dnnl_primitive_desc_t pd;
    DNNL_TRY(dnnl_matmul_primitive_desc_create(&pd, engine, a, b, bias, out, attr));
    return pd;
}
#else
#define DESC(md) (&(md))
#define CONST_DESC const dnnl_memory_desc_t *
static void describe(dnnl_memory_desc_t *md, const dnnl_dims_t dims, dnnl_data_type_t dtype,
                     const dnnl_dims_t strides) {
    DNNL_TRY(dnnl_memory_desc_init_by_strides(md, 2, dims, dtype, strides));
}
static void drop(dnnl_memory_desc_t md) {
    (void)md;
}
static void append_sum(dnnl_post_ops_t ops) {
    DNNL_TRY(dnnl_post_ops_append_sum(ops, 1));
}
static dnnl_primitive_desc_t describe_product(dnnl_engine_t engine, dnnl_primitive_attr_t attr,
                                              dnnl_memory_desc_t a, dnnl_memory_desc_t b,
                                              dnnl_memory_desc_t bias, dnnl_memory_desc_t out) {
    dnnl_matmul_desc_t description;
    dnnl_primitive_desc_t pd;
    DNNL_TRY(dnnl_matmul_desc_init(&description, &a, &b, bias.ndims ? &bias : NULL, &out));
    DNNL_TRY(dnnl_primitive_desc_create(&pd, &description, attr, engine, NULL));
    return pd;
}
#endif

/* ---- primitives ---- */

static dnnl_data_type_t dnnl_dtype(int64_t dtype) {
    return dtype == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t matrix(int64_t rows, int64_t cols, int64_t stride, bool transpose,
                                 int64_t dtype) {
    dnnl_memory_desc_t md;
    dnnl_dims_t dims = {rows, cols};
    dnnl_dims_t strides = {transpose ? 1 : stride, transpose ? stride : 1};
    describe(&md, dims, dnnl_dtype(dtype), strides);
    return md;
}

static dnnl_primitive_attr_t attributes(const struct product *p, dnnl_memory_desc_t add) {
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    DNNL_TRY(dnnl_post_ops_create(&ops));
    if (p->adding == ADD_TO_OUT) append_sum(ops);
    if (p->adding == ADD_ANOTHER)
        DNNL_TRY(dnnl_post_ops_append_binary(ops, dnnl_binary_add, DESC(add)));
    DNNL_TRY(dnnl_primitive_attr_set_post_ops(attr, ops));
    DNNL_TRY(dnnl_post_ops_destroy(ops));
    return attr;
}

/* Makes the primitive of a product. Its memory objects have no data: execute sets each call's
 * pointers. */
static void make_entry(struct matmul *m, struct entry *e, const struct product *p) {
    dnnl_memory_desc_t a = matrix(p->m, p->k, p->stride_a, p->transpose_a, p->in);
    dnnl_memory_desc_t b = matrix(p->k, p->n, p->stride_b, p->transpose_b, p->in);
    dnnl_memory_desc_t out = matrix(p->m, p->n, p->stride_out, false, p->out);
    dnnl_memory_desc_t bias, add;
    memset(&bias, 0, sizeof bias);
    memset(&add, 0, sizeof add);
    if (p->bias) bias = matrix(1, p->n, p->n, false, p->in);
    if (p->adding == ADD_ANOTHER) add = matrix(p->m, p->n, p->stride_add, false, p->out);
    dnnl_primitive_attr_t attr = attributes(p, add);
    dnnl_primitive_desc_t pd = describe_product(m->engine, attr, a, b, bias, out);

    e->product = *p;
    DNNL_TRY(dnnl_primitive_create(&e->primitive, pd));
    DNNL_TRY(dnnl_memory_create(&e->a, DESC(a), m->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&e->b, DESC(b), m->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&e->out, DESC(out), m->engine, DNNL_MEMORY_NONE));
    if (p->bias) DNNL_TRY(dnnl_memory_create(&e->bias, DESC(bias), m->engine, DNNL_MEMORY_NONE));
    if (p->adding == ADD_ANOTHER)
        DNNL_TRY(dnnl_memory_create(&e->add, DESC(add), m->engine, DNNL_MEMORY_NONE));
    CONST_DESC scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    e->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    DNNL_TRY(dnnl_memory_create(&e->scratch, scratch, m->engine, DNNL_MEMORY_NONE));

    DNNL_TRY(dnnl_primitive_desc_destroy(pd));
    DNNL_TRY(dnnl_primitive_attr_destroy(attr));
    drop(a), drop(b), drop(out), drop(bias), drop(add);
}

static void free_entry(struct entry *e) {
    if (!e->primitive) return;
    dnnl_primitive_destroy(e->primitive);
    dnnl_memory_t memory[] = {e->a, e->b, e->bias, e->out, e->add, e->scratch};
    for (int i = 0; i < 6; i++)
        if (memory[i]) dnnl_memory_destroy(memory[i]);
}

/* FNV-1a, by words. */
static uint64_t hash_product(const struct product *p) {
    const int64_t *word = (const int64_t *)p;
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < sizeof *p / sizeof *word; i++)
        hash = (hash ^ (uint64_t)word[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

/* The place of a product: its own, or the free one where it belongs. */
static struct entry *find_place(struct entry *table, int64_t capacity, const struct product *p) {
    for (uint64_t i = hash_product(p);; i++) {
        struct entry *e = &table[i & (uint64_t)(capacity - 1)];
        if (!e->primitive || memcmp(&e->product, p, sizeof *p) == 0) return e;
    }
}

static void double_room(struct matmul *m) {
    int64_t capacity = 2 * m->capacity;
    struct entry *table = mem_alloc(capacity, sizeof *table);
    for (int64_t i = 0; i < m->capacity; i++)
        if (m->entry[i].primitive) *find_place(table, capacity, &m->entry[i].product) = m->entry[i];
    mem_free(m->entry);
    m->entry = table;
    m->capacity = capacity;
}

static struct entry *get_entry(struct matmul *m, const struct product *p) {
    struct entry *e = find_place(m->entry, m->capacity, p);
    if (e->primitive) return e;
    if (2 * ++m->n > m->capacity) {
        double_room(m);
        e = find_place(m->entry, m->capacity, p);
    }
    make_entry(m, e, p);
    return e;
}

struct matmul *cpu_matmul_open(void) {
    struct matmul *m = mem_alloc(1, sizeof *m);
    m->capacity = 64;
    m->entry = mem_alloc(m->capacity, sizeof *m->entry);
    DNNL_TRY(dnnl_engine_create(&m->engine, dnnl_cpu, 0));
    DNNL_TRY(dnnl_stream_create(&m->stream, m->engine, dnnl_stream_default_flags));
    return m;
}

void cpu_matmul_close(struct matmul *m) {
    for (int64_t i = 0; i < m->capacity; i++) free_entry(&m->entry[i]);
    dnnl_stream_destroy(m->stream);
    dnnl_engine_destroy(m->engine);
    mem_free(m->entry);
    mem_free(m);
}

bool cpu_matmul_native_bf16(void) {
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) ==
           dnnl_cpu_isa_avx512_core_bf16;
}

/* ---- calls ---- */

struct call {
    struct tensor out, a, b;
    bool transpose_a, transpose_b;
    const struct tensor *bias, *add; /* or NULL */
};

/* The product that a call asks for. Rows are rounded up to ROW_QUANTUM, so that micro-batches of
 * about one size share a primitive. */
static struct product product_of(struct device *dev, const struct call *c) {
    int64_t k = c->transpose_a ? c->a.rows : c->a.cols;
    struct product p = {
        .m = c->transpose_a ? c->out.rows : ROUND_UP(c->out.rows, ROW_QUANTUM),
        .n = c->out.cols,
        .k = c->transpose_a && !c->transpose_b ? ROUND_UP(k, ROW_QUANTUM) : k,
        .in = c->a.dtype,
        .out = c->out.dtype,
        .transpose_a = c->transpose_a,
        .transpose_b = c->transpose_b,
        .bias = c->bias != NULL,
        .adding = !c->add                       ? ADD_NOTHING
                  : c->add->data == c->out.data ? ADD_TO_OUT
                                                : ADD_ANOTHER,
        .stride_a = MAX(c->a.stride, c->a.cols),
        .stride_b = MAX(c->b.stride, c->b.cols),
        .stride_out = MAX(c->out.stride, c->out.cols),
        .threads = cpu_of(dev)->threads,
    };
    if (p.adding == ADD_ANOTHER) p.stride_add = MAX(c->add->stride, c->add->cols);
    return p;
}

/* By (2): rows from t.rows up to the next quantum become zero. */
static void zero_tail(struct tensor t) {
    size_t size = dtype_bytes(t.dtype);
    for (int64_t row = t.rows; row < ROUND_UP(t.rows, ROW_QUANTUM); row++)
        memset((char *)t.data + (size_t)(row * t.stride) * size, 0, (size_t)t.cols * size);
}

static void execute(struct matmul *m, struct entry *e, const struct call *c, void *scratch) {
    dnnl_exec_arg_t arg[6] = {{DNNL_ARG_SRC, e->a},
                              {DNNL_ARG_WEIGHTS, e->b},
                              {DNNL_ARG_DST, e->out},
                              {DNNL_ARG_SCRATCHPAD, e->scratch}};
    int n = 4;
    DNNL_TRY(dnnl_memory_set_data_handle(e->a, c->a.data));
    DNNL_TRY(dnnl_memory_set_data_handle(e->b, c->b.data));
    DNNL_TRY(dnnl_memory_set_data_handle(e->out, c->out.data));
    DNNL_TRY(dnnl_memory_set_data_handle(e->scratch, scratch));
    if (e->bias) {
        DNNL_TRY(dnnl_memory_set_data_handle(e->bias, c->bias->data));
        arg[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, e->bias};
    }
    if (e->add) {
        DNNL_TRY(dnnl_memory_set_data_handle(e->add, c->add->data));
        arg[n++] = (dnnl_exec_arg_t){DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, e->add};
    }
    DNNL_TRY(dnnl_primitive_execute(e->primitive, m->stream, n, arg));
    DNNL_TRY(dnnl_stream_wait(m->stream));
}

/* (4): fp32 copies of the operands, laid out one after the other from base on. Returns the bytes
 * they take. */
struct wide {
    struct call call;
    struct tensor bias;
};

static void *take(char *base, size_t *used, int64_t rows, int64_t cols) {
    void *place = base + *used;
    *used += ROUND_UP((size_t)(ROUND_UP(rows, ROW_QUANTUM) * cols) * sizeof(float), 64);
    return place;
}

static size_t lay_out(struct wide *w, const struct call *c, char *base) {
    size_t used = 0;
    w->call = *c;
    w->call.a =
        tensor_make(take(base, &used, c->a.rows, c->a.cols), DTYPE_F32, c->a.rows, c->a.cols);
    w->call.b =
        tensor_make(take(base, &used, c->b.rows, c->b.cols), DTYPE_F32, c->b.rows, c->b.cols);
    if (c->bias) {
        w->bias = tensor_make(take(base, &used, 1, c->bias->cols), DTYPE_F32, 1, c->bias->cols);
        w->call.bias = &w->bias;
    }
    if (c->out.dtype == DTYPE_BF16) {
        w->call.out = tensor_make(take(base, &used, c->out.rows, c->out.cols), DTYPE_F32,
                                  c->out.rows, c->out.cols);
        if (c->add) w->call.add = &w->call.out;
    }
    return used;
}

static void tell_once(struct matmul *m) {
    if (m->told) return;
    m->told = true;
    log_info("this CPU has no bf16 products: they are done in fp32");
}

/* The workspace that the product needs, with its fp32 copies if it must have them; makes the
 * primitive. */
static size_t prepare(struct device *dev, const struct call *c, bool widened) {
    struct wide w;
    size_t copies = widened ? lay_out(&w, c, NULL) : 0;
    struct product p = product_of(dev, widened ? &w.call : c);
    return copies + get_entry(cpu_of(dev)->matmul, &p)->scratch_bytes;
}

static void run(struct device *dev, const struct call *c, void *scratch) {
    struct product p = product_of(dev, c);
    if (c->transpose_a && !c->transpose_b) zero_tail(c->a), zero_tail(c->b);
    execute(cpu_of(dev)->matmul, get_entry(cpu_of(dev)->matmul, &p), c, scratch);
}

static void run_widened(struct device *dev, const struct call *c, char *workspace) {
    struct wide w;
    size_t copies = lay_out(&w, c, workspace);
    tell_once(cpu_of(dev)->matmul);
    cpu_cast(dev, w.call.a, c->a);
    cpu_cast(dev, w.call.b, c->b);
    if (c->bias) cpu_cast(dev, w.bias, *c->bias);
    if (w.call.add == &w.call.out) cpu_cast(dev, w.call.out, *c->add);
    run(dev, &w.call, workspace + copies);
    if (c->out.dtype == DTYPE_BF16) cpu_cast(dev, c->out, w.call.out);
}

static void compute(struct device *dev, const struct call *c) {
    bool widened = c->a.dtype == DTYPE_BF16 && !cpu_matmul_native_bf16();
    void *workspace = cpu_workspace(dev, prepare(dev, c, widened));
    if (widened)
        run_widened(dev, c, workspace);
    else
        run(dev, c, workspace);
}

void cpu_gemm(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
              struct tensor b, bool transpose_b, const struct tensor *bias,
              const struct tensor *add) {
    struct call c = {out, a, b, transpose_a, transpose_b, bias, add};
    omp_set_num_threads(cpu_of(dev)->threads);
    if (!transpose_a || transpose_b) {
        compute(dev, &c);
        return;
    }
    for (int64_t first = 0; first < a.rows; first += INNER_PIECE) { /* by (5) */
        int64_t rows = MIN(a.rows - first, INNER_PIECE);
        c.a = tensor_rows(a, first, rows);
        c.b = tensor_rows(b, first, rows);
        c.bias = first == 0 ? bias : NULL;
        c.add = first == 0 ? add : &out;
        compute(dev, &c);
    }
}

/* Prepares one shape with its varying size at `size`. The tensors have no memory; what is added may
 * be out or another tensor, but for weight gradients. */
static size_t prepare_shape(struct device *dev, const struct gemm_shape *s, int64_t size) {
    int64_t m = s->varies == GEMM_M_IS_TOKENS || s->varies == GEMM_M_IS_ROWS ? size : s->m;
    int64_t k = s->varies == GEMM_K_IS_TOKENS || s->varies == GEMM_K_IS_ROWS ? size : s->k;
    struct tensor bias = tensor_make(NULL, s->in, 1, s->n);
    struct call c = {
        .out = tensor_make(NULL, s->out, m, s->n),
        .a = tensor_make(NULL, s->in, s->transpose_a ? k : m, s->transpose_a ? m : k),
        .b = tensor_make(NULL, s->in, s->transpose_b ? s->n : k, s->transpose_b ? k : s->n),
        .transpose_a = s->transpose_a,
        .transpose_b = s->transpose_b,
        .bias = s->bias ? &bias : NULL,
    };
    bool widened = s->in == DTYPE_BF16 && !cpu_matmul_native_bf16();
    if (!s->add) return prepare(dev, &c, widened);
    struct tensor other = c.out;
    char place;
    other.data = &place;
    c.add = &c.out;
    size_t bytes = prepare(dev, &c, widened);
    if (s->transpose_a) return bytes;
    c.add = &other;
    return MAX(bytes, prepare(dev, &c, widened));
}

size_t cpu_matmul_reserve(struct device *dev, const struct op_limits *limits) {
    size_t bytes = 0;
    omp_set_num_threads(cpu_of(dev)->threads);
    for (int i = 0; i < limits->n_gemm; i++) {
        const struct gemm_shape *s = &limits->gemm[i];
        bool inner = s->varies == GEMM_K_IS_ROWS || s->varies == GEMM_K_IS_TOKENS;
        int64_t max = s->varies == GEMM_FIXED ? 1 : inner ? s->k : s->m;
        if (s->transpose_a) max = MIN(max, INNER_PIECE);
        for (int64_t size = ROW_QUANTUM; size < max + ROW_QUANTUM; size += ROW_QUANTUM) {
            size_t needed = prepare_shape(dev, s, size);
            bytes = MAX(bytes, needed);
        }
    }
    return bytes;
}
