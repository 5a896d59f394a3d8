/* The configuration: libconfig files, then command-line overrides, checked against one option
 * table.
 *
 * The table in config_table.c (path, type, default, bounds, one line of help) makes the parser,
 * `rankwise help train`, the resolved copy in the run directory and the shell completion; they
 * cannot drift apart. Several files may be given; later ones override earlier ones, key by key. An
 * unknown key is an error that shows the nearest known name and the file and line. Numbers are read
 * integer-or-float, sizes also as "64k"; an integer beyond 2^31 without its L suffix is an error.
 * Paths in a file are relative to the working directory; an @include is looked for there and then
 * beside the file that has it. What has no default (model.path, data.train) is "" or empty: whoever
 * needs it asks for it. */
#ifndef RANKWISE_CONFIG_H
#define RANKWISE_CONFIG_H
#include "memory.h"
#include "advantage.h"
#include "answer_loss.h"
#include "lora.h"
#include "policy_loss.h"
#include "ranking_loss.h"

/* Words of an option, each with the value that the program knows it by: one list makes the enum and
 * the words that the option table allows. Whoever asks does so in a switch without a default, or
 * after CONFIG_TWO_WORDS, so that a word without a meaning does not compile. */
#define CONFIG_VALUE(value, word) value,
/* Where a choice of two words is asked with ==: a third word does not compile there. */
#define CONFIG_ONE(value, word) +1
#define CONFIG_TWO_WORDS(list) \
    _Static_assert(0 list(CONFIG_ONE) == 2, #list " has a word without a meaning here")
#define LOSSES(X)                                                                     \
    COMPARISON_LOSSES(X, LOSS_) RANKING_LOSSES(X, LOSS_) ANSWER_LOSSES(X, LOSS_)      \
    X(LOSS_COMPLETION, "completion") POLICY_LOSSES(X, LOSS_)
#define TASKS(X)                   \
    X(TASK_AUTO, "auto")           \
    X(TASK_REWARD, "reward")       \
    X(TASK_COMPLETION, "completion") \
    X(TASK_POLICY, "policy")
#define POLICY_TRUNCATEDS(X)           \
    X(POLICY_TRUNCATED_KEEP, "keep")   \
    X(POLICY_TRUNCATED_MASK, "mask")
#define POLICY_REFERENCES(X)               \
    X(POLICY_REFERENCE_AUTO, "auto")       \
    X(POLICY_REFERENCE_BASE, "base")       \
    X(POLICY_REFERENCE_COPY, "copy")       \
    X(POLICY_REFERENCE_ADAPTER, "adapter")
#define REWARD_TYPES(X)                                              \
    X(REWARD_TYPE_BT_BASELINE, "bt_baseline")                        \
    X(REWARD_TYPE_BT_PAIR_SHARED, "bt_pair_shared")                  \
    X(REWARD_TYPE_BT_BASELINE_HARDMINE, "bt_baseline_hardmine")      \
    X(REWARD_TYPE_BT_BINARY, "bt_binary")                            \
    X(REWARD_TYPE_BT_GRADED, "bt_graded")                            \
    X(REWARD_TYPE_BT_GRADED_HARDPAIR, "bt_graded_hardpair")          \
    X(REWARD_TYPE_BT_HARD_MARGIN, "bt_hard_margin")                  \
    X(REWARD_TYPE_OPENJUDGE_POINTWISE, "openjudge_pointwise")        \
    X(REWARD_TYPE_OPENJUDGE_PAIRWISE, "openjudge_pairwise")          \
    X(REWARD_TYPE_RM_GALLERY, "rm_gallery")                          \
    X(REWARD_TYPE_MODEL, "model")                                    \
    X(REWARD_TYPE_COMMAND, "command")
#define COMPLETION_WEIGHTS(X)                  \
    X(COMPLETION_WEIGHTS_TOKEN, "token")       \
    X(COMPLETION_WEIGHTS_SEQUENCE, "sequence")
#define RUN_DEVICES(X)         \
    X(RUN_DEVICE_CPU, "cpu")   \
    X(RUN_DEVICE_CUDA, "cuda") \
    X(RUN_DEVICE_AUTO, "auto")
#define MODEL_INITS(X)                  \
    X(MODEL_INIT_PRETRAINED, "pretrained") \
    X(MODEL_INIT_RANDOM, "random")
#define MODEL_PRECISIONS(X)        \
    X(MODEL_PRECISION_FP32, "fp32") \
    X(MODEL_PRECISION_BF16, "bf16")
#define HEAD_INITS(X)         \
    X(HEAD_INIT_AUTO, "auto") \
    X(HEAD_INIT_RANDOM, "random")
#define QUANTISES(X)      \
    X(QUANTISE_NONE, "none") \
    X(QUANTISE_NF4, "nf4")
#define SCHEDULES(X)              \
    X(SCHEDULE_COSINE, "cosine")  \
    X(SCHEDULE_WSD, "wsd")        \
    X(SCHEDULE_LINEAR, "linear")  \
    X(SCHEDULE_CONSTANT, "constant") \
    X(SCHEDULE_POLYNOMIAL, "polynomial") \
    X(SCHEDULE_COSINE_RESTARTS, "cosine_restarts")
#define RECOMPUTES(X)           \
    X(RECOMPUTE_NONE, "none")   \
    X(RECOMPUTE_BLOCK, "block")
#define OFFLOADS(X)           \
    X(OFFLOAD_NONE, "none")   \
    X(OFFLOAD_OPTIMIZER, "optimizer")
#define ZERO_GROUPS(X)         \
    X(ZERO_GROUP_ALL, "all")   \
    X(ZERO_GROUP_NODE, "node")

/* The losses of all tasks; task.c says whose is which. */
enum loss_type { LOSSES(CONFIG_VALUE) };
enum task_choice { TASKS(CONFIG_VALUE) };
enum policy_truncated { POLICY_TRUNCATEDS(CONFIG_VALUE) };
enum policy_reference { POLICY_REFERENCES(CONFIG_VALUE) };
enum reward_type { REWARD_TYPES(CONFIG_VALUE) };
enum completion_weights { COMPLETION_WEIGHTS(CONFIG_VALUE) };
enum run_device { RUN_DEVICES(CONFIG_VALUE) };
enum model_init { MODEL_INITS(CONFIG_VALUE) };
enum model_precision { MODEL_PRECISIONS(CONFIG_VALUE) };
enum head_init { HEAD_INITS(CONFIG_VALUE) };
enum quantise { QUANTISES(CONFIG_VALUE) };
enum schedule_kind { SCHEDULES(CONFIG_VALUE) };
enum { MODEL_MAX_HEADS = 1024 };
enum { SCHEDULE_MAX_CYCLES = 1000 }; /* times 1e15 steps they fit into an int64_t */
enum recompute { RECOMPUTES(CONFIG_VALUE) };
enum offload_kind { OFFLOADS(CONFIG_VALUE) };
/* parallel.zero_group: one of these, or a number of ranks from 1 on. */
enum zero_group { ZERO_GROUP_NODE = -1, ZERO_GROUP_ALL = 0 };

struct config_data {   /* one entry of data.train or data.eval */
    /* name: of eval sets; default the file's name without .h5; NULL in data.train */
    char *name, *path;
    double weight;     /* share of the groups an epoch takes; above 1 repeats; default 1 */
    int64_t groups;    /* or a count; 0: by weight */
};

struct config {
    enum task_choice task;
    struct {
        char *name;
        int64_t seed;
        enum run_device device;
        char *plugin;
        int64_t threads;
        char *dir;
        int64_t log_every;
    } run;
    struct {
        char *path;
        enum model_init init;
        enum model_precision precision;
        enum head_init head_init;
        struct patterns freeze;
        char *adapter;
        int64_t heads; /* 0: as many as the model has */
        enum quantise quantise;
    } model;
    struct {
        struct config_data *train, *eval;
        int n_train, n_eval;
        bool shuffle;
    } data;
    struct lora lora;
    struct { int64_t groups, tokens_per_microbatch; bool group_by_prompt; } batch;
    struct {
        enum loss_type type;
        double label_smoothing, center, length_penalty, tie_threshold, z_loss;
        enum completion_weights weights;
        bool learn_tie_threshold;
        struct patterns attributes; /* names: all of the shard where there are none */
    } loss;
    struct {
        enum reward_type reward; /* of the policy task alone, as reward */
        int64_t samples, max_new_tokens, top_k, updates, minibatches, resample, max_rows;
        double temperature, top_p, min_p, repetition_penalty;
        enum policy_ratio ratio;
        double epsilon, epsilon_high, delta; /* epsilon_high 0: as epsilon; delta 0: off */
        enum policy_advantages advantages;
        double std_eps, min_reward_std, filter_std; /* filter_std below 0: off */
        enum policy_kl kl;
        double kl_coefficient;
        enum policy_truncated truncated;
        enum policy_reference reference;
        double min_parse_rate, max_gap;
    } policy;
    struct { /* NAN: the default of the type */
        char *parser, *command, *model;
        bool as_seed;
        double temperature, clip, neg_clip, scale, offset;
        double hard_lambda, hard_tau, hard_eps;
        double positive, negative;
        double score_temperature, grade_threshold, low, high, wrong;
        double parse_fail, gamma, margin_temperature;
        double timeout; /* seconds */
    } reward;
    struct {
        double lr, beta1, beta2, eps, weight_decay, clip, warmup, min_lr_ratio, power, epochs;
        enum schedule_kind schedule;
        struct patterns no_decay;
        int64_t steps, cycles;
    } optim;
    struct {
        int64_t zero_stage;
        int64_t zero_group; /* enum zero_group, or N: groups of N ranks */
        enum recompute recompute;
        enum offload_kind offload;
        bool prefetch;
    } parallel;
    struct {
        char *dir;
        int64_t every_steps, keep, writers;
        double every_minutes;
        bool frozen;
    } checkpoint;
    struct { int64_t every_steps; bool before_training; } eval;
    struct { bool jsonl; } track;
    bool is_resolved; /* while config_parse reads what config_text wrote */
};

/* files and overrides ("path=value") in the order given. run.name defaults to the last file's name
 * without .cfg, run.dir to "runs/<run.name>", checkpoint.dir to "<run.dir>/checkpoints". -1 with
 * error_text(). */
int config_load(struct config *config, const char *const *files, int n_files,
                const char *const *overrides, int n_overrides);
/* From the text that config_text made (a checkpoint's), then overrides. In the text names that
 * options had in former versions count. */
int config_parse(struct config *config, const char *text, const char *const *overrides,
                 int n_overrides);
void config_free(struct config *config);

/* `task`, or where it is auto the task that loss.type is of. */
enum task_choice config_task(const struct config *config);

/* The resolved configuration as a libconfig file that gives the same configuration again, every
 * option with its help as a comment. mem_free. */
char *config_text(const struct config *config);

/* Appends the options of a group that are not at their defaults, ", " between them. */
void config_changed(const struct config *config, const char *group, struct buffer *names);

/* `rankwise help train`: the option table, grouped, with defaults, to out. */
void config_help(struct buffer *out);
/* Lines of "path<TAB>type<TAB>default<TAB>help" for completion; the type of a choice is its words,
 * "a|b|c". */
void config_completion(struct buffer *out);

/* A size or count: digits, optionally k, M or G (powers of 1024 for sizes as "64k"). -1 with
 * error_text(). */
int config_parse_size(const char *text, int64_t *out);

/* The known word nearest to `word` (Levenshtein distance), or NULL if none is near. */
const char *config_nearest(const char *word, const char *const *known, int n_known);
#endif
