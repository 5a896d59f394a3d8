/* forest: against brute force on random tries. The visibility relation must be "is a prefix of",
 * the rows the distinct prefixes, and nothing may depend on the order of the sequences. */
#include <time.h>

#include "forest.h"
#include "random.h"
#include "test.h"

enum { MAX_SEQUENCES = 40, MAX_LENGTH = 24 };

/* A batch of sequences, and room for them. */
struct batch {
    int64_t n;
    int32_t token[MAX_SEQUENCES][MAX_LENGTH], length[MAX_SEQUENCES];
    const int32_t *sequence[MAX_SEQUENCES];
};

static uint64_t draw_at;
static int draw(int n) {
    return (int)(random_bits(11, 1, draw_at++) % (uint64_t)n);
}

/* Random sequences over a small alphabet, most of them branches, copies or prefixes of earlier
 * ones. */
static void random_batch(struct batch *b, int n, int alphabet, int max_length) {
    b->n = n;
    for (int s = 0; s < n; s++) {
        b->length[s] = 1 + draw(max_length);
        for (int i = 0; i < b->length[s]; i++)
            b->token[s][i] = draw(alphabet) * (draw(4) ? 1 : 70001);
        if (s > 0 && draw(4)) {
            int from = draw(s), shared = draw(b->length[from] + 1);
            memcpy(b->token[s], b->token[from], (size_t)shared * sizeof(int32_t));
            b->length[s] = MAX(b->length[s], shared);
            if (draw(5) == 0) b->length[s] = MAX(shared, 1);
        }
        b->sequence[s] = b->token[s];
    }
}

static bool is_prefix(const int32_t *a, int n_a, const int32_t *b, int n_b) {
    return n_a <= n_b && memcmp(a, b, (size_t)n_a * sizeof *a) == 0;
}

/* The row of the prefix of n tokens of a sequence: by the mask alone, from the sequence's read
 * row. */
static int32_t row_of(const struct forest *f, int64_t s, int n) {
    int32_t last = f->row[f->read[s]], found = -1;
    for (int32_t j = 0; j <= last; j++)
        if (last < f->reach[j] && f->position[j] == n - 1) {
            ASSERT_INT(found, -1);
            found = j;
        }
    return found;
}

/* Everything that forest.h promises, in quadratic time. */
static void check_forest(const struct forest *f, const struct batch *b) {
    static int owner[MAX_SEQUENCES * MAX_LENGTH], length[MAX_SEQUENCES * MAX_LENGTH];
    int64_t distinct = 0;
    memset(owner, -1, sizeof owner);
    for (int s = 0; s < b->n; s++)
        for (int n = 1; n <= b->length[s]; n++) {
            bool is_new = true;
            for (int t = 0; t < s; t++)
                is_new = is_new && !is_prefix(b->token[s], n, b->token[t], b->length[t]);
            int32_t row = row_of(f, s, n);
            ASSERT(row >= 0 && row < f->n);
            ASSERT_INT(f->token[row], b->token[s][n - 1]);
            ASSERT(is_new == (owner[row] < 0));
            if (!is_new) continue;
            distinct++;
            owner[row] = s;
            length[row] = n;
        }
    ASSERT_INT(f->n, distinct);
    for (int i = 0; i < f->n; i++)
        for (int j = 0; j < f->n; j++) {
            bool visible = j <= i && i < f->reach[j];
            ASSERT(visible ==
                   is_prefix(b->token[owner[j]], length[j], b->token[owner[i]], length[i]));
        }
    for (int s = 0; s < b->n; s++) {
        int32_t last = f->row[f->read[s]];
        ASSERT_INT(length[last], b->length[s]);
        ASSERT(is_prefix(b->token[owner[last]], length[last], b->token[s], b->length[s]));
    }
    if (forest_validate(f) != 0) TEST_END(TEST_FAILED, "%s", error_text());
}

