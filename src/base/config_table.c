/* The option table. Defaults follow what reward-model trainers have in common (AdamW, one epoch,
 * cosine to zero after a short warm-up, clipping at 1); precision is fp32 unless asked, so that the
 * first run is the exact one. */
#include "config_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(struct config, field)
#define ANY_COUNT .low = 0, .high = 1e15
#define TABLE_WORD(value, word) {word, value},
#define WORDS(list)                \
    (const struct config_word[]) { \
        list(TABLE_WORD) {         \
            NULL, 0                \
        }                          \
    }

const struct config_option config_options[] = {
    {"task", OPTION_CHOICE, AT(task), "auto", .words = WORDS(TASKS),
     .help =
         "What is made: a model that scores, one that writes as the data do, or one that learns "
         "from rewards for what it wrote; auto: whatever loss.type is of. \"completion\" and "
         "\"policy\" set loss.type where it is not set."},

    {"run.name", OPTION_STRING, AT(run.name), "", "the last configuration file's name without .cfg",
     .help = "Name of the run."},
    {"run.dir", OPTION_STRING, AT(run.dir), "", "runs/<run.name>",
     .help = "Run directory: resolved configuration, log, metrics, checkpoints. A run that has "
             "checkpoints goes on."},
    {"run.seed", OPTION_INT, AT(run.seed), "1", .low = 0, .high = 9e15,
     .help = "Seed of the order of the data and of random weights."},
    {"run.device", OPTION_CHOICE, AT(run.device), "auto", .words = WORDS(RUN_DEVICES),
     .help = "What computes: the CPU's cores, a GPU for each rank, or GPUs where there are any "
             "(auto)."},
    {"run.plugin", OPTION_STRING, AT(run.plugin), "",
     "librankwise_cuda.so beside the program, else in ../lib",
     .help = "The shared object that knows GPUs."},
    {"run.threads", OPTION_INT, AT(run.threads), "0", .low = 0, .high = 1024,
     .help = "Threads per rank; 0: the node's allowed cores divided by the ranks on it."},
    {"run.log_every", OPTION_INT, AT(run.log_every), "10", .low = 1, .high = 1e9,
     .help = "Steps between two lines of progress where stderr is no terminal."},

    {"model.path", OPTION_STRING, AT(model.path), "", "none, must be given to train",
     .help = "Hugging Face model directory (config.json, safetensors), or one with config.json "
             "alone to start at random; or a checkpoint or run directory, of whatever task, whose "
             "weights are taken over."},
    {"model.init", OPTION_CHOICE, AT(model.init), "pretrained", .words = WORDS(MODEL_INITS),
     .help = "Weights: those of model.path, or random ones from run.seed."},
    {"model.precision", OPTION_CHOICE, AT(model.precision), "fp32",
     .words = WORDS(MODEL_PRECISIONS),
     .help = "Compute precision; master weights, gradients across ranks, scores and losses are "
             "fp32 always."},
    {"model.head_init", OPTION_CHOICE, AT(model.head_init), "auto", .words = WORDS(HEAD_INITS),
     .help = "Score head: the model's own where it has one (auto), or always a fresh one from "
             "run.seed."},
    {"model.freeze", OPTION_LIST, AT(model.freeze), "", "none",
     .help = "Parameters that are not trained: globs over their names (\"model.embed_tokens*\", "
             "\"model.layers.[0-3].*\"), each of which must match one."},
    {"model.heads", OPTION_INT, AT(model.heads), "0", .low = 0, .high = MODEL_MAX_HEADS,
     .help = "Scores of a text: N are an ensemble, each with weights and a bootstrap sample of the "
             "comparisons of its own; 0: as many as the model has, one where it has none."},
    {"model.quantise", OPTION_CHOICE, AT(model.quantise), "none", .words = WORDS(QUANTISES),
     .help = "Keeps the frozen linear layers of blocks in 4 bits (nf4, double quantisation, as "
             "bitsandbytes)."},
    {"model.adapter", OPTION_STRING, AT(model.adapter), "", "none",
     .help = "Adapter to start from, in PEFT's files (adapter_config.json, "
             "adapter_model.safetensors), of the base in model.path; it sets lora.*."},

    {"lora.rank", OPTION_INT, AT(lora.rank), "0", .low = 0, .high = 4096,
     .help = "Rank of adapters (LoRA) beside linear layers of blocks; they and the score head are "
             "then all that is trained. 0: no adapters."},
    {"lora.alpha", OPTION_NUMBER, AT(lora.alpha), "16", .low = 0, .high = 1e6, .open = LOW_OPEN,
     .help = "What an adapter adds is multiplied by alpha / rank."},
    {"lora.rslora", OPTION_BOOL, AT(lora.rslora), "false",
     .help = "Multiply by alpha / sqrt(rank) instead."},
    {"lora.targets", OPTION_LIST, AT(lora.targets), "all-linear", "all-linear",
     .help = "Linear layers that have an adapter: names of modules as the files have them "
             "(\"q_proj\", \"mlp.up_proj\", \"query_key_value\"), or all-linear."},

    {"data.train", OPTION_TRAIN, AT(data.train), "", "none, must be given to train",
     .help =
         "Shards to train on: a path, or a list of { path; weight | groups; }: the share of the "
         "shard's groups (comparisons, unless batch.group_by_prompt) that an epoch takes (above 1 "
         "repeats), or their number."},
    {"data.eval", OPTION_EVAL, AT(data.eval), "", "none",
     .help = "Shards to evaluate on: a path, or a list of { path; name; }. Metrics are named "
             "eval/<name>/..."},
    {"data.shuffle", OPTION_BOOL, AT(data.shuffle), "true",
     .help = "A seeded permutation each epoch; false keeps the stored order."},

    {"batch.groups", OPTION_INT, AT(batch.groups), "64", .low = 1, .high = 1e9,
     .help = "Groups per step over all ranks; a group is one comparison or answer unless "
             "batch.group_by_prompt."},
    {"batch.tokens_per_microbatch", OPTION_SIZE, AT(batch.tokens_per_microbatch), "16k", .low = 1,
     .high = 1e9,
     .help = "Most tokens (shared prefixes counted once) that a rank takes at once; bounds the "
             "memory of activations."},
    {"batch.group_by_prompt", OPTION_BOOL, AT(batch.group_by_prompt), "false",
     .help = "A group is everything under one prompt: all comparisons, or all answers."},

    {"loss.type", OPTION_CHOICE, AT(loss.type), "bradley_terry", .words = WORDS(LOSSES),
     .help = "What is minimised, and so what is learned from; docs/losses.md has the formulas."},
    {"loss.label_smoothing", OPTION_NUMBER, AT(loss.label_smoothing), "0", .low = 0, .high = 0.5,
     .help = "Share of a comparison's label that goes to the other side, or of a token's "
             "probability that goes to all words."},
    {"loss.center", OPTION_NUMBER, AT(loss.center), "0", .low = 0, .high = 1e6,
     .help = "Weight of (sum of a comparison's two scores)^2, which keeps scores near zero."},
    {"loss.length_penalty", OPTION_NUMBER, AT(loss.length_penalty), "0", .low = -1e6, .high = 1e6,
     .help = "Weight of the correlation of rewards with lengths: the mean of reward x (length - "
             "mean) / standard deviation over the step's answers."},
    {"loss.attributes", OPTION_LIST, AT(loss.attributes), "", "all of the shard's",
     .help = "Scores of answers that regression and bce learn, a head each."},
    {"loss.tie_threshold", OPTION_NUMBER, AT(loss.tie_threshold), "1", .low = 0, .high = 1e6,
     .open = LOW_OPEN, .help = "How likely ties are: t of rao_kupper and davidson."},
    {"loss.learn_tie_threshold", OPTION_BOOL, AT(loss.learn_tie_threshold), "false",
     .help = "Learn it, from tie_threshold on; evaluations tell what it is."},
    {"loss.z_loss", OPTION_NUMBER, AT(loss.z_loss), "0", .low = 0, .high = 1e6,
     .help = "completion: weight of (log of the sum of the exponentials of the logits)^2."},
    {"loss.weights", OPTION_CHOICE, AT(loss.weights), "token", .words = WORDS(COMPLETION_WEIGHTS),
     .help = "completion: every learned token counts alike, or every completion."},

    {"policy.reward", OPTION_CHOICE, AT(policy.reward), "bt_baseline", .words = WORDS(REWARD_TYPES),
     .help = "How completions are rewarded; docs/policy.md has the formulas."},
    {"policy.samples", OPTION_INT, AT(policy.samples), "8", .low = 1, .high = 4096,
     .help = "Completions of a prompt in a rollout; batch.groups pairs of prompts are a rollout."},
    {"policy.max_new_tokens", OPTION_INT, AT(policy.max_new_tokens), "128", .low = 1, .high = 1e6,
     .help = "Most tokens of a completion."},
    {"policy.temperature", OPTION_NUMBER, AT(policy.temperature), "1", .low = 0, .high = 100,
     .open = LOW_OPEN, .help = "Temperature of sampling, and of the probabilities that learn."},
    {"policy.top_p", OPTION_NUMBER, AT(policy.top_p), "1", .low = 0, .high = 1, .open = LOW_OPEN,
     .help = "Samples among the likeliest tokens that have this probability together; 1: all."},
    {"policy.top_k", OPTION_INT, AT(policy.top_k), "0", .low = 0, .high = 1e6,
     .help = "Samples among so many tokens; 0: all."},
    {"policy.min_p", OPTION_NUMBER, AT(policy.min_p), "0", .low = 0, .high = 1,
     .help = "Samples among tokens of at least this share of the likeliest one's probability."},
    {"policy.repetition_penalty", OPTION_NUMBER, AT(policy.repetition_penalty), "1", .low = 0,
     .high = 100, .open = LOW_OPEN,
     .help = "Divides the logits (multiplies negative ones) of tokens that the text has; 1: off."},
    {"policy.updates", OPTION_INT, AT(policy.updates), "1", .low = 1, .high = 1000,
     .help = "Passes over a rollout."},
    {"policy.minibatches", OPTION_INT, AT(policy.minibatches), "1", .low = 1, .high = 1e6,
     .help = "Updates in a pass, each of an equal share of the rollout's pairs."},
    {"policy.ratio", OPTION_CHOICE, AT(policy.ratio), "token", .words = WORDS(POLICY_RATIOS),
     .help = "Probability ratios: of each token, or the geometric mean of a completion's (GSPO)."},
    {"policy.epsilon", OPTION_NUMBER, AT(policy.epsilon), "0.2", .low = 0, .high = 1,
     .help = "Ratios are clipped to 1 - epsilon .. 1 + epsilon_high."},
    {"policy.epsilon_high", OPTION_NUMBER, AT(policy.epsilon_high), "0", .low = 0, .high = 1e6,
     .help = "0: as policy.epsilon."},
    {"policy.delta", OPTION_NUMBER, AT(policy.delta), "0", .low = 0, .high = 1e6,
     .help = "Upper bound of the ratio where the advantage is negative (dual clip), above 1 + "
             "epsilon_high; 0: off."},
    {"policy.advantages", OPTION_CHOICE, AT(policy.advantages), "group",
     .words = WORDS(POLICY_ADVANTAGES),
     .help = "A reward less the mean of its prompt's completions is divided by the standard "
             "deviation of these, or of the whole rollout, or not at all."},
    {"policy.std_eps", OPTION_NUMBER, AT(policy.std_eps), "1e-4", .low = 0, .high = 1e6,
     .help = "Is added to that standard deviation."},
    {"policy.min_reward_std", OPTION_NUMBER, AT(policy.min_reward_std), "0", .low = 0, .high = 1e6,
     .help = "A floor of that standard deviation; it leaves no group out, as filter_std does."},
    {"policy.filter_std", OPTION_NUMBER, AT(policy.filter_std), "-1", .low = -1, .high = 1e6,
     .help = "Pairs whose rewards have at most this standard deviation on both sides are replaced "
             "by the next pairs; below 0: none are."},
    {"policy.resample", OPTION_INT, AT(policy.resample), "3", .low = 1, .high = 1000,
     .help = "How often a rollout's pairs are replaced before what is left is taken as it is."},
    {"policy.kl", OPTION_CHOICE, AT(policy.kl), "none", .words = WORDS(POLICY_KLS),
     .help = "Estimate of the divergence from the reference that is added to the loss: exp(d) - d "
             "- 1, d the reference's log-probability less the policy's; clamped to -20 .. 20."},
    {"policy.kl_coefficient", OPTION_NUMBER, AT(policy.kl_coefficient), "0.04", .low = 0,
     .high = 1e6, .help = "What it is multiplied with."},
    {"policy.truncated", OPTION_CHOICE, AT(policy.truncated), "keep",
     .words = WORDS(POLICY_TRUNCATEDS),
     .help = "Completions that policy.max_new_tokens cut off are learned from, or left out of the "
             "loss."},
    {"policy.reference", OPTION_CHOICE, AT(policy.reference), "auto",
     .words = WORDS(POLICY_REFERENCES),
     .help = "What policy.kl measures from: the base without adapters, a frozen copy of all that "
             "the run began with, or the adapters that it began with (model.adapter); auto: base "
             "with adapters, else copy."},
    {"policy.min_parse_rate", OPTION_NUMBER, AT(policy.min_parse_rate), "0.05", .low = 0, .high = 1,
     .help = "The run stops when the parser finds a score in fewer of its first completions."},
    {"policy.max_rows", OPTION_INT, AT(policy.max_rows), "256", .low = 1, .high = 65536,
     .help = "Completions that a rank writes at the same time, as far as memory allows."},
    {"policy.max_gap", OPTION_NUMBER, AT(policy.max_gap), "0.05", .low = 0, .high = 1e6,
     .open = LOW_OPEN,
     .help = "Mean difference between a token's log-probability when it was sampled and in "
             "training over which the run warns; ten times of it stops the run."},

    {"reward.parser", OPTION_STRING, AT(reward.parser), "", "the shard's",
     .help = "How a score is found in a completion: a name, or \"regex:LOW:HIGH:PATTERN\"."},
    {"reward.as_seed", OPTION_BOOL, AT(reward.as_seed), "false",
     .help = "Exactly as the published code, with the faults that docs/policy.md names."},
    {"reward.command", OPTION_STRING, AT(reward.command), "", "none",
     .help = "command: what the shell runs; it reads and writes lines of JSON."},
    {"reward.timeout", OPTION_NUMBER, AT(reward.timeout), "300", .low = 0, .high = 1e6,
     .open = LOW_OPEN, .help = "command: seconds without an answer after which it is stopped."},
    {"reward.model", OPTION_STRING, AT(reward.model), "", "none",
     .help = "model: a reward model (run, checkpoint or model directory) that scores prompt and "
             "completion."},
    {"reward.temperature", OPTION_AUTO, AT(reward.temperature), "auto", .low = 0, .high = 1e6,
     .open = LOW_OPEN, .help = "Differences of scores are divided by it."},
    {"reward.clip", OPTION_AUTO, AT(reward.clip), "auto", .low = 0, .high = 1e6,
     .help = "Largest difference that counts; 0: off."},
    {"reward.neg_clip", OPTION_AUTO, AT(reward.neg_clip), "auto", .low = 0, .high = 1e6,
     .help = "Largest negative difference that counts; 0: off."},
    {"reward.scale", OPTION_AUTO, AT(reward.scale), "auto", .low = -1e6, .high = 1e6,
     .help = "What the reward is multiplied with."},
    {"reward.offset", OPTION_AUTO, AT(reward.offset), "auto", .low = -1e6, .high = 1e6,
     .help = "What is added to it."},
    {"reward.hard_lambda", OPTION_AUTO, AT(reward.hard_lambda), "auto", .low = 0, .high = 1e6,
     .help = "Weight of pairs that are nearly decided."},
    {"reward.hard_tau", OPTION_AUTO, AT(reward.hard_tau), "auto", .low = 0, .high = 1e6,
     .help = "Margin from which a pair is decided, or the temperature of a pair's weight."},
    {"reward.hard_eps", OPTION_AUTO, AT(reward.hard_eps), "auto", .low = 0, .high = 1e6,
     .help = "Weight of pairs that are decided."},
    {"reward.positive", OPTION_AUTO, AT(reward.positive), "auto", .low = -1e6, .high = 1e6,
     .help = "Of the right order."},
    {"reward.negative", OPTION_AUTO, AT(reward.negative), "auto", .low = -1e6, .high = 1e6,
     .help = "Of the wrong order."},
    {"reward.score_temperature", OPTION_AUTO, AT(reward.score_temperature), "auto", .low = 0,
     .high = 1e6, .open = LOW_OPEN, .help = "Differences of scores are divided by it."},
    {"reward.grade_threshold", OPTION_AUTO, AT(reward.grade_threshold), "auto", .low = 0,
     .high = 1e6, .help = "Difference above which reward.high is given."},
    {"reward.low", OPTION_AUTO, AT(reward.low), "auto", .low = -1e6, .high = 1e6,
     .help = "Of a small difference in the right order."},
    {"reward.high", OPTION_AUTO, AT(reward.high), "auto", .low = -1e6, .high = 1e6,
     .help = "Of a large one."},
    {"reward.wrong", OPTION_AUTO, AT(reward.wrong), "auto", .low = -1e6, .high = 1e6,
     .help = "Of the wrong order."},
    {"reward.parse_fail", OPTION_AUTO, AT(reward.parse_fail), "auto", .low = -1e6, .high = 1e6,
     .help = "Of a completion without a score."},
    {"reward.gamma", OPTION_AUTO, AT(reward.gamma), "auto", .low = -1e6, .high = 1e6,
     .help = "Margin that the difference is to have."},
    {"reward.margin_temperature", OPTION_AUTO, AT(reward.margin_temperature), "auto", .low = 0,
     .high = 1e6, .open = LOW_OPEN, .help = "What lacks of it is divided by this."},

    {"optim.lr", OPTION_NUMBER, AT(optim.lr), "1e-5", .low = 0, .high = 100, .open = LOW_OPEN,
     .help = "Peak learning rate."},
    {"optim.betas", OPTION_BETAS, AT(optim.beta1), "0.9, 0.999", .low = 0, .high = 1,
     .open = HIGH_OPEN, .help = "AdamW's decay of the first and second moment."},
    {"optim.eps", OPTION_NUMBER, AT(optim.eps), "1e-8", .low = 0, .high = 1, .open = LOW_OPEN,
     .help = "AdamW's epsilon."},
    {"optim.weight_decay", OPTION_NUMBER, AT(optim.weight_decay), "0.01", .low = 0, .high = 100,
     .help = "Decoupled weight decay, on matrices only (embedding and head included)."},
    {"optim.no_decay", OPTION_LIST, AT(optim.no_decay), "", "none",
     .help = "Parameters without weight decay, besides norms and biases: globs over their names "
             "(\"*embed_tokens*\", \"score.weight\"), each of which must match one."},
    {"optim.clip", OPTION_NUMBER, AT(optim.clip), "1", .low = 0, .high = 1e30,
     .help = "Largest global norm of the gradient; 0: no clipping."},
    {"optim.schedule", OPTION_CHOICE, AT(optim.schedule), "cosine", .words = WORDS(SCHEDULES),
     .help =
         "Learning rate after the warm-up; wsd is constant, then cosine over the last tenth; "
         "polynomial falls as the rest of the steps to optim.power, cosine_restarts begins anew "
         "optim.cycles times."},
    {"optim.warmup", OPTION_NUMBER, AT(optim.warmup), "0.03", .low = 0, .high = 1e12,
     .help = "Linear warm-up: a share of the steps below 1, a number of steps from 1 on."},
    {"optim.min_lr_ratio", OPTION_NUMBER, AT(optim.min_lr_ratio), "0", .low = 0, .high = 1,
     .help = "Where the schedule ends, as a share of optim.lr."},
    {"optim.power", OPTION_NUMBER, AT(optim.power), "1", .low = 0, .high = 100, .open = LOW_OPEN,
     .help = "Exponent of the polynomial schedule; 1 is a line."},
    {"optim.cycles", OPTION_INT, AT(optim.cycles), "1", .low = 1, .high = SCHEDULE_MAX_CYCLES,
     .help = "Half cosines of the cosine_restarts schedule, one after the other."},
    {"optim.epochs", OPTION_NUMBER, AT(optim.epochs), "1", .low = 0, .high = 1e6, .open = LOW_OPEN,
     .help = "Times over the data; may be a fraction."},
    {"optim.steps", OPTION_INT, AT(optim.steps), "0", ANY_COUNT,
     .help = "Steps to train; when set it wins over optim.epochs."},

    {"parallel.zero_stage", OPTION_INT, AT(parallel.zero_stage), "1", .low = 0, .high = 3,
     .help = "What ranks divide: 0 nothing, 1 optimizer state, 2 and gradients, 3 and weights."},
    {"parallel.zero_group", OPTION_GROUP, AT(parallel.zero_group), "all",
     .words = WORDS(ZERO_GROUPS), .low = 1, .high = 1e6,
     .help =
         "Ranks to divide over: all, those of a node, or groups of N; replicated between groups."},
    {"parallel.recompute", OPTION_CHOICE, AT(parallel.recompute), "none",
     .words = WORDS(RECOMPUTES),
     .help = "block keeps only block inputs and computes each block again in backward: less "
             "memory, a third more work."},
    {"parallel.offload", OPTION_CHOICE, AT(parallel.offload), "none", .words = WORDS(OFFLOADS),
     .help = "optimizer keeps master weights and moments in the host's memory and updates there: a "
             "GPU then has room for a larger model, and steps take longer."},
    {"parallel.prefetch", OPTION_BOOL, AT(parallel.prefetch), "true",
     .help = "Stage 3: gather the next unit's weights while this one computes."},

    {"checkpoint.dir", OPTION_STRING, AT(checkpoint.dir), "", "<run.dir>/checkpoints",
     .help = "Where checkpoints are written."},
    {"checkpoint.every_steps", OPTION_INT, AT(checkpoint.every_steps), "0", ANY_COUNT,
     .help = "Steps between two checkpoints; 0: only at the end (and on a signal)."},
    {"checkpoint.every_minutes", OPTION_NUMBER, AT(checkpoint.every_minutes), "0", .low = 0,
     .high = 1e9, .help = "Minutes between two checkpoints; 0: not by time."},
    {"checkpoint.keep", OPTION_INT, AT(checkpoint.keep), "3", .low = 0, .high = 1e9,
     .help = "Newest checkpoints that are kept; 0: all."},
    {"checkpoint.writers", OPTION_INT, AT(checkpoint.writers), "0", .low = 0, .high = 1e6,
     .help = "Ranks that write; 0: one per node."},
    {"checkpoint.frozen", OPTION_BOOL, AT(checkpoint.frozen), "false",
     .help = "Write what is frozen into checkpoints; otherwise they name model.path, which must "
             "stay as it is."},

    {"eval.every_steps", OPTION_INT, AT(eval.every_steps), "0", ANY_COUNT,
     .help = "Steps between two evaluations; 0: only at the end."},
    {"eval.before_training", OPTION_BOOL, AT(eval.before_training), "true",
     .help = "Evaluate also before the first step."},

    {"track.jsonl", OPTION_BOOL, AT(track.jsonl), "true",
     .help = "Write metrics.jsonl in the run directory, one object a step."},
};
const int n_config_options = (int)(sizeof config_options / sizeof *config_options);

