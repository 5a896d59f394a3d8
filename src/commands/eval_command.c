/* `rankwise eval`: a model and a shard in, a table (or one JSON object) out. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "eval.h"
#include "json.h"
#include "log.h"
#include "scorer.h"
#include "task.h"

static const char usage[] =
    "usage: rankwise eval MODEL --data SHARD.h5 [--scores FILE.jsonl] [--json] [path=value ...]\n\n"
    "Scores every pair or answer of the shard once, at any number of ranks. MODEL is a run "
    "directory (its "
    "newest whole\n"
    "checkpoint), a checkpoint, or a Hugging Face model directory.\n\n"
    "  --data FILE     the token shard\n"
    "  --scores FILE   also write a line {\"row\", \"chosen_reward\", \"rejected_reward\"} per "
    "pair\n"
    "  --json          one JSON object with all digits instead of the table\n\n"
    "A tie counts as half in the accuracy. Overrides: model.precision=bf16, "
    "batch.tokens_per_microbatch=8192, ...\n";

/* "chosen_reward" as "chosen reward". */
static void print_name(const char *name) {
    int width = 0;
    for (; *name; name++, width++) putchar(*name == '_' ? ' ' : *name);
    printf("%*s", MAX(16 - width, 0) + 1, "");
}

static void print_table(const struct task *task, const struct task_summary *s) {
    print_name(task_unit(task));
    printf("%.0f\n", s->count);
    for (int i = 0; i < s->n; i++) {
        const struct task_figure *f = &s->figure[i];
        print_name(f->name);
        printf(f->style.sign ? "%+.*f\n" : "%.*f\n", f->style.digits, f->value);
    }
}

static void print_json(const struct task *task, const struct task_summary *s) {
    char text[32];
    printf("{\"%s\": %.0f", task_unit(task), s->count);
    for (int i = 0; i < s->n; i++)
        printf(", \"%s\": %s", s->figure[i].name, json_number(text, s->figure[i].value, 17));
    printf("}\n");
}

/* values: (items, task_n_values). */
static int write_values(const char *path, const struct task *task, const struct shard *shard,
                        const float *values) {
    FILE *f = fopen(path, "w");
    if (!f)
        return fail("%s: cannot be opened: %s; hint: --scores names a file to write", path,
                    strerror(errno));
    int64_t n = eval_items(task, shard);
    for (int64_t i = 0; i < n; i++) {
        fprintf(f, "{\"row\": %lld", (long long)task_row(task, shard, i));
        for (int k = 0; k < task_n_values(task); k++) {
            char number[32], name[64];
            fprintf(f, ", \"%s\": %s", task_value_name(task, k, name),
                    json_number(number, values[i * task_n_values(task) + k], 9));
        }
        fprintf(f, "}\n");
    }
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad) return fail("%s: cannot be written: %s", path, strerror(errno));
    return 0;
}

/* Opens the shard and checks that it and the model mean the same. */
static int open_data(struct shard *shard, const struct scorer *s, const char *path) {
    if (shard_open(shard, path) != 0) return -1;
    int status = shard_suits(shard, &s->contract, s->path, s->arch.V);
    if (status != 0) shard_close(shard);
    return status;
}

static int print(const struct scorer *s, const struct task *task,
                 const struct task_summary *summary, bool as_json) {
    if (base_rank != 0) return 0;
    if (!isfinite(task_figure(summary, "loss")))
        log_warn("%s gives scores that are not finite: a pair with one counts as wrong", s->path);
    if (as_json)
        print_json(task, summary);
    else
        print_table(task, summary);
    return 0;
}

/* The model has room for the golden texts too: the contract's scores are checked before the
 * shard's. */
