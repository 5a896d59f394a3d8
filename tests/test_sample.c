/* Drawing words: the kept sets against transformers' processors (tests/golden/make_sampling.py),
 * draws against the reference, on the device of test_device.h. devices: emulated */
#include "ops.h"
#include "reference_sampling.h"
#include "sample.h"

#include "golden/sampling.h"

static const struct sampling plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

/* ---- keys ---- */

static uint64_t unshift(uint64_t y, int n) {
    uint64_t x = y;
    for (int i = n; i < 64; i += n) x = y ^ x >> n;
    return x;
}

/* 1 / odd, modulo 2^64, by Newton. */
static uint64_t inverse(uint64_t odd) {
    uint64_t x = odd;
    for (int i = 0; i < 6; i++) x *= 2 - odd * x;
    return x;
}

/* The key whose uniform number is u: sampling_mix, backwards. */
static uint64_t key_of(double u) {
    uint64_t x = (uint64_t)(u * 0x1p53) << 11;
    x = unshift(unshift(x, 31) * inverse(0x94d049bb133111eb), 27);
    return unshift(x * inverse(0xbf58476d1ce4e5b9), 30) - 0x9e3779b97f4a7c15;
}

static void test_keys(void) {
    for (int i = 0; i < 1000; i++) {
        double u = random_uniform(1, 2, (uint64_t)i);
        ASSERT(sampling_uniform(key_of(u)) == u);
    }
    ASSERT(sampling_hash(1, 2) != sampling_hash(2, 1) && sampling_hash(0, 0) != 0);
    ASSERT(sampling_uniform(key_of(0)) == 0);
}

static void test_order_of_keys(void) {
    static const float ascending[] = {-INFINITY, -FLT_MAX, -2, -1e-40f, 0, 1e-40f, 3, FLT_MAX};
    for (size_t i = 0; i < sizeof ascending / sizeof *ascending; i++) {
        ASSERT(sampling_number(sampling_key(ascending[i])) == ascending[i]);
        if (i > 0) ASSERT(sampling_key(ascending[i]) > sampling_key(ascending[i - 1]));
    }
    ASSERT(sampling_key(sampling_temper(-0.0f, 1)) == sampling_key(0));
}

/* ---- rows ---- */

/* Rows of n logits on the host, what is drawn of them, and by what. */
struct rows {
    int64_t n_rows, n;
    float *logits, *log_probability;
    uint64_t *key;
    uint32_t *seen;
    int32_t *token;
};

static int64_t seen_words(int64_t n) {
    return (n + 31) / 32;
}

static struct rows rows_make(int64_t n_rows, int64_t n) {
    return (struct rows){n_rows,
                         n,
                         mem_alloc(n_rows * n, sizeof(float)),
                         mem_alloc(n_rows, sizeof(float)),
                         mem_alloc(n_rows, sizeof(uint64_t)),
                         mem_alloc(n_rows * seen_words(n), sizeof(uint32_t)),
                         mem_alloc(n_rows, sizeof(int32_t))};
}

static void rows_free(struct rows *r) {
    mem_free(r->logits), mem_free(r->log_probability), mem_free(r->key), mem_free(r->seen);
    mem_free(r->token);
}

/* Draws rows [first, first + n) as one batch; the logits' rows lie 3 further apart than they are
 * long. seen is left as it was. */
static void draw_some(struct device *on, struct rows *r, const struct sampling *how, int64_t first,
                      int64_t n) {
    int64_t stride = r->n + 3;
    float *wide = mem_alloc(n * stride, sizeof *wide);
    for (int64_t i = 0; i < n; i++)
        memcpy(wide + i * stride, r->logits + (first + i) * r->n, (size_t)r->n * sizeof *wide);
    size_t seen_bytes = (size_t)(n * seen_words(r->n)) * sizeof *r->seen;
    float *x = sample_give(wide, (size_t)(n * stride) * sizeof *wide),
          *log_probability = sample_give(r->log_probability + first, (size_t)n * sizeof(float));
    int32_t *token = sample_give(r->token + first, (size_t)n * sizeof *token);
    uint64_t *key = sample_give(r->key + first, (size_t)n * sizeof *key);
    uint32_t *seen = sample_give(r->seen + first * seen_words(r->n), seen_bytes);
    struct tensor logits = {x, DTYPE_F32, n, r->n, stride};
    op_sample(on, token, log_probability, logits, how, how->greedy ? NULL : key, seen);
    uint32_t *had = mem_alloc((int64_t)seen_bytes, 1);
    test_device_read(dev, r->token + first, token, (size_t)n * sizeof *token);
    test_device_read(dev, r->log_probability + first, log_probability, (size_t)n * sizeof(float));
    test_device_read(dev, had, seen, seen_bytes);
    for (int64_t i = 0; i < n * seen_words(r->n); i++) {
        uint32_t bits = r->seen[first * seen_words(r->n) + i];
        int64_t row = first + i / seen_words(r->n);
        if (r->token[row] / 32 == i % seen_words(r->n)) bits |= 1u << r->token[row] % 32;
        ASSERT(had[i] == bits);
    }
    mem_free(wide), mem_free(had), sample_take_back();
}

