/* Parameters chosen by patterns over their names: see parameters.h. */
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