static void test_random_tries_against_brute_force(void) {
    static struct batch b;
    struct forest f;
    forest_init(&f, MAX_SEQUENCES * MAX_LENGTH, MAX_SEQUENCES, MAX_SEQUENCES);
    for (int round = 0; round < 400; round++) {
        random_batch(&b, 1 + draw(round % 7 ? 12 : MAX_SEQUENCES), 1 + draw(4),
                     1 + draw(MAX_LENGTH));
        forest_build(&f, b.n, b.sequence, b.length, 0, NULL);
        check_forest(&f, &b);
        ASSERT_INT(forest_count(b.n, b.sequence, b.length), f.n);
    }
    forest_free(&f);
}

static void test_order_of_sequences_does_not_matter(void) {
    static struct batch b;
    struct forest f, g;
    forest_init(&f, MAX_SEQUENCES * MAX_LENGTH, MAX_SEQUENCES, MAX_SEQUENCES);
    forest_init(&g, MAX_SEQUENCES * MAX_LENGTH, MAX_SEQUENCES, MAX_SEQUENCES);
    for (int round = 0; round < 100; round++) {
        random_batch(&b, 2 + draw(20), 2, MAX_LENGTH);
        forest_build(&f, b.n, b.sequence, b.length, 0, NULL);
        const int32_t *sequence[MAX_SEQUENCES];
        int32_t length[MAX_SEQUENCES];
        for (int64_t s = 0; s < b.n; s++) {
            int64_t to = random_permute(5, (uint64_t)round, s, b.n);
            sequence[to] = b.sequence[s];
            length[to] = b.length[s];
        }
        forest_build(&g, b.n, sequence, length, 0, NULL);
        ASSERT_INT(g.n, f.n);
        ASSERT_INT(g.n_rows, f.n_rows);
        size_t bytes = (size_t)f.n * sizeof(int32_t);
        ASSERT(memcmp(f.token, g.token, bytes) == 0 && memcmp(f.reach, g.reach, bytes) == 0);
        ASSERT(memcmp(f.position, g.position, bytes) == 0 && memcmp(f.order, g.order, bytes) == 0);
        ASSERT(memcmp(f.row, g.row, (size_t)f.n_rows * sizeof(int32_t)) == 0);
        for (int64_t s = 0; s < b.n; s++)
            ASSERT_INT(g.read[random_permute(5, (uint64_t)round, s, b.n)], f.read[s]);
    }
    forest_free(&f);
    forest_free(&g);
}

static void check_rows(const int32_t *found, int64_t n, const int32_t *expected) {
    for (int64_t i = 0; i < n; i++) ASSERT_INT(found[i], expected[i]);
}

/* A pair with a stem, a third answer that is its stem, a copy, and a tree of its own; worked out by
 * hand. */
static void test_layout_by_hand(void) {
    static const int32_t a[] = {7, 7, 3, 9}, b[] = {7, 7, 2}, stem[] = {7, 7}, other[] = {5};
    const int32_t *sequence[] = {a, b, stem, a, other};
    const int32_t length[] = {4, 3, 2, 4, 1};
    struct forest f;
    forest_init(&f, 6, 5, 5);
    forest_build(&f, 5, sequence, length, 0, NULL);
    ASSERT_INT(f.n, 6);
    check_rows(f.token, 6, (const int32_t[]){5, 7, 7, 2, 3, 9});
    check_rows(f.position, 6, (const int32_t[]){0, 0, 1, 2, 2, 3});
    check_rows(f.reach, 6, (const int32_t[]){1, 6, 6, 4, 6, 6});
    check_rows(f.order, 6, (const int32_t[]){3, 4, 0, 1, 2, 5});
    ASSERT_INT(f.n_rows, 4);
    check_rows(f.row, 4, (const int32_t[]){0, 2, 3, 5});
    check_rows(f.read, 5, (const int32_t[]){3, 2, 1, 3, 0});
    forest_free(&f);
}

