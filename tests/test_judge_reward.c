/* Rewards of judges: against a transcription of the formulas into Python, and what must hold. */
#include <unistd.h>

#include "golden/judge_rewards.h"
#include "config.h"
#include "judge_reward.h"
#include "reward_command.h"
#include "log.h"
#include "test.h"

enum { MOST = 8 };

/* SplitMix64, as tests/golden/make_judge_rewards.py has it. */
static uint64_t draw(uint64_t *state, uint64_t below) {
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (z ^ z >> 31) % below;
}

#define OF(state, ...)  \
    (((const double[]){ \
        __VA_ARGS__})[draw(state, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))])

struct reward_case {
    struct reward_options o;
    struct reward_pair pair;
    double score[2][MOST], reward[2][MOST], weight[2][MOST];
};

static void draw_options(struct reward_options *o, uint64_t *d) {
    o->temperature = OF(d, 1, 5, 10, 20);
    o->clip = OF(d, 0, 6, 10);
    o->neg_clip = OF(d, 0, 1.1, 2);
    o->scale = OF(d, 1, 14.4);
    o->offset = OF(d, 0, 0.693, 10);
    o->hard_lambda = OF(d, 0.5, 1);
    o->hard_tau = OF(d, 0.25, 1, 3);
    o->hard_eps = OF(d, 0, 0.2, 0.5);
    o->positive = OF(d, 1, 2);
    o->negative = OF(d, -1, -3);
    o->score_temperature = OF(d, 20, 0.5);
    o->grade_threshold = OF(d, 0.1, 0.5);
    o->low = OF(d, 1.2, 1);
    o->high = OF(d, 1.4, 2);
    o->wrong = OF(d, 0, -1);
    o->parse_fail = OF(d, -1, -0.5, 0.25);
    o->gamma = OF(d, 0.5, 1.5);
    o->margin_temperature = OF(d, 1, 0.02);
}

static double draw_score(enum judge_reward kind, int shape, uint64_t *d) {
    if (judge_reward_is_pairwise(kind)) return OF(d, 0, 1, 0.5);
    if (judge_reward_wants_target(kind)) return (double)draw(d, 5);
    if (shape == 0) return 1 + (double)draw(d, 41) / 10;
    return shape == 1 ? OF(d, 0, 20, 50, 51, 55, 60, 100) : (double)draw(d, 101);
}

static void draw_case(struct reward_case *c, enum judge_reward kind, int number) {
    uint64_t state = 1000 * (uint64_t)kind + (uint64_t)number, *d = &state;
    draw_options(&c->o, d);
    if (kind == REWARD_BT_PAIR_SHARED || kind == REWARD_BT_BASELINE_HARDMINE) c->o.parse_fail = -1;
    int shape = (int)draw(d, 4);
    c->pair.preferred = (int)OF(d, 0, 1, 0, 1, 0, 1, 0, -1);
    for (int s = 0; s < 2; s++) c->pair.n[s] = (int)draw(d, MOST + 1);
    int silent = (int)draw(d, 12);
    for (int s = 0; s < 2; s++) {
        c->pair.score[s] = c->score[s];
        for (int i = 0; i < c->pair.n[s]; i++) {
            bool fails = draw(d, 4) == 0 || silent == s;
            double z = draw_score(kind, shape, d);
            c->score[s][i] = fails ? NAN : z;
        }
    }
    for (int s = 0; s < 2; s++) c->pair.target[s] = OF(d, 0, 1, 2, 3, 4, 3.5, NAN);
}

static void compute(struct reward_case *c, enum judge_reward kind) {
    double *reward[2] = {c->reward[0], c->reward[1]}, *weight[2] = {c->weight[0], c->weight[1]};
    reward_pair_compute(kind, &c->o, &c->pair, reward, weight);
}

static double sum(const struct reward_case *c) {
    double total = 0;
    for (int s = 0, place = 1; s < 2; s++)
        for (int i = 0; i < c->pair.n[s]; i++, place++)
            total += (c->reward[s][i] + c->weight[s][i] / 2) * place;
    return total;
}

static void test_formulas(void) {
    ASSERT_INT(N_TESTS(judge_reward_golden), REWARD_KINDS);
    for (int k = 0; k < REWARD_KINDS; k++)
        for (int i = 0; i < 2 * JUDGE_REWARD_CASES; i++) {
            struct reward_case c = {0};
            draw_case(&c, k, i % JUDGE_REWARD_CASES);
            c.o.as_seed = i >= JUDGE_REWARD_CASES;
            compute(&c, k);
            double found = sum(&c),
                   expected = judge_reward_golden[k][c.o.as_seed][i % JUDGE_REWARD_CASES];
            if (!(fabs(found - expected) <= 1e-6 * fmax(1, fabs(expected))))
                TEST_END(TEST_FAILED, "%s, case %d, as_seed %d: %.12g, expected %.12g",
                         judge_reward_name(k), i % JUDGE_REWARD_CASES, c.o.as_seed, found,
                         expected);
        }
}

/* The worst of those that were read is never below a failure beside it; one silent side takes
 * nothing from the other. */
