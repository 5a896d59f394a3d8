/* build: the memory of `rankwise-data build` does not grow with its input, but for the index that
 * shard.h states. The program's own peak is asked of the kernel. limit: 600 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file.h"
#include "random.h"
#include "test.h"

/* Threads have buffers and a word cache each, which a few thousand rows do not fill. */
enum { N_SMALL = 2000, N_THREADED = 10000, N_LARGE = 200000 };
/* shard.h: two sequences and a run of its own for each row. */
enum { INDEX_BYTES = 2 * 27 + 32 };

static char *folder;

/* Rows of some 60 tokens, all different; `repeated`: prompts come back at the end, so that groups
 * are read again. */
static char *write_rows(const char *name, int64_t n, bool repeated) {
    char *path = file_join(folder, name);
    FILE *f = fopen(path, "w");
    ASSERT(f != NULL);
    for (int64_t i = 0; i < n; i++) {
        int64_t prompt = repeated ? i % (n / 2) : i;
        fprintf(f, "{\"prompt\": \"Question %lld: what is it? \", \"chosen\": \"It is",
                (long long)prompt);
        for (uint64_t k = 0; k < 12; k++)
            fprintf(f, " %llu", (long long unsigned)random_bits(1, (uint64_t)i, k) % 1000);
        fprintf(f, "\", \"rejected\": \"It is not %lld\"}\n", (long long)i);
    }
    ASSERT_INT(fclose(f), 0);
    return path;
}

/* The peak of a build in KiB. */
static int64_t peak_of(const char *rows, const char *threads) {
    const char *directory = getenv("BUILD");
    char *program = mem_format("%s/rankwise-data", directory ? directory : "build");
    char *out = file_join(folder, "out.h5");
    unlink(out);
    int child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        execl(program, program, "build", "--tokenizer", "tests/golden/tokenizer_small", "--threads",
              threads, "--out", out, rows, (char *)NULL);
        _exit(127);
    }
    struct rusage usage;
    int status;
    ASSERT_INT(wait4(child, &status, 0, &usage), child);
    ASSERT_INT(WEXITSTATUS(status), 0);
    ASSERT(file_exists(out));
    mem_free(program);
    mem_free(out);
    return usage.ru_maxrss;
}

static void check_memory(const char *threads, int64_t n_small, bool repeated) {
#ifdef __SANITIZE_ADDRESS__
    TEST_SKIP("a sanitizer keeps memory of its own");
#endif
    folder = mem_format("/tmp/rankwise_test_build_%d", (int)getpid());
    ASSERT_INT(file_make_directory(folder), 0);
    char *small = write_rows("small.jsonl", n_small, repeated);
    char *large = write_rows("large.jsonl", N_LARGE, repeated);
    int64_t few = peak_of(small, threads), many = peak_of(large, threads);
    int64_t index = (int64_t)N_LARGE * INDEX_BYTES / 1024;
    printf(
        "# %s threads: %lld KiB for %lld rows, %lld KiB for %d, of which %lld may be the index\n",
        threads, (long long)few, (long long)n_small, (long long)many, N_LARGE, (long long)index);
    file_remove_tree(folder);
    mem_free(small);
    mem_free(large);
    mem_free(folder);
    if (many > few * 6 / 5 + index)
        TEST_END(TEST_FAILED, "%lld KiB, expected at most %lld", (long long)many,
                 (long long)(few * 6 / 5 + index));
}

static void test_memory_with_one_thread(void) {
    check_memory("1", N_SMALL, false);
}

static void test_memory_with_two_threads(void) {
    check_memory("2", N_THREADED, false);
}

static void test_memory_of_groups_that_come_back(void) {
    check_memory("1", N_SMALL, true);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"build_memory_with_one_thread", test_memory_with_one_thread},
        {"build_memory_with_two_threads", test_memory_with_two_threads},
        {"build_memory_of_groups_that_come_back", test_memory_of_groups_that_come_back},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
