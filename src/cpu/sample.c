/* Drawing the next word of each row of logits: sampling.h's rules.
 *
 * A row is one thread's, so that neither its bits nor its word depend on other rows or on threads.
 * It is walked in tiles of TILE words, in id order: first the rules that change logits, with each
 * tile's largest; then the exponentials under the row's largest, with each tile's sum. Without a
 * rule that removes words the tile of the draw is found from these sums, and the word in it.
 *
 * With one, the words that may stay are few among 152,064, and so only candidates are looked at:
 * for top-k those that are not below the k-th of the tiles' largest, else those within some
 * distance of the largest, which grows until the rules have enough of them. The border among them
 * is found from the top by digits of their keys, a histogram for each digit (no words are sorted),
 * of what is left under the digits before. */
#include <omp.h>

#include "cpu.h"
#include "sampling.h"
#include "vector.h"

enum { TILE = 256, DIGITS = 256, DIGIT_BITS = 8, FIRST_DISTANCE = 8, LAST_DISTANCE = 32 };

/* One thread's scratch. Places in the arrays of candidates are in id order; left_*: those of the
 * candidates whose digits are the border's so far. */
struct sample_scratch {
    double *sum;    /* (tiles) */
    float *largest; /* (tiles) */
    int32_t *id;
    uint32_t *key, *left_key;
    float *weight, *left_weight; /* e^(x - largest) */
    int64_t n, n_left;
};

/* A row whose logits are as the rules have made them. */
struct sample_row {
    const float *x;
    int64_t n;
    float most;
    double total; /* of the exponentials under most */
};

/* What the rules' search has come to. */
struct sample_border {
    uint32_t key;
    double above; /* mass of the candidates above it */
    int64_t n_above;
};

static int64_t n_tiles(int64_t n) {
    return (n + TILE - 1) / TILE;
}

static size_t scratch_bytes(int64_t n) {
    size_t tiles = (size_t)n_tiles(n), words = tiles * TILE;
    return ROUND_UP(tiles * (sizeof(double) + sizeof(float)), 64) + words * 5 * sizeof(float);
}

size_t cpu_sample_bytes(struct device *dev, const struct op_limits *limits) {
    if (limits->sampled_rows == 0) return 0;
    return (size_t)cpu_of(dev)->threads * scratch_bytes(limits->vocabulary);
}

static struct sample_scratch scratch_at(void *memory, int64_t n) {
    int64_t tiles = n_tiles(n), words = tiles * TILE;
    struct sample_scratch s = {.sum = memory};
    s.largest = (float *)(s.sum + tiles);
    size_t head = ROUND_UP((size_t)tiles * (sizeof(double) + sizeof(float)), 64);
    s.id = (int32_t *)(void *)((char *)memory + head);
    s.key = (uint32_t *)(s.id + words);
    s.left_key = s.key + words;
    s.weight = (float *)(s.left_key + words);
    s.left_weight = s.weight + words;
    return s;
}

/* ---- the logits ---- */

static void penalise(float *x, int64_t n, const uint32_t *seen, float penalty) {
    for (int64_t i = 0; i < (n + 31) / 32; i++)
        for (uint32_t bits = seen[i]; bits; bits &= bits - 1) {
            int64_t word = i * 32 + __builtin_ctz(bits);
            if (word < n) x[word] = sampling_penalise(x[word], penalty);
        }
}

/* sampling_temper for a vector. */
VEC_INLINE vec temper(vec x, float temperature) {
    x /= temperature;
    x = vec_choose(x >= -FLT_MAX, x, vec_all(-INFINITY));
    return vec_min(x, vec_all(FLT_MAX)) + (vec){0};
}

VEC_INLINE float vec_largest(vec x) {
    for (int half = LANES / 2; half > 0; half /= 2) x = vec_max(x, vec_swap(x, half));
    return x[0];
}

