/* Bootstrap samples: see bootstrap.h. */
#include "bootstrap.h"

#include "random.h"

enum { MAX_COUNT = 20 }; /* more has a probability below 1e-19 */

/* Shards of one run differ in what they hold, not always in the number of their items. */
static uint64_t shard_key(const struct shard *shard) {
    return random_bits((uint64_t)shard->n_tokens, (uint64_t)shard->n_sequences,
                       (uint64_t)(shard->n_comparisons + shard->n_answers));
}

int bootstrap_count(uint64_t seed, const struct shard *shard, int64_t item, int head) {
    uint64_t purpose = random_bits(random_purpose("bootstrap"), shard_key(shard), (uint64_t)head);
    double u = random_uniform(seed, purpose, (uint64_t)item);
    double p = 0.36787944117144233; /* exp(-1): of none */
    int count = 0;
    for (double sum = p; u >= sum && count < MAX_COUNT; sum += p) p /= ++count;
    return count;
}
