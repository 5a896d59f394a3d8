/* command: splitting arguments, finding subcommands, and what happens when stdout cannot be
 * written. */
#include <fcntl.h>
#include <unistd.h>

#include "command.h"
#include "test.h"

static struct option option[] = {
    {"data", true, NULL}, {"json", false, NULL}, {"help", false, NULL}};
static struct arguments parsed;

/* Words are separated by blanks. */
static int parse(const char *line) {
    static char text[512];
    char *argv[32] = {(char[]){"eval"}};
    int argc = 1;
    snprintf(text, sizeof text, "%s", line);
    for (char *p = text; *p;) {
        argv[argc++] = p;
        p += strcspn(p, " ");
        if (*p) *p++ = 0;
    }
    for (int i = 0; i < N_TESTS(option); i++) option[i].value = NULL;
    return arguments_parse(&parsed, option, N_TESTS(option), argc, argv);
}

static void test_kinds_of_arguments(void) {
    ASSERT_INT(parse("runs/x --data a.h5 optim.lr=1e-5 --json b ./c.d=e x=y -- --odd a.b=c -"), 0);
    ASSERT_TEXT(option[0].value, "a.h5");
    ASSERT_TEXT(option[1].value, "");
    ASSERT(option[2].value == NULL);
    ASSERT_INT(parsed.n_overrides, 1);
    ASSERT_TEXT(parsed.overrides[0], "optim.lr=1e-5");
    static const char *const rest[] = {"runs/x", "b", "./c.d=e", "x=y", "--odd", "a.b=c", "-"};
    ASSERT_INT(parsed.n_positional, N_TESTS(rest));
    for (int i = 0; i < N_TESTS(rest); i++) ASSERT_TEXT(parsed.positional[i], rest[i]);
    arguments_free(&parsed);

    ASSERT_INT(parse("--data=one --data=two=three -h data.train=a.h5"), 0);
    ASSERT_TEXT(option[0].value, "two=three");
    ASSERT(option[2].value != NULL);
    ASSERT_TEXT(parsed.overrides[0], "data.train=a.h5");
    arguments_free(&parsed);
}

static void test_options_that_come_several_times(void) {
    char *argv[] = {(char *)"x",         (char *)"--stop", (char *)"a b", (char *)"--stop=c=d",
                    (char *)"--stopped", (char *)"e",      (char *)"--",  (char *)"--stop=f"};
    const char *found[8];
    ASSERT_INT(arguments_values(found, "stop", 8, argv), 2);
    ASSERT_TEXT(found[0], "a b");
    ASSERT_TEXT(found[1], "c=d");
}

static void test_misuse_is_told(void) {
    static const struct {
        const char *line, *says;
    } bad[] = {
        {"--dta x", "unknown option --dta; hint: did you mean --data?"},
        {"--frobnicate", "hint: --help lists what there is"},
        {"--data", "--data: expected a value, found the end"},
        {"--data --json", "--data: expected a value, found --json"},
        {"--json=1", "--json: expected no value, found \"1\""},
        {"-x", "unknown option -x"},
        {"a b --", NULL},
    };
    size_t before = mem_balance();
    for (int i = 0; i < N_TESTS(bad); i++) {
        int status = parse(bad[i].line);
        ASSERT_INT(status, bad[i].says ? EXIT_MISUSE : 0);
        if (bad[i].says) ASSERT_CONTAINS(error_text(), bad[i].says);
        arguments_free(&parsed);
    }
    ASSERT_INT(mem_balance(), before);
}

static int seen_argc;
static char seen[64];

static int say_command(int argc, char **argv) {
    seen_argc = argc;
    snprintf(seen, sizeof seen, "%s %s", argv[0], argc > 1 ? argv[1] : "");
    printf("said\n");
    return argc > 2 ? EXIT_STOPPED : EXIT_DONE;
}

/* Runs a command line with stdout and stderr going to a file of that name; gives the exit code. */
static int run(const char *out, const char *a, const char *b, const char *c) {
    static const struct command commands[] = {{"say", "says it", say_command},
                                              {"other", "is not run", say_command}};
    const char *const words[] = {"prog", a, b, c};
    char *argv[5] = {0}, copy[4][32];
    int argc = 0;
    for (int i = 0; i < 4 && words[i]; i++) {
        snprintf(copy[i], sizeof copy[i], "%s", words[i]);
        argv[argc++] = copy[i];
    }
    fflush(NULL);
    int saved[2] = {dup(1), dup(2)}, to = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(to, 1);
    dup2(to, 2);
    int code = command_main("prog", "a program", commands, N_TESTS(commands), argc, argv);
    fflush(NULL);
    clearerr(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], i + 1);
        close(saved[i]);
    }
    close(to);
    return code;
}

static void test_commands_run_by_name(void) {
    ASSERT_INT(run("/dev/null", "say", "it", NULL), EXIT_DONE);
    ASSERT_TEXT(seen, "say it");
    ASSERT_INT(seen_argc, 2);
    ASSERT_INT(run("/dev/null", "say", "it", "now"), EXIT_STOPPED);
    ASSERT_INT(run("/dev/null", "help", "say", NULL), EXIT_DONE);
    ASSERT_TEXT(seen, "say --help");
    ASSERT_INT(run("/dev/null", "--version", NULL, NULL), EXIT_DONE);
    ASSERT_INT(run("/dev/null", "--help", NULL, NULL), EXIT_DONE);
    ASSERT_INT(run("/dev/null", NULL, NULL, NULL), EXIT_MISUSE);
    ASSERT_INT(run("/dev/null", "sya", NULL, NULL), EXIT_MISUSE);
    ASSERT_INT(run("/dev/null", "help", "sya", NULL), EXIT_MISUSE);
}

static void test_lost_output_is_an_error(void) {
    if (access("/dev/full", W_OK) != 0) TEST_SKIP("no /dev/full here");
    ASSERT_INT(run("/dev/full", "say", NULL, NULL), EXIT_FAILED);
    ASSERT_INT(run("/dev/full", "help", NULL, NULL), EXIT_FAILED);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"kinds_of_arguments", test_kinds_of_arguments},
        {"options_that_come_several_times", test_options_that_come_several_times},
        {"misuse_is_told", test_misuse_is_told},
        {"commands_run_by_name", test_commands_run_by_name},
        {"lost_output_is_an_error", test_lost_output_is_an_error},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
