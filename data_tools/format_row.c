/* Rows: see format.h. What becomes of answers beside their comparisons is decided here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format_parts.h"

void row_add_answer(struct row *row, json_t *answer) {
    ARRAY_RESERVE(row->answer, row->n_answers, row->capacity_answers);
    row->answer[row->n_answers++] = answer;
}

void row_add_pair(struct row *row, int chosen, int rejected, float margin, float weight) {
    ARRAY_RESERVE(row->pair, row->n_pairs, row->capacity_pairs);
    row->pair[row->n_pairs++] = (struct row_pair){chosen, rejected, margin, weight, 1};
}

void row_add_tie(struct row *row, int first, int second, float weight) {
    ARRAY_RESERVE(row->tie, row->n_known_ties, row->capacity_ties);
    row->tie[row->n_known_ties++] = (struct row_pair){first, second, 0, weight, 0.5f};
    row->n_ties++;
}

void row_set_score(struct row *row, const char *name, int answer, double score) {
    int i = 0;
    while (i < row->n_scores && strcmp(row->score_name[i], name) != 0) i++;
    if (i == row->n_scores) {
        if (row->n_scores == row->capacity_scores) {
            row->capacity_scores = 2 * row->capacity_scores + 4;
            row->score_name =
                mem_resize(row->score_name, row->capacity_scores, sizeof *row->score_name);
            row->score = mem_resize(row->score, (int64_t)row->capacity_scores * ROW_MAX_ANSWERS,
                                    sizeof *row->score);
        }
        row->score_name[row->n_scores++] = mem_copy_string(name);
        for (int k = 0; k < ROW_MAX_ANSWERS; k++) row->score[i * ROW_MAX_ANSWERS + k] = NAN;
    }
    row->score[i * ROW_MAX_ANSWERS + answer] = (float)score;
}

void row_clear(struct row *row) {
    for (int i = 0; i < row->n_answers; i++) json_decref(row->answer[i]);
    json_decref(row->prompt);
    json_decref(row->tools);
    json_decref(row->meta);
    mem_free(row->origin);
    mem_free(row->verdict);
    for (int i = 0; i < row->n_scores; i++) mem_free(row->score_name[i]);
    row->prompt = row->tools = row->meta = NULL;
    row->origin = row->verdict = NULL;
    row->n_answers = row->n_pairs = row->n_ties = row->n_known_ties = row->n_scores = 0;
    row->has_answers = row->has_ranks = false;
    row->weight = 1;
    row->drop = ROW_KEPT;
    row->is_bare = row->is_inside = row->is_asked = false;
}

void row_free(struct row *row) {
    row_clear(row);
    mem_free(row->answer);
    mem_free(row->pair);
    mem_free(row->tie);
    mem_free(row->rank);
    mem_free(row->score_name);
    mem_free(row->score);
    *row = (struct row){0};
}

void row_settle(struct row *row) {
    bool is_any = json_is_array(row->prompt);
    for (int i = 0; i < row->n_answers; i++) is_any |= json_is_array(row->answer[i]);
    if (!is_any) return;
    if (row->prompt) passage_as_messages(&row->prompt, "user");
    for (int i = 0; i < row->n_answers; i++) passage_as_messages(&row->answer[i], "assistant");
}

void row_add_scored(struct row *row, const double *score, int n) {
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++) {
            if (score[i] == score[k])
                row_add_tie(row, i, k, 1);
            else
                row_add_pair(row, score[i] > score[k] ? i : k, score[i] > score[k] ? k : i, 0, 1);
        }
}

int row_take_last(struct row *row, const char *name) {
    size_t n = json_array_size(row->prompt);
    json_t *last = json_array_get(row->prompt, n - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (n == 0) return fail("\"%s\": expected a list of messages", name);
    if (!role || strcmp(role, "assistant") != 0)
        return fail("\"%s\": expected the last message to be the assistant's, found the %s's", name,
                    role ? role : "unknown");
    row_add_answer(row, json_pack("[O]", last));
    json_t *prompt = json_copy(row->prompt);
    json_array_remove(prompt, n - 1);
    json_decref(row->prompt);
    row->prompt = n > 1 ? prompt : NULL;
    if (n == 1) json_decref(prompt);
    return 0;
}

/* --- ranks --- */

