/* A training run: everything the step loop needs, made once before step 0. Private to this folder.
 *
 * Order of making (start.c): ranks, device, model's shape, data, task, plan, memory plan; the
 * locks of the directories, and only then the look for a checkpoint; weights; then what was written
 * behind the checkpoint is cut back. Each phase that reads input ends in an agreement, so that all
 * ranks stop together and one speaks. */
#ifndef RANKWISE_RUN_H
#define RANKWISE_RUN_H
#include "batch.h"
#include "checkpoint.h"
#include "eval.h"
#include "generation_config.h"
#include "metrics.h"
#include "model.h"
#include "optimizer.h"
#include "peft.h"
#include "run_lock.h"
#include "safetensors.h"
#include "task.h"
#include "judge_reward.h"
#include "parser.h"
#include "reward_command.h"
#include "rollouts.h"

/* What the host reads of a step on the device. */
struct run_report {
    double tally[TASK_TALLIES];
    struct clip clip;
};

/* What is learned from, and in which order. */
struct run_data {
    struct shard *train, *eval;  /* (config->data.n_train), (config->data.n_eval) */
    struct shared_memory *index; /* (n_train + n_eval): what share_index made */
    struct units *units;           /* (n_train) */
    struct plan_shard *plan_shard; /* (n_train) */
    struct plan plan;
    struct tokenizer_file *file; /* (n_files): of the first shard, for checkpoints */
    int n_files;
    char *text; /* what the shards contain; run_identity_agree sets it */
    struct contract contract; /* the first shard's, with what the model's scores are */
};

/* What learns, and what from its output. */
struct run_model {
    struct task task;
    struct arch arch;
    struct parameters table;
    struct safetensors tensors; /* of model.path; empty for random weights and a checkpoint's */
    struct peft peft;           /* of model.adapter; else empty */
    char *source_path;          /* the checkpoint that model.path names; NULL: it is a model */
    struct checkpoint source;   /* open until the weights are there */
    int64_t found_scores;       /* of the head that model.path has; 0: it has none */
    bool lacks_lm_head;         /* model.path has none, and the model needs one */
    /* of what is frozen and stays in model.path: that path, absolute, and the tensors' digest; base
     * is NULL where nothing is, as with random weights */
    char *base, base_digest[65];
    struct zero *z;
    struct model *walk;
    struct optimizer optimizer;
    struct schedule schedule;
};

/* One step at work: this rank's part of it. */
struct run_step {
    struct plan_step micro;
    struct batch batch;
    struct task_item *item;  /* (room.terms) of a micro-batch: the first n_items */
    int64_t n_items;
    struct task_room room;   /* of a training micro-batch */
    int64_t batch_tokens;        /* of a training micro-batch */
    int64_t max_tokens, max_rows, max_reads; /* that the model must take, evaluation included */
    struct run_report *report;   /* on the device */
    struct run_report *reported; /* the same in the device's host memory */
    bool bytes_shown;            /* what a step sends and what the run holds, beside the plan */
};

/* What goes into one micro-batch of an update together: sequences [first, first + n) of the table,
 * all of one pair. */
struct rollout_part {
    int64_t first, n;
    int32_t tokens; /* at least those of their forest */
};

/* A policy's rollout and what it is made with: rollout.h. Empty for other tasks. */
struct run_policy {
    struct rollouts table; /* empty between two rollouts */
    struct tokenizer *tokenizer;
    struct generation_config writes; /* its EOS alone: tokens that end a completion */
    struct parser *parser;
    enum judge_reward kind;
    struct reward_options reward;
    struct reward_command *command; /* of rank 0, for REWARD_COMMAND */
    struct reward_model *model;     /* for REWARD_MODEL */
    int64_t longest_prompt, most_prompts; /* tokens; of a pair */
    struct plan plan;                     /* deals parts */
    struct plan_shard parts;
    struct rollout_part *part; /* (n_parts): of the present update */
    int64_t n_parts, capacity_parts;
    float *output;             /* of a micro-batch, on the host */
    void *reference; /* zero_exchange's; NULL: there is none */
};

/* The checkpoint that the run goes on from. */
struct run_origin {
    struct checkpoint resume; /* open while starting from it */
    char *checkpoint_path;    /* NULL: starts anew */
    bool begins_anew;         /* rank 0: in a directory that was used, but has no checkpoint */
    bool is_former;           /* the checkpoint does not tell what its data contained */
};

/* How far the run is, and how far of that is saved. */
struct run_progress {
    struct run_state state;
    /* members of the present step's line of metrics while its evaluation is still to be done: what
     * a checkpoint keeps of it; else NULL */
    char *open_line;
    bool makes_up; /* begins with the evaluation that the checkpoint has left open */
    bool save_is_due;
    double saved_at;    /* clock_seconds() */
    int64_t saved_step; /* of the newest checkpoint; -1: there is none */
};

/* The run's directories and what is open there. */
struct run_files {
    struct run_lock lock;
    struct metrics *metrics; /* rank 0 */
    char *config_text;       /* resolved; run_identity_agree sets it */
};

