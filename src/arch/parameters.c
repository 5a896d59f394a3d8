/* The parameter table: see parameters.h. Names are those of <Family>ForSequenceClassification in
 * transformers. */
#include "parameters.h"

#include <math.h>
#include <string.h>

#include "memory.h"
#include "random.h"

/* The name of each role inside a block. Up and down are the gated MLP's gate_proj, up_proj,
 * down_proj, or NeoX's. */
static const char *const llama_name[N_ROLES] = {
    [ROLE_NORM1_WEIGHT] = "input_layernorm.weight",
    [ROLE_QKV_WEIGHT] = "self_attn.q_proj.weight",
    [ROLE_K_WEIGHT] = "self_attn.k_proj.weight",
    [ROLE_V_WEIGHT] = "self_attn.v_proj.weight",
    [ROLE_QKV_BIAS] = "self_attn.q_proj.bias",
    [ROLE_K_BIAS] = "self_attn.k_proj.bias",
    [ROLE_V_BIAS] = "self_attn.v_proj.bias",
    [ROLE_Q_NORM] = "self_attn.q_norm.weight",
    [ROLE_K_NORM] = "self_attn.k_norm.weight",
    [ROLE_OUT_WEIGHT] = "self_attn.o_proj.weight",
    [ROLE_OUT_BIAS] = "self_attn.o_proj.bias",
    [ROLE_NORM2_WEIGHT] = "post_attention_layernorm.weight",
    [ROLE_UP_WEIGHT] = "mlp.gate_proj.weight",
    [ROLE_UP2_WEIGHT] = "mlp.up_proj.weight",
    [ROLE_UP_BIAS] = "mlp.gate_proj.bias",
    [ROLE_UP2_BIAS] = "mlp.up_proj.bias",
    [ROLE_DOWN_WEIGHT] = "mlp.down_proj.weight",
    [ROLE_DOWN_BIAS] = "mlp.down_proj.bias",
};
static const char *const neox_name[N_ROLES] = {
    [ROLE_NORM1_WEIGHT] = "input_layernorm.weight",
    [ROLE_NORM1_BIAS] = "input_layernorm.bias",
    [ROLE_QKV_WEIGHT] = "attention.query_key_value.weight",
    [ROLE_QKV_BIAS] = "attention.query_key_value.bias",
    [ROLE_OUT_WEIGHT] = "attention.dense.weight",
    [ROLE_OUT_BIAS] = "attention.dense.bias",
    [ROLE_NORM2_WEIGHT] = "post_attention_layernorm.weight",
    [ROLE_NORM2_BIAS] = "post_attention_layernorm.bias",
    [ROLE_UP_WEIGHT] = "mlp.dense_h_to_4h.weight",
    [ROLE_UP_BIAS] = "mlp.dense_h_to_4h.bias",
    [ROLE_DOWN_WEIGHT] = "mlp.dense_4h_to_h.weight",
    [ROLE_DOWN_BIAS] = "mlp.dense_4h_to_h.bias",
};

struct builder {
    struct parameters *table;
    const struct arch *arch;
    int room;
};

static struct parameter *add(struct builder *b, enum role role, char *name, int64_t rows,
                             int64_t cols) {
    struct parameters *table = b->table;
    ARRAY_RESERVE(table->item, table->n, b->room);
    struct unit *unit = &table->unit[table->n_units];
    struct parameter *p = &table->item[table->n++];
    *p = (struct parameter){name, role, table->n_units, unit->count, rows * cols, rows, cols};
    p->n_dims = 1;
    p->split_axis = -1;
    unit->count += p->count;
    return p;
}

/* A matrix (rows, cols): decays, normal with standard deviation std. */
static void add_matrix(struct builder *b, enum role role, char *name, int64_t rows, int64_t cols,
                       int split_axis) {
    struct parameter *p = add(b, role, name, rows, cols);
    p->n_dims = 2;
    p->decay = true;
    p->init = INIT_NORMAL;
    p->init_std = b->arch->init_std;
    p->split_axis = split_axis;
}

static void add_vector(struct builder *b, enum role role, char *name, int64_t length,
                       enum init_kind init, int split_axis) {
    struct parameter *p = add(b, role, name, length, 1);
    p->init = init;
    p->split_axis = split_axis;
}

static void end_unit(struct builder *b) {
    struct parameters *table = b->table;
    table->unit[table->n_units].end = table->n;
    table->n_units++;
    if (table->n_units < b->arch->L + 2) table->unit[table->n_units].first = table->n;
}

static const char *base_prefix(const struct arch *arch) {
    return arch->family == ARCH_NEOX ? "gpt_neox." : "model.";
}

static char *block_name(const struct builder *b, enum role role) {
    const char *const *names = b->arch->family == ARCH_NEOX ? neox_name : llama_name;
    CHECK(names[role], "role %d has no name in this family", (int)role);
    return mem_format("%slayers.%d.%s", base_prefix(b->arch), b->table->n_units - 1, names[role]);
}

static void block_matrix(struct builder *b, enum role role, int64_t rows, int64_t cols,
                         int split_axis) {
    add_matrix(b, role, block_name(b, role), rows, cols, split_axis);
}

static void block_norm(struct builder *b, enum role weight, enum role bias) {
    add_vector(b, weight, block_name(b, weight), b->arch->D, INIT_ONE, -1);
    if (b->arch->norm == NORM_LAYER)
        add_vector(b, bias, block_name(b, bias), b->arch->D, INIT_ZERO, -1);
}

