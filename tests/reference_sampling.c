/* Drawing words by transformers' rules, as they are written there: everything is sorted. */
#include "reference_sampling.h"

#include <stdlib.h>

#include "memory.h"

struct sorted_word {
    double x;
    int64_t id;
};

static int compare(const void *a, const void *b) {
    const struct sorted_word *x = a, *y = b;
    if (x->x != y->x) return x->x < y->x ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static double sum_of(const struct sorted_word *word, int64_t n, double most) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += exp(word[i].x - most);
    return sum;
}

/* Removes words of the ascending list: their x becomes -infinity. */
static void remove_words(struct sorted_word *word, int64_t n, const struct sampling *how) {
    double most = word[n - 1].x, sum = 0;
    if (how->top_k > 0 && how->top_k < n) {
        double border = word[n - how->top_k].x;
        for (int64_t i = 0; i < n; i++)
            if (word[i].x < border) word[i].x = -INFINITY;
    }
    if (how->top_p < 1) {
        double total = sum_of(word, n, most);
        for (int64_t i = 0; i < n - 1; i++) {
            sum += exp(word[i].x - most);
            if ((float)(sum / total) > (float)(1 - how->top_p)) break;
            word[i].x = -INFINITY;
        }
    }
    for (int64_t i = 0; i < n; i++)
        if ((float)exp(word[i].x - most) < (float)how->min_p) word[i].x = -INFINITY;
}

void reference_sampling(double *probability, double *log_probability, const float *logits,
                        int64_t n, const uint32_t *seen, const struct sampling *how) {
    struct sorted_word *word = mem_alloc(n, sizeof *word);
    for (int64_t i = 0; i < n; i++) {
        float x = logits[i], penalty = (float)how->repetition_penalty;
        if (penalty != 1 && seen[i / 32] >> i % 32 & 1) x = x < 0 ? x * penalty : x / penalty;
        x /= how->greedy ? 1 : (float)how->temperature;
        x = isnan(x) ? -INFINITY : fminf(x, FLT_MAX);
        word[i] = (struct sorted_word){x, how->greedy ? -i : i};
        log_probability[i] = x;
    }
    qsort(word, (size_t)n, sizeof *word, compare);
    double most = word[n - 1].x, log_sum = most + log(sum_of(word, n, most));
    for (int64_t i = 0; i < n; i++) log_probability[i] -= log_sum;
    if (how->greedy) {
        for (int64_t i = 0; i < n; i++) probability[i] = 0;
        probability[-word[n - 1].id] = 1;
    } else {
        remove_words(word, n, how);
        double total = sum_of(word, n, most);
        for (int64_t i = 0; i < n; i++) probability[word[i].id] = exp(word[i].x - most) / total;
    }
    mem_free(word);
}