static int compare_numbers(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What ranks of a tier are called: by the tiers before it, by the answers before it, or by the mean
 * place of its members. */
enum tier_rank { BY_TIERS, BY_ANSWERS, BY_MEANS, N_RANKINGS };

static bool follows(const double *sorted, int n, double start, enum tier_rank how) {
    int tier = 0;
    for (int i = 0, end; i < n; i = end, tier++) {
        for (end = i + 1; end < n && sorted[end] == sorted[i];) end++;
        double expected = how == BY_TIERS ? tier : how == BY_ANSWERS ? i : i + (end - i - 1) / 2.0;
        if (sorted[i] != start + expected) return false;
    }
    return true;
}

int row_check_ranks(const double *rank, int n) {
    double sorted[ROW_MAX_ANSWERS];
    memcpy(sorted, rank, (size_t)n * sizeof *rank);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_numbers);
    for (int start = 0; start < 2; start++)
        for (enum tier_rank how = BY_TIERS; how < N_RANKINGS; how++)
            if (follows(sorted, n, start, how)) return 0;
    for (int i = 1; i < n; i++)
        if (sorted[i] > sorted[i - 1] + 1)
            return fail("expected ranks without gaps, found %g after %g", sorted[i], sorted[i - 1]);
    return fail("expected ranks without gaps from 0 or 1 on, found the best %g", sorted[0]);
}

/* Who is better of every two: 1, -1, 0 for a tie; UNJUDGED, or both ways and so DOUBTFUL. */
enum { UNJUDGED = 2, DOUBTFUL = 3 };

static void judge(signed char *order, int n, int better, int worse, int how) {
    signed char *at = &order[better * n + worse], *back = &order[worse * n + better];
    *at = (signed char)(*at == UNJUDGED || *at == how ? how : DOUBTFUL);
    *back = (signed char)(*at == DOUBTFUL ? DOUBTFUL : -how);
}

/* If all answers were compared with each other, and as an order with ties would have it, their
 * ranks in it. */
static bool rank_answers(const signed char *order, int n, int *rank) {
    int wins[ROW_MAX_ANSWERS] = {0};
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) wins[i] += i != k && order[i * n + k] == 1;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++)
            if (i != k && order[i * n + k] != (wins[i] > wins[k]) - (wins[i] < wins[k]))
                return false;
    for (int i = 0; i < n; i++) {
        bool is_seen[ROW_MAX_ANSWERS] = {false};
        rank[i] = 0;
        for (int k = 0; k < n; k++) {
            rank[i] += wins[k] > wins[i] && !is_seen[wins[k]];
            is_seen[wins[k]] = true;
        }
    }
    return true;
}

static void find_ranks(struct row *row) {
    int n = row->n_answers;
    if (n < 2 || n > ROW_MAX_ANSWERS) return;
    if (row->capacity_ranks == 0) {
        row->capacity_ranks = ROW_MAX_ANSWERS;
        row->rank = mem_alloc(ROW_MAX_ANSWERS, sizeof *row->rank);
    }
    signed char *order = mem_alloc(n * n, sizeof *order);
    memset(order, UNJUDGED, (size_t)(n * n));
    for (int i = 0; i < row->n_pairs; i++) {
        const struct row_pair *pair = &row->pair[i];
        bool is_chosen = pair->label >= 0.5f;
        judge(order, n, is_chosen ? pair->chosen : pair->rejected,
              is_chosen ? pair->rejected : pair->chosen, pair->label != 0.5f);
    }
    for (int i = 0; i < row->n_known_ties; i++)
        judge(order, n, row->tie[i].chosen, row->tie[i].rejected, 0);
    row->has_ranks = rank_answers(order, n, row->rank);
    mem_free(order);
}

void row_finish(struct row *row, const struct format_options *options) {
    bool is_left_out = row->drop != ROW_KEPT && row->drop != ROW_TIE;
    if (row->is_asked) return;
    if (options->answers != ANSWERS_DROP && !options->completions) row->has_answers = true;
    if (is_left_out || row->n_answers == 0) row->has_answers = false;
    if (row->has_answers && !options->completions) find_ranks(row);
    for (int i = 0; i < row->n_known_ties && options->keep_ties; i++) {
        ARRAY_RESERVE(row->pair, row->n_pairs, row->capacity_pairs);
        row->pair[row->n_pairs++] = row->tie[i];
    }
    if (options->keep_ties) row->n_ties -= row->n_known_ties;
    if (row->has_answers && options->answers == ANSWERS_ONLY) row->n_pairs = row->n_ties = 0;
    if (is_left_out) return;
    row->drop = row->n_pairs > 0 || row->has_answers ? ROW_KEPT : ROW_TIE;
}
