/* What the files of audit share: findings, and what is looked for among answers. */
#ifndef RANKWISE_DATA_TOOLS_AUDIT_H
#define RANKWISE_DATA_TOOLS_AUDIT_H
#include "look.h"
#include "memory.h"

/* How often something was found, and where first. */
struct finding {
    int64_t n;
    struct buffer examples;
};
void finding_add(struct finding *f, const struct look *look, int64_t comparison);
void finding_add_place(struct finding *f, const char *place);
void finding_add_answer(struct finding *f, const struct look *look, int64_t answer);
/* One line; returns whether it is a problem. */
bool finding_report(struct finding *f, bool is_problem, const char *what, int64_t all);

uint64_t audit_hash_tokens(const int32_t *token, int64_t n);
/* Reports what is wrong with the answers of a shard, if it has any, and labels; fills the hashes of
 * their sequences. 0, or -1 with error_text(). */
int audit_answers(struct look *look, uint64_t *sequence, bool promises_eos, int *n_problems);
/* The hash of the prompt of a group that has answers alone. */
int audit_prompt_of_answers(struct look *look, int64_t group, uint64_t *out);
/* audit_prompts.c: the same of what a judge is asked; a pair's hash is that of its first prompt. */
int audit_prompts(struct look *look, uint64_t *sequence, int *n_problems);
int audit_prompt_of_pair(struct look *look, int64_t group, uint64_t *out);
#endif
