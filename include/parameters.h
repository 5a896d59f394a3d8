/* The parameter table: the one list that drives initialisation, loading, sharding, decay,
 * checkpoint, export and inspection. A parameter is found by (unit, role) or by name, never by
 * number.
 *
 * Units: 0 the embedding, 1 .. L the blocks, L + 1 the final norm with the head (always fp32). A
 * unit has a segment of memory for what is trained, one for what is frozen and one for what is
 * frozen and quantised. The parameters of a segment lie one after another, in the table's order,
 * without gaps, each row-major as in the safetensors file: so q, k and v, which share a segment,
 * are one matrix of (H + 2K) d rows, and gate and up one of 2F rows. */
#ifndef RANKWISE_PARAMETERS_H
#define RANKWISE_PARAMETERS_H
#include "arch.h"
#include "lora.h"
#include "patterns.h"

enum role {
    ROLE_EMBEDDING,
    ROLE_LM_HEAD, /* of a language model whose head is not the embedding; behind it in unit 0 */
    ROLE_NORM1_WEIGHT, ROLE_NORM1_BIAS,
    ROLE_QKV_WEIGHT, /* q, the first of three; or all in one, where the files have it so */
    ROLE_K_WEIGHT, ROLE_V_WEIGHT,
    ROLE_QKV_BIAS, ROLE_K_BIAS, ROLE_V_BIAS,
    ROLE_Q_NORM, ROLE_K_NORM,
    ROLE_OUT_WEIGHT, ROLE_OUT_BIAS,
    ROLE_NORM2_WEIGHT, ROLE_NORM2_BIAS,
    ROLE_UP_WEIGHT, /* gated: gate, then ROLE_UP2, or both in one; else up */
    ROLE_UP2_WEIGHT, ROLE_UP_BIAS, ROLE_UP2_BIAS,
    ROLE_DOWN_WEIGHT, ROLE_DOWN_BIAS,
    /* of adapters: A and B beside each matrix of a block, in the order of these */
    ROLE_QKV_A, ROLE_K_A, ROLE_V_A, ROLE_OUT_A, ROLE_UP_A, ROLE_UP2_A, ROLE_DOWN_A,
    ROLE_QKV_B, ROLE_K_B, ROLE_V_B, ROLE_OUT_B, ROLE_UP_B, ROLE_UP2_B, ROLE_DOWN_B,
    ROLE_FINAL_NORM_WEIGHT, ROLE_FINAL_NORM_BIAS,
    ROLE_SCORE, /* (n_scores, D) */
    /* one number, whose softplus is the threshold of comparison_loss.h; no model files have it */
    ROLE_TIE_THRESHOLD,
    N_ROLES
};

enum init_kind { INIT_NORMAL, INIT_UNIFORM, INIT_ONE, INIT_ZERO };

/* How a parameter is kept: trained, in the compute dtype with fp32 masters, gradients and moments;
 * frozen, in the compute dtype alone; frozen and quantised, as bytes. */
enum segment { SEGMENT_TRAINED, SEGMENT_FROZEN, SEGMENT_QUANTISED, N_SEGMENTS };

struct parameter {
    char *name;            /* as in the safetensors of <Family>ForSequenceClassification */
    enum role role;
    int unit;
    enum segment segment;
    int64_t offset;        /* in its segment of the unit: in elements, or in bytes if quantised */
    int64_t count;         /* elements */
    int64_t rows, cols;    /* a vector: rows = its length, cols = 1, n_dims = 1 */
    int n_dims;
    bool decay;            /* matrices: yes; norms, biases and what was dropped: no */
    enum init_kind init;
    float init_std; /* of INIT_UNIFORM: the values lie in [-init_std, init_std) */
};

/* What stands on the last block: scores of the read rows, each a row of ROLE_SCORE; or the language
 * model's head, which gives log-probabilities of tokens: ROLE_LM_HEAD, or the embedding. */
enum head_kind { HEAD_SCORE, HEAD_LM };
struct head {
    enum head_kind kind;
    int n_scores; /* of HEAD_SCORE */
    bool tie_threshold; /* beside it is ROLE_TIE_THRESHOLD */
};

struct unit {
    /* of each segment, unpadded: elements, or bytes of what is quantised */
    int64_t count[N_SEGMENTS];
    int first, end;                   /* its parameters are [first, end) */
    bool fp32;                        /* stored in fp32 whatever the compute dtype */
    const struct parameter *by_role[N_ROLES]; /* NULL where the unit has none */
};

/* A unit's weights in memory: element 0 of each segment; NULL where the unit has none of it. */
struct unit_weights {
    const void *segment[N_SEGMENTS];
};