static void draw(struct rows *r, const struct sampling *how) {
    draw_some(dev, r, how, 0, r->n_rows);
}

/* Every row's word is the one at which the reference's probabilities, in id order, have the row's
 * number; within 2e-6, by which sums of exponentials in fp32 differ. */
static void check_rows(const struct rows *r, const struct sampling *how) {
    double *p = mem_alloc(r->n, sizeof *p), *log_p = mem_alloc(r->n, sizeof *log_p);
    for (int64_t row = 0; row < r->n_rows; row++) {
        reference_sampling(p, log_p, r->logits + row * r->n, r->n, r->seen + row * seen_words(r->n),
                           how);
        double before = 0, u = sampling_uniform(r->key[row]);
        int32_t word = r->token[row];
        ASSERT(word >= 0 && word < r->n);
        if (!(p[word] > 0)) TEST_END(TEST_FAILED, "row %d: %d is removed", (int)row, (int)word);
        for (int32_t i = 0; i < word; i++) before += p[i];
        if (!how->greedy && (u < before - 2e-6 || u > before + p[word] + 2e-6))
            TEST_END(TEST_FAILED, "row %d: word %d has %.9g to %.9g, u is %.9g", (int)row,
                     (int)word, before, before + p[word], u);
        ASSERT_NEAR(r->log_probability[row], log_p[word], 2e-6 * MAX(1, fabs(log_p[word])));
    }
    mem_free(p), mem_free(log_p);
}

/* ---- transformers ---- */

static uint64_t number(uint64_t i, uint64_t what) {
    return sampling_mix(sampling_mix(i + 0x9e3779b97f4a7c15) + what);
}

/* make() of make_sampling.py: the first row. */
static int64_t vector_words(uint64_t i) {
    return 3 + (int64_t)(number(i, 0) % (i % 50 ? 60 : 900));
}

static struct sampling make_vector(uint64_t i, float *logits, uint32_t *seen) {
    static const double top_p[] = {1, 0.9, 0.5, 0.95, 0.1, 0.7, 0.99, 0, 0.6},
                        min_p[] = {0, 0.05, 0.1, 0.3, 1}, temperature[] = {1, 0.7, 1.3, 0.25},
                        penalty[] = {1, 1.1, 1.5, 0.8};
    int64_t n = vector_words(i), spread = i % 10 == 3 ? 1 : 10 + (int64_t)(number(i, 1) % 50);
    for (int64_t j = 0; j < n; j++) {
        int64_t x = (int64_t)(number(i, (uint64_t)(100 + j)) % (uint64_t)spread) - spread / 2;
        logits[j] = (float)x / 8;
        if (number(i, (uint64_t)(5000 + j)) % 4 == 0) seen[j / 32] |= 1u << j % 32;
    }
    return (struct sampling){
        .top_k = i % 3 ? 0 : (int32_t)(number(i, 2) % (uint64_t)(n + 3)),
        .top_p = top_p[number(i, 3) % 9],
        .min_p = min_p[i % 4 == 1 ? number(i, 4) % 5 : 0],
        .temperature = temperature[number(i, 5) % 4],
        .repetition_penalty = penalty[i % 2 ? number(i, 6) % 4 : 0],
    };
}

/* The middle of each kept word's share draws that word: so the op keeps what the reference does. */
static void check_middles(struct rows *r, const struct sampling *how, const double *p) {
    double before = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < r->n; i++) {
        if (p[i] == 0) continue;
        if (n < r->n_rows && p[i] > 4e-6) r->key[n++] = key_of(before + p[i] / 2);
        before += p[i];
    }
    for (int64_t row = 1; row < r->n_rows; row++) {
        memcpy(r->logits + row * r->n, r->logits, (size_t)r->n * sizeof(float));
        memcpy(r->seen + row * seen_words(r->n), r->seen, (size_t)seen_words(r->n) * 4);
    }
    draw_some(dev, r, how, 0, n);
    for (int64_t i = 0, at = 0; i < r->n && at < n; i++) {
        if (p[i] <= 4e-6) continue;
        if (r->token[at] != i)
            TEST_END(TEST_FAILED, "drew word %d for word %d", (int)r->token[at], (int)i);
        at++;
    }
}