/* The logits of a row as the later rules see them; each tile's largest, and the row's. */
static float make_logits(float *x, int64_t n, float temperature, float *largest) {
    float most = -INFINITY;
    for (int64_t first = 0; first < n; first += TILE) {
        int64_t end = MIN(first + TILE, n);
        vec high = vec_all(-INFINITY);
        for (int64_t i = first; i < end; i += LANES) {
            int m = vec_room(end, i);
            vec v = temper(vec_get(x, DTYPE_F32, i, m), temperature);
            vec_put(x, DTYPE_F32, i, m, v);
            for (int lane = m; lane < LANES; lane++) v[lane] = -INFINITY;
            high = vec_max(v, high);
        }
        largest[first / TILE] = vec_largest(high);
        most = MAX(most, largest[first / TILE]);
    }
    return most;
}

/* Each tile's sum of exponentials, and all of them. */
static double sum_tiles(const struct sample_row *r, double *sum) {
    double total = 0;
    for (int64_t first = 0; first < r->n; first += TILE) {
        int64_t end = MIN(first + TILE, r->n);
        vec all = {0};
        for (int64_t i = first; i < end; i += LANES) {
            int m = vec_room(end, i);
            vec v = vec_exp(vec_get(r->x, DTYPE_F32, i, m) - r->most);
            for (int lane = m; lane < LANES; lane++) v[lane] = 0;
            all += v;
        }
        total += sum[first / TILE] = vec_sum(all);
    }
    return total;
}

/* ---- candidates ---- */

static void find_weights(float *weight, const float *x, const int32_t *id, int64_t n, float most) {
    for (int64_t i = 0; i < n; i += LANES) {
        int m = vec_room(n, i);
        vec v = {0};
        for (int lane = 0; lane < m; lane++) v[lane] = x[id[i + lane]];
        vec_put(weight, DTYPE_F32, i, m, vec_exp(v - most));
    }
}

/* The words whose logits are at least `bound`. */
static void find_candidates(struct sample_scratch *s, const struct sample_row *r, float bound) {
    s->n = 0;
    for (int64_t first = 0; first < r->n; first += TILE) {
        if (!(s->largest[first / TILE] >= bound)) continue;
        int64_t end = MIN(first + TILE, r->n);
        for (int64_t i = first; i < end; i++) {
            s->id[s->n] = (int32_t)i; /* stays where the word is a candidate */
            s->n += r->x[i] >= bound;
        }
    }
    for (int64_t i = 0; i < s->n; i++) s->key[i] = sampling_key(r->x[s->id[i]]);
    find_weights(s->weight, r->x, s->id, s->n, r->most);
}

static double mass_of(const struct sample_scratch *s, const struct sampling_kept *kept) {
    double mass = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (sampling_keeps(kept, s->key[i], s->id[i], s->weight[i])) mass += s->weight[i];
    return mass;
}

/* Whether top-k, top-p without it, and min-p find their borders among the candidates. */
static bool suffices(const struct sample_scratch *s, const struct sample_row *r,
                     const struct sampling *how, float distance) {
    static const struct sampling_kept all = {0};
    if (how->top_k > 0) return s->n >= MIN(how->top_k, r->n);
    if (how->top_p >= 1) return how->min_p > 0 && distance > 0.01f - logf((float)how->min_p);
    struct sampling_cut cut = sampling_top_p(how->top_p, r->total);
    return sampling_enough(&cut, s->n, mass_of(s, &all));
}

/* ---- the border ---- */

/* The highest digit with which the words left are enough; without one the lowest that there is. */
static uint32_t find_digit(struct sample_border *at, const struct sampling_cut *cut,
                           const int64_t *count, const double *mass) {
    uint32_t digit = DIGITS, lowest = 0;
    while (count[lowest] == 0) lowest++;
    while (--digit > lowest) {
        if (count[digit] > 0 &&
            sampling_enough(cut, at->n_above + count[digit], at->above + mass[digit]))
            break;
        at->n_above += count[digit];
        at->above += mass[digit];
    }
    return digit;
}