/* What the matrices of a block read: those that read the same have their A's one after another. */
enum adapter_input { ADAPTERS_QKV, ADAPTERS_OUT, ADAPTERS_UP, ADAPTERS_DOWN, N_ADAPTER_INPUTS };

/* LoRA (Hu et al., 2022): an adapter stands beside a matrix W (out, in) of a block, whose product
 * becomes W x + scale B (A x), with A (rank, in) and B (out, rank). Everything but the adapters and
 * the score head is frozen. Names are PEFT's. */
struct adapters {
    int rank; /* 0: there are none */
    float scale;
    int modules[N_ADAPTER_INPUTS]; /* the most of a block that read this and have an adapter */
};

struct parameters {
    struct parameter *item;
    int n;
    struct unit *unit;
    int n_units;
    struct head head;
    struct adapters adapters;
};

/* What a table has beside what the architecture says. Not owned. */
struct parameters_options {
    struct head head;
    struct lora lora;
};
static const struct parameters_options language_model = {.head = {HEAD_LM, 0}};
static const struct parameters_options one_score = {.head = {HEAD_SCORE, 1}};

/* 0; -1 with error_text(), and nothing to free. */
int parameters_build(struct parameters *table, const struct arch *arch,
                     const struct parameters_options *options);
void parameters_free(struct parameters *table);
/* NULL if there is none */
const struct parameter *parameters_find(const struct parameters *table, const char *name);
/* 0 when each pattern matches a parameter; else -1 with error_text(). option: where they were
 * given. */
int parameters_check_patterns(const struct parameters *table, const struct patterns *patterns,
                              const char *option);
/* Takes the decay from the parameters that match, each pattern one at least; -1 with
 * error_text(). */
int parameters_drop_decay(struct parameters *table, const struct patterns *patterns,
                          const char *option);
/* Of a block's matrix, by its place among these: its role, and those of its adapter. */
enum { N_MODULES = 7 };
enum role parameters_module_role(int module);
static inline enum role parameters_a_role(int module) { return ROLE_QKV_A + module; }
static inline enum role parameters_b_role(int module) { return ROLE_QKV_B + module; }
enum adapter_input parameters_module_input(int module);
/* A or B of an adapter. */
static inline bool parameter_is_adapter(const struct parameter *p) {
    return p->role >= ROLE_QKV_A && p->role <= ROLE_DOWN_B;
}

/* Moves the parameters that match to the frozen segments of their units, each pattern one at least;
 * -1 with error_text(), also where pieces of one matrix or bias would be parted, and for the score
 * head, which is always trained. */
int parameters_freeze(struct parameters *table, const struct patterns *patterns,
                      const char *option);
/* Moves the frozen linear layers of blocks to the quantised segments; -1 with error_text() where
 * none is frozen. */
int parameters_quantise(struct parameters *table, const char *option);
/* Elements of the largest matrix of a block that is quantised, q, k and v being one, and gate and
 * up; 0: none is. */
int64_t parameters_largest_quantised(const struct parameters *table);
/* The lowest unit that has a trained part: no backward goes below it. n_units: nothing is
 * trained. */
int parameters_lowest_trained(const struct parameters *table);
/* The blocks below that: the lowest ones, which have no backward. */
int parameters_frozen_blocks(const struct parameters *table);

int64_t parameters_count(const struct parameters *table);
int64_t parameters_count_trained(const struct parameters *table);
/* Those of the blocks, the final norm and the head: what a token is multiplied with. */
int64_t parameters_count_in_products(const struct parameters *table);
/* How often these are multiplied with for a token in training: forward, for the gradient of what
 * they were multiplied with down to the lowest trained unit, and for their own if they are
 * trained. read_share: of the tokens, those that a language model's head sees. */
double parameters_count_in_step(const struct parameters *table, double read_share);

/* How far a parameter reaches in its segment: elements, or bytes (nf4.h) if quantised. */
int64_t parameter_extent(const struct parameter *p);
/* Gives each parameter its place by its segment: after segments were changed. */
void parameters_place(struct parameters *table);

/* Where the elements of parameters come from: a safetensors directory, a checkpoint, or a seed.
 * read() gives elements [first, first + count) of p in fp32; -1 with error_text(). Not
 * collective. */
struct parameter_reader {
    int (*read)(void *self, const struct parameter *p, int64_t first, int64_t count, float *out);
    void *self;
};

/* Elements as p->init says, by counter-based random numbers: the same on any rank. The score head
 * is INIT_NORMAL with standard deviation 1 / sqrt(D + 1); for head_init = "zero" the caller sets
 * its init to INIT_ZERO. */
void parameters_init(const struct parameter *p, uint64_t seed, int64_t first, int64_t count,
                     float *out);
#endif
