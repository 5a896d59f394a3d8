/* Measuring the reward: see reward.h.
 *
 * The groups are those of the run's first steps, dealt to ranks and micro-batches as these were, so
 * that what training had room for has room again. */
#include "reward.h"

#include <math.h>

#include "log.h"

/* Sums over ranks of one reward: the count of answers, their scores, the squares. */
struct reward_sums {
    double n, sum, squares;
};

/* score: (rows, heads). Whatever the task, an answer of an item is a read. The heads of an ensemble
 * give one reward, their mean. */
static void add_scores(const struct run *r, const float *score, struct reward_sums *sums) {
    const struct forest *forest = &r->step.batch.forest;
    int heads = r->model.task.heads, n = contract_n_rewards(&r->data.contract), of = heads / n;
    for (int64_t i = 0; i < forest->n_reads; i++) {
        const float *at = score + (int64_t)forest->read[i] * heads;
        for (int k = 0; k < n; k++) {
            double x = 0;
            for (int h = 0; h < of; h++) x += (double)at[k * of + h] / of;
            sums[k].n += 1;
            sums[k].sum += x;
            sums[k].squares += x * x;
        }
    }
}

/* A rank without answers walks the model all the same. Agreed. */
static int score_micro(struct run *r, int m, float *host, struct reward_sums *sums) {
    if (comm_agree(&r->place.data, run_gather_micro(r, m)) != 0) return -1;
    const struct backend *b = r->dev->backend;
    const struct forest *forest = &r->step.batch.forest;
    const float *score = model_forward(r->model.walk, forest, NULL);
    if (forest->n_reads == 0) return 0;
    b->copy_out(r->dev, host, score, (size_t)(forest->n_rows * r->model.task.heads) * sizeof *host,
                STREAM_COMPUTE);
    b->synchronize(r->dev, STREAM_COMPUTE);
    add_scores(r, host, sums);
    return 0;
}

/* Walks the first steps of the order. */
static int score_groups(struct run *r, struct reward_sums *sums) {
    const struct plan_cursor *now = &r->progress.state.cursor;
    int64_t learned = now->epoch > 0 ? r->data.plan.epoch_groups : now->next;
    int64_t end = MIN(learned, REWARD_GROUPS);
    float *host = mem_alloc(r->step.max_rows * r->model.task.heads, sizeof *host);
    int status = 0;
    for (struct plan_cursor at = {0}; status == 0 && at.epoch == 0 && at.next < end;) {
        plan_step(&r->data.plan, &at, r->place.data.rank, r->place.data.size, &r->step.micro);
        for (int m = 0; m < r->step.micro.n_micro && status == 0; m++)
            status = score_micro(r, m, host, sums);
    }
    mem_free(host);
    return status;
}

/* Tells them and writes them down, where they say something. */
static void note(struct run *r, const struct reward_sums *sums, int n) {
    double *mean = mem_alloc(n, sizeof *mean), *sd = mem_alloc(n, sizeof *sd);
    struct contract *contract = &r->data.contract;
    bool is_known = true, is_named = contract_heads_kind(contract) == HEADS_ATTRIBUTES;
    for (int k = 0; k < n; k++) {
        mean[k] = sums[k].sum / sums[k].n;
        sd[k] = sqrt(MAX(0, sums[k].squares / sums[k].n - mean[k] * mean[k]));
        is_known = is_known && isfinite(mean[k]) && sd[k] > 0 && isfinite(sd[k]);
        log_info("reward%s%s over %.0f answers of the training data: mean %+.4f, standard "
                 "deviation %.4f",
                 is_named ? " " : "", is_named ? contract_head_name(contract, k) : "", sums[k].n,
                 mean[k], sd[k]);
    }
    if (is_known)
        contract_set_reward(contract, mean, sd, (int64_t)sums->n);
    else
        log_warn("the model will have no mean and standard deviation to normalize by");
    mem_free(mean);
    mem_free(sd);
}

int reward_measure(struct run *r) {
    if (r->model.task.parameters.head.kind != HEAD_SCORE) return 0;
    int n = contract_n_rewards(&r->data.contract);
    struct reward_sums *sums = mem_alloc(n, sizeof *sums);
    int status = score_groups(r, sums);
    if (status == 0) {
        comm_sum(&r->place.data, (double *)sums, n * (int)(sizeof *sums / sizeof(double)));
        note(r, sums, n);
    }
    mem_free(sums);
    return status;
}
