/* W + scale B A, read in pieces like any weights. */
#include <string.h>

#include "adapters.h"

/* The adapter beside a matrix of a block; false: it has none. */
static bool find_adapter(const struct parameters *table, const struct parameter *p,
                         const struct parameter **a, const struct parameter **b) {
    const struct unit *unit = &table->unit[p->unit];
    for (int m = 0; m < N_MODULES; m++) {
        if (p->role != parameters_module_role(m)) continue;
        *a = unit->by_role[parameters_a_role(m)];
        *b = unit->by_role[parameters_b_role(m)];
        return *a && table->adapters.rank > 0;
    }
    return false;
}

static int read_a(struct merged *m, const struct parameter *a) {
    if (m->cached == a) return 0;
    m->cached = NULL;
    m->a = mem_resize(m->a, a->count, sizeof *m->a);
    if (m->reader.read(m->reader.self, a, 0, a->count, m->a) != 0) return -1;
    m->cached = a;
    return 0;
}

/* Adds to elements [first, end) of one row of cols elements. */
static void add_row(const struct merged *m, const float *b, int64_t cols, int64_t first,
                    int64_t end, float *out) {
    int rank = m->table->adapters.rank;
    float scale = m->table->adapters.scale;
    for (int k = 0; k < rank; k++) {
        const float *a = m->a + k * cols;
        float factor = scale * b[k];
        for (int64_t i = first; i < end; i++) out[i - first] += factor * a[i];
    }
}

int merged_read(void *self, const struct parameter *p, int64_t first, int64_t count, float *out) {
    struct merged *m = self;
    const struct parameter *a, *b;
    if (m->reader.read(m->reader.self, p, first, count, out) != 0) return -1;
    if (count == 0 || !find_adapter(m->table, p, &a, &b)) return 0;
    int64_t row = first / p->cols, last = (first + count - 1) / p->cols, rank = b->cols;
    m->b = mem_resize(m->b, (last - row + 1) * rank, sizeof *m->b);
    if (read_a(m, a) != 0 ||
        m->reader.read(m->reader.self, b, row * rank, (last - row + 1) * rank, m->b) != 0)
        return -1;
#pragma omp parallel for
    for (int64_t r = row; r <= last; r++) {
        int64_t from = MAX(first, r * p->cols), to = MIN(first + count, (r + 1) * p->cols);
        add_row(m, m->b + (r - row) * rank, p->cols, from - r * p->cols, to - r * p->cols,
                out + (from - first));
    }
    return 0;
}

void merged_free(struct merged *m) {
    mem_free(m->a);
    mem_free(m->b);
}
