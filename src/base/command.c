/* Subcommands and arguments: see command.h. */
#include "command.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "log.h"

static void print_usage(FILE *out, const char *program, const char *about,
                        const struct command *commands, int n) {
    fprintf(out, "%s: %s\nusage: %s <command> [arguments]\n\n", program, about, program);
    for (int i = 0; i < n; i++) fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n\"%s help <command>\" tells more; \"%s --version\" names the build.\n", program,
            program);
}

static const struct command *find_command(const struct command *commands, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static int misuse_unknown(const char *program, const struct command *commands, int n,
                          const char *name) {
    const char *known[32];
    CHECK(n <= 30, "%d subcommands", n);
    for (int i = 0; i < n; i++) known[i] = commands[i].name;
    known[n] = "help";
    const char *near = config_nearest(name, known, n + 1);
    if (near)
        log_error("unknown command \"%s\"; hint: did you mean \"%s\"?", name, near);
    else
        log_error("unknown command \"%s\"; hint: \"%s help\" lists them all", name, program);
    return EXIT_MISUSE;
}

int command_help(const char *program, const char *about, const struct command *commands,
                 int n_commands, int argc, char **argv) {
    if (argc < 2) {
        print_usage(stdout, program, about, commands, n_commands);
        return EXIT_DONE;
    }
    const struct command *command = find_command(commands, n_commands, argv[1]);
    if (!command) return misuse_unknown(program, commands, n_commands, argv[1]);
    char name[64], flag[] = "--help";
    snprintf(name, sizeof name, "%s", command->name);
    char *ask[] = {name, flag, NULL};
    return command->run(2, ask);
}

/* Output that is buffered fails here at the latest: a full disk must not look like success. */
static int check_stdout(int code) {
    bool is_bad = fflush(stdout) != 0 || ferror(stdout);
    if (!is_bad || code != EXIT_DONE) return code;
    log_error("stdout: the result could not be written");
    return EXIT_FAILED;
}

static int run_command(const char *program, const char *about, const struct command *commands,
                       int n_commands, int argc, char **argv) {
    const char *name = argv[1];
    const struct command *command = find_command(commands, n_commands, name);
    if (command) return command->run(argc - 1, argv + 1);
    if (strcmp(name, "help") == 0)
        return command_help(program, about, commands, n_commands, argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return command_help(program, about, commands, n_commands, 1, argv);
    if (strcmp(name, "--version") == 0) {
        printf("%s %s\n", program, base_revision());
        return EXIT_DONE;
    }
    return misuse_unknown(program, commands, n_commands, name);
}

/* A file opened later must not get the number of a stream that the caller has closed: what is
 * printed would go into it. What stands there instead fails as the closed one does: stdin cannot be
 * read, stdout not be written. */
static void keep_streams_apart(void) {
    static const int mode[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", mode[fd]) != fd)
            die("/dev/null cannot be opened");
}

int command_main(const char *program, const char *about, const struct command *commands,
                 int n_commands, int argc, char **argv) {
    keep_streams_apart();
    signal(SIGXFSZ, SIG_IGN); /* beyond ulimit -f a write fails, and its error is handled */
    if (argc < 2) {
        print_usage(stderr, program, about, commands, n_commands);
        return EXIT_MISUSE;
    }
    return check_stdout(run_command(program, about, commands, n_commands, argc, argv));
}

/* ---- arguments ---- */

/* group.key=: letters, digits and _ with a dot before the "=", so that a file name with "=" in it
 * is no override; or task=, which stands in no group. */
static bool is_override(const char *text) {
    const char *p = text, *dot = NULL;
    for (; isalnum((unsigned char)*p) || *p == '_' || *p == '.'; p++)
        if (*p == '.' && !dot) dot = p;
    return (*p == '=' && dot && dot > text && dot + 1 < p) || strncmp(text, "task=", 5) == 0;
}

static int misuse_option(const struct option *option, int n_options, const char *name) {
    const char *known[64];
    CHECK(n_options <= 64, "%d options", n_options);
    for (int i = 0; i < n_options; i++) known[i] = option[i].name;
    const char *near = config_nearest(name, known, n_options);
    if (near)
        fail("unknown option --%s; hint: did you mean --%s?", name, near);
    else
        fail("unknown option --%s; hint: --help lists what there is", name);
    return EXIT_MISUSE;
}

/* Takes the option at argv[*i] and its value, if that stands apart; moves *i to the last one
 * used. */
static int take_option(struct option *option, int n_options, int argc, char **argv, int *i) {
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    int length = equals ? (int)(equals - name) : (int)strlen(name);
    char text[128];
    snprintf(text, sizeof text, "%.*s", MIN(length, 120), name);
    struct option *found = NULL;
    for (int k = 0; k < n_options; k++)
        if (strcmp(option[k].name, text) == 0) found = &option[k];
    if (!found) return misuse_option(option, n_options, text);
    if (!found->takes_value) {
        found->value = "";
        if (!equals) return 0;
        fail("--%s: expected no value, found \"%s\"", text, equals + 1);
        return EXIT_MISUSE;
    }
    if (equals) {
        found->value = equals + 1;
        return 0;
    }
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (!next || strncmp(next, "--", 2) == 0) {
        fail("--%s: expected a value, found %s", text, next ? next : "the end of the arguments");
        return EXIT_MISUSE;
    }
    found->value = next;
    ++*i;
    return 0;
}

/* The only short option is -h, for --help. */
static int take_short(struct option *option, int n_options, const char *text) {
    for (int k = 0; k < n_options && strcmp(text, "-h") == 0; k++) {
        if (strcmp(option[k].name, "help") != 0) continue;
        option[k].value = "";
        return 0;
    }
    fail("unknown option %s; hint: options are written --name; after \"--\" everything is a plain "
         "argument",
         text);
    return EXIT_MISUSE;
}

int arguments_values(const char **out, const char *name, int argc, char **argv) {
    int n = 0;
    size_t length = strlen(name);
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, name, length) != 0) continue;
        const char *end = argv[i] + 2 + length;
        if (*end == '=') out[n++] = end + 1;
        if (*end == 0 && i + 1 < argc) out[n++] = argv[++i];
    }
    return n;
}

/* Sorts the words of a command line into options, overrides and positional arguments; behind "--"
 * every word is positional. */
int arguments_parse(struct arguments *out, struct option *option, int n_options, int argc,
                    char **argv) {
    *out = (struct arguments){.positional = mem_alloc(argc, sizeof(char *)),
                              .overrides = mem_alloc(argc, sizeof(char *))};
    int status = 0;
    bool is_literal = false; /* after "--" */
    for (int i = 1; i < argc && status == 0; i++) {
        const char *text = argv[i];
        bool is_option = !is_literal && text[0] == '-' && text[1];
        if (is_option && strcmp(text, "--") == 0)
            is_literal = true;
        else if (is_option && text[1] == '-')
            status = take_option(option, n_options, argc, argv, &i);
        else if (is_option)
            status = take_short(option, n_options, text);
        else if (is_override(text) && !is_literal)
            out->overrides[out->n_overrides++] = text;
        else
            out->positional[out->n_positional++] = text;
    }
    if (status != 0) arguments_free(out);
    return status;
}

void arguments_free(struct arguments *arguments) {
    mem_free(arguments->positional);
    mem_free(arguments->overrides);
    *arguments = (struct arguments){0};
}
