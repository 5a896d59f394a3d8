/* Bootstrap samples of a shard, one for each head of an ensemble (Osband et al., "Deep exploration
 * via bootstrapped DQN", NIPS 2016): how often an item is in the sample of a head. */
#ifndef RANKWISE_BOOTSTRAP_H
#define RANKWISE_BOOTSTRAP_H
#include "shard.h"

/* Poisson distributed with mean 1, which is what drawing as many items as there are, with
 * replacement, comes to. A pure function of the seed, what the shard holds, the item's number in it
 * and the head: the same in every epoch, on every rank, wherever the shard lies. */
int bootstrap_count(uint64_t seed, const struct shard *shard, int64_t item, int head);
#endif
