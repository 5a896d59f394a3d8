/* The test harness: a test program lists its tests and prints one line each:
 *   ok <name> | not ok <name>: <place and values> | skipped <name>: <reason>
 * tests/run.sh adds the lines up. A comment "ranks: 1 2 3" in a test's first lines makes run.sh
 * start it under mpirun with each number. Failed checks end the test function, print both values,
 * and are never compiled out. */
#ifndef RANKWISE_TEST_H
#define RANKWISE_TEST_H
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base.h"
#include "memory.h"

struct test {
    const char *name;
    void (*run)(void);
};

static char test_message[1024];
static jmp_buf test_out;
enum { TEST_FAILED = 1, TEST_SKIPPED = 2 };

#define TEST_END(kind, ...)                                                     \
    do {                                                                        \
        snprintf(test_message, sizeof test_message, __VA_ARGS__);               \
        longjmp(test_out, kind);                                                \
    } while (0)
#define TEST_SKIP(...) TEST_END(TEST_SKIPPED, __VA_ARGS__)
#define ASSERT(cond)                                                            \
    do {                                                                        \
        if (!(cond)) TEST_END(TEST_FAILED, "%s:%d: %s", __FILE__, __LINE__, #cond); \
    } while (0)
#define ASSERT_INT(a, b)                                                                          \
    do {                                                                                          \
        long long a_ = (long long)(a), b_ = (long long)(b);                                       \
        if (a_ != b_)                                                                             \
            TEST_END(TEST_FAILED, "%s:%d: %s is %lld, expected %lld", __FILE__, __LINE__, #a, a_, \
                     b_);                                                                         \
    } while (0)
/* |a - b| <= tolerance; NaN fails. */
#define ASSERT_NEAR(a, b, tolerance)                                                        \
    do {                                                                                    \
        double a_ = (a), b_ = (b), t_ = (tolerance);                                        \
        if (!(fabs(a_ - b_) <= t_))                                                         \
            TEST_END(TEST_FAILED, "%s:%d: %s is %.9g, expected %.9g within %.3g", __FILE__, \
                     __LINE__, #a, a_, b_, t_);                                             \
    } while (0)
#define ASSERT_TEXT(a, b)                                                                   \
    do {                                                                                    \
        const char *a_ = (a), *b_ = (b);                                                    \
        if (strcmp(a_, b_) != 0)                                                            \
            TEST_END(TEST_FAILED, "%s:%d: %s is \"%.300s\", expected \"%.300s\"", __FILE__, \
                     __LINE__, #a, a_, b_);                                                 \
    } while (0)
#define ASSERT_CONTAINS(text, part)                                                          \
    do {                                                                                     \
        const char *a_ = (text), *b_ = (part);                                               \
        if (!strstr(a_, b_))                                                                 \
            TEST_END(TEST_FAILED, "%s:%d: \"%.300s\" does not contain \"%.300s\"", __FILE__, \
                     __LINE__, a_, b_);                                                      \
    } while (0)

static inline int test_run(void (*run)(void)) {
    int kind = setjmp(test_out);
    if (kind == 0) run();
    return kind;
}

/* Runs the tests whose name contains argv[1] (all without it). Returns main's exit code. With
 * several ranks rank 0 alone prints "ok"; a rank that fails prints and ends the others through
 * die. */
static inline int test_main(const struct test *test, int n, int argc, char **argv) {
    int n_failed = 0;
    for (int i = 0; i < n; i++) {
        if (argc > 1 && !strstr(test[i].name, argv[1])) continue;
        int kind = test_run(test[i].run);
        if (kind == 0 && base_rank == 0) printf("ok %s\n", test[i].name);
        if (kind == TEST_SKIPPED && base_rank == 0)
            printf("skipped %s: %s\n", test[i].name, test_message);
        if (kind == TEST_FAILED) printf("not ok %s: %s\n", test[i].name, test_message);
        fflush(stdout);
        if (kind == TEST_FAILED && base_size > 1)
            die("test %s failed on rank %d", test[i].name, base_rank);
        n_failed += kind == TEST_FAILED;
    }
    return n_failed ? EXIT_FAILED : EXIT_DONE;
}
#define N_TESTS(array) ((int)(sizeof(array) / sizeof((array)[0])))
#endif
