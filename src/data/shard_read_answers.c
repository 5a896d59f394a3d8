/* The tables that a shard may lack: labels, answers and spans. See shard_file.h. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "h5.h"
#include "json.h"
#include "memory.h"
#include "shard.h"
#include "shard_file.h"

static bool is_there(const struct shard_handle *at, const char *name) {
    return H5Lexists(at->file, name, H5P_DEFAULT) > 0;
}

/* A column of n elements into *out. */
static int take_column(const struct shard_handle *at, const char *name,
                       const struct shard_kind *kind, hid_t type, int64_t n, void *out) {
    void *data = shard_file_read(at, name, kind, n, NULL, type);
    *(void **)out = data;
    return data ? 0 : -1;
}

/* --- labels --- */

int shard_read_labels(struct shard *shard, const struct shard_handle *at) {
    if (!is_there(at, "comparison/label")) return 0;
    if (take_column(at, "comparison/label", &shard_float, H5T_NATIVE_FLOAT, shard->n_comparisons,
                    &shard->label) != 0)
        return -1;
    for (int64_t i = 0; i < shard->n_comparisons; i++)
        if (!(shard->label[i] >= 0 && shard->label[i] <= 1))
            return fail("comparison %lld: expected a label from 0 to 1, found %g; " BUILD_AGAIN,
                        (long long)i, (double)shard->label[i]);
    return 0;
}

/* --- answers --- */

static int take_names(struct shard *shard, const json_t *list) {
    const json_t *item;
    size_t i;
    shard->n_scores = (int64_t)json_array_size(list);
    if (shard->n_scores == 0 || shard->n_scores > UINT16_MAX)
        return fail("attribute \"scores\": expected a list of names; " BUILD_AGAIN);
    shard->score_name = mem_alloc(shard->n_scores, sizeof *shard->score_name);
    json_array_foreach(list, i, item) {
        if (!json_is_string(item))
            return fail("attribute \"scores\": expected a list of names; " BUILD_AGAIN);
        shard->score_name[i] = mem_copy_string(json_string_value(item));
    }
    return 0;
}

static int read_scores(struct shard *shard, const struct shard_handle *at) {
    if (!is_there(at, "answer/score")) return 0;
    char *text = shard_file_text(at->file, "scores");
    json_t *list = text ? json_parse(text, strlen(text)) : NULL;
    int status = list ? take_names(shard, list) : -1;
    mem_free(text);
    json_decref(list);
    if (status != 0) return -1;
    struct shard_kind kind = shard_float;
    kind.n_cols = shard->n_scores;
    if (take_column(at, "answer/score", &kind, H5T_NATIVE_FLOAT, shard->n_answers,
                    &shard->answer_score) != 0)
        return -1;
    for (int64_t i = 0; i < shard->n_answers * shard->n_scores; i++)
        if (isinf(shard->answer_score[i]))
            return fail("answer %lld: an infinite score; " BUILD_AGAIN,
                        (long long)(i / shard->n_scores));
    return 0;
}

/* Where the answers of each group begin. */
static void index_groups(struct shard *shard) {
    shard->answer_first = mem_alloc(shard->n_groups + 1, sizeof *shard->answer_first);
    for (int64_t i = 0; i < shard->n_answers; i++)
        shard->answer_first[shard->answer_group[i] + 1]++;
    for (int64_t g = 0; g < shard->n_groups; g++)
        shard->answer_first[g + 1] += shard->answer_first[g];
}

static int check_answers(const struct shard *shard) {
    int64_t former = 0;
    for (int64_t i = 0; i < shard->n_answers; i++) {
        int64_t s = shard->answer_sequence[i], g = shard->answer_group[i];
        if (s < 0 || s >= shard->n_sequences)
            return fail("answer %lld: sequence %lld of %lld; " BUILD_AGAIN, (long long)i,
                        (long long)s, (long long)shard->n_sequences);
        if (g < former || g >= shard->n_groups)
            return fail("answer %lld: group %lld after %lld of %lld; " BUILD_AGAIN, (long long)i,
                        (long long)g, (long long)former, (long long)shard->n_groups);
        if (shard->answer_prompt_tokens[i] < 0 ||
            shard->answer_prompt_tokens[i] > shard_length(shard, s))
            return fail("answer %lld: %d prompt tokens of %lld; " BUILD_AGAIN, (long long)i,
                        shard->answer_prompt_tokens[i], (long long)shard_length(shard, s));
        if (shard->answer_rank[i] < -1 || shard->answer_rank[i] >= shard->n_answers)
            return fail("answer %lld: rank %d; " BUILD_AGAIN, (long long)i, shard->answer_rank[i]);
        former = g;
    }
    return 0;
}

