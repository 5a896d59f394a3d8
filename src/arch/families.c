/* The table of model families: see families.h. Numbers are the defaults of transformers'
 * configuration classes. */
#include "families.h"

#include <string.h>

#include "memory.h"

/* Llama's, and most others'. */
static const struct tensor_names separate = {
    .base = "model.",
    .embedding = "embed_tokens",
    .final_norm = "norm",
    .lm_head = "lm_head",
    .norm1 = "input_layernorm",
    .norm2 = "post_attention_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .out = "self_attn.o_proj",
    .up = "mlp.gate_proj",
    .up2 = "mlp.up_proj",
    .down = "mlp.down_proj",
};

static const struct tensor_names neox = {
    .base = "gpt_neox.",
    .embedding = "embed_in",
    .final_norm = "final_layer_norm",
    .lm_head = "embed_out",
    .norm1 = "input_layernorm",
    .norm2 = "post_attention_layernorm",
    .q = "attention.query_key_value",
    .out = "attention.dense",
    .up = "mlp.dense_h_to_4h",
    .down = "mlp.dense_4h_to_h",
};

static const struct tensor_names olmo2 = {
    .base = "model.",
    .embedding = "embed_tokens",
    .final_norm = "norm",
    .lm_head = "lm_head",
    .norm1 = "post_attention_layernorm",
    .norm2 = "post_feedforward_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .out = "self_attn.o_proj",
    .up = "mlp.gate_proj",
    .up2 = "mlp.up_proj",
    .down = "mlp.down_proj",
};

static const struct tensor_names phi3 = {
    .base = "model.",
    .embedding = "embed_tokens",
    .final_norm = "norm",
    .lm_head = "lm_head",
    .norm1 = "input_layernorm",
    .norm2 = "post_attention_layernorm",
    .q = "self_attn.qkv_proj",
    .out = "self_attn.o_proj",
    .up = "mlp.gate_up_proj",
    .down = "mlp.down_proj",
};

/* The sizes of struct arch, the tokens pad, BOS and EOS (-1: none), and what the families with a
 * gated MLP have in common. */
#define SIZES(width, ffn, vocabulary, layers, heads, kv_heads, head_dim, positions)               \
    .D = width, .F = ffn, .V = vocabulary, .L = layers, .H = heads, .K = kv_heads, .d = head_dim, \
    .max_positions = positions
#define TOKENS(pad, bos, eos) .pad_token_id = pad, .bos_token_id = bos, .eos_token_id = eos
#define GATED .activation = "silu", .eps_key = "rms_norm_eps", .kv_heads_key = "num_key_value_heads"

static const struct family families[] = {
    {.model_type = "llama",
     .class_prefix = "Llama",
     .names = &separate,
     .defaults = {SIZES(4096, 11008, 32000, 32, 32, 0, 0, 2048), TOKENS(-1, 1, 2), .gated = true,
                  .norm_eps = 1e-6f},
     GATED,
     .attention_bias_key = "attention_bias",
     .mlp_bias_key = "mlp_bias"},

    {.model_type = "qwen2",
     .class_prefix = "Qwen2",
     .names = &separate,
     .defaults = {SIZES(4096, 22016, 151936, 32, 32, 32, 0, 32768), TOKENS(-1, -1, -1),
                  .gated = true, .norm_eps = 1e-6f, .window = 4096, .qkv_bias = true},
     GATED},

    {.model_type = "qwen3",
     .class_prefix = "Qwen3",
     .names = &separate,
     .defaults = {SIZES(4096, 22016, 151936, 32, 32, 32, 128, 32768), TOKENS(-1, -1, -1),
                  .gated = true, .norm_eps = 1e-6f, .window = 4096, .qk_norm = QK_NORM_HEADS},
     GATED,
     .attention_bias_key = "attention_bias"},

    {.model_type = "gpt_neox",
     .class_prefix = "GPTNeoX",
     .names = &neox,
     .defaults = {SIZES(6144, 24576, 50432, 44, 64, 0, 0, 2048), TOKENS(-1, 0, 2),
                  .norm = NORM_LAYER, .norm_eps = 1e-5f, .qkv_bias = true, .out_bias = true,
                  .mlp_bias = true, .interleaved_qkv = true, .parallel_residual = true},
     .activation = "gelu",
     .eps_key = "layer_norm_eps",
     .attention_bias_key = "attention_bias",
     .parallel_key = "use_parallel_residual",
     .theta_key = "rotary_emb_base",
     .share_key = "rotary_pct",
     .rotary_share = 0.25,
     .heads_fill_width = true},

    {.model_type = "mistral",
     .class_prefix = "Mistral",
     .names = &separate,
     .defaults = {SIZES(4096, 14336, 32000, 32, 32, 8, 0, 131072), TOKENS(-1, 1, 2), .gated = true,
                  .norm_eps = 1e-6f, .window = 4096},
     GATED,
     .always_windows = true},

    {.model_type = "phi3",
     .class_prefix = "Phi3",
     .names = &phi3,
     .defaults = {SIZES(3072, 8192, 32064, 32, 32, 0, 0, 4096), TOKENS(32000, 1, 32000),
                  .gated = true, .norm_eps = 1e-5f},
     GATED,
     .rotary_share = 1,
     .always_windows = true},

    {.model_type = "olmo2",
     .class_prefix = "Olmo2",
     .names = &olmo2,
     .defaults = {SIZES(4096, 11008, 50304, 32, 32, 0, 0, 2048), TOKENS(1, -1, 50279),
                  .gated = true, .norm_eps = 1e-5f, .qk_norm = QK_NORM_WHOLE, .post_norm = true},
     GATED,
     .attention_bias_key = "attention_bias"},
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

char *family_list(void) {
    struct buffer text = {0};
    for (int f = 0; f < N_FAMILIES; f++)
        buffer_format(&text, "%s%s",
                      f == 0                ? ""
                      : f == N_FAMILIES - 1 ? " or "
                                            : ", ",
                      families[f].model_type);
    return text.data;
}

/* The family of a model_type, which may be NULL. NULL with error_text() where there is none. */
static const struct family *find_family(const char *model_type) {
    for (int f = 0; model_type && f < N_FAMILIES; f++)
        if (strcmp(model_type, families[f].model_type) == 0) return &families[f];
    char *known = family_list();
    fail("\"model_type\": expected %s, found %.100s", known, model_type ? model_type : "nothing");
    mem_free(known);
    return NULL;
}

int arch_defaults(struct arch *arch, const char *model_type) {
    *arch = (struct arch){0};
    const struct family *family = find_family(model_type);
    if (!family) return -1;
    *arch = family->defaults;
    arch->family = family;
    arch->init_std = 0.02f;
    return 0;
}

const char *arch_class_prefix(const struct arch *arch) {
    return arch->family->class_prefix;
}
