/* train: metrics.jsonl and the loss tallies. */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "file.h"
#include "task.h"
#include "train/metrics.h"
#include "test.h"

static char *read_text(const char *path, struct buffer *text) {
    buffer_clear(text);
    ASSERT_INT(file_read(path, 1 << 20, text), 0);
    return text->data;
}

static void write_steps(struct metrics *m, int first, int end) {
    for (int step = first; step < end; step++) {
        metrics_number(m, 0.5 * step, "train/loss");
        metrics_number(m, step == 2 ? NAN : 1, "eval/%s/accuracy", "a \"b\"");
        ASSERT_INT(metrics_end_step(m, step), 0);
    }
}

static void test_each_step_stands_once_after_resume(void) {
    char *path = mem_format("/tmp/rankwise_test_metrics_%d.jsonl", (int)getpid());
    struct buffer whole = {0}, resumed = {0};
    struct metrics *m = metrics_open(path, -1, -1);
    ASSERT(m);
    write_steps(m, 1, 6);
    metrics_close(m);
    read_text(path, &whole);
    ASSERT_CONTAINS(whole.data,
                    "{\"step\": 2, \"train/loss\": 1, \"eval/a \\\"b\\\"/accuracy\": null}\n");

    /* A run killed in the middle of a line, two steps after its checkpoint of step 3. */
    buffer_append_text(&resumed, whole.data);
    buffer_append_text(&resumed, "{\"step\": 6, \"tra");
    ASSERT_INT(file_replace(path, resumed.data, resumed.length), 0);
    ASSERT(metrics_lacks(path, 6));
    ASSERT(!metrics_lacks(path, 5));
    m = metrics_open(path, 3, 3);
    ASSERT(m);
    write_steps(m, 4, 6);
    metrics_close(m);
    ASSERT_TEXT(read_text(path, &resumed), whole.data);

    m = metrics_open(path, -1, -1);
    metrics_close(m);
    ASSERT_TEXT(read_text(path, &resumed), "");
    unlink(path);
    buffer_free(&whole);
    buffer_free(&resumed);
    mem_free(path);
}

/* A file that is taken away has a successor, which has the steps from then on. */
static void test_removed_file_is_made_again(void) {
    char *path = mem_format("/tmp/rankwise_test_removed_%d.jsonl", (int)getpid());
    struct buffer text = {0};
    struct metrics *m = metrics_open(path, -1, -1);
    ASSERT(m);
    write_steps(m, 1, 3);
    ASSERT_INT(unlink(path), 0);
    write_steps(m, 3, 4);
    metrics_close(m);
    ASSERT_CONTAINS(read_text(path, &text), "{\"step\": 3, ");
    ASSERT(!strstr(text.data, "{\"step\": 2, "));
    unlink(path);
    buffer_free(&text);
    mem_free(path);
}

/* A file that may not grow stands for a full disk. */
static void test_full_disk_is_an_error(void) {
    char *path = mem_format("/tmp/rankwise_test_full_%d.jsonl", (int)getpid());
    struct metrics *m = metrics_open(path, -1, -1);
    ASSERT(m);
    struct rlimit former, small;
    ASSERT_INT(getrlimit(RLIMIT_FSIZE, &former), 0);
    small = (struct rlimit){16, former.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    ASSERT_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
    metrics_number(m, 1, "train/loss");
    int status = metrics_end_step(m, 1);
    ASSERT_INT(setrlimit(RLIMIT_FSIZE, &former), 0);
    ASSERT_INT(status, -1);
    ASSERT_CONTAINS(error_text(), "cannot be written");
    metrics_close(m);
    unlink(path);
    mem_free(path);
}

static void add_pair(double *tally, double chosen, double rejected, double margin, double weight) {
    struct comparison_loss loss = {.kind = COMPARISON_BRADLEY_TERRY};
    struct comparison c = {chosen, rejected, 1, margin, weight};
    struct comparison_slope unused;
    comparison_tally_add(tally, &c, comparison_loss_at(&loss, &c, &unused));
}

static struct task_summary summary_of(const double *tally) {
    struct config config = {.loss.type = LOSS_BRADLEY_TERRY};
    struct shard shard = {.n_comparisons = 1};
    struct task task;
    struct task_summary summary;
    ASSERT_INT(task_choose(&task, &config, &shard), 0);
    task_summarize(&task, tally, &summary);
    return summary;
}

static void test_tallies_are_the_formulas(void) {
    double tally[TASK_TALLIES] = {0};
    add_pair(tally, 1, 0, 0, 1);
    add_pair(tally, 2, 2, 0, 1);
    add_pair(tally, -1, 3, 0.5f, 2);
    struct task_summary s = summary_of(tally);
    double expected = (log1p(exp(-1)) + log(2) + 2 * log1p(exp(4.5))) / 4;
    ASSERT_NEAR(task_figure(&s, "loss"), expected, 1e-12);
    ASSERT_NEAR(task_figure(&s, "accuracy"), 1.5 / 3, 1e-15);
    ASSERT_NEAR(task_figure(&s, "ties"), 1.0 / 3, 1e-15);
    ASSERT_NEAR(task_figure(&s, "reward_margin"), (1 + 0 - 4) / 3.0, 1e-15);
}

static void test_loss_is_stable_in_both_tails(void) {
    double tally[N_COMPARISON_TALLIES] = {0};
    add_pair(tally, 3e30f, -3e30f, 0, 1);
    ASSERT_NEAR(tally[TALLY_LOSS], 0, 0);
    add_pair(tally, -1000, 1000, 0, 1);
    ASSERT_NEAR(tally[TALLY_LOSS], 2000, 1e-9);
    struct task_summary none = summary_of((double[TASK_TALLIES]){0});
    ASSERT(isnan(task_figure(&none, "loss")));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"each_step_stands_once_after_resume", test_each_step_stands_once_after_resume},
        {"removed_file_is_made_again", test_removed_file_is_made_again},
        {"full_disk_is_an_error", test_full_disk_is_an_error},
        {"tallies_are_the_formulas", test_tallies_are_the_formulas},
        {"loss_is_stable_in_both_tails", test_loss_is_stable_in_both_tails},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
