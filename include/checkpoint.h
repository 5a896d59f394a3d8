/* Checkpoints: a directory step_000200/ of HDF5 files, whole or not there.
 *
 *   (1) Written as step_000200.tmp/, every file fsynced, end marks verified, renamed, the parent
 *       fsynced. A directory without .tmp is whole. A failure (a full disk) leaves former
 *       checkpoints untouched and is an agreed -1.
 *   (2) part_0000.h5 .. by writer ranks (checkpoint.writers per run; 0: one per node); the other
 *       ranks send them their slices in bounded pieces. state.h5 by rank 0: resolved configuration,
 *       config.json, cursor, optimizer counters, contract, tokenizer files, parameter table, where
 *       each slice lies, a checksum of every dataset, code revision. docs/checkpoint.md lists the
 *       datasets.
 *   (3) Slices carry their element ranges and are found by tensor name, so any number of ranks at
 *       any stage loads it.
 *   (4) What is loaded is checked against its checksum before it is used.
 *   (5) Of frozen tensors there is no moment; and unless checkpoint.frozen asks for them their
 *       weights are not there either: state.h5 then names the model directory that they are read
 *       from, the base, and its digest. */
#ifndef RANKWISE_CHECKPOINT_H
#define RANKWISE_CHECKPOINT_H
#include "config.h"
#include "contract.h"
#include "file.h"
#include "optimizer.h"
#include "plan.h"
#include "rollouts.h"
#include "safetensors.h"

/* FROZEN: with frozen tensors, which readers of the former format would take for damage. */
enum { CHECKPOINT_FORMAT = 1, CHECKPOINT_FORMAT_FROZEN = 2 };

/* What a run needs besides weights and moments to go on. */
struct run_state {
    int64_t step;                /* training steps done */
    int64_t updates, skipped;
    int skipped_in_a_row;
    struct plan_cursor cursor;
    int64_t episodes;            /* pairs seen; of a policy completions */
    int64_t rollouts, update;    /* of a policy: made so far; updates done of the last one */
    bool finished;               /* the run reached its end */
    /* SHA-256 of what the order of the data depends on: a cursor means nothing elsewhere */
    char data[65];
};

/* What a checkpoint carries beside tensors; all borrowed. */
struct checkpoint_extra {
    const char *config;          /* config_text */
    const char *arch_json;       /* the model's config.json */
    const char *data;            /* what it is trained on, a line for each thing */
    /* of a step whose evaluation is not done: its metrics so far; NULL: it is whole */
    const char *metrics_line;
    const struct contract *contract; /* may be NULL */
    const struct rollouts *rollouts; /* whose updates are under way; NULL or empty: none */
    /* the model directory that frozen tensors stay in, and safetensors_digest of these; NULL: the
     * checkpoint has them */
    const char *base, *base_digest;
    const struct tokenizer_file *file;
    int n_files;
};

/* How a run writes its checkpoints. */
struct checkpoint_options {
    int writers, keep; /* keep 0: all */
    /* FILE_NUMBER_DIGITS hexadecimal digits that no other run has, or "": part of the name of
     * what is being written, so that ranks of an earlier run that still live write elsewhere */
    char run[FILE_NUMBER_DIGITS + 1];
    /* Whether the run still owns its directories: 0, or -1 with error_text(). Rank 0 asks before it
     * gives or takes away a name. NULL: nobody else is there. */
    int (*still_owns)(const void *self);
    const void *self;
};

/* Writes <directory>/step_%06d. Collective over place->data; agreed. Removes old ones beyond
 * keep. */
int checkpoint_save(const char *directory, struct zero *z, const struct parameters *table,
                    const struct placement *place, const struct run_state *state,
                    const struct checkpoint_extra *extra, const struct checkpoint_options *options);

/* The newest whole checkpoint of a directory: *path (mem_free) is its path, or NULL when there is
 * none. -1 with error_text() when the directory cannot be read. */
int checkpoint_newest(const char *directory, char **path);
/* The steps of a directory's whole checkpoints, ascending (mem_free); returns how many: 0 also
 * where there is no such directory, -1 with error_text() where it cannot be read. */
int checkpoint_list(const char *directory, int64_t **steps);
char *checkpoint_path(const char *directory, int64_t step); /* mem_free */
/* Removes what a killed run left of checkpoints that it was writing or removing; nobody else may be
 * writing there. -1 with error_text() when the directory cannot be read. */
