/* The matrix products of a step, run alone: the roofline that a step's FLOPs are compared with. */
#ifndef RANKWISE_PRODUCTS_H
#define RANKWISE_PRODUCTS_H
#include "backend.h"

struct products {
    struct device *dev; /* not owned */
    struct timed_product *item;
    int n;
};

/* Takes memory for one product of each shape. The device must be reserved for the shapes. */
void products_open(struct products *p, struct device *dev, const struct gemm_shape *shape, int n);
void products_close(struct products *p);

/* Seconds of one pass over all products, each as often as its shape's count says, or once. */
double products_seconds(const struct products *p, bool counted);

/* FLOPs of such a pass. */
double products_flops(const struct products *p, bool counted);
#endif
