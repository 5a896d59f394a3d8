/* Drawing the next word of each row of logits: sampling.h's rules.
 *
 * A block of threads has a row, whose logits it makes in place and then reads from the L2 cache
 * (608 KB for 152,064 words; 64 rows are 39 MB). Sums in id order are of tiles of TILE words, a
 * warp each; one warp then finds the tile of the draw, and the word in it, by scans whose order the
 * number of words alone decides.
 *
 * The border of top-k, or of top-p, is the largest key from which on the words are enough. It is
 * searched with PIVOTS keys at once, whose counts and masses one pass over the row gives: at first
 * at distances of 1/2, 1, 2 ... 32 below the largest, and then at the eighths of what is between
 * two of them, until one word is there or one key: 4 or 5 passes where the words' logits are some
 * 1e-3 apart, 11 at most. In the later passes all but the best words are only compared with one
 * number. Considered: histograms (they need atomics), and gathering candidates in id order (a scan
 * of the row for each gathering). Registers on sm_90: 80, no spills; with 1,024 threads, which can
 * have 64, some. */
#include "kernels.h"

enum { SAMPLE_THREADS = 768, TILE = 256, PIVOTS = 7 };

struct drawing {
    int32_t *token;
    float *log_probability, *logits;
    int64_t stride, n;
    bool greedy;
    int32_t top_k;
    float temperature, repetition_penalty, min_p;
    double top_p;
    const uint64_t *key;
    uint32_t *seen;
};

/* ---- what is summed over a row's words ---- */

/* e^(x - most) of the words that are kept. */
struct mass {
    const float *x;
    float most;
    struct sampling_kept kept;
    __device__ double at(int64_t i) const {
        float weight = expf(x[i] - most);
        return sampling_keeps(&kept, sampling_key(x[i]), (int32_t)i, weight) ? weight : 0;
    }
};

struct is_key {
    const float *x;
    uint32_t key;
    __device__ double at(int64_t i) const {
        return sampling_key(x[i]) == key;
    }
};

struct tile_sum {
    const double *sum;
    __device__ double at(int64_t i) const {
        return sum[i];
    }
};

/* tile (n / TILE) = the sums of the tiles. */
template <typename Value> __device__ static void sum_tiles(double *tile, Value value, int64_t n) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    for (int64_t t = warp; t * TILE < n; t += n_warps) {
        double sum = 0;
#pragma unroll
        for (int i = lane; i < TILE; i += WARP)
            if (t * TILE + i < n) sum += value.at(t * TILE + i);
        sum = lane_sum(sum, WARP);
        if (lane == 0) tile[t] = sum;
    }
    __syncthreads();
}

/* One warp: the sum of value over [first, end), in lanes' runs, of which `mine` and the sum of this
 * lane's and all before it, `until`, are this lane's. */
template <typename Value>
__device__ static double warp_scan(Value value, int64_t first, int64_t end, double *mine,
                                   double *until) {
    int lane = threadIdx.x % WARP;
    int64_t run = (end - first + WARP - 1) / WARP, from = first + lane * run;
    *mine = 0;
    for (int64_t i = from; i < from + run && i < end; i++) *mine += value.at(i);
    *until = *mine;
    for (int step = 1; step < WARP; step *= 2) {
        double before = __shfl_up_sync(0xffffffffu, *until, step);
        if (lane >= step) *until += before;
    }
    return __shfl_sync(0xffffffffu, *until, WARP - 1);
}

/* One warp: the first place in [first, end) up to which the sum is more than *target, or else the
 * last that has anything; *target = what is left of it there. */
template <typename Value>
__device__ static int64_t warp_find(Value value, int64_t first, int64_t end, double *target) {
    int lane = threadIdx.x % WARP;
    int64_t run = (end - first + WARP - 1) / WARP, found = first;
    double mine, until, left;
    warp_scan(value, first, end, &mine, &until);
    unsigned some = __ballot_sync(0xffffffffu, mine > 0),
             over = __ballot_sync(0xffffffffu, mine > 0 && until > *target);
    int chosen = over ? __ffs((int)over) - 1 : some ? 31 - __clz((int)some) : 0;
    left = *target - (until - mine);
    if (lane == chosen) {
        double sum = 0, before = 0;
        for (int64_t i = first + lane * run; i < first + (lane + 1) * run && i < end; i++) {
            double x = value.at(i);
            if (x == 0) continue;
            found = i;
            before = sum;
            sum += x;
            if (sum > left) break;
        }
        left -= before;
    }
    *target = __shfl_sync(0xffffffffu, left, chosen);
    return __shfl_sync(0xffffffffu, found, chosen);
}

