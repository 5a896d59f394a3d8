/* The losses of a list of ranked answers, for the CPU, the GPU and the evaluation on the host: rank
 * 0 is best, equal ranks are tied, and ranks may have gaps.
 *
 *   plackett_luce  -log of the probability that the list is drawn in its order, best first: the sum
 *                  over the members i of log(sum of e^score over all that are not better than i) -
 *                  score i. Luce (1959), Plackett (1975). Tied members all compete with each other,
 *                  as in Breslow (1974). For two members it is bradley_terry.
 *   all_pairs      the mean of -log sigmoid(better - worse) over the pairs of different rank, as
 *                  InstructGPT weights them (Ouyang et al., 2022); 0 where there are none.
 *
 * A loss is a sum of its members' shares. A member's share and its derivative need a number of each
 * member, its part, which is found first. */
#ifndef RANKWISE_RANKING_LOSS_H
#define RANKWISE_RANKING_LOSS_H
#include "comparison_loss.h"

#define RANKING_LOSSES(X, prefix)             \
    X(prefix##PLACKETT_LUCE, "plackett_luce") \
    X(prefix##ALL_PAIRS, "all_pairs")
#define RANKING_KINDS(X) RANKING_LOSSES(X, RANKING_)

#define RANKING_VALUE(value, word) value,
enum ranking_kind { RANKING_KINDS(RANKING_VALUE) };

/* Lists of scores on the device; a score may serve many. */
struct rankings {
    int64_t n, n_members;
    const int32_t *first;        /* (n + 1): list l has the members first[l] to first[l + 1] */
    const int32_t *place, *rank; /* (n_members): of its score */
    const float *weight;         /* (n), or NULL: 1 */
    double *part;                /* (n_members): the op's scratch */
};

/* One of them: pointers to its first member. */
struct ranking {
    int32_t n;
    const float *score; /* all scores */
    const int32_t *place, *rank;
    double *part;
    double weight;
};

static inline HD struct ranking ranking_of(const struct rankings *r, const float *score,
                                           int64_t list) {
    int32_t first = r->first[list];
    struct ranking one = {r->first[list + 1] - first, score, r->place + first, r->rank + first,
                          r->part + first, r->weight ? r->weight[list] : 1};
    return one;
}

static inline HD double ranking_score(const struct ranking *list, int32_t i) {
    return list->score[list->place[i]];
}

/* The log of the sum of e^score over the members that are not better than i. */
static inline HD double ranking_log_sum(const struct ranking *list, int32_t i) {
    double max = ranking_score(list, i), sum = 0;
    for (int32_t j = 0; j < list->n; j++)
        if (list->rank[j] >= list->rank[i]) max = fmax(max, ranking_score(list, j));
    for (int32_t j = 0; j < list->n; j++)
        if (list->rank[j] >= list->rank[i]) sum += exp(ranking_score(list, j) - max);
    return max + log(sum);
}

static inline HD double ranking_worse_members(const struct ranking *list, int32_t i) {
    double n = 0;
    for (int32_t j = 0; j < list->n; j++) n += list->rank[j] > list->rank[i];
    return n;
}

/* The part of member i. */
static inline HD double ranking_part(enum ranking_kind kind, const struct ranking *list,
                                     int32_t i) {
    switch (kind) {
    case RANKING_PLACKETT_LUCE: return ranking_log_sum(list, i);
    case RANKING_ALL_PAIRS: return ranking_worse_members(list, i);
    }
    return 0;
}

static inline HD double ranking_plackett_luce(const struct ranking *list, int32_t i,
                                              double *slope) {
    double score = ranking_score(list, i);
    *slope = -1;
    for (int32_t j = 0; j < list->n; j++)
        if (list->rank[j] <= list->rank[i]) *slope += exp(score - list->part[j]);
    return list->part[i] - score;
}

static inline HD double ranking_all_pairs(const struct ranking *list, int32_t i, double *slope) {
    double score = ranking_score(list, i), pairs = 0, share = 0;
    *slope = 0;
    for (int32_t j = 0; j < list->n; j++) {
        double above = score - ranking_score(list, j);
        pairs += list->part[j];
        if (list->rank[j] > list->rank[i]) {
            share += logistic_softplus(-above);
            *slope -= logistic_sigmoid(-above);
        } else if (list->rank[j] < list->rank[i]) {
            *slope += logistic_sigmoid(above);
        }
    }
    if (pairs > 0) *slope /= pairs;
    return pairs > 0 ? share / pairs : 0;
}

/* The share of member i in the list's loss, before the weight, and the derivative of the whole loss
 * by the member's score. The parts of all members are known. */
static inline HD double ranking_share(enum ranking_kind kind, const struct ranking *list, int32_t i,
                                      double *slope) {
    *slope = 0;
    switch (kind) {
    case RANKING_PLACKETT_LUCE: return ranking_plackett_luce(list, i, slope);
    case RANKING_ALL_PAIRS: return ranking_all_pairs(list, i, slope);
    }
    return 0;
}

/* The tallies of a list are those of comparison_loss.h, of each pair of its members once; tied
 * members are undecided pairs. The weight is the list's. */
enum { TALLY_LISTS = N_COMPARISON_TALLIES, N_RANKING_TALLIES };

/* Adds member i, whose share is known, to tally (N_RANKING_TALLIES). */
static inline HD void ranking_tally_add(double *tally, const struct ranking *list, int32_t i,
                                        double share) {
    double score = ranking_score(list, i);
    tally[TALLY_LOSS] += list->weight * share;
    tally[TALLY_WEIGHT] += i == 0 ? list->weight : 0;
    tally[TALLY_LISTS] += i == 0;
    for (int32_t j = 0; j < list->n; j++) {
        bool tied = list->rank[j] == list->rank[i] && j > i;
        double other = ranking_score(list, j);
        tally[TALLY_PAIRS] += tied;
        tally[TALLY_UNDECIDED] += tied;
        if (list->rank[j] <= list->rank[i]) continue;
        tally[TALLY_PAIRS] += 1;
        tally[TALLY_CORRECT] += score > other;
        tally[TALLY_TIES] += score == other;
        tally[TALLY_CHOSEN] += score;
        tally[TALLY_REJECTED] += other;
    }
}
#endif