struct run {
    struct config *config; /* not owned */
    struct placement place;
    /* host: the CPU's, where parallel.offload updates; dev itself where that is it */
    struct device *dev, *host;
    double matmul_rate; /* flops per second of this rank, for train/mfu */
    /* bytes of the device: the plan without libraries; what was free before it */
    size_t planned, free_before, most_taken; /* the last: while a policy writes */

    struct run_data data;
    struct run_model model;
    struct run_step step;
    struct run_policy policy;
    struct run_origin origin;
    struct run_progress progress;
    struct run_files files;
};

/* Makes the run ready to step. 0; or -1 with error_text(), agreed. run_finish accepts what
 * run_start left. */
int run_start(struct run *r, struct config *config);
void run_finish(struct run *r);

/* The parts of run_start that `rankwise plan` needs too. */

/* The rank's device, and the host's own for offloading alone. Agreed. */
int run_start_device(struct run *r);
/* Everything that only reads and plans. Agreed. */
int run_prepare(struct run *r);

/* Opens the shards, and chooses the task. */
int run_open_data(struct run *r);
/* The shards suit each other, the task and the model; plans. */
int run_read_data(struct run *r);
/* One copy of the length index per node; the plan looks at that one from now on. Collective. */
void run_share_data(struct run *r);
void run_close_data(struct run *r);

/* run_source.c. The model's shape, of model.path or of the checkpoint that it names, which stays
 * open. Collective; the shape alone is not agreed. */
int run_read_arch(struct run *r);
/* Scores of its head, 0 where it has none; before the table is there. */
int run_source_scores(const struct run *r);
/* That model.path has what the table wants; sets found_scores. */
int run_match_source(struct run *r);
int run_read_source(struct run *r, const struct parameter *p, int64_t first, int64_t count,
                    float *out);
/* The tokenizer beside the weights, if there is one; special: as tokenizer_open has it. */
bool run_source_has_tokenizer(const struct run *r);
struct tokenizer *run_source_tokenizer(const struct run *r, const char *special);
/* The parameters of model and task, and that the model's files have them. */
int run_read_model(struct run *r);
/* Where what is frozen comes from, for checkpoints. Collective; agreed. */
int run_find_base(struct run *r);
/* run_head.c. The task, and how many scores a text has: sets config->model.heads; the contract says
 * what they are. Behind the model's shape and the data. */
int run_choose_task(struct run *r);
/* Whether the head begins anew, whether it may, and a line that tells. */
bool run_is_random(const struct run *r);
bool run_has_new_head(const struct run *r);
int run_check_head(const struct run *r);
void run_tell_head(const struct run *r);
/* No sequence is longer than the score contract says. */
int run_check_lengths(const struct run *r);
/* The parameter_reader of what a run that begins anew begins with; self: the run. Until
 * run_open_model is done. */
int run_read_start(void *self, const struct parameter *p, int64_t first, int64_t count, float *out);
/* Memory, weights from the checkpoint or the start, the optimizer. Collective; agreed. */
int run_open_model(struct run *r);
void run_close_model(struct run *r);

/* Rank 0 locks the directories, and what a killed run began there goes. Agreed. */
int run_lock_directories(struct run *r);
/* Rank 0's resolved configuration and log. */
int run_open_log(const struct run *r);
/* Rank 0's metrics, of which those behind the checkpoint go: the weights are loaded. */
int run_open_metrics(struct run *r);

/* Sets matmul_rate. */
void run_measure_roofline(struct run *r);

/* The newest checkpoint that rank 0 sees, opened, and state from it; all ranks have read the same,
 * and it is this run's, of this model and these data. Collective; agreed. */
int run_choose_checkpoint(struct run *r);
/* Says where the run begins. */
void run_tell_origin(const struct run *r);

/* Total updates: optim.steps, or the epochs' worth. */
int64_t run_steps(const struct run *r);

static inline bool run_is_policy(const struct run *r) {
    return config_task(r->config) == TASK_POLICY;
}

/* The items of a group of the plan: count, and the i-th. */
int64_t run_group_items(const struct run *r, const struct plan_group *group);
struct task_item run_group_item(const struct run *r, const struct plan_group *group, int64_t i);
/* The forest of micro-batch m of step.micro, and what is read of it. -1 with error_text(). */
int run_gather_micro(struct run *r, int m);

/* Warns of data that is doubtful, after data, plan and the model's shape are read. -1: nothing can
 * be learned from it. */
int run_check_data(const struct run *r);

bool run_offloads(const struct config *config);

/* What the run asks of its modules. */
struct zero_options run_zero_options(const struct run *r);
struct model_options run_model_options(const struct run *r);

/* What a rank of a ZeRO group of `size` needs, in two lines of text; 0 when it is there. Sets
 * planned and free_before. */
int run_check_memory(struct run *r, int size, struct buffer *text);

/* Moves the shard's index arrays into memory that the node's ranks share; unshare_index before
 * shard_close. Collective over the node. */
void share_index(struct shared_memory *memory, struct shard *shard, const struct ranks *node);
void unshare_index(struct shared_memory *memory, struct shard *shard);
#endif