/* The same over a row, by its tiles; all threads get the place. shared: the block's. */
template <typename Value>
__device__ static int64_t block_find(const double *tile, Value value, int64_t n, double target,
                                     int64_t *shared) {
    if (threadIdx.x < WARP) {
        struct tile_sum sums = {tile};
        int64_t t = warp_find(sums, 0, (n + TILE - 1) / TILE, &target);
        int64_t end = (t + 1) * TILE < n ? (t + 1) * TILE : n;
        int64_t found = warp_find(value, t * TILE, end, &target);
        if (threadIdx.x == 0) *shared = found;
    }
    __syncthreads();
    int64_t found = *shared;
    __syncthreads();
    return found;
}

__device__ static double block_total(const double *tile, int64_t n, double *shared) {
    if (threadIdx.x < WARP) {
        struct tile_sum sums = {tile};
        double mine, until;
        double total = warp_scan(sums, 0, (n + TILE - 1) / TILE, &mine, &until);
        if (threadIdx.x == 0) *shared = total;
    }
    __syncthreads();
    double total = *shared;
    __syncthreads();
    return total;
}

/* ---- the border ---- */

/* The border is at `low` or above, and below `high`; of the words from each on: how many, and their
 * mass. */
struct search {
    uint32_t low, high;
    int low_count, high_count;
    double high_mass;
};

/* Of the words from each of the pivots on. */
struct pivots {
    uint32_t key[PIVOTS]; /* ascending */
    int count[PIVOTS];
    double mass[PIVOTS];
};

/* The block's shared memory. */
struct sample_room {
    double *mass; /* (WARP, PIVOTS) */
    int *count;   /* the same */
};

/* Words that are not kept do not count. */
__device__ static void sum_pivots(struct pivots *p, const struct mass &value, int64_t n,
                                  struct sample_room room) {
#pragma unroll
    for (int k = 0; k < PIVOTS; k++) p->count[k] = 0, p->mass[k] = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        uint32_t key = sampling_key(value.x[i]);
        if (key < p->key[0] || key < value.kept.key) continue;
        double weight = expf(value.x[i] - value.most);
#pragma unroll
        for (int k = 0; k < PIVOTS; k++) {
            p->count[k] += key >= p->key[k] ? 1 : 0;
            p->mass[k] += key >= p->key[k] ? weight : 0;
        }
    }
    block_sum(p->count, room.count);
    block_sum(p->mass, room.mass);
}

__device__ static void narrow(struct search *at, const struct sampling_cut *cut,
                              const struct pivots &p) {
#pragma unroll
    for (int k = 0; k < PIVOTS; k++) {
        if (p.key[k] <= at->low || p.key[k] >= at->high) continue;
        if (sampling_enough(cut, p.count[k], p.mass[k])) {
            at->low = p.key[k];
            at->low_count = p.count[k];
        } else {
            at->high = p.key[k];
            at->high_count = p.count[k];
            at->high_mass = p.mass[k];
        }
    }
}

/* n_kept: of the n words, how many are kept before this cut. No key of a number is within 2^20 of
 * the largest of 32 bits, so that no pivot is beyond them. */
__device__ static struct search find_border(const struct sampling_cut *cut,
                                            const struct mass &value, int64_t n, int n_kept,
                                            struct sample_room room) {
    struct search at = {value.kept.key, sampling_key(value.most) + 1, n_kept, 0, 0};
    struct pivots p;
#pragma unroll
    for (int k = 0; k < PIVOTS; k++)
        p.key[k] = sampling_key(value.most - 0.5f * (float)(1 << (PIVOTS - 1 - k)));
    for (bool first = true; at.high - at.low > 1 && at.low_count - at.high_count > 1;
         first = false) {
        uint32_t step = (at.high - at.low + PIVOTS) / (PIVOTS + 1);
#pragma unroll
        for (int k = 0; k < PIVOTS; k++)
            if (!first) p.key[k] = at.low + step * (uint32_t)(k + 1);
        sum_pivots(&p, value, n, room);
        narrow(&at, cut, p);
    }
    return at;
}

/* ---- the kernel ---- */

