/* The model families: everything that one of them has of its own stands in its row of families.c.
 *
 *   (1) Code outside families.c asks for a name, a key or a switch, never which family it has.
 *   (2) A family without arithmetic of its own is a row, and perhaps a table of names. */
#ifndef RANKWISE_FAMILIES_H
#define RANKWISE_FAMILIES_H
#include "arch.h"

/* What transformers calls the tensors. Those of a block come after "layers.N." and lack ".weight"
 * or ".bias". */
struct tensor_names {
    const char *base;                   /* the prefix of all but the score head: "model." */
    const char *embedding, *final_norm;
    const char *lm_head;                /* without base; in files either family's word */
    const char *norm1, *norm2;          /* of attention and of the MLP */
    const char *q, *k, *v;              /* k and v NULL: q's tensor holds the rows of all three */
    const char *q_norm, *k_norm, *out;
    const char *up, *up2, *down;        /* gated: gate and up; up2 NULL: one tensor holds both */
};

struct family {
    const char *model_type;   /* in config.json */
    const char *class_prefix; /* "Llama" of LlamaForSequenceClassification */
    const struct tensor_names *names;

    /* What holds where config.json has no such key, and the switches. K 0: as many as H; d 0: D /
     * H; window: the size where the key is missing. */
    struct arch defaults;
    double rotary_share;    /* the rotated share of a head; 0: always all of it */
    const char *activation; /* the only hidden_act that is implemented */

    /* Keys of config.json; NULL: the family has none, and the default holds. */
    const char *kv_heads_key, *eps_key;
    const char *attention_bias_key, *mlp_bias_key, *parallel_key;
    const char *theta_key, *share_key; /* transformers 4's, beside rope_theta and its like */

    bool heads_fill_width; /* H d = D, and config.json cannot say otherwise */
    bool always_windows;   /* sliding_window counts without use_sliding_window */
};

/* "llama, qwen2 or qwen3": all model types, for messages. Owned by the caller. */
char *family_list(void);
#endif