static void test_empty_and_single(void) {
    struct forest f;
    forest_init(&f, 1, 1, 1);
    forest_build(&f, 0, NULL, NULL, 0, NULL);
    ASSERT_INT(f.n, 0);
    ASSERT_INT(f.n_rows, 0);
    ASSERT_INT(forest_validate(&f), 0);
    const int32_t token[] = {0}, *sequence[] = {token}, length[] = {1};
    forest_build(&f, 1, sequence, length, 0, NULL);
    ASSERT_INT(f.n, 1);
    ASSERT_INT(f.reach[0], 1);
    ASSERT_INT(f.n_rows, 1);
    ASSERT_INT(forest_validate(&f), 0);
    forest_free(&f);
    struct forest none = {0};
    forest_free(&none);
    ASSERT_INT(forest_count(0, NULL, NULL), 0);
}

static void test_validate_finds_damage(void) {
    static struct batch b;
    struct forest f;
    forest_init(&f, MAX_SEQUENCES * MAX_LENGTH, MAX_SEQUENCES, MAX_SEQUENCES);
    int n_found = 0, n_tried = 0;
    for (int round = 0; round < 200; round++) {
        random_batch(&b, 2 + draw(10), 3, 10);
        forest_build(&f, b.n, b.sequence, b.length, 0, NULL);
        int32_t *array[] = {f.position, f.reach, f.order};
        array[round % 3][draw((int)f.n)] += draw(2) ? 1 : -1;
        n_tried++;
        n_found += forest_validate(&f) != 0;
    }
    /* A reach that ends a subtree elsewhere can describe another, valid forest; nearly all damage
     * is seen. */
    ASSERT(n_found > n_tried * 8 / 10);
    forest_free(&f);
}

/* A stem of 4000 tokens with 1000 branches, 2000 prefixes of one chain: fast, and without memory of
 * its own. */
static void test_no_quadratic_time_and_no_allocation(void) {
    enum { N = 2000, STEM = 4000 };
    int32_t *stem = mem_alloc(N, (STEM + 8) * sizeof *stem), *length = mem_alloc(N, sizeof *length);
    const int32_t **sequence = mem_alloc(N, sizeof *sequence);
    for (int s = 0; s < N; s++) {
        int32_t *mine = stem + (int64_t)s * (STEM + 8);
        for (int i = 0; i < STEM + 8; i++) mine[i] = i < STEM ? i % 50000 : draw(3);
        sequence[s] = mine;
        length[s] = s % 2 ? STEM + 8 : s + 1;
    }
    struct forest f;
    forest_init(&f, STEM + 8 * N, N, N);
    size_t before = mem_balance(), peak = mem_peak();
    /* The yardstick is one look at every token, in the same build on the same machine. */
    clock_t started = clock();
    int64_t sum = 0;
    for (int s = 0; s < N; s++)
        for (int i = 0; i < STEM; i++) sum += ((const volatile int32_t *)sequence[s])[i];
    clock_t looked = clock();
    forest_build(&f, N, sequence, length, 0, NULL);
    double looks = (double)(clock() - looked) / (double)MAX(looked - started, 1);
    ASSERT(sum > 0);
    ASSERT_INT(mem_balance(), before);
    ASSERT_INT(mem_peak(), peak);
    ASSERT(f.n > STEM && f.n <= STEM + 8 * N);
    ASSERT_INT(forest_validate(&f), 0);
    ASSERT(
        looks <
        /* log2(N) comparisons of each sequence, some ten looks each; a quadratic build takes N */
        1000);
    forest_free(&f);
    mem_free(stem);
    mem_free(length);
    mem_free(sequence);
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"forest_random_tries_against_brute_force", test_random_tries_against_brute_force},
        {"forest_order_of_sequences_does_not_matter", test_order_of_sequences_does_not_matter},
        {"forest_layout_by_hand", test_layout_by_hand},
        {"forest_empty_and_single", test_empty_and_single},
        {"forest_validate_finds_damage", test_validate_finds_damage},
        {"forest_no_quadratic_time_and_no_allocation", test_no_quadratic_time_and_no_allocation},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
