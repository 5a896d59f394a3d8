/* `rankwise export`: arguments in, infer/export.c does it. */
#include <string.h>

#include "command.h"
#include "export.h"
#include "log.h"

static const char usage[] =
    "usage: rankwise export MODEL DIRECTORY [--dtype fp32|bf16] [--merge] [--force] [path=value "
    "...]\n\n"
    "Writes a Hugging Face model directory (config.json, model.safetensors, tokenizer files, "
    "score_contract.json,\n"
    "README.md) that transformers opens with AutoModelForSequenceClassification and that "
    "\"rankwise score\" reads;\nof a run on completions one that it opens with "
    "AutoModelForCausalLM.\n"
    "MODEL is a run directory (its newest whole checkpoint), a checkpoint, or a Hugging Face model "
    "directory.\n"
    "Of a model with adapters (LoRA) the adapter is written, as PEFT has it, which names its "
    "base.\n\n"
    "  --dtype fp32   the master weights as they are (default); bf16 halves the size\n"
    "  --merge        of a model with adapters, the whole model with these in its weights\n"
    "  --force        replace an existing model directory\n";

static int parse_dtype(const char *text, enum dtype *out) {
    *out = DTYPE_F32;
    if (!text || strcmp(text, "fp32") == 0) return 0;
    *out = DTYPE_BF16;
    if (strcmp(text, "bf16") == 0) return 0;
    return fail("--dtype: expected fp32 or bf16, found \"%s\"", text);
}

struct wish {
    const char *directory;
    struct export_options options;
};

static int export_scorer(struct scorer *s, void *self) {
    const struct wish *wish = self;
    if (export_model(s, wish->directory, &wish->options) != 0) return -1;
    log_info("%s: exported from %s", wish->directory, s->path);
    return 0;
}

int export_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL},
                              {"dtype", true, NULL},
                              {"force", false, NULL},
                              {"merge", false, NULL}};
    struct arguments a;
    struct wish wish;
    int code;
    if (command_arguments(&a, option, 4, 2, usage, argc, argv, &code)) return code;
    if (parse_dtype(option[1].value, &wish.options.dtype) != 0) {
        arguments_free(&a);
        return command_misuse(argv[0], usage);
    }
    wish.directory = a.positional[1];
    wish.options.force = option[2].value != NULL;
    wish.options.merge = option[3].value != NULL;
    return scorer_command(argc, argv, &a, export_scorer, &wish);
}