static void keep_digit(struct sample_scratch *s, int shift, uint32_t digit) {
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_left; i++) {
        s->left_key[n] = s->left_key[i];
        s->left_weight[n] = s->left_weight[i];
        n += (s->left_key[i] >> shift & (DIGITS - 1)) == digit;
    }
    s->n_left = n;
}

/* The border of a cut of the candidates that are kept; afterwards those on it are left_*. Some
 * candidate is kept. */
static struct sample_border find_border(struct sample_scratch *s, const struct sampling_kept *kept,
                                        const struct sampling_cut *cut) {
    struct sample_border at = {0};
    s->n_left = 0;
    for (int64_t i = 0; i < s->n; i++) {
        s->left_key[s->n_left] = s->key[i];
        s->left_weight[s->n_left] = s->weight[i];
        s->n_left += sampling_keeps(kept, s->key[i], s->id[i], s->weight[i]);
    }
    for (int shift = 32 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        int64_t count[DIGITS] = {0};
        double mass[DIGITS] = {0};
        for (int64_t i = 0; i < s->n_left; i++) {
            uint32_t digit = s->left_key[i] >> shift & (DIGITS - 1);
            count[digit]++;
            mass[digit] += s->left_weight[i];
        }
        uint32_t digit = find_digit(&at, cut, count, mass);
        at.key |= digit << shift;
        keep_digit(s, shift, digit);
    }
    return at;
}

/* The candidate on the border that has n others before it. */
static int32_t find_tie(const struct sample_scratch *s, uint32_t key, int64_t n) {
    int64_t i = 0;
    for (; s->key[i] != key || n > 0; i++) n -= s->key[i] == key;
    return s->id[i];
}

static void cut_by_top_p(struct sample_scratch *s, struct sampling_kept *kept,
                         const struct sampling_cut *cut) {
    struct sample_border at = find_border(s, kept, cut);
    int64_t removed = sampling_ties_removed(cut, at.above, s->left_weight[0], s->n_left);
    kept->key = at.key;
    kept->first = find_tie(s, at.key, removed);
}

/* A number that k words or more are not below, k at most the tiles: the k-th best of the tiles'
 * largest. */
static float tiles_bound(struct sample_scratch *s, const struct sample_row *r, int64_t k) {
    static const struct sampling_kept all = {0};
    struct sampling_cut cut = sampling_top_k(k);
    s->n = n_tiles(r->n);
    for (int64_t i = 0; i < s->n; i++) {
        s->key[i] = sampling_key(s->largest[i]);
        s->weight[i] = 0;
    }
    return sampling_number(find_border(s, &all, &cut).key);
}

static void gather_candidates(struct sample_scratch *s, const struct sample_row *r,
                              const struct sampling *how) {
    if (how->top_k > 0 && how->top_k <= n_tiles(r->n)) {
        find_candidates(s, r, MAX(tiles_bound(s, r, how->top_k), -FLT_MAX));
        return;
    }
    for (float distance = FIRST_DISTANCE; distance <= LAST_DISTANCE; distance *= 2) {
        find_candidates(s, r, MAX(r->most - distance, -FLT_MAX));
        if (suffices(s, r, how, distance)) return;
    }
    find_candidates(s, r, -FLT_MAX);
}

static struct sampling_kept find_kept(struct sample_scratch *s, const struct sample_row *r,
                                      const struct sampling *how) {
    struct sampling_kept kept = {0};
    double total = r->total;
    gather_candidates(s, r, how);
    if (how->top_k > 0 && how->top_k < s->n) {
        struct sampling_cut cut = sampling_top_k(how->top_k);
        kept.key = find_border(s, &kept, &cut).key;
    }
    if (how->top_p < 1) {
        if (how->top_k > 0) total = mass_of(s, &kept);
        struct sampling_cut cut = sampling_top_p(how->top_p, total);
        cut_by_top_p(s, &kept, &cut);
    }
    kept.least = (float)how->min_p;
    return kept;
}