static void block_bias(struct builder *b, enum role role, int64_t length, int split_axis) {
    add_vector(b, role, block_name(b, role), length, INIT_ZERO, split_axis);
}

/* q, k and v stand together, so that they are one matrix and one bias to the model. */
static void add_attention(struct builder *b) {
    const struct arch *a = b->arch;
    int64_t q = (int64_t)a->H * a->d, kv = (int64_t)a->K * a->d;
    block_matrix(b, ROLE_QKV_WEIGHT, a->fused_qkv ? q + 2 * kv : q, a->D, 0);
    if (!a->fused_qkv) {
        block_matrix(b, ROLE_K_WEIGHT, kv, a->D, 0);
        block_matrix(b, ROLE_V_WEIGHT, kv, a->D, 0);
    }
    if (a->qkv_bias) block_bias(b, ROLE_QKV_BIAS, a->fused_qkv ? q + 2 * kv : q, 0);
    if (a->qkv_bias && !a->fused_qkv) {
        block_bias(b, ROLE_K_BIAS, kv, 0);
        block_bias(b, ROLE_V_BIAS, kv, 0);
    }
    if (a->qk_norm) {
        add_vector(b, ROLE_Q_NORM, block_name(b, ROLE_Q_NORM), a->d, INIT_ONE, -1);
        add_vector(b, ROLE_K_NORM, block_name(b, ROLE_K_NORM), a->d, INIT_ONE, -1);
    }
    block_matrix(b, ROLE_OUT_WEIGHT, a->D, q, 1);
    if (a->out_bias) block_bias(b, ROLE_OUT_BIAS, a->D, -1);
}

static void add_mlp(struct builder *b) {
    const struct arch *a = b->arch;
    block_matrix(b, ROLE_UP_WEIGHT, a->F, a->D, 0);
    if (a->gated) block_matrix(b, ROLE_UP2_WEIGHT, a->F, a->D, 0);
    if (a->mlp_bias) block_bias(b, ROLE_UP_BIAS, a->F, 0);
    if (a->mlp_bias && a->gated) block_bias(b, ROLE_UP2_BIAS, a->F, 0);
    block_matrix(b, ROLE_DOWN_WEIGHT, a->D, a->F, 1);
    if (a->mlp_bias) block_bias(b, ROLE_DOWN_BIAS, a->D, -1);
}

static void add_last_unit(struct builder *b) {
    const struct arch *a = b->arch;
    const char *norm = a->family == ARCH_NEOX ? "final_layer_norm" : "norm";
    b->table->unit[b->table->n_units].fp32 = true;
    add_vector(b, ROLE_FINAL_NORM_WEIGHT, mem_format("%s%s.weight", base_prefix(a), norm), a->D,
               INIT_ONE, -1);
    if (a->norm == NORM_LAYER)
        add_vector(b, ROLE_FINAL_NORM_BIAS, mem_format("%s%s.bias", base_prefix(a), norm), a->D,
                   INIT_ZERO, -1);
    add_matrix(b, ROLE_SCORE, mem_copy_string("score.weight"), 1, a->D, -1);
    b->table->item[b->table->n - 1].init_std = (float)(1 / sqrt((double)a->D + 1));
    end_unit(b);
}

void parameters_build(struct parameters *table, const struct arch *arch) {
    *table = (struct parameters){0};
    table->unit = mem_alloc(arch->L + 2, sizeof *table->unit);
    struct builder b = {table, arch};
    const char *embedding = arch->family == ARCH_NEOX ? "embed_in" : "embed_tokens";
    add_matrix(&b, ROLE_EMBEDDING, mem_format("%s%s.weight", base_prefix(arch), embedding), arch->V,
               arch->D, 0);
    end_unit(&b);
    for (int layer = 0; layer < arch->L; layer++) {
        block_norm(&b, ROLE_NORM1_WEIGHT, ROLE_NORM1_BIAS);
        add_attention(&b);
        block_norm(&b, ROLE_NORM2_WEIGHT, ROLE_NORM2_BIAS);
        add_mlp(&b);
        end_unit(&b);
    }
    add_last_unit(&b);
    for (int i = 0; i < table->n; i++)
        table->unit[table->item[i].unit].by_role[table->item[i].role] = &table->item[i];
}

void parameters_free(struct parameters *table) {
    for (int i = 0; i < table->n; i++) mem_free(table->item[i].name);
    mem_free(table->item);
    mem_free(table->unit);
    *table = (struct parameters){0};
}

const struct parameter *parameters_find(const struct parameters *table, const char *name) {
    for (int i = 0; i < table->n; i++)
        if (strcmp(table->item[i].name, name) == 0) return &table->item[i];
    return NULL;
}

int64_t parameters_count(const struct parameters *table) {
    int64_t count = 0;
    for (int u = 0; u < table->n_units; u++) count += table->unit[u].count;
    return count;
}

void parameters_init(const struct parameter *p, uint64_t seed, int64_t first, int64_t count,
                     float *out) {
    CHECK(first >= 0 && count >= 0 && first + count <= p->count, "%s: elements %lld + %lld of %lld",
          p->name, (long long)first, (long long)count, (long long)p->count);
    uint64_t purpose = random_purpose(p->name);
#pragma omp parallel for if (count > 4096)
    for (int64_t i = 0; i < count; i++) {
        if (p->init == INIT_NORMAL)
            out[i] = (float)(p->init_std * random_normal(seed, purpose, (uint64_t)(first + i)));
        else
            out[i] = p->init == INIT_ONE ? 1 : 0;
    }
}
