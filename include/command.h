/* Subcommands: each takes its own arguments (argv[0] is its name), prints usage of at most 20 lines
 * on "--help" to stdout, and returns the exit code. main.c lists them; results go to stdout,
 * everything else to stderr. */
#ifndef RANKWISE_COMMAND_H
#define RANKWISE_COMMAND_H
#include "base.h"

struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
};

/* Finds and runs argv[1]; "help [name]", "--help" and "--version" are answered here. Unknown:
 * nearest name, exit 2. Checks stdout last: a result that could not be written is an error. */
int command_main(const char *program, const char *about, const struct command *commands,
                 int n_commands, int argc, char **argv);

/* What "help [name]" does: argv[0] is "help". For a program whose own "help" command knows more
 * names. */
int command_help(const char *program, const char *about, const struct command *commands,
                 int n_commands, int argc, char **argv);

/* Splits arguments as every subcommand does: options "--name value" or "--name=value" or flags that
 * are in `option`, overrides "path=value" with a dot before the "=", the rest positional; "--" ends
 * options. Unknown option: error with the nearest name. Returns EXIT_MISUSE with error_text(), or
 * 0. Arrays are borrowed from argv, to be freed with arguments_free. */
struct option {
    const char *name;    /* without "--" */
    bool takes_value;
    const char *value;   /* set: the last given, or NULL; flags: "" when given */
};
struct arguments {
    const char **positional, **overrides;
    int n_positional, n_overrides;
};
int arguments_parse(struct arguments *out, struct option *option, int n_options, int argc,
                    char **argv);
void arguments_free(struct arguments *arguments);
/* All values of an option that may be given several times, after arguments_parse; out: room for
 * argc. */
int arguments_values(const char **out, const char *name, int argc, char **argv);

/* What every subcommand begins with: parses, answers --help (which must be among the options), and
 * checks the number of positional arguments (-1: any). True when the subcommand is over, with its
 * exit code: help printed or misuse told. */
bool command_arguments(struct arguments *out, struct option *option, int n_options,
                       int n_positional, const char *usage, int argc, char **argv, int *code);

/* What misuse ends with: error_text() and the usage's first paragraph on stderr. Returns
 * EXIT_MISUSE. Before comm_start. */
int command_misuse(const char *name, const char *usage);

/* What every subcommand ends with: the exit code of an agreed status; rank 0 prints error_text() of
 * a failure. */
int command_finish(int status);

int train_command(int argc, char **argv);
int export_command(int argc, char **argv);
int score_command(int argc, char **argv);
int generate_command(int argc, char **argv);
int plan_command(int argc, char **argv);
int doctor_command(int argc, char **argv);
int judge_command(int argc, char **argv);
#endif
