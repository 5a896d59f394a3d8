/* Bootstrap samples of an ensemble's heads: Poisson counts, independent between items, heads, seeds
 * and shards. */
#include "tasks/bootstrap.h"
#include "test.h"

enum { N_ITEMS = 100000 };

/* exp(-1) / k! */
static double poisson(int k) {
    double p = 0.36787944117144233;
    for (int i = 2; i <= k; i++) p /= i;
    return p;
}

static void test_counts_are_poisson(void) {
    struct shard shard = {
        .n_tokens = 1234567, .n_sequences = 2 * N_ITEMS, .n_comparisons = N_ITEMS};
    int64_t seen[8] = {0};
    double sum = 0;
    for (int64_t i = 0; i < N_ITEMS; i++) {
        int count = bootstrap_count(7, &shard, i, 3);
        ASSERT(count >= 0 && count < 15);
        ASSERT_INT(bootstrap_count(7, &shard, i, 3), count);
        seen[MIN(count, 7)]++;
        sum += count;
    }
    ASSERT_NEAR(sum / N_ITEMS, 1, 5 / sqrt(N_ITEMS));
    for (int k = 0; k < 7; k++) {
        double p = poisson(k);
        ASSERT_NEAR((double)seen[k] / N_ITEMS, p, 5 * sqrt(p * (1 - p) / N_ITEMS));
    }
}

/* The mean of the product of two independent counts is 1, that of a count with itself 2. */
static double product(uint64_t seed, const struct shard *shard, int64_t shift, int head) {
    struct shard plain = {.n_tokens = 500, .n_sequences = 20, .n_comparisons = N_ITEMS};
    double sum = 0;
    for (int64_t i = 0; i < N_ITEMS; i++)
        sum += bootstrap_count(7, &plain, i, 0) *
               bootstrap_count(seed, shard ? shard : &plain, i + shift, head);
    return sum / N_ITEMS;
}

static void test_samples_are_independent(void) {
    struct shard other = {.n_tokens = 501, .n_sequences = 20, .n_comparisons = N_ITEMS};
    ASSERT_NEAR(product(7, NULL, 0, 0), 2, 0.1);
    ASSERT_NEAR(product(7, NULL, 0, 1), 1, 0.03);
    ASSERT_NEAR(product(8, NULL, 0, 0), 1, 0.03);
    ASSERT_NEAR(product(7, NULL, 1, 0), 1, 0.03);
    ASSERT_NEAR(product(7, &other, 0, 0), 1, 0.03);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"counts_are_poisson", test_counts_are_poisson},
        {"samples_are_independent", test_samples_are_independent},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
