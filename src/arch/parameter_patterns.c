/* Parameters chosen by patterns over their names: see parameters.h. */
#include <string.h>

#include "memory.h"
#include "parameters.h"

int parameters_check_patterns(const struct parameters *table, const struct patterns *patterns,
                              const char *option) {
    const char **name = mem_alloc(table->n, sizeof *name);
    for (int i = 0; i < table->n; i++) name[i] = table->item[i].name;
    int status = patterns_check(patterns, option, name, table->n);
    mem_free(name);
    return status;
}

int parameters_drop_decay(struct parameters *table, const struct patterns *patterns,
                          const char *option) {
    if (parameters_check_patterns(table, patterns, option) != 0) return -1;
    for (int i = 0; i < table->n; i++)
        if (patterns_match(patterns, table->item[i].name)) table->item[i].decay = false;
    return 0;
}

/* What a block computes with as one matrix or one bias: it has one place in one segment. */
static const enum role fused[][3] = {{ROLE_QKV_WEIGHT, ROLE_K_WEIGHT, ROLE_V_WEIGHT},
                                     {ROLE_QKV_BIAS, ROLE_K_BIAS, ROLE_V_BIAS},
                                     {ROLE_UP_WEIGHT, ROLE_UP2_WEIGHT, ROLE_UP2_WEIGHT},
                                     {ROLE_UP_BIAS, ROLE_UP2_BIAS, ROLE_UP2_BIAS}};
enum { N_FUSED = sizeof fused / sizeof fused[0] };

static int check_fused(const struct unit *unit, const char *option) {
    for (int f = 0; f < N_FUSED; f++) {
        const struct parameter *first = unit->by_role[fused[f][0]];
        for (int i = 1; i < 3; i++) {
            const struct parameter *p = unit->by_role[fused[f][i]];
            if (!first || !p || p->segment == first->segment) continue;
            const struct parameter *in = p->segment == SEGMENT_TRAINED ? first : p,
                                   *out = p->segment == SEGMENT_TRAINED ? p : first;
            return fail("%s: expected all or none of what is one matrix in memory, found a pattern "
                        "for %s and none for %s; hint: freeze both, or neither",
                        option, in->name, out->name);
        }
    }
    return 0;
}

int parameters_freeze(struct parameters *table, const struct patterns *patterns,
                      const char *option) {
    if (parameters_check_patterns(table, patterns, option) != 0) return -1;
    for (int i = 0; i < table->n; i++) {
        struct parameter *p = &table->item[i];
        if (!patterns_match(patterns, p->name)) continue;
        if (p->role == ROLE_SCORE || p->role == ROLE_TIE_THRESHOLD || parameter_is_adapter(p))
            return fail("%s: a pattern matches %s, which is always trained; hint: \"%.*s*\" for "
                        "everything but the score head",
                        option, p->name, (int)strcspn(table->item[0].name, ".") + 1,
                        table->item[0].name);
        p->segment = SEGMENT_FROZEN;
    }
    for (int u = 0; u < table->n_units; u++)
        if (check_fused(&table->unit[u], option) != 0) return -1;
    parameters_place(table);
    return parameters_lowest_trained(table) < table->n_units
               ? 0
               : fail("%s: nothing is left to be trained", option);
}
