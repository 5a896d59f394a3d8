/* The architecture of a model: what config.json says, as a few numbers and switches, not classes.
 *
 * Families: Llama (with Llama-3 rope scaling), Qwen2, Qwen3, GPT-NeoX/Pythia. Both spellings of
 * Hugging Face configurations are read (transformers 4: rope_theta, rope_scaling, torch_dtype,
 * rotary_pct, rotary_emb_base; transformers 5: rope_parameters, dtype). A field that would change
 * the arithmetic and is not implemented is an error that names it. */
#ifndef RANKWISE_ARCH_H
#define RANKWISE_ARCH_H
#include "base.h"
#include "backend.h"

enum arch_family { ARCH_LLAMA, ARCH_QWEN2, ARCH_QWEN3, ARCH_NEOX };

struct arch {
    enum arch_family family;
    int64_t D, F, V;      /* width, ffn width, rows of the embedding */
    int L, H, K, d;       /* layers, heads, kv heads, head_dim (not always D / H) */
    int rope_dims;        /* rotated dimensions of a head: d, or fewer (partial rotary); even */
    float *inverse_frequency; /* (rope_dims / 2), scaling applied; owned */
    float norm_eps;
    enum norm_kind norm;  /* RMS, or LayerNorm with bias (NeoX) */
    bool qkv_bias, out_bias, mlp_bias; /* biases of q, k, v; of o; of the mlp */
    bool qk_norm;         /* Qwen3 */
    bool fused_qkv;       /* NeoX: rows q, k, v of head 0, of head 1, ... */
    bool gated;           /* silu(gate) * up; otherwise GELU */
    bool parallel_residual; /* x + attn(norm1(x)) + mlp(norm2(x)) */
    float init_std;       /* initializer_range */
    int64_t max_positions;
    /* config.json's, -1 when absent: often wrong, see tokenizer.h */
    int pad_token_id, bos_token_id, eos_token_id;
    char *json;           /* config.json as it was read; owned */
};

/* From config.json's text. -1 with error_text() naming the field. */
int arch_parse(struct arch *arch, const char *json, size_t length);
int arch_read(struct arch *arch, const char *directory);
void arch_free(struct arch *arch);
const char *arch_family_name(enum arch_family family);       /* "llama", ...: model_type */
const char *arch_class_prefix(enum arch_family family); /* "Llama", "Qwen2", "Qwen3", "GPTNeoX" */

/* Non-embedding parameters (blocks and final norm and head), for FLOP counts. */
int64_t arch_block_parameters(const struct arch *arch);
#endif