int shard_read_answers(struct shard *shard, const struct shard_handle *at) {
    if (!is_there(at, "answer")) return 0;
    int64_t n = 0;
    shard->answer_sequence =
        shard_file_read(at, "answer/sequence", &shard_int64, -1, &n, H5T_NATIVE_INT64);
    if (!shard->answer_sequence) return -1;
    if (n < 1) return fail("answer/sequence: expected at least 1 element; " BUILD_AGAIN);
    shard->n_answers = n;
    if (take_column(at, "answer/group", &shard_int64, H5T_NATIVE_INT64, n, &shard->answer_group) !=
            0 ||
        take_column(at, "answer/row", &shard_int64, H5T_NATIVE_INT64, n, &shard->answer_row) != 0 ||
        take_column(at, "answer/rank", &shard_int32, H5T_NATIVE_INT32, n, &shard->answer_rank) !=
            0 ||
        take_column(at, "answer/source", &shard_uint16, H5T_NATIVE_UINT16, n,
                    &shard->answer_source) != 0 ||
        take_column(at, "answer/prompt_tokens", &shard_int32, H5T_NATIVE_INT32, n,
                    &shard->answer_prompt_tokens) != 0 ||
        check_answers(shard) != 0)
        return -1;
    index_groups(shard);
    return read_scores(shard, at);
}

/* --- spans --- */

static int check_spans(const struct shard *shard) {
    int64_t sequence = -1, end = 0;
    for (int64_t i = 0; i < shard->n_spans; i++) {
        int64_t s = shard->span_sequence[i], first = shard->span_first[i],
                last = shard->span_last[i];
        if (s < sequence || s < 0 || s >= shard->n_sequences)
            return fail("span %lld: sequence %lld after %lld of %lld; " BUILD_AGAIN, (long long)i,
                        (long long)s, (long long)sequence, (long long)shard->n_sequences);
        if (s > sequence) end = 1;
        if (first < end || last <= first || last > shard_length(shard, s))
            return fail("span %lld: tokens %lld to %lld of %lld; " BUILD_AGAIN, (long long)i,
                        (long long)first, (long long)last, (long long)shard_length(shard, s));
        if (!isfinite(shard->span_weight[i]) || shard->span_weight[i] < 0 ||
            shard->span_verdict[i] > 1)
            return fail("span %lld: weight %g, verdict %d; " BUILD_AGAIN, (long long)i,
                        (double)shard->span_weight[i], shard->span_verdict[i]);
        sequence = s;
        end = last;
    }
    return 0;
}

int shard_read_spans(struct shard *shard, const struct shard_handle *at) {
    if (!is_there(at, "span")) return 0;
    int64_t n = 0;
    shard->span_sequence =
        shard_file_read(at, "span/sequence", &shard_int64, -1, &n, H5T_NATIVE_INT64);
    if (!shard->span_sequence) return -1;
    if (n < 1) return fail("span/sequence: expected at least 1 element; " BUILD_AGAIN);
    shard->n_spans = n;
    if (take_column(at, "span/first", &shard_int64, H5T_NATIVE_INT64, n, &shard->span_first) != 0 ||
        take_column(at, "span/last", &shard_int64, H5T_NATIVE_INT64, n, &shard->span_last) != 0 ||
        take_column(at, "span/weight", &shard_float, H5T_NATIVE_FLOAT, n, &shard->span_weight) !=
            0 ||
        take_column(at, "span/verdict", &shard_uint8, H5T_NATIVE_UINT8, n, &shard->span_verdict) !=
            0)
        return -1;
    return check_spans(shard);
}

void shard_free_answers(struct shard *shard) {
    for (int64_t i = 0; i < shard->n_scores && shard->score_name; i++)
        mem_free(shard->score_name[i]);
    mem_free(shard->score_name);
    mem_free(shard->label);
    mem_free(shard->answer_sequence);
    mem_free(shard->answer_group);
    mem_free(shard->answer_row);
    mem_free(shard->answer_first);
    mem_free(shard->answer_source);
    mem_free(shard->answer_rank);
    mem_free(shard->answer_prompt_tokens);
    mem_free(shard->answer_score);
    mem_free(shard->span_sequence);
    mem_free(shard->span_first);
    mem_free(shard->span_last);
    mem_free(shard->span_weight);
    mem_free(shard->span_verdict);
}

int64_t shard_spans(const struct shard *shard, int64_t sequence, int64_t *first) {
    int64_t low = 0, high = shard->n_spans;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (shard->span_sequence[middle] < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    *first = low;
    while (low < shard->n_spans && shard->span_sequence[low] == sequence) low++;
    return low;
}
