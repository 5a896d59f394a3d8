/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011).
 *
 * A number is a pure function of (seed, purpose, index): no state, so that any rank can make any
 * part of any sequence and the result does not depend on who made it. */
#ifndef RANKWISE_RANDOM_H
#define RANKWISE_RANDOM_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

/* 64 random bits. purpose: random_purpose("init.score.weight"), "epoch 3", ... */
uint64_t random_bits(uint64_t seed, uint64_t purpose, uint64_t index);

/* FNV-1a of the text. */
uint64_t random_purpose(const char *text);

/* Uniform in [0, 1) with 53 bits; standard normal by Box and Muller from two uniforms of the same
 * index. */
double random_uniform(uint64_t seed, uint64_t purpose, uint64_t index);
double random_normal(uint64_t seed, uint64_t purpose, uint64_t index);

/* The image of index under a seeded permutation of [0, n), 0 <= index < n: a balanced Feistel
 * network over the next power of four, walked until it falls inside (cycle walking). Needs no
 * memory. */
int64_t random_permute(uint64_t seed, uint64_t purpose, int64_t index, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
