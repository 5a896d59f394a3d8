/* A training run: everything the step loop needs, made once before step 0. Private to this folder.
 *
 * Order of making (start.c): ranks, device, data, model's shape, plan; the directories' locks, and
 * only then the look for a checkpoint; memory plan, weights; then what was written behind the
 * checkpoint is cut back. Each phase that reads input ends in an agreement, so that all ranks stop
 * together and one speaks. */
#ifndef RANKWISE_RUN_H
#define RANKWISE_RUN_H
#include "batch.h"
#include "checkpoint.h"
#include "eval.h"
#include "feed.h"
#include "loss.h"
#include "metrics.h"
#include "model.h"
#include "optimizer.h"
#include "run_lock.h"
#include "safetensors.h"

enum {
    /* of a pair on the device: reads, margin, weight */
    RUN_PAIR_BYTES = 2 * sizeof(int32_t) + 2 * sizeof(float)
};

/* What the host reads of a step on the device. */
struct run_report {
    double tally[N_PAIR_TALLIES];
    struct clip clip;
};

struct run {
    struct config *config; /* not owned */
    struct placement place;
    /* host: the CPU's, where parallel.offload updates; dev itself where that is it */
    struct device *dev, *host;

    /* data */
    struct shard *train, *eval;  /* (config->data.n_train), (config->data.n_eval) */
    struct shared_memory *index; /* (n_train + n_eval): what share_index made */
    struct plan_source *source;  /* (n_train) */
    struct plan plan;
    struct plan_step micro; /* this rank's part of the step */
    struct batch batch;
    struct batch_item *item;
    int64_t room_pairs; /* of a micro-batch */

    /* model */
    struct arch arch;
    struct parameters table;
    struct safetensors tensors; /* of model.path; empty for random weights */
    struct zero *z;
    struct model *model;
    struct optimizer optimizer;
    struct schedule schedule;
    double matmul_rate; /* flops per second of this rank, for train/mfu */
    int64_t max_tokens, max_rows;

    /* for the loss */
    struct feed pairs;
    struct run_report *report;   /* on the device */
    struct run_report *reported; /* the same in the device's host memory */

    /* what goes on */
    struct run_state state;
    struct checkpoint resume; /* open while starting from it */
    char *checkpoint_path;    /* NULL: starts anew */
    bool begins_anew;         /* rank 0: in a directory that was used, but has no checkpoint */
    bool is_former;           /* the checkpoint does not tell what its data contained */
    struct metrics *metrics;  /* rank 0 */
    /* members of the present step's line of metrics while its evaluation is still to be done: what
     * a checkpoint keeps of it; else NULL */
    char *open_line;
    bool makes_up;            /* begins with the evaluation that the checkpoint has left open */
    bool save_is_due;
    double saved_at;          /* clock_seconds() */
    int64_t saved_step;       /* of the newest checkpoint; -1: there is none */
    struct run_lock lock;
    bool bytes_shown;         /* what a step sends and what the run holds, beside the plan */
    /* bytes of the device: the plan without libraries; what was free before it */
    size_t planned, free_before;
    char *resolved_config, *data_text; /* run_identity_agree sets them */
    struct tokenizer_file *file;
    int n_files;
};

/* Makes the run ready to step. 0; or -1 with error_text(), agreed. run_finish accepts what
 * run_start left. */
int run_start(struct run *r, struct config *config);
void run_finish(struct run *r);

/* The newest checkpoint that rank 0 sees, opened, and state from it; all ranks have read the same,
 * and it is this run's, of this model and these data. Collective; agreed. */
int run_choose_checkpoint(struct run *r);
/* Says where the run begins. */
void run_tell_origin(const struct run *r);

/* Total updates: optim.steps, or the epochs' worth. */
int64_t run_steps(const struct run *r);

/* The comparisons of a group of the plan: count, and the i-th. */
int64_t run_group_pairs(const struct run *r, const struct plan_group *group);
struct batch_item run_group_pair(const struct run *r, const struct plan_group *group, int64_t i);

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
void share_index(struct shared_memory *memory, struct shard *shard, const struct group *node);
void unshare_index(struct shared_memory *memory, struct shard *shard);
#endif