static void test_failures_are_never_better(void) {
    int n_failures = 0;
    for (int k = 0; k < REWARD_KINDS; k++)
        for (int number = 0; number < 500; number++) {
            struct reward_case c = {0};
            draw_case(&c, k, number);
            compute(&c, k);
            for (int s = 0; s < 2; s++)
                for (int i = 0; i < c.pair.n[s]; i++)
                    for (int j = 0; j < c.pair.n[s]; j++)
                        if (isnan(c.score[s][i])) {
                            ASSERT(c.reward[s][i] <= c.reward[s][j]);
                            n_failures++;
                        }
        }
    ASSERT(n_failures > 10000);
}

/* The fault that is corrected: with as_seed broken format is worth more than a confident error. */
static void test_faults_of_the_seed(void) {
    struct reward_case c = {.o = judge_reward_defaults(REWARD_BT_BASELINE),
                            .pair = {.n = {2, 2}, .preferred = 0},
                            .score = {{1, NAN}, {5, 5}}};
    c.pair.score[0] = c.score[0];
    c.pair.score[1] = c.score[1];
    c.o.as_seed = true;
    compute(&c, REWARD_BT_BASELINE);
    ASSERT(c.reward[0][1] == -1 && c.reward[0][0] < -4);
    c.o.as_seed = false;
    compute(&c, REWARD_BT_BASELINE);
    ASSERT(c.reward[0][1] == c.reward[0][0] && c.reward[0][0] < -4);
    c.score[1][0] = c.score[1][1] = NAN;
    compute(&c, REWARD_BT_BASELINE);
    ASSERT_NEAR(c.reward[0][0], -M_LN2, 1e-12);
    ASSERT(c.reward[0][1] == -1);
    c.o.as_seed = true;
    compute(&c, REWARD_BT_BASELINE);
    ASSERT(c.reward[0][0] == -1);
}

/* One completion a side: its reward and weight at a difference. */
static double at_difference(enum judge_reward kind, double d, double *weight) {
    struct reward_case c = {.o = judge_reward_defaults(kind),
                            .pair = {.n = {1, 1}, .preferred = 0},
                            .score = {{50 + d}, {50}}};
    c.pair.score[0] = c.score[0];
    c.pair.score[1] = c.score[1];
    compute(&c, kind);
    *weight = c.weight[0][0];
    return c.reward[0][0];
}

static void test_borders(void) {
    double w;
    ASSERT(at_difference(REWARD_BT_GRADED, 2, &w) == 1.2); /* 2 / 20 is the threshold */
    ASSERT(at_difference(REWARD_BT_GRADED, 2.0001, &w) == 1.4);
    ASSERT(at_difference(REWARD_BT_GRADED, 0, &w) == 0.6);
    ASSERT(at_difference(REWARD_BT_GRADED, -1e-9, &w) == 0);
    ASSERT(at_difference(REWARD_BT_BINARY, 0, &w) == 0);
    at_difference(REWARD_BT_BASELINE_HARDMINE, -1e-9, &w);
    ASSERT(w == 1);
    at_difference(REWARD_BT_BASELINE_HARDMINE, 0, &w);
    ASSERT(w == 0.5);
    at_difference(REWARD_BT_BASELINE_HARDMINE, 0.25, &w); /* the threshold */
    ASSERT(w == 0.2);
}

static void test_weights_are_not_in_the_rewards(void) {
    struct reward_case c = {.o = judge_reward_defaults(REWARD_BT_BASELINE_HARDMINE),
                            .pair = {.n = {2, 2}, .preferred = 1},
                            .score = {{1, 2}, {5, 4}}};
    c.pair.score[0] = c.score[0];
    c.pair.score[1] = c.score[1];
    compute(&c, REWARD_BT_BASELINE_HARDMINE);
    ASSERT(c.weight[0][0] == 0.2 && c.weight[1][1] == 0.2);
    double alone = c.reward[1][0];
    c.o.as_seed = true;
    compute(&c, REWARD_BT_BASELINE_HARDMINE);
    ASSERT(c.weight[1][0] == 1);
    ASSERT_NEAR(c.reward[1][0], 0.2 * alone, 1e-15);
}

static void test_names_and_options(void) {
#define CONFIG_WORD(value, word) word,
    static const char *const words[] = {REWARD_TYPES(CONFIG_WORD)};
#undef CONFIG_WORD
    for (int i = 0; i < N_TESTS(words); i++) {
        enum judge_reward of_word;
        ASSERT_INT(judge_reward_find(words[i], &of_word), 0);
    }
    ASSERT_INT(N_TESTS(words), REWARD_KINDS);
    enum judge_reward kind;
    for (int k = 0; k < REWARD_KINDS; k++) {
        ASSERT_INT(judge_reward_find(judge_reward_name(k), &kind), 0);
        ASSERT_INT(kind, k);
        struct reward_options o = judge_reward_defaults(k);
        ASSERT_INT(judge_reward_check(k, &o), 0);
    }
    ASSERT_INT(judge_reward_find("bt", &kind), -1);
    ASSERT_CONTAINS(error_text(), "bt_baseline, bt_pair_shared");
    struct reward_options o = judge_reward_defaults(REWARD_BT_GRADED);
    o.temperature = 0;
    ASSERT_INT(judge_reward_check(REWARD_BT_GRADED, &o), -1);
    ASSERT_CONTAINS(error_text(), "reward.temperature: expected a number above 0, found 0");
    o.temperature = 1;
    o.wrong = 1.3;
    ASSERT_INT(judge_reward_check(REWARD_BT_GRADED, &o), -1);
    ASSERT_CONTAINS(error_text(), "reward.wrong");
}