/* The row's logits as the later rules see them; the largest. */
__device__ static float make_logits(const struct drawing &d, float *x, const uint32_t *seen,
                                    float *room) {
    float most = -INFINITY, temperature = d.greedy ? 1 : d.temperature;
    for (int64_t i = threadIdx.x; i < d.n; i += blockDim.x) {
        float v = x[i];
        if (d.repetition_penalty != 1 && seen[i / 32] >> i % 32 & 1)
            v = sampling_penalise(v, d.repetition_penalty);
        v = sampling_temper(v, temperature);
        x[i] = v;
        most = fmaxf(most, v);
    }
    return block_max(most, room);
}

/* top-k and top-p, by value->kept; the tiles' sums are then those of what is kept. */
__device__ static void find_kept(const struct drawing &d, struct mass *value, double total,
                                 double *tile, struct sample_room room, int64_t *place) {
    int n_kept = (int)d.n;
    if (d.top_k > 0 && d.top_k < d.n) {
        struct sampling_cut cut = sampling_top_k(d.top_k);
        struct search at = find_border(&cut, *value, d.n, n_kept, room);
        value->kept.key = at.low;
        n_kept = at.low_count;
        sum_tiles(tile, *value, d.n);
        total = block_total(tile, d.n, room.mass);
    }
    if (d.top_p < 1) {
        struct sampling_cut cut = sampling_top_p(d.top_p, total);
        struct search at = find_border(&cut, *value, d.n, n_kept, room);
        value->kept.key = at.low;
        double weight = expf(sampling_number(value->kept.key) - value->most);
        int64_t removed = sampling_ties_removed(&cut, at.high_mass, weight,
                                                at.low_count - at.high_count);
        if (removed > 0) {
            struct is_key tie = {value->x, value->kept.key};
            sum_tiles(tile, tie, d.n);
            value->kept.first = (int32_t)block_find(tile, tie, d.n, (double)removed, place);
        }
    }
    value->kept.least = d.min_p;
    sum_tiles(tile, *value, d.n);
}

__device__ static int64_t find_most(const float *x, int64_t n, float most, float *room) {
    float best = -INFINITY; /* the largest of the negative places: the lowest place */
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        if (x[i] == most) best = fmaxf(best, -(float)i);
    return (int64_t)-block_max(best, room);
}

__global__ void __launch_bounds__(SAMPLE_THREADS) sample_kernel(struct drawing d) {
    SHARED(double, room, WARP *PIVOTS);
    SHARED(int, room_int, WARP *PIVOTS);
    SHARED(float, room_f32, WARP);
    SHARED(int64_t, place, 1);
    DYNAMIC_SHARED(dynamic);
    double *tile = reinterpret_cast<double *>(dynamic);
    int64_t row = blockIdx.x, word = 0;
    float *x = d.logits + row * d.stride;
    uint32_t *seen = d.seen ? d.seen + row * ((d.n + 31) / 32) : nullptr;
    float most = make_logits(d, x, seen, room_f32), log_probability = NAN;
    if (most > -INFINITY) {
        struct mass value = {x, most, {0, 0, 0}};
        sum_tiles(tile, value, d.n);
        double all = block_total(tile, d.n, room);
        if (d.greedy) {
            word = find_most(x, d.n, most, room_f32);
        } else {
            double total = all;
            if (d.top_k > 0 || d.top_p < 1 || d.min_p > 0) {
                struct sample_room rooms = {room, room_int};
                find_kept(d, &value, all, tile, rooms, place);
                total = block_total(tile, d.n, room);
            }
            double target = sampling_uniform(d.key[row]) * total;
            word = block_find(tile, value, d.n, target, place);
        }
        log_probability = (float)((double)x[word] - (double)most - log(all));
    }
    if (threadIdx.x > 0) return;
    d.token[row] = (int32_t)word;
    d.log_probability[row] = log_probability;
    if (seen) seen[word / 32] |= (uint32_t)1 << word % 32;
}

void cuda_sample(struct device *dev, int32_t *token, float *log_probability, struct tensor logits,
                 const struct sampling *how, const uint64_t *key, uint32_t *seen) {
    int64_t n = logits.cols;
    struct drawing d = {token,
                        log_probability,
                        (float *)logits.data,
                        logits.stride,
                        n,
                        how->greedy,
                        how->top_k,
                        (float)how->temperature,
                        (float)how->repetition_penalty,
                        (float)how->min_p,
                        how->top_p,
                        key,
                        seen};
    int threads = (int)MIN(ROUND_UP(pieces(n, 8), WARP), (int64_t)SAMPLE_THREADS);
    LAUNCH(sample_kernel, (int)logits.rows, threads, (size_t)pieces(n, TILE) * sizeof(double),
           compute_stream(dev), d);
    CUDA_LAUNCHED();
}
