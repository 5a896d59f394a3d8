/* Evaluation: see eval.h.
 *
 * The comparisons are cut into micro-batches in the shard's order, by forest tokens alone, and
 * dealt to the ranks in turn: so a pair is always scored in the same company, and the figures do
 * not depend on the number of ranks. */
#include "eval.h"

#include <string.h>

#include "batch.h"
#include "clock.h"
#include "log.h"

struct evaluation {
    struct model *model;
    struct device *dev;
    struct shard *shard;
    struct comparison_loss loss;
    struct batch batch;
    struct batch_item *item;
    float *score; /* (reads of a micro-batch) on the host */
    double tally[N_COMPARISON_TALLIES];
    float *scores; /* (n_comparisons, 2), or NULL */
};

/* One past the last comparison of the micro-batch that begins at `first`: at least one, at most
 * `limit` tokens. */
static int64_t cut_after(const struct shard *shard, int64_t first, int64_t limit) {
    int64_t tokens = shard->forest_tokens[first], end = first + 1;
    while (end < shard->n_comparisons && tokens + shard->forest_tokens[end] <= limit)
        tokens += shard->forest_tokens[end++];
    return end;
}

static int64_t max_pairs(const struct shard *shard, int64_t limit) {
    int64_t max = 1;
    for (int64_t first = 0, end; first < shard->n_comparisons; first = end) {
        end = cut_after(shard, first, limit);
        max = MAX(max, end - first);
    }
    return max;
}

int64_t eval_max_tokens(const struct shard *shard, int64_t limit) {
    int64_t max = 0;
    for (int64_t first = 0, end; first < shard->n_comparisons; first = end) {
        int64_t tokens = 0;
        end = cut_after(shard, first, limit);
        for (int64_t i = first; i < end; i++) tokens += shard->forest_tokens[i];
        max = MAX(max, tokens);
    }
    return max;
}

int64_t eval_max_rows(const struct shard *shard, int64_t limit) {
    return 2 * max_pairs(shard, limit);
}

static int build_range(struct evaluation *e, int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) e->item[i - first] = (struct batch_item){e->shard, i};
    return batch_build(&e->batch, e->item, end - first);
}

static void score_range(struct evaluation *e, int64_t first, int64_t end) {
    const float *score = model_forward(e->model, &e->batch.forest, NULL);
    const struct backend *backend = e->dev->backend;
    backend->copy_out(e->dev, e->score, score, (size_t)e->batch.forest.n_rows * sizeof *e->score,
                      STREAM_COMPUTE);
    backend->synchronize(e->dev, STREAM_COMPUTE);
    for (int64_t i = 0; i < end - first; i++) {
        float chosen = e->score[e->batch.chosen[i]], rejected = e->score[e->batch.rejected[i]];
        struct comparison c = {chosen, rejected, 1, e->batch.margin[i], e->batch.weight[i]};
        struct comparison_slope unused;
        comparison_tally_add(e->tally, &c, comparison_loss_at(&e->loss, &c, &unused));
        if (e->scores)
            memcpy(&e->scores[2 * (first + i)], (float[]){chosen, rejected}, 2 * sizeof(float));
    }
}

/* comm_agree; or 1 when a rank wants to stop. */
static int agree_or_stop(const struct ranks *data, int status, const struct eval_options *options) {
    double sign[2] = {status != 0, options->stops && options->stops()};
    comm_max(data, sign, 2);
    return sign[0] > 0 ? comm_agree(data, status) : sign[1] > 0;
}

/* Every rank walks the same cuts, `size` at a time, and takes the one at its own place; a rank
 * without one walks the model with an empty batch, since stage 3 gathers weights. */
static int walk(struct evaluation *e, const struct ranks *data,
                const struct eval_options *options) {
    const struct shard *shard = e->shard;
    double shown = clock_seconds();
    for (int64_t first = 0; first < shard->n_comparisons;) {
        int64_t mine = 0, mine_end = 0;
        for (int turn = 0; turn < data->size && first < shard->n_comparisons; turn++) {
            int64_t end = cut_after(shard, first, options->tokens_per_microbatch);
            if (turn == data->rank) mine = first, mine_end = end;
            first = end;
        }
        int status = agree_or_stop(data, build_range(e, mine, mine_end), options);
        if (status != 0) return status;
        score_range(e, mine, mine_end);
        if (options->progress && clock_seconds() - shown > 2) {
            shown = clock_seconds();
            log_progress("eval %lld of %lld pairs", (long long)first,
                         (long long)shard->n_comparisons);
        }
    }
    return 0;
}

/* Scores of all ranks, each in its own places and zero elsewhere, added up in pieces. */
static void gather_scores(float *scores, int64_t n, const struct ranks *data) {
    enum { PIECE = 65536 };
    double *piece = mem_alloc(PIECE, sizeof *piece);
    for (int64_t at = 0; at < n; at += PIECE) {
        int count = (int)MIN(PIECE, n - at);
        for (int i = 0; i < count; i++) piece[i] = scores[at + i];
        comm_sum(data, piece, count);
        for (int i = 0; i < count; i++) scores[at + i] = (float)piece[i];
    }
    mem_free(piece);
}

int eval_shard(struct model *m, struct device *dev, const struct ranks *data, struct shard *shard,
               const struct eval_options *options, struct loss_summary *summary, float *scores) {
    int64_t pairs = max_pairs(shard, options->tokens_per_microbatch);
    struct evaluation e = {
        .model = m, .dev = dev, .shard = shard, .loss = options->loss, .scores = scores};
    batch_init(&e.batch, eval_max_tokens(shard, options->tokens_per_microbatch), pairs);
    e.item = mem_alloc(pairs, sizeof *e.item);
    e.score = mem_alloc(2 * pairs, sizeof *e.score);
    if (scores) memset(scores, 0, (size_t)(2 * shard->n_comparisons) * sizeof *scores);
    int status = walk(&e, data, options);
    if (status == 0) {
        comm_sum(data, e.tally, N_COMPARISON_TALLIES);
        if (scores) gather_scores(scores, 2 * shard->n_comparisons, data);
        *summary = loss_summarize(e.tally);
    }
    batch_free(&e.batch);
    mem_free(e.item);
    mem_free(e.score);
    return status;
}
