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

static const char usage[] =
    "usage: rankwise eval MODEL --data SHARD.h5 [--scores FILE.jsonl] [--json] [path=value ...]\n\n"
    "Scores every pair of the shard once, at any number of ranks. MODEL is a run directory (its "
    "newest whole\n"
    "checkpoint), a checkpoint, or a Hugging Face model directory.\n\n"
    "  --data FILE     the token shard\n"
    "  --scores FILE   also write a line {\"row\", \"chosen_reward\", \"rejected_reward\"} per "
    "pair\n"
    "  --json          one JSON object with all digits instead of the table\n\n"
    "A tie counts as half in the accuracy. Overrides: model.precision=bf16, "
    "batch.tokens_per_microbatch=8192, ...\n";

static void print_table(const struct loss_summary *s) {
    printf("pairs            %.0f\n", s->pairs);
    printf("accuracy         %.4f\n", s->accuracy);
    printf("ties             %.4f\n", s->ties);
    printf("loss             %.6f\n", s->loss);
    printf("chosen reward    %+.6f\n", s->chosen_reward);
    printf("rejected reward  %+.6f\n", s->rejected_reward);
    printf("reward margin    %+.6f\n", s->reward_margin);
}

static void print_json(const struct loss_summary *s) {
    const char *const name[] = {"accuracy",        "ties",         "loss", "chosen_reward",
                                "rejected_reward", "reward_margin"};
    double value[] = {s->accuracy,        s->ties,         s->loss, s->chosen_reward,
                      s->rejected_reward, s->reward_margin};
    char text[32];
    printf("{\"pairs\": %.0f", s->pairs);
    for (int i = 0; i < 6; i++) printf(", \"%s\": %s", name[i], json_number(text, value[i], 17));
    printf("}\n");
}

static int write_scores(const char *path, const struct shard *shard, const float *scores) {
    FILE *f = fopen(path, "w");
    if (!f)
        return fail("%s: cannot be opened: %s; hint: --scores names a file to write", path,
                    strerror(errno));
    char chosen[32], rejected[32];
    for (int64_t i = 0; i < shard->n_comparisons; i++)
        fprintf(f, "{\"row\": %lld, \"chosen_reward\": %s, \"rejected_reward\": %s}\n",
                (long long)shard->row[i], json_number(chosen, scores[2 * i], 9),
                json_number(rejected, scores[2 * i + 1], 9));
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

/* The model has room for the golden texts too: the contract's scores are checked before the
 * shard's. */
static int evaluate(struct scorer *s, void *self) {
    const struct option *option = self;
    struct shard shard;
    if (s->head.n_scores > 1)
        return fail("%s: expected a model of one score, found one of %d", s->path,
                    s->head.n_scores);
    if (comm_agree(comm_world(), open_data(&shard, s, option[0].value)) != 0) return -1;
    int64_t limit = s->config.batch.tokens_per_microbatch;
    float *scores = option[1].value ? mem_alloc(2 * shard.n_comparisons, sizeof *scores) : NULL;
    struct loss_summary summary;
    struct eval_options options = {
        .loss = loss_of_config(&s->config), .tokens_per_microbatch = limit, .progress = true};
    int status = scorer_start(s, MAX(eval_max_tokens(&shard, limit), scorer_golden_tokens(s)),
                              MAX(eval_max_rows(&shard, limit), CONTRACT_N_GOLDEN));
    if (status == 0 && contract_has_scores(&s->contract))
        status = comm_agree(comm_world(), scorer_check_golden(s));
    if (status == 0)
        status = eval_shard(s->model, s->dev, &s->place.data, &shard, &options, &summary, scores);
    if (status == 0 && base_rank == 0) {
        if (!isfinite(summary.loss))
            log_warn("%s gives scores that are not finite: a pair with one counts as wrong",
                     s->path);
        if (option[2].value)
            print_json(&summary);
        else
            print_table(&summary);
    }
    if (status == 0)
        status = comm_agree(comm_world(), scores && base_rank == 0
                                              ? write_scores(option[1].value, &shard, scores)
                                              : 0);
    mem_free(scores);
    shard_close(&shard);
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
