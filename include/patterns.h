/* Patterns: parameters and layers chosen by their names, with the shell's globs: "*norm*",
 * "model.layers.[01].*", "score.weight". A star matches dots too. */
#ifndef RANKWISE_PATTERNS_H
#define RANKWISE_PATTERNS_H
#include "base.h"

struct patterns {
    char **item; /* (n), owned */
    int n;
};

/* Whether one of them matches the whole name. */
bool patterns_match(const struct patterns *p, const char *name);

/* 0 when each of them matches one of the n names at least; else -1 with error_text(), which says
 * the pattern, `option`, where it was given, and the names that are nearest to it. */
int patterns_check(const struct patterns *p, const char *option, const char *const *name, int n);

void patterns_free(struct patterns *p);
#endif
