/* rankwise: the program for compute nodes and workstations. The list of subcommands, and the two
 * helps that are made from the option table: `help train` and `help completion`. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "config.h"
#include "eval.h"

static const char program[] = "rankwise", about[] = "reward-model training for clusters";

static int help_command(int argc, char **argv);

static const struct command commands[] = {
    {"train", "train a reward model, or go on with a run", train_command},
    {"eval", "accuracy and loss of a model on a shard", eval_command},
    {"score", "scores of texts, JSONL in and out", score_command},
    {"judge", "how well a model that writes judges pairs, or scores that are there", judge_command},
    {"generate", "continuations of prompts, JSONL in and out", generate_command},
    {"export", "a Hugging Face model directory from a run", export_command},
    {"plan", "memory and steps of a run, without starting it", plan_command},
    {"doctor", "what this machine has and whether it works", doctor_command},
    {"help", "about a command; \"help train\" lists all options, \"help completion\" is for bash",
     help_command},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

/* The words of a choice after "path=", the paths themselves before. COMP_WORDBREAKS has "=", so
 * that bash replaces only what follows it. */
static const char completion_body[] =
    "    esac\n"
    "    cur=${COMP_LINE:0:COMP_POINT} cur=${cur##* }\n"
    "    case $COMP_CWORD:$cur in\n"
    "    1:*) COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\")) ;;\n"
    "    *=*) if [[ $words ]]; then COMPREPLY=($(compgen -W \"$words\" -- \"${cur#*=}\"))\n"
    "         else COMPREPLY=($(compgen -f -- \"${cur#*=}\")); fi ;;\n"
    "    *) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
    "       if ((${#COMPREPLY[@]})); then compopt -o nospace 2>/dev/null; else "
    "COMPREPLY=($(compgen -f -- "
    "\"$cur\")); fi ;;\n"
    "    esac\n"
    "}\n"
    "complete -o filenames -F _rankwise rankwise\n";

static void print_completion(void) {
    struct buffer table = {0}, options = {0}, words = {0};
    config_completion(&table);
    for (const char *line = table.data; *line; line = strchr(line, '\n') + 1) {
        int path = (int)strcspn(line, "\t"), type = (int)strcspn(line + path + 1, "\t");
        buffer_format(&options, " %.*s=", path, line);
        if (!memchr(line + path + 1, '|', (size_t)type) ||
            memchr(line + path + 1, ' ', (size_t)type))
            continue;
        buffer_format(&words, "    *' %.*s='*) words='", path, line);
        for (int i = 0; i < type; i++) {
            char c = line[path + 1 + i];
            buffer_format(&words, "%c", c == '|' ? ' ' : c);
        }
        buffer_append_text(&words, "' ;;\n");
    }
    printf("# bash completion: source <(rankwise help completion)\n_rankwise() {\n    local cur "
           "words= commands='");
    for (int i = 0; i < N_COMMANDS; i++) printf("%s%s", i ? " " : "", commands[i].name);
    printf("' options='%s'\n    case \" ${COMP_LINE##* }\" in\n%s%s", options.data, words.data,
           completion_body);
    buffer_free(&table);
    buffer_free(&options);
    buffer_free(&words);
}

static int help_command(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "completion") == 0) {
        print_completion();
        return EXIT_DONE;
    }
    int code = command_help(program, about, commands, N_COMMANDS, argc, argv);
    if (code == EXIT_DONE && argc > 1 && strcmp(argv[1], "train") == 0) {
        struct buffer table = {0};
        config_help(&table);
        printf("\n%s", table.data);
        buffer_free(&table);
    }
    return code;
}

int main(int argc, char **argv) {
    return command_main(program, about, commands, N_COMMANDS, argc, argv);
}
