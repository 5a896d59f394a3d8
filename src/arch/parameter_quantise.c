/* Quantised parameters in the table: see parameters.h. */
#include "nf4.h"
#include "parameters.h"

/* The linear layers of a block; those in one row are one matrix in memory. */
static const enum role linear[][3] = {{ROLE_QKV_WEIGHT, ROLE_K_WEIGHT, ROLE_V_WEIGHT},
                                      {ROLE_OUT_WEIGHT, ROLE_OUT_WEIGHT, ROLE_OUT_WEIGHT},
                                      {ROLE_UP_WEIGHT, ROLE_UP2_WEIGHT, ROLE_UP2_WEIGHT},
                                      {ROLE_DOWN_WEIGHT, ROLE_DOWN_WEIGHT, ROLE_DOWN_WEIGHT}};
enum { N_LINEAR = sizeof linear / sizeof linear[0] };

static bool is_linear(const struct parameter *p) {
    for (int i = 0; i < N_LINEAR; i++)
        for (int j = 0; j < 3; j++)
            if (p->role == linear[i][j]) return true;
    return false;
}

int parameters_quantise(struct parameters *table, const char *option) {
    int n = 0;
    for (int i = 0; i < table->n; i++) {
        struct parameter *p = &table->item[i];
        if (p->segment != SEGMENT_FROZEN || !is_linear(p)) continue;
        p->segment = SEGMENT_QUANTISED;
        n++;
    }
    parameters_place(table);
    return n > 0 ? 0
                 : fail("%s: expected frozen linear layers to quantise, found none; hint: freeze "
                        "them with model.freeze, or train adapters",
                        option);
}

int64_t parameter_extent(const struct parameter *p) {
    return p->segment == SEGMENT_QUANTISED ? nf4_layout_make(p->count).bytes : p->count;
}

/* Of matrix i of a block. */
static int64_t quantised_elements(const struct unit *unit, int i) {
    int64_t count = 0;
    for (int j = 0; j < 3; j++) {
        const struct parameter *p = unit->by_role[linear[i][j]];
        bool again = j > 0 && linear[i][j] == linear[i][j - 1];
        if (p && !again && p->segment == SEGMENT_QUANTISED) count += p->count;
    }
    return count;
}

int64_t parameters_largest_quantised(const struct parameters *table) {
    int64_t largest = 0;
    for (int u = 0; u < table->n_units; u++)
        for (int i = 0; i < N_LINEAR; i++)
            largest = MAX(largest, quantised_elements(&table->unit[u], i));
    return largest;
}