int checkpoint_remove_begun(char *directory);
/* What a user may mean by a path: a checkpoint, a directory of checkpoints, a run directory with
 * checkpoints/ in it. The newest whole checkpoint (mem_free), or NULL: it is none of these. */
char *checkpoint_find(const char *path);

/* For the path of a model: whether it is a checkpoint or a run directory; then, the checkpoint or
 * the newest whole one of the run (mem_free; NULL with error_text()). */
bool checkpoint_is_named(const char *path);
char *checkpoint_named(const char *path);
/* Gives every rank rank 0's path, or NULL. Collective. */
void checkpoint_share_path(const struct ranks *ranks, char **path);

/* An open checkpoint, for reading: no MPI, used by resume, eval, export, score and inspect. */
struct checkpoint {
    char *path;
    struct run_state state;
    char *config, *arch_json, *revision, *written_at;
    char *data;                  /* NULL: from before it was kept */
    char *metrics_line;          /* NULL: the step was whole */
    char *base, *base_digest;    /* NULL: no tensor is in a base */
    struct safetensors base_tensors; /* after checkpoint_open_base */
    struct contract contract;
    struct rollouts rollouts;    /* empty: the step is between two, or of another task */
    struct tokenizer_file *file; /* owned copies */
    int n_files;
    struct checkpoint_tensor *tensor; /* (n_tensors) */
    int n_tensors;
    struct checkpoint_piece *piece; /* (n_pieces): private */
    int n_pieces;
    void *handle; /* the open part files; private */
};
/* FROZEN: the weights alone; IN_BASE: not even these. */
enum checkpoint_place { CHECKPOINT_TRAINED, CHECKPOINT_FROZEN, CHECKPOINT_IN_BASE };
struct checkpoint_tensor {
    char *name;
    int n_dims;
    int64_t rows, cols, count;
    enum checkpoint_place place;
};
enum checkpoint_kind { CHECKPOINT_MASTER, CHECKPOINT_MOMENT1, CHECKPOINT_MOMENT2 };
int checkpoint_open(struct checkpoint *c, const char *path);
const struct checkpoint_tensor *checkpoint_tensor_find(const struct checkpoint *c,
                                                       const char *name); /* NULL: none */
/* Scores of its score head; 0: it has none. */
int checkpoint_scores(const struct checkpoint *c);
/* Opens every part and checks its end mark. A reader beside a run does it at once: what is open can
 * be read to its end although the run removes it (checkpoint.keep). */
int checkpoint_open_parts(struct checkpoint *c);
/* Opens the base, if the checkpoint has one, for the tensors that are there; directory: where it
 * lies now, NULL: where it lay. verify: its digest must be that of the checkpoint. -1 with
 * error_text(). */
int checkpoint_open_base(struct checkpoint *c, const char *directory, bool verify);
/* The same digest? -1 with error_text() that names both and the directory. */
int checkpoint_check_base(const struct checkpoint *c, const char *directory, const char *digest);
/* What was trained is to be trained, what was frozen to be frozen: nothing that learned is left as
 * it is in the base. -1 with error_text(). */
int checkpoint_check_frozen(const struct checkpoint *c, const struct parameters *table);
/* Whether nothing has this name any more: a run took its checkpoint away. */
bool checkpoint_is_gone(const char *path);
/* How often a reader looks for the newest checkpoint again while a run removes what it found. */
enum { CHECKPOINT_TRIES = 100 };
void checkpoint_close(struct checkpoint *c);
int checkpoint_read(struct checkpoint *c, enum checkpoint_kind kind, const char *tensor,
                    int64_t first, int64_t count, float *out);
/* The same for a parameter of a model, which must have the shape that was saved. */
int checkpoint_read_parameter(struct checkpoint *c, enum checkpoint_kind kind,
                              const struct parameter *p, int64_t first, int64_t count, float *out);

/* SHA-256 of all that was read of state.h5, the checksums of the weights among it: two opened
 * checkpoints with the same digest hold the same. */
void checkpoint_digest(const struct checkpoint *c, char out[65]);

/* Loads masters (and moments when `moments`) into z's owned slices, then publishes. Collective;
 * agreed. */
int checkpoint_load(struct checkpoint *c, struct zero *z, const struct placement *place,
                    bool moments);
#endif
