/* What a run says of a rollout: figures, and a few of its texts. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "json.h"
#include "log.h"
#include "report.h"
#include "rollout.h"
#include "policy_writer.h"

enum { SHOWN = 4 }; /* texts of a rollout in samples.jsonl */

/* --- figures --- */

static void count_sequence(struct rollout_counts *s, const struct rollouts *t, int64_t i) {
    s->sequences += 1;
    s->reward += t->reward[i];
    s->square += (double)t->reward[i] * t->reward[i];
    s->parsed += !isnan(t->score[i]);
    if (!isnan(t->score[i])) s->score += t->score[i];
    s->tokens += (double)rollouts_completion_length(t, i);
    s->truncated += t->truncated[i];
    for (int64_t k = t->first[i] + t->prompt_length[i]; k < t->first[i + 1]; k++)
        s->surprise -= t->sampled[k];
}

/* The mean of the scores that were found; NaN: none was. */
static double mean_score(const struct rollouts *t, int64_t first, int64_t end) {
    double sum = 0, found = 0;
    for (int64_t i = first; i < end; i++)
        if (!isnan(t->score[i])) sum += t->score[i], found++;
    return sum / found;
}

double rollout_pair_right(const struct rollouts *t, int64_t first, int64_t end, int preferred) {
    bool is_pairwise = t->side[first] >= 2;
    int64_t second = is_pairwise ? end : first + t->samples;
    double a = mean_score(t, first, second), b = is_pairwise ? 0.5 : mean_score(t, second, end);
    if (isnan(a) || isnan(b) || preferred < 0) return NAN;
    double lead = preferred == 0 ? a - b : b - a;
    return lead > 0 ? 1 : lead < 0 ? 0 : 0.5;
}

void rollout_count(const struct run *r, const struct rollouts *t, const struct plan_group *group,
                   struct rollout_counts *counts) {
    for (int64_t i = 0; i < t->n; i++) count_sequence(counts, t, i);
    for (int64_t i = 0; i < t->n; i += t->samples, counts->groups++)
        counts->flat += advantage_deviation(t->reward + i, t->samples) <= 0;
    for (int64_t first = 0, end; first < t->n; first = end) {
        const struct plan_group *g = &group[t->pair[first]];
        const struct shard *s = &r->data.train[g->shard];
        for (end = first; end < t->n && t->pair[end] == t->pair[first];) end++;
        double right =
            rollout_pair_right(t, first, end, s->prompt_preferred[s->prompt_first[g->group]]);
        if (isnan(right)) continue;
        counts->right += right;
        counts->compared += 1;
    }
}

static void summarize(const struct rollout_counts *s, struct task_summary *out) {
    double n = s->sequences, mean = s->reward / n;
    const struct {
        const char *name;
        double value;
        struct task_style style;
    } figure[] = {
        {"reward", mean, {4, true, NULL, 0}},
        {"reward_std", sqrt(MAX(0, s->square / n - mean * mean)), {4, false, NULL, 0}},
        {"score", s->score / s->parsed, {3, false, NULL, 0}},
        {"parse_rate", s->parsed / n, {3, false, NULL, 0}},
        {"pair_accuracy", s->right / s->compared, {3, false, NULL, 0}},
        {"length", s->tokens / n, {1, false, NULL, 0}},
        {"truncated", s->truncated / n, {3, false, NULL, 0}},
        {"zero_variance", s->flat / s->groups, {3, false, NULL, 0}},
        {"entropy", s->surprise / s->tokens, {3, false, NULL, 0}},
        {"replaced_pairs", (double)s->replaced, {0, false, NULL, 0}},
        {"tokens_per_second", s->tokens / s->seconds, {0, false, NULL, 0}},
    };
    *out = (struct task_summary){.count = (double)s->asked};
    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++) {
        struct task_figure *f = &out->figure[out->n++];
        *f = (struct task_figure){.value = isnan(figure[i].value) ? NAN : figure[i].value,
                                  .style = figure[i].style};
        snprintf(f->name, sizeof f->name, "%s", figure[i].name);
    }
}

/* --- texts --- */

static json_t *text_of(const struct run *r, const int32_t *token, int64_t n) {
    struct buffer text = {0};
    policy_writer_text(r->policy.tokenizer, token, n, false, &text);
    json_t *out = json_stringn(text.data ? text.data : "", text.length);
    buffer_free(&text);
    return out;
}

static json_t *number_of(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static char *sample_line(const struct run *r, int64_t i) {
    const struct rollouts *t = &r->policy.table;
    const int32_t *token = t->token + t->first[i];
    json_t *line = json_object();
    json_object_set_new(line, "step", json_integer(r->progress.state.step + 1));
    json_object_set_new(line, "rollout", json_integer(r->progress.state.rollouts));
    json_object_set_new(line, "pair", json_integer(t->pair[i]));
    json_object_set_new(line, "side", json_integer(t->side[i]));
    json_object_set_new(line, "sample", json_integer(t->sample[i]));
    json_object_set_new(line, "score", number_of(t->score[i]));
    json_object_set_new(line, "reward", number_of(t->reward[i]));
    json_object_set_new(line, "advantage", number_of(t->advantage[i]));
    json_object_set_new(line, "truncated", json_boolean(t->truncated[i]));
    json_object_set_new(line, "prompt", text_of(r, token, t->prompt_length[i]));
    json_object_set_new(line, "completion",
                        text_of(r, token + t->prompt_length[i], rollouts_completion_length(t, i)));
    char *text = json_text(line);
    json_decref(line);
    return text;
}

/* Two of each of the first prompts. */
static int write_samples(const struct run *r) {
    const struct rollouts *t = &r->policy.table;
    char *path = file_join(r->config->run.dir, "samples.jsonl");
    FILE *file = fopen(path, "a");
    for (int64_t k = 0; file && k < SHOWN; k++) {
        int64_t i = k / 2 * t->samples + k % 2;
        if (i >= t->n || k % 2 >= t->samples) continue;
        char *line = sample_line(r, i);
        fprintf(file, "%s\n", line);
        mem_free(line);
    }
    bool failed = !file || fflush(file) != 0;
    int status = failed ? fail("%s: cannot be written: %s", path, strerror(errno)) : 0;
    if (file) fclose(file);
    mem_free(path);
    return status;
}

int rollout_report(struct run *r, const struct rollout_counts *counts) {
    struct task_summary s;
    summarize(counts, &s);
    report_rollout(r, &s);
    int status = base_rank == 0 && r->config->track.jsonl ? write_samples(r) : 0;
    return comm_agree(&r->place.data, status);
}
