/* What every subcommand begins and ends with: see command.h. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "log.h"

static bool wants_help(const struct option *option, int n_options) {
    for (int i = 0; i < n_options; i++)
        if (strcmp(option[i].name, "help") == 0 && option[i].value) return true;
    return false;
}

int command_misuse(const char *name, const char *usage) {
    const char *rest = strstr(usage, "\n\n");
    log_error("%s: %s", name, error_text());
    fprintf(stderr, "%.*s%s", rest ? (int)(rest - usage) : (int)strlen(usage), usage,
            rest ? "\n--help says what each means\n" : "");
    return EXIT_MISUSE;
}

bool command_arguments(struct arguments *out, struct option *option, int n_options,
                       int n_positional, const char *usage, int argc, char **argv, int *code) {
    int status = arguments_parse(out, option, n_options, argc, argv);
    bool help = status == 0 && wants_help(option, n_options);
    if (status == 0 && !help && (n_positional < 0 || out->n_positional == n_positional))
        return false;
    if (status == 0 && !help)
        fail("expected %d arguments, found %d", n_positional, out->n_positional);
    *code = help ? EXIT_DONE : command_misuse(argv[0], usage);
    if (help) fputs(usage, stdout);
    if (status == 0) arguments_free(out);
    return true;
}

int command_finish(int status) {
    if (status == 0) return EXIT_DONE;
    if (base_rank == 0) log_error("%s", error_text());
    return EXIT_FAILED;
}
