/* What the losses are made of, for host and device. */
#ifndef RANKWISE_LOGISTIC_H
#define RANKWISE_LOGISTIC_H
#include <math.h>

#include "base.h"

/* log(1 + e^x), without overflow in either tail. */
static inline HD double logistic_softplus(double x) {
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static inline HD double logistic_sigmoid(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* p x + q y, where an infinite number of no weight does not count. */
static inline HD double logistic_mixture(double p, double x, double q, double y) {
    return (p > 0 ? p * x : 0) + (q > 0 ? q * y : 0);
}
#endif