static void check_golden(const struct golden_kept *g, bool draws) {
    int64_t n = vector_words(g->vector);
    struct rows r = rows_make(MIN(n, test_has_plugin() ? 8 : 64), n);
    struct sampling how = make_vector(g->vector, r.logits, r.seen);
    double *p = mem_alloc(n, sizeof *p), *log_p = mem_alloc(n, sizeof *log_p);
    reference_sampling(p, log_p, r.logits, n, r.seen, &how);
    uint64_t ids = 0xcbf29ce484222325, kept = 0;
    for (int64_t j = 0; j < n; j++) {
        if (p[j] == 0) continue;
        ids = (ids ^ (uint64_t)j) * 0x100000001b3;
        kept++;
    }
    if (ids != g->ids || kept != (uint64_t)g->n_kept)
        TEST_END(TEST_FAILED, "vector %u: %d words kept, expected %d", g->vector, (int)kept,
                 (int)g->n_kept);
    if (draws) check_middles(&r, &how, p);
    mem_free(p), mem_free(log_p), rows_free(&r);
}

static void test_keeps_what_transformers_keeps(void) {
    int n = (int)(sizeof golden_kept / sizeof *golden_kept);
    ASSERT_INT(n, 1000);
    for (int i = 0; i < n; i++) check_golden(&golden_kept[i], !test_has_plugin() || i % 16 == 3);
}

/* ---- draws ---- */

static struct rows random_rows(int64_t n_rows, int64_t n, double deviation) {
    struct rows r = rows_make(n_rows, n);
    for (int64_t i = 0; i < n_rows * n; i++)
        r.logits[i] = (float)(deviation * random_normal(5, (uint64_t)n, (uint64_t)i));
    for (int64_t i = 0; i < n_rows; i++) r.key[i] = sampling_hash(7, (uint64_t)i);
    for (int64_t i = 0; i < n_rows * seen_words(n); i++)
        r.seen[i] = (uint32_t)random_bits(6, 1, (uint64_t)i);
    for (int64_t i = 0; i < n_rows && n % 32; i++)
        r.seen[(i + 1) * seen_words(n) - 1] &= (1u << n % 32) - 1;
    return r;
}

