/* How the next word is drawn from a row of logits: the rules' formulas, for host and device.
 *
 * The rules are those of transformers' processors, in this order: repetition penalty, temperature,
 * top-k, top-p, min-p. The first two change logits; the others remove words. What is left is one
 * set, struct sampling_kept: a border in the order of logits, and among the words that stand on the
 * border the first id that stays. */
#ifndef RANKWISE_SAMPLING_H
#define RANKWISE_SAMPLING_H
#include <float.h>
#include <math.h>
#include <string.h>

#include "base.h"

/* Off: {.temperature = 1, .top_p = 1, .repetition_penalty = 1}. Numbers are doubles, so that 1 -
 * top_p is rounded once, as it is in Python. greedy: the largest logit after the penalty, of equals
 * the lowest id; temperature, top_k, top_p and min_p are not asked then. */
struct sampling {
    bool greedy;
    double temperature;        /* above 0: divides the logits */
    double top_p;              /* 0 to 1: the least words of that probability stay */
    double min_p;              /* 0 to 1: words of less than that share of the best's go */
    double repetition_penalty; /* above 0: what words that the row has had are made less by */
    int32_t top_k;             /* 0: all. Words as good as the k-th best stay with it */
};

static inline HD bool sampling_filters(const struct sampling *s) {
    return !s->greedy && (s->top_k > 0 || s->top_p < 1 || s->min_p > 0);
}

/* ---- the logits that the rules make ---- */

static inline HD float sampling_penalise(float x, float penalty) {
    return x < 0 ? x * penalty : x / penalty;
}

/* What the later rules see. NaN is as -infinity, which nothing draws, and +infinity as the largest
 * number; no zero is negative, so that numbers are equal where their keys are. */
static inline HD float sampling_temper(float x, float temperature) {
    x = x / temperature;
    if (!(x >= -FLT_MAX)) return -INFINITY;
    return x > FLT_MAX ? FLT_MAX : x + 0.0f;
}

/* Whole numbers in the order of the numbers. */
static inline HD uint32_t sampling_key(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static inline HD float sampling_number(uint32_t key) {
    uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- which words stay ---- */

/* A rule that keeps the best words until they are enough: k of them, or, with k 0, so many that
 * what is below them has no more of `total` than `limit`. The comparison is in fp32, as is
 * transformers'. */
struct sampling_cut {
    int64_t k;
    double total;
    float limit;
};

static inline HD struct sampling_cut sampling_top_k(int64_t k) {
    struct sampling_cut cut = {k, 0, 0};
    return cut;
}

static inline HD struct sampling_cut sampling_top_p(double top_p, double total) {
    struct sampling_cut cut = {0, total, (float)(1 - top_p)};
    return cut;
}

/* Whether `count` best words, whose exponentials have the sum `mass`, are enough. */
static inline HD bool sampling_enough(const struct sampling_cut *cut, int64_t count, double mass) {
    return cut->k > 0 ? count >= cut->k : (float)((cut->total - mass) / cut->total) <= cut->limit;
}

/* How many of n words on the border go, the lowest ids first: top-p's ascending order is stable.
 * above: the mass of the words above the border; weight: of each on it. By top-k none go; one
 * always stays. */
static inline HD int64_t sampling_ties_removed(const struct sampling_cut *cut, double above,
                                               double weight, int64_t n) {
    int64_t low = 0, high = n - 1; /* what is removed is at least low and at most high */
    if (cut->k > 0 || n < 1) return 0;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (sampling_enough(cut, 0, above + weight * (double)(n - 1 - middle)))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A word stays where its key is above `key`, or is that and its id is at least `first`, and its
 * exponential under the largest logit is at least `least`. */
struct sampling_kept {
    uint32_t key;
    int32_t first;
    float least;
};

static inline HD bool sampling_keeps(const struct sampling_kept *kept, uint32_t key, int32_t id,
                                     float weight) {
    return (key > kept->key || (key == kept->key && id >= kept->first)) && weight >= kept->least;
}

/* ---- the draw ---- */

/* SplitMix64's finalizer (Steele, Lea and Flood, 2014): a bijection. */
static inline HD uint64_t sampling_mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The key of what has the number `index` under `key`: of a sequence's draw at a position. */
static inline HD uint64_t sampling_hash(uint64_t key, uint64_t index) {
    return sampling_mix(sampling_mix(key + 0x9e3779b97f4a7c15u) + index);
}

/* Uniform in [0, 1), with 53 bits. */
static inline HD double sampling_uniform(uint64_t key) {
    return (double)(sampling_mix(key + 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53;
}
#endif
