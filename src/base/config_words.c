/* The parts of config.h that need no libconfig, so that programs without it can use them. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The switch has no default, so that a loss of no task does not compile. */
enum task_choice config_task(const struct config *config) {
    if (config->task != TASK_AUTO) return config->task;
#define OF_TASK(value, word) case value:
    switch (config->loss.type) {
        COMPARISON_LOSSES(OF_TASK, LOSS_)
        RANKING_LOSSES(OF_TASK, LOSS_)
        ANSWER_LOSSES(OF_TASK, LOSS_)
        return TASK_REWARD;
    case LOSS_COMPLETION:
        return TASK_COMPLETION;
        POLICY_LOSSES(OF_TASK, LOSS_)
        return TASK_POLICY;
    }
#undef OF_TASK
    CHECK(false, "loss %d", (int)config->loss.type);
}

enum { LONGEST_WORD = 64 };

/* Levenshtein distance of words of at most LONGEST_WORD bytes, one row of the table at a time. */
static int distance(const char *a, const char *b) {
    int row[LONGEST_WORD + 1], n = (int)strlen(b);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 1; j <= n; j++) {
            int changed = diagonal + (a[i] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(changed, 1 + MIN(row[j], row[j - 1]));
        }
    }
    return row[n];
}

const char *config_nearest(const char *word, const char *const *known, int n_known) {
    if (strlen(word) > LONGEST_WORD) return NULL;
    const char *nearest = NULL;
    int smallest = 2 + (int)strlen(word) / 3; /* further away is a guess that helps nobody */
    for (int i = 0; i < n_known; i++) {
        if (strlen(known[i]) > LONGEST_WORD) continue;
        int d = distance(word, known[i]);
        if (d < smallest) {
            smallest = d;
            nearest = known[i];
        }
    }
    return nearest;
}

int config_parse_size(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    int shift = 0;
    if (end != text && *end) {
        const char *unit = strchr("kMG", *end);
        if (unit) shift = 10 * (int)(1 + (unit - "kMG"));
        if (shift) end++;
    }
    if (end == text || *end || isspace((unsigned char)*text))
        return fail("expected a size as 4096, 64k, 16M or 2G, found \"%s\"", text);
    int64_t size;
    if (errno == ERANGE || __builtin_mul_overflow((int64_t)n, (int64_t)1 << shift, &size))
        return fail("expected a size below 2^63, found \"%s\"", text);
    *out = size;
    return 0;
}