static const struct {
    const char *name, *about;
} groups[] = {
    {"run", "the run itself"},
    {"model", "the model and its numbers"},
    {"lora", "adapters instead of the whole model"},
    {"data", "what is learned from"},
    {"batch", "the step's batch"},
    {"loss", "what is minimised"},
    {"policy", "learning from rewards: rollouts and their updates (task = \"policy\")"},
    {"reward", "what a completion is worth"},
    {"optim", "AdamW and its schedule"},
    {"parallel", "how ranks divide the work (ZeRO)"},
    {"checkpoint", "what is kept to go on from"},
    {"eval", "evaluation while training"},
    {"track", "what is recorded"},
};

const char *config_group_about(const char *group, size_t length) {
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strlen(groups[i].name) == length && memcmp(groups[i].name, group, length) == 0)
            return groups[i].about;
    return NULL;
}

static const struct {
    const char *path, *now, *why;
} former[] = {
    {"parallel.shard_group", "parallel.zero_group", NULL},
    {"lora.dropout", NULL, "sharing the prompt between answers is exact only without dropout"},
    {"model.dropout", NULL, "sharing the prompt between answers is exact only without dropout"},
};

bool config_former(const char *path, const char **now, const char **why) {
    for (size_t i = 0; i < sizeof former / sizeof *former; i++) {
        if (strcmp(former[i].path, path) != 0) continue;
        *now = former[i].now;
        *why = former[i].why;
        return true;
    }
    return false;
}