/* ---- the draw ---- */

static int32_t draw_kept(const struct sample_scratch *s, const struct sampling_kept *kept,
                         double uniform) {
    double target = uniform * mass_of(s, kept), sum = 0;
    int32_t last = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (!sampling_keeps(kept, s->key[i], s->id[i], s->weight[i]) || s->weight[i] == 0) continue;
        last = s->id[i];
        sum += s->weight[i];
        if (sum > target) break;
    }
    return last;
}

/* Of all words: the tile by the tiles' sums, then the word. */
static int32_t draw_any(const struct sample_scratch *s, const struct sample_row *r,
                        double uniform) {
    double target = uniform * r->total;
    int64_t tile = 0, last = n_tiles(r->n) - 1;
    while (s->sum[last] == 0) last--;
    while (tile < last && s->sum[tile] <= target) target -= s->sum[tile++];
    float weight[LANES];
    double sum = 0;
    int64_t word = 0;
    for (int64_t i = tile * TILE; i < MIN((tile + 1) * TILE, r->n) && sum <= target; i++) {
        int64_t lane = i % LANES;
        if (lane == 0)
            vec_store(weight, vec_exp(vec_get(r->x, DTYPE_F32, i, vec_room(r->n, i)) - r->most));
        sum += weight[lane];
        if (weight[lane] > 0) word = i;
    }
    return (int32_t)word;
}

static int32_t find_most(const struct sample_scratch *s, const struct sample_row *r) {
    int64_t i = 0;
    while (s->largest[i / TILE] != r->most) i += TILE;
    while (r->x[i] != r->most) i++;
    return (int32_t)i;
}

/* The word of a row of n logits, and its log probability before words are removed. */
static int32_t sample_row(struct sample_scratch *s, float *x, int64_t n, const struct sampling *how,
                          uint64_t key, const uint32_t *seen, float *log_probability) {
    struct sample_row r = {.x = x, .n = n};
    int32_t word;
    if (how->repetition_penalty != 1) penalise(x, n, seen, (float)how->repetition_penalty);
    r.most = make_logits(x, n, how->greedy ? 1 : (float)how->temperature, s->largest);
    *log_probability = NAN;
    if (r.most == -INFINITY) return 0;
    r.total = sum_tiles(&r, s->sum);
    if (how->greedy) {
        word = find_most(s, &r);
    } else if (sampling_filters(how)) {
        struct sampling_kept kept = find_kept(s, &r, how);
        word = draw_kept(s, &kept, sampling_uniform(key));
    } else {
        word = draw_any(s, &r, sampling_uniform(key));
    }
    *log_probability = (float)((double)x[word] - (double)r.most - log(r.total));
    return word;
}

void cpu_sample(struct device *dev, int32_t *token, float *log_probability, struct tensor logits,
                const struct sampling *how, const uint64_t *key, uint32_t *seen) {
    int64_t rows = logits.rows, n = logits.cols, seen_words = (n + 31) / 32;
    int threads = cpu_threads(dev, rows > 1 ? 8 * rows * n : 0);
    size_t bytes = scratch_bytes(n);
    char *memory = cpu_workspace(dev, (size_t)threads * bytes);
#pragma omp parallel num_threads(threads)
    {
        struct sample_scratch s = scratch_at(memory + (size_t)omp_get_thread_num() * bytes, n);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows; i++) {
            uint32_t *had = seen ? seen + i * seen_words : NULL;
            token[i] = sample_row(&s, row_of(logits, i), n, how, how->greedy ? 0 : key[i], had,
                                  &log_probability[i]);
            if (had) had[token[i] / 32] |= (uint32_t)1 << token[i] % 32;
        }
    }
}
