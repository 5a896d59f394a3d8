/* Timing products: see products.h. */
#include "products.h"

#include "clock.h"
#include "memory.h"

/* A product with memory of its own to run on. */
struct timed_product {
    struct gemm_shape shape;
    struct tensor out, a, b, bias;
};

static struct tensor take(struct device *dev, enum dtype dtype, int64_t rows, int64_t cols) {
    size_t bytes = (size_t)(ROUND_UP(rows, ROW_QUANTUM) * cols) * dtype_bytes(dtype);
    return tensor_make(dev->backend->alloc(dev, bytes), dtype, rows, cols);
}

void products_open(struct products *p, struct device *dev, const struct gemm_shape *shape, int n) {
    *p = (struct products){dev, mem_alloc(n, sizeof *p->item), n};
    for (int i = 0; i < n; i++) {
        const struct gemm_shape *s = &shape[i];
        p->item[i] = (struct timed_product){
            .shape = *s,
            .out = take(dev, s->out, s->m, s->n),
            .a = s->transpose_a ? take(dev, s->in, s->k, s->m) : take(dev, s->in, s->m, s->k),
            .b = s->transpose_b ? take(dev, s->in, s->n, s->k) : take(dev, s->in, s->k, s->n),
            .bias = take(dev, s->in, 1, s->n),
        };
    }
}

void products_close(struct products *p) {
    for (int i = 0; i < p->n; i++) {
        void *memory[] = {p->item[i].out.data, p->item[i].a.data, p->item[i].b.data,
                          p->item[i].bias.data};
        for (int j = 0; j < 4; j++) p->dev->backend->release(p->dev, memory[j]);
    }
    mem_free(p->item);
    *p = (struct products){0};
}

static int times(const struct timed_product *item, bool counted) {
    return counted ? item->shape.count : 1;
}

double products_seconds(const struct products *p, bool counted) {
    const struct backend *backend = p->dev->backend;
    backend->synchronize(p->dev, STREAM_COMPUTE);
    double start = clock_seconds();
    for (int i = 0; i < p->n; i++) {
        const struct timed_product *item = &p->item[i];
        const struct gemm_shape *s = &item->shape;
        for (int k = 0; k < times(item, counted); k++)
            backend->gemm(p->dev, item->out, item->a, s->transpose_a, item->b, s->transpose_b,
                          s->bias ? &item->bias : NULL, s->add ? &item->out : NULL);
    }
    backend->synchronize(p->dev, STREAM_COMPUTE);
    return clock_seconds() - start;
}

double products_flops(const struct products *p, bool counted) {
    double flops = 0;
    for (int i = 0; i < p->n; i++) {
        const struct gemm_shape *s = &p->item[i].shape;
        flops += 2.0 * times(&p->item[i], counted) * (double)s->m * (double)s->n * (double)s->k;
    }
    return flops;
}
