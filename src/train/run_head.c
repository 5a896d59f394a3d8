/* The score head that a run trains: how many scores it gives, and where its weights begin. */
#include <string.h>

#include "log.h"
#include "run.h"

int run_choose_task(struct run *r) {
    int64_t *heads = &r->config->model.heads, asked = *heads;
    if (asked == 0) *heads = MAX(1, run_source_scores(r));
    if (task_choose(&r->model.task, r->config, &r->data.train[0]) != 0) return -1;
    *heads = r->model.task.heads;
    if (asked != 0 && asked != *heads)
        return fail("model.heads: expected %lld, %s, found %lld", (long long)*heads,
                    r->model.task.parameters.head.kind == HEAD_LM
                        ? "as completions give no scores"
                        : "a score for each attribute (loss.attributes)",
                    (long long)asked);
    contract_copy(&r->data.contract, &r->data.train[0].contract);
    task_set_heads(&r->model.task, &r->data.contract);
    return 0;
}

bool run_is_random(const struct run *r) {
    CONFIG_TWO_WORDS(MODEL_INITS);
    return r->config->model.init == MODEL_INIT_RANDOM;
}

/* Is the score head new even where the model has one? */
static bool wants_new_head(const struct run *r) {
    CONFIG_TWO_WORDS(HEAD_INITS);
    return r->config->model.head_init == HEAD_INIT_RANDOM;
}

bool run_has_new_head(const struct run *r) {
    int64_t wanted = r->model.task.parameters.head.n_scores,
            found = r->model.peft.has_score ? wanted : r->model.found_scores;
    return run_is_random(r) || wants_new_head(r) || found != wanted;
}

/* What score k of the head that model.path has is of; NULL where that is not said. */
static const char *name_of(const struct run *r, int k) {
    const struct contract *contract = &r->model.source.contract;
    if (r->model.source_path)
        return contract_heads_kind(contract) == HEADS_ATTRIBUTES ? contract_head_name(contract, k)
                                                                 : NULL;
    return k < r->model.arch.n_labels ? r->model.arch.label[k] : NULL;
}

/* A head that is kept must have the attributes of the data, in their order, as far as it has
 * names. */
static int check_attributes(const struct run *r) {
    const struct contract *contract = &r->data.contract;
    if (contract_heads_kind(contract) != HEADS_ATTRIBUTES) return 0;
    for (int k = 0; k < contract_n_heads(contract); k++) {
        const char *name = contract_head_name(contract, k), *found = name_of(r, k);
        if (!found || strcmp(found, name) == 0) continue;
        return fail("%s: expected \"%s\" as score %d, as the data have it, found \"%s\"; hint: "
                    "loss.attributes names them in the model's order, model.head_init=random "
                    "begins anew",
                    r->config->model.path, name, k, found);
    }
    return 0;
}

/* A head of one score says nothing of how the heads of an ensemble differ, so these begin anew. */
int run_check_head(const struct run *r) {
    int64_t found = r->model.found_scores, wanted = r->model.task.parameters.head.n_scores;
    if (r->model.task.parameters.head.kind != HEAD_SCORE) return 0;
    if (!run_has_new_head(r)) return check_attributes(r);
    if (wants_new_head(r) || found <= 1) return 0;
    return fail("%s: expected a score head of %lld scores, found one of %lld; hint: "
                "model.heads=%lld, or model.head_init=random for a new one",
                r->config->model.path, (long long)wanted, (long long)found, (long long)found);
}

static void tell_lm_head(const struct run *r) {
    const char *path = r->config->model.path;
    if (!r->model.table.unit[0].by_role[ROLE_LM_HEAD])
        log_info("the language model's head is the embedding of %s", path);
    else if (r->model.lacks_lm_head)
        log_info("the language model's head is new: %s has none", path);
    else
        log_info("the language model's head is that of %s", path);
}

void run_tell_head(const struct run *r) {
    const struct head *head = &r->model.task.parameters.head;
    int64_t found = r->model.found_scores;
    if (r->model.source_path && !run_is_random(r))
        log_info("the weights are those of %s", r->model.source_path);
    if (head->kind != HEAD_SCORE && !run_is_random(r)) tell_lm_head(r);
    if (head->kind != HEAD_SCORE || run_is_random(r)) return;
    char *name = head->n_scores == 1 ? mem_copy_string("the score head")
                                     : mem_format("the score heads, %d of them,", head->n_scores);
    const char *verb = head->n_scores == 1 ? "is" : "are";
    if (!run_has_new_head(r))
        log_info("%s %s that of %s", name, verb,
                 r->model.peft.has_score ? r->config->model.adapter : r->config->model.path);
    else if (found > 0)
        log_info("%s %s new: that of %s, of %lld score%s, is not kept", name, verb,
                 r->config->model.path, (long long)found, found == 1 ? "" : "s");
    else
        log_info("%s %s new: %s has none", name, verb, r->config->model.path);
    mem_free(name);
}
