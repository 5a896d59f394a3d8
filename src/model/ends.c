/* The first unit and the last: see ends.h. */
#include "ends.h"

static struct tensor matrix_of(const struct parameter *p, struct unit_weights first, enum dtype c) {
    CHECK(p->segment != SEGMENT_QUANTISED, "%s is quantised", p->name);
    const char *at = (const char *)first.segment[p->segment] + (size_t)p->offset * dtype_bytes(c);
    return tensor_make((void *)at, c, p->rows, p->cols);
}

struct tensor ends_embedding(const struct parameters *table, struct unit_weights first,
                             enum dtype c) {
    return matrix_of(table->unit[0].by_role[ROLE_EMBEDDING], first, c);
}

const struct parameter *ends_head(const struct parameters *table) {
    const struct unit *u = &table->unit[0];
    return u->by_role[ROLE_LM_HEAD] ? u->by_role[ROLE_LM_HEAD] : u->by_role[ROLE_EMBEDDING];
}

struct tensor ends_words(const struct parameters *table, struct unit_weights first, enum dtype c) {
    return matrix_of(ends_head(table), first, c);
}

const float *ends_last(const struct parameters *table, struct unit_weights last, enum role role) {
    const struct parameter *p = table->unit[table->n_units - 1].by_role[role];
    return (const float *)last.segment[p->segment] + p->offset;
}

void ends_norm(struct device *dev, const struct arch *arch, const struct parameters *table,
               struct unit_weights last, struct tensor normed, float *stats, struct tensor x) {
    bool has_bias = arch->norm == NORM_LAYER;
    struct tensor w = tensor_make((float *)ends_last(table, last, ROLE_FINAL_NORM_WEIGHT),
                                  DTYPE_F32, 1, arch->D),
                  bias = w;
    if (has_bias) bias.data = (float *)ends_last(table, last, ROLE_FINAL_NORM_BIAS);
    op_norm_forward(dev, arch->norm, normed, stats, x, w, has_bias ? &bias : NULL, arch->norm_eps);
}