static int evaluate_shard(struct scorer *s, const struct task *task, struct shard *shard,
                          const struct option *option) {
    int64_t limit = s->config.batch.tokens_per_microbatch;
    struct task_room room = eval_room(task, shard, limit);
    struct task_summary summary;
    struct eval_options options = {.tokens_per_microbatch = limit, .progress = true};
    float *values = option[1].value
                        ? mem_alloc(eval_items(task, shard) * task_n_values(task), sizeof *values)
                        : NULL;
    int status = scorer_start(s, MAX(eval_max_tokens(task, shard, limit), scorer_golden_tokens(s)),
                              MAX(room.reads, CONTRACT_N_GOLDEN));
    if (status == 0 && contract_has_scores(&s->contract))
        status = comm_agree(comm_world(), scorer_check_golden(s));
    if (status == 0)
        status =
            eval_shard(task, s->model, s->dev, &s->place.data, shard, &options, &summary, values);
    if (status == 0) status = print(s, task, &summary, option[2].value);
    if (status == 0)
        status = comm_agree(comm_world(), values && base_rank == 0
                                              ? write_values(option[1].value, task, shard, values)
                                              : 0);
    mem_free(values);
    return status;
}

/* The attributes that the model gives are those to look for, in its order. */
static void take_attributes(struct scorer *s) {
    struct patterns *wanted = &s->config.loss.attributes;
    if (contract_heads_kind(&s->contract) != HEADS_ATTRIBUTES || wanted->n > 0) return;
    *wanted =
        (struct patterns){mem_alloc(s->head.n_scores, sizeof *wanted->item), s->head.n_scores};
    for (int k = 0; k < wanted->n; k++)
        wanted->item[k] = mem_copy_string(contract_head_name(&s->contract, k));
}

static int check_attributes(const struct task *task, const struct scorer *s) {
    bool is_named = contract_heads_kind(&s->contract) == HEADS_ATTRIBUTES;
    for (int k = 0; k < s->head.n_scores && is_named; k++) {
        const char *name = contract_head_name(&s->contract, k), *read = task_attribute(task, k);
        if (!read && s->head.n_scores > 1)
            return fail("%s: expected one score or an ensemble for loss.type, found attributes",
                        s->path);
        if (read && strcmp(read, name) != 0)
            return fail("%s: expected \"%s\" as score %d, as loss.attributes says, found \"%s\"",
                        s->path, read, k, name);
    }
    return 0;
}

/* What the task reads must be what the model gives. */
static int choose_task(struct task *task, struct scorer *s, const struct shard *shard) {
    s->config.model.heads = MAX(1, s->head.n_scores);
    take_attributes(s);
    if (task_choose(task, &s->config, shard) != 0) return -1;
    if (task->parameters.head.kind != s->head.kind)
        return fail("%s: expected a %s for loss.type and %s, found a %s", s->path,
                    s->head.kind == HEAD_LM ? "model that scores" : "language model", shard->path,
                    s->head.kind == HEAD_LM ? "language model" : "model that scores");
    if (task->parameters.head.n_scores == s->head.n_scores) return check_attributes(task, s);
    return fail("%s: expected a model of %d scores for loss.type and %s, found one of %d", s->path,
                task->parameters.head.n_scores, shard->path, s->head.n_scores);
}

static int evaluate(struct scorer *s, void *self) {
    const struct option *option = self;
    struct shard shard = {0};
    struct task task;
    int status = open_data(&shard, s, option[0].value);
    bool is_open = status == 0;
    if (is_open) status = choose_task(&task, s, &shard);
    status = comm_agree(comm_world(), status);
    if (status == 0) status = evaluate_shard(s, &task, &shard, option);
    if (is_open) shard_close(&shard);
    return status;
}

int eval_command(int argc, char **argv) {
    struct option option[] = {
        {"data", true, NULL}, {"scores", true, NULL}, {"json", false, NULL}, {"help", false, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 4, 1, usage, argc, argv, &code)) return code;
    if (!option[0].value) {
        fail("--data is missing; hint: rankwise eval MODEL --data eval.h5");
        arguments_free(&a);
        return command_misuse(argv[0], usage);
    }
    return scorer_command(argc, argv, &a, evaluate, option);
}
