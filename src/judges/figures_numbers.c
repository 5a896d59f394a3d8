/* Means, deviations and percentiles: see figures_parts.h. */
#include "figures_parts.h"

#include <math.h>
#include <stdlib.h>

void numbers_add(struct numbers *x, double value) {
    ARRAY_RESERVE(x->value, x->n, x->capacity);
    x->value[x->n++] = value;
}

void numbers_free(struct numbers *x) {
    mem_free(x->value);
    *x = (struct numbers){0};
}

double numbers_mean(const struct numbers *x) {
    double sum = 0;
    for (int64_t i = 0; i < x->n; i++) sum += x->value[i];
    return x->n ? sum / (double)x->n : NAN;
}

double numbers_std(const struct numbers *x) {
    double mean = numbers_mean(x), sum = 0;
    for (int64_t i = 0; i < x->n; i++) sum += (x->value[i] - mean) * (x->value[i] - mean);
    return x->n ? sqrt(sum / (double)x->n) : NAN;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void numbers_sort(struct numbers *x) {
    if (x->n) qsort(x->value, (size_t)x->n, sizeof *x->value, compare);
}

double numbers_percentile(const struct numbers *x, double q) {
    if (x->n == 0) return NAN;
    double place = q * (double)(x->n - 1);
    int64_t low = (int64_t)place, high = MIN(low + 1, x->n - 1);
    return x->value[low] + (place - (double)low) * (x->value[high] - x->value[low]);
}

void figures_set(json_t *object, const char *key, double value) {
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}
