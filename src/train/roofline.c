/* What a step is measured against: the rate of its matrix products alone. */
#include "products.h"
#include "run.h"

enum { ROOFLINE_TOKENS = 1024, GPU_ROOFLINE_TOKENS = 4096 };

/* It takes the better of two passes after a first one, before the run takes its memory, since the
 * products need some of their own. A GPU is given more tokens, which keep it busy. */
void run_measure_roofline(struct run *r) {
    struct model_options options = run_model_options(r);
    bool on_gpu = r->dev->backend != &cpu_backend;
    model_reserve(r->dev, &r->model.arch, &options);
    options.max_tokens = MIN(options.max_tokens, on_gpu ? GPU_ROOFLINE_TOKENS : ROOFLINE_TOKENS);
    options.max_rows = MIN(options.max_rows, options.max_tokens);
    struct gemm_shape *shape;
    struct products products;
    int n = model_gemm_shapes(&r->model.arch, &options, &shape);
    products_open(&products, r->dev, shape, n);
    products_seconds(&products, on_gpu);
    double seconds = products_seconds(&products, on_gpu);
    seconds = MIN(seconds, products_seconds(&products, on_gpu));
    r->matmul_rate = products_flops(&products, on_gpu) / seconds;
    products_close(&products);
    mem_free(shape);
}
