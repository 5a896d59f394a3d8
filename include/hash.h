/* SHA-256 (FIPS 180-4), for identities and content names; hash128 for tables, where speed counts
 * and nobody attacks. */
#ifndef RANKWISE_HASH_H
#define RANKWISE_HASH_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

struct sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes taken so far */
    uint8_t block[64];
};
void sha256_start(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t length);

/* 64 lower-case hexadecimal digits and a zero. */
void sha256_finish(struct sha256 *hash, char out[65]);

/* MurmurHash3 x64 128 (Appleby 2011, public domain; little-endian machines). Two of n different
 * inputs are equal with a probability of about n^2 / 2^129. */
struct hash128 {
    uint64_t low, high;
};
struct hash128 hash128(const void *data, size_t length, uint32_t seed);

#ifdef __cplusplus
}
#endif
#endif
