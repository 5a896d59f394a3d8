/* Weights into NF4: see nf4.h. */
#include "nf4.h"

#include <string.h>

static const float nf4_values[16] = {NF4_VALUES};

/* ---- bitsandbytes' dynamic map ---- */

/* Boundary j of n equal steps from 0.1 to 1, as torch.linspace has it: from the nearer end. */
static float boundary(int j, int n) {
    float step = (1 - 0.1f) / (float)n;
    return j < (n + 1) / 2 ? (float)(0.1f + (double)step * j) : (float)(1 - (double)step * (n - j));
}

/* The positive half has, for each power of ten from 1e-6 to 1, the middles of 1, 2, 4, ... 64 equal
 * parts of [0.1, 1] times that power; and 1. The negative half mirrors it, without -1. */
static void make_map(struct nf4_map *map) {
    static const float power[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1};
    int place = 128;
    for (int i = 0; i < 7; i++) {
        int n = 1 << i;
        for (int j = 0; j < n; j++, place++) {
            float middle = (boundary(j, n) + boundary(j + 1, n)) / 2;
            map->value[place] = power[i] * middle;
            map->value[254 - place] = -map->value[place];
        }
    }
    map->value[127] = 0;
    map->value[255] = 1;
}

const struct nf4_map *nf4_absmax_map(void) {
    static struct nf4_map map;
#pragma omp critical(nf4_map)
    if (map.value[255] == 0) make_map(&map);
    return &map;
}

/* ---- quantising ---- */

/* What x is multiplied by, or in a partial block divided by. */
struct divisor {
    float by;
    bool whole;
};

static struct divisor divisor_make(float largest, bool whole) {
    float by = MAX(largest, 1e-38f);
    return (struct divisor){whole ? 1 / by : by, whole};
}

static float divide(float x, struct divisor d) {
    return d.whole ? x * d.by : x / d.by;
}

/* Magnitudes are compared by their bits, which order them, NaN last. */
static float largest_magnitude(const float *in, int64_t n) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], sizeof bits);
        bits &= 0x7fffffff;
        largest = MAX(largest, bits);
    }
    float magnitude;
    memcpy(&magnitude, &largest, sizeof magnitude);
    return magnitude;
}

void nf4_find_absmax(float *absmax, const float *in, int64_t n) {
    int64_t n_blocks = nf4_layout_make(n).n_blocks;
#pragma omp parallel for if (n > 65536) schedule(static)
    for (int64_t b = 0; b < n_blocks; b++)
        absmax[b] =
            largest_magnitude(in + b * NF4_BLOCK, MIN((int64_t)NF4_BLOCK, n - b * NF4_BLOCK));
}

/* Codes of up to a block, one a byte: how many middles are below. */
static void find_codes(uint8_t *code, const float *in, int64_t n) {
    struct divisor d = divisor_make(largest_magnitude(in, n), n == NF4_BLOCK);
    for (int64_t i = 0; i < n; i++) {
        float x = divide(in[i], d);
        int below = 0;
        for (int v = 0; v < 15; v++) below += x > (nf4_values[v] + nf4_values[v + 1]) / 2;
        code[i] = (uint8_t)below;
    }
}

void nf4_quantise(uint8_t *code, const float *in, int64_t n) {
    int64_t n_blocks = nf4_layout_make(n).n_blocks;
#pragma omp parallel for if (n > 65536) schedule(static)
    for (int64_t b = 0; b < n_blocks; b++) {
        int64_t first = b * NF4_BLOCK, count = MIN((int64_t)NF4_BLOCK, n - first);
        uint8_t one[NF4_BLOCK];
        memset(one, 7, sizeof one); /* the code of 0.0, behind an odd end */
        find_codes(one, in + first, count);
        for (int64_t i = 0; i < count; i += 2)
            code[(first + i) / 2] = (uint8_t)(one[i] << 4 | one[i + 1]);
    }
}

/* How many middles of the map are below x. */
static uint8_t nearest_in_map(const struct nf4_map *map, float x) {
    int below = 0, end = 255; /* the answer is in [below, end] */
    while (below < end) {
        int at = (below + end) / 2;
        if (x > (map->value[at] + map->value[at + 1]) / 2)
            below = at + 1;
        else
            end = at;
    }
    return (uint8_t)below;
}

void nf4_quantise_absmax(uint8_t *code, float *scale, float *offset, const float *absmax,
                         int64_t n_blocks) {
    const struct nf4_map *map = nf4_absmax_map();
    double sum = 0;
    for (int64_t b = 0; b < n_blocks; b++) sum += absmax[b];
    *offset = (float)(sum / (double)n_blocks);
    for (int64_t first = 0; first < n_blocks; first += NF4_GROUP) {
        int64_t count = MIN((int64_t)NF4_GROUP, n_blocks - first);
        float difference[NF4_GROUP], largest;
        for (int64_t i = 0; i < count; i++) difference[i] = absmax[first + i] - *offset;
        scale[first / NF4_GROUP] = largest = largest_magnitude(difference, count);
        struct divisor d = divisor_make(largest, count == NF4_GROUP);
        for (int64_t i = 0; i < count; i++)
            code[first + i] = nearest_in_map(map, divide(difference[i], d));
    }
}