static const struct sampling settings[] = {
    {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
    {.temperature = 0.7, .top_p = 1, .repetition_penalty = 1.2},
    {.temperature = 1, .top_p = 0.9, .repetition_penalty = 1},
    {.temperature = 1.5, .top_p = 1, .repetition_penalty = 1, .top_k = 50},
    {.temperature = 0.9, .top_p = 0.95, .repetition_penalty = 1.1, .top_k = 20, .min_p = 0.05},
    {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .min_p = 0.1},
    {.greedy = true, .top_p = 1, .repetition_penalty = 1.3},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

static void check_draws(int64_t n_rows, int64_t n, double deviation) {
    struct rows r = random_rows(n_rows, n, deviation);
    for (int k = 0; k < N_SETTINGS; k++) {
        draw(&r, &settings[k]);
        check_rows(&r, &settings[k]);
    }
    rows_free(&r);
}

static void test_draws(void) {
    static const int64_t sizes[] = {1, 2, 31, 33, 255, 257, 1000, 5003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) check_draws(5, sizes[i], 3);
}

/* Nearly flat rows, where all words are candidates, and peaked ones. */
static void test_large_vocabularies(void) {
    int64_t rows = test_has_plugin() ? 1 : 3;
    check_draws(rows, 32000, 0.01);
    check_draws(rows, 152064, 5);
}

static void test_same_bits_in_any_company(void) {
    struct rows r = random_rows(9, 3001, 2), alone = random_rows(9, 3001, 2);
    struct device *single = test_has_plugin() ? dev : test_device_open(1);
    for (int k = 0; k < N_SETTINGS; k++) {
        draw(&r, &settings[k]);
        for (int64_t i = 8; i >= 0; i--) draw_some(single, &alone, &settings[k], i, 1);
        ASSERT(memcmp(r.token, alone.token, 9 * sizeof(int32_t)) == 0);
        ASSERT(memcmp(r.log_probability, alone.log_probability, 9 * sizeof(float)) == 0);
    }
    if (single != dev) test_device_close(single);
    rows_free(&r), rows_free(&alone);
}

/* The probability that chi^2 of that many degrees of freedom is more, by Wilson and Hilferty. */
static double chi_square_tail(double chi, int degrees) {
    double d = 2.0 / (9.0 * degrees), z = (cbrt(chi / degrees) - (1 - d)) / sqrt(d);
    return 0.5 * erfc(z / sqrt(2));
}

/* Counts of drawn words against the reference's probabilities; words of less than 5 expected draws
 * are one. */
static void check_counts(const struct rows *r, const double *p) {
    double *count = mem_alloc(r->n, sizeof *count), chi = 0, rest = 0, rest_count = 0;
    int degrees = -1;
    for (int64_t i = 0; i < r->n_rows; i++) count[r->token[i]]++;
    for (int64_t i = 0; i < r->n; i++) {
        double expected = p[i] * (double)r->n_rows;
        if (expected < 5) {
            rest += expected, rest_count += count[i];
        } else {
            chi += (count[i] - expected) * (count[i] - expected) / expected, degrees++;
        }
    }
    if (rest > 0) chi += (rest_count - rest) * (rest_count - rest) / rest, degrees++;
    ASSERT(degrees > 3);
    if (!(chi_square_tail(chi, degrees) > 1e-4))
        TEST_END(TEST_FAILED, "chi^2 is %g with %d degrees of freedom", chi, degrees);
    mem_free(count);
}

static void test_counts_of_draws(void) {
    int64_t n = 300, n_rows = test_has_plugin() ? 1500 : 30000;
    double p[300], log_p[300];
    struct rows r = random_rows(n_rows, n, 1.5);
    for (int64_t i = 1; i < n_rows; i++) {
        memcpy(r.logits + i * n, r.logits, (size_t)n * sizeof(float));
        memcpy(r.seen + i * seen_words(n), r.seen, (size_t)seen_words(n) * 4);
    }
    for (int k = 0; k < N_SETTINGS - 1; k++) {
        for (int64_t i = 0; i < n_rows; i++) r.key[i] = sampling_hash((uint64_t)k, (uint64_t)i);
        draw(&r, &settings[k]);
        reference_sampling(p, log_p, r.logits, n, r.seen, &settings[k]);
        check_counts(&r, p);
    }
    rows_free(&r);
}

/* ---- what is no number ---- */

static void test_greedy_takes_the_first_of_equals(void) {
    struct rows r = rows_make(1, 700);
    struct sampling greedy = {.greedy = true, .repetition_penalty = 1};
    r.logits[333] = r.logits[600] = r.logits[699] = 2;
    draw(&r, &greedy);
    ASSERT_INT(r.token[0], 333);
    rows_free(&r);
}

static void test_what_is_no_number_is_not_drawn(void) {
    struct rows r = rows_make(4, 500);
    for (int i = 0; i < 500; i++) {
        r.logits[i] = i == 7 ? NAN : i % 3 ? 1 : -INFINITY;
        r.logits[500 + i] = i == 450 ? INFINITY : i == 3 ? NAN : 5;
        r.logits[1000 + i] = i % 2 ? NAN : -INFINITY;
        r.logits[1500 + i] = i == 499 ? -3e38f : -INFINITY;
    }
    for (int k = 0; k < N_SETTINGS; k++) {
        if (settings[k].repetition_penalty != 1) continue;
        draw(&r, &settings[k]);
        ASSERT(r.token[0] != 7 && r.token[0] % 3 != 0);
        ASSERT_NEAR(r.log_probability[0], -log(332), 1e-5);
        ASSERT_INT(r.token[1], 450);
        ASSERT_NEAR(r.log_probability[1], 0, 0);
        ASSERT_INT(r.token[2], 0);
        ASSERT(isnan(r.log_probability[2]));
        ASSERT_INT(r.token[3], 499);
        ASSERT_NEAR(r.log_probability[3], 0, 0);
    }
    rows_free(&r);
}

static void test_no_rows(void) {
    op_sample(dev, NULL, NULL, tensor_make(NULL, DTYPE_F32, 0, 10), &plain, (uint64_t[]){0}, NULL);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"keys", test_keys},
        {"order_of_keys", test_order_of_keys},
        {"keeps_what_transformers_keeps", test_keeps_what_transformers_keeps},
        {"draws", test_draws},
        {"large_vocabularies", test_large_vocabularies},
        {"same_bits_in_any_company", test_same_bits_in_any_company},
        {"counts_of_draws", test_counts_of_draws},
        {"greedy_takes_the_first_of_equals", test_greedy_takes_the_first_of_equals},
        {"what_is_no_number_is_not_drawn", test_what_is_no_number_is_not_drawn},
        {"no_rows", test_no_rows},
    };
    dev = test_device_open(2);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return status;
}