static bool has_bounds(const struct config_option *option) {
    return option->kind == OPTION_INT || option->kind == OPTION_SIZE ||
           option->kind == OPTION_NUMBER || option->kind == OPTION_AUTO ||
           option->kind == OPTION_BETAS || option->kind == OPTION_GROUP;
}

void config_bounds(const struct config_option *option, char out[96]) {
    out[0] = 0;
    if (!has_bounds(option)) return;
    const char *low = option->open & LOW_OPEN ? "above" : "at least";
    const char *high = option->open & HIGH_OPEN ? "below" : "at most";
    if (option->low == option->high)
        snprintf(out, 96, "only %g", option->low);
    else if (option->kind != OPTION_NUMBER && option->kind != OPTION_AUTO && option->high < 10000)
        snprintf(out, 96, option->open ? "from %g to below %g" : "%g to %g", option->low,
                 option->high);
    else
        snprintf(out, 96, "%s %g and %s %g", low, option->low, high, option->high);
}

bool config_is_within(const struct config_option *option, double value) {
    if (!isfinite(value)) return false;
    if (option->open & LOW_OPEN ? value <= option->low : value < option->low) return false;
    return option->open & HIGH_OPEN ? value < option->high : value <= option->high;
}

/* The words that a message or the help uses for what an option takes. */
const char *config_expected(const struct config_option *option) {
    switch (option->kind) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_INT:
        return "an integer";
    case OPTION_SIZE:
        return "an integer or a size as \"64k\"";
    case OPTION_NUMBER:
        return "a number";
    case OPTION_AUTO:
        return "a number or \"auto\"";
    case OPTION_BETAS:
        return "two numbers, (0.9, 0.999)";
    case OPTION_STRING:
    case OPTION_CHOICE:
        return "a string";
    case OPTION_GROUP:
        return "a string or an integer";
    case OPTION_LIST:
        return "a string or a list of strings";
    case OPTION_TRAIN:
        return "a path or a list of { path = ...; weight = ... | groups = ...; }";
    case OPTION_EVAL:
        return "a path or a list of { path = ...; name = ...; }";
    }
    return "?";
}