/* --- a command ----------------------------------------------------------------------- */

enum { ASKED = 100 };

/* Asks twice for ASKED rewards; the score is the sample's number, every seventh is missing. */
static int ask(const char *command, double timeout, double *reward) {
    struct reward_command *c = reward_command_init(command, timeout);
    static struct reward_request request[ASKED];
    static char text[1000];
    memset(text, 'x', sizeof text);
    text[1] = '\n', text[2] = (char)0xFF, text[3] = '"';
    for (int i = 0; i < ASKED; i++)
        request[i] = (struct reward_request){i / 4, i / 2 % 2, i,           text,
                                             text,  1000,      sizeof text, i % 7 ? i : NAN};
    int status = 0;
    log_quiet(true);
    for (int time = 0; time < 2 && status == 0; time++)
        status = reward_command_ask(c, request, ASKED, reward);
    reward_command_free(c);
    return status;
}

/* Answers by the sample's number; the sizes are such that neither side's pipe holds a call. */
#define ECHO                                                                                 \
    "sed -u 's/.*\"sample\": \\([0-9]*\\).*/{\"reward\": \\1, \"why\": \"'$(printf %01000d " \
    "0)'\"}/'"

static void test_a_command_answers(void) {
    double reward[ASKED] = {0};
    if (ask(ECHO, 30, reward) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    for (int i = 0; i < ASKED; i++) ASSERT(reward[i] == i);
    ASSERT_INT(ask("sed -u 's/.*\"score\": \\(.*\\)}/{\"reward\": \\1}/'", 30, reward), 0);
    for (int i = 0; i < ASKED; i++) ASSERT(i % 7 ? reward[i] == i : isnan(reward[i]));
}

static void check_command_fails(const char *command, double timeout, const char *part) {
    double reward[ASKED];
    ASSERT_INT(ask(command, timeout, reward), -1);
    ASSERT_CONTAINS(error_text(), "reward.command \"");
    ASSERT_CONTAINS(error_text(), part);
}

static void test_a_command_fails(void) {
    check_command_fails("exit 3", 30, "ended with exit code 3 after 0 of 100 answers");
    check_command_fails("head -n 5 | " ECHO, 30, "after 5 of 100 answers");
    check_command_fails("kill -9 $$", 30, "ended by signal 9 after 0 of 100");
    check_command_fails("sleep 100", 0.05, "silent for 0.05 s after 0 of 100 answers");
    check_command_fails("sed -u 's/.*/{\"score\": 1}/'", 30,
                        "answer 1 of 100: expected {\"reward\"");
    check_command_fails("sed -u 's/.*/nonsense/'", 30, "answer 1 of 100: not valid JSON");
    check_command_fails("sed -u 's/.*/{\"reward\": 1}\\n{\"reward\": 1}/'", 30,
                        "answered more than");
    check_command_fails("n=0; while read -r line; do n=$((n + 1)); "
                        "if [ $n = 100 ]; then printf '{\"reward\": 1}\\n{'; "
                        "else echo '{\"reward\": 1}'; fi; done",
                        30, "answered more than the lines it got, before it was asked again");
    ASSERT_INT(mem_balance(), 0);
}

/* It dies the first time: a file remembers. */
static void test_a_command_is_started_again(void) {
    char mark[] = "/tmp/rankwise-reward-XXXXXX";
    double reward[ASKED] = {0};
    int file = mkstemp(mark);
    ASSERT(file >= 0);
    close(file);
    setenv("REWARD_MARK", mark, 1);
    int status = ask("if [ -e $REWARD_MARK ]; then rm $REWARD_MARK; exit 1; fi; " ECHO, 30, reward);
    if (status != 0) TEST_END(TEST_FAILED, "%s", error_text());
    ASSERT(reward[ASKED - 1] == ASKED - 1);
    ASSERT(access(mark, F_OK) != 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"judge_reward_formulas", test_formulas},
        {"judge_reward_failures_are_never_better", test_failures_are_never_better},
        {"judge_reward_faults_of_the_seed", test_faults_of_the_seed},
        {"judge_reward_borders", test_borders},
        {"judge_reward_weights_are_not_in_the_rewards", test_weights_are_not_in_the_rewards},
        {"judge_reward_names_and_options", test_names_and_options},
        {"judge_reward_a_command_answers", test_a_command_answers},
        {"judge_reward_a_command_fails", test_a_command_fails},
        {"judge_reward_a_command_is_started_again", test_a_command_is_started_again},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
