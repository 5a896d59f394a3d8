/* Philox4x32-10: the constants and the round are those of Salmon et al., SC 2011. */
#include "random.h"

#include <math.h>

struct random_block {
    uint32_t word[4];
};

static struct random_block philox(uint64_t seed, uint64_t purpose, uint64_t index) {
    uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)purpose,
                     (uint32_t)(purpose >> 32)};
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ key0, (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c[3] ^ key1, (uint32_t)a};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return (struct random_block){{c[0], c[1], c[2], c[3]}};
}

static uint64_t low_half(struct random_block b) {
    return (uint64_t)b.word[1] << 32 | b.word[0];
}

static uint64_t high_half(struct random_block b) {
    return (uint64_t)b.word[3] << 32 | b.word[2];
}

static double unit_interval(uint64_t bits) {
    return (double)(bits >> 11) * 0x1p-53;
}

uint64_t random_bits(uint64_t seed, uint64_t purpose, uint64_t index) {
    return low_half(philox(seed, purpose, index));
}

uint64_t random_purpose(const char *text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

double random_uniform(uint64_t seed, uint64_t purpose, uint64_t index) {
    return unit_interval(random_bits(seed, purpose, index));
}

double random_normal(uint64_t seed, uint64_t purpose, uint64_t index) {
    struct random_block b = philox(seed, purpose, index);
    double radius = sqrt(-2 * log(1 - unit_interval(low_half(b))));
    return radius * cos(2 * M_PI * unit_interval(high_half(b)));
}

int64_t random_permute(uint64_t seed, uint64_t purpose, int64_t index, int64_t n) {
    CHECK(n > 0 && index >= 0 && index < n, "index %lld of %lld", (long long)index, (long long)n);
    int half_bits = 1;
    while (half_bits < 31 && ((int64_t)1 << 2 * half_bits) < n) half_bits++;
    uint64_t mask = ((uint64_t)1 << half_bits) - 1, x = (uint64_t)index;
    do {
        uint64_t left = x >> half_bits, right = x & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t next = left ^ (random_bits(seed, purpose ^ (round + 1) << 56, right) & mask);
            left = right;
            right = next;
        }
        x = left << half_bits | right;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}
