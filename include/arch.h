/* The architecture of a model: what config.json says, as a few numbers and switches, not classes.
 *
 * Which families there are, and what each has of its own, stands in src/arch/families.c. Both
 * spellings of Hugging Face configurations are read (transformers 4: rope_theta, rope_scaling,
 * torch_dtype, rotary_pct, rotary_emb_base; transformers 5: rope_parameters, dtype), with Llama-3
 * rope scaling. A field that would change the arithmetic and is not implemented is an error that
 * names it. */
#ifndef RANKWISE_ARCH_H
#define RANKWISE_ARCH_H
#include "base.h"
#include "backend.h"

struct family; /* src/arch/families.h */

/* RMS norm of q and k: none, of each head by itself, of all heads of a row together. */
enum qk_norm { QK_NORM_NONE, QK_NORM_HEADS, QK_NORM_WHOLE };

struct arch {
    const struct family *family; /* of arch/ alone: others ask for the switches below */
    int64_t D, F, V;      /* width, ffn width, rows of the embedding */
    int L, H, K, d;       /* layers, heads, kv heads, head_dim (not always D / H) */
    int rope_dims;        /* rotated dimensions of a head: d, or fewer (partial rotary); even */
    float *inverse_frequency; /* (rope_dims / 2), scaling applied; owned */
    float norm_eps;
    enum norm_kind norm;  /* RMS, or LayerNorm with bias */
    enum qk_norm qk_norm;
    bool qkv_bias, out_bias, mlp_bias; /* biases of q, k, v; of o; of the mlp */
    bool interleaved_qkv; /* rows of q, k, v of head 0, of head 1, ...: not q, then k, then v */
    bool gated;           /* silu(gate) * up; otherwise GELU */
    bool parallel_residual; /* x + attn(norm1(x)) + mlp(norm2(x)) */
    bool post_norm;       /* x + norm1(attn(x)), and so with the mlp; never with the former */
    bool tied_head;       /* the language model's head is the embedding: tie_word_embeddings */
    float init_std;       /* initializer_range */
    int64_t max_positions;
    int64_t window;       /* tokens that a query sees, itself among them; 0: all before it */
    /* config.json's, -1 when absent: often wrong, see tokenizer.h */
    int pad_token_id, bos_token_id, eos_token_id;
    int n_labels;         /* of a sequence classifier; 0: something else, or not said */
    char **label;         /* (n_labels): their names, NULL where they have none; owned */
    char *json;           /* config.json as it was read; owned */
};

/* What a config.json with nothing but this model_type would say, but for what follows from the
 * sizes: K, d, the rope. -1 with error_text() that lists the families. */
int arch_defaults(struct arch *arch, const char *model_type);

/* From config.json's text. -1 with error_text() naming the field. */
int arch_parse(struct arch *arch, const char *json, size_t length);
int arch_read(struct arch *arch, const char *directory);
void arch_free(struct arch *arch);
/* The name of label k, "LABEL_2" where it has none. mem_free. */
char *arch_label(const struct arch *arch, int k);
const char *arch_class_prefix(const struct arch *arch); /* "Llama" of LlamaForCausalLM */

/* Sliding windows are not implemented, and change nothing while no sequence is longer than one.
 * -1 with error_text() if sequences of `longest` tokens would be. */
int arch_check_length(const struct arch *arch, int64_t longest);
#endif
