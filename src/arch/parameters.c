/* The parameter table: see parameters.h. Names are put together from the family's row in families.c
 * and are those of <Family>ForSequenceClassification in transformers. */
#include "parameters.h"

#include <math.h>
#include <string.h>

#include "config.h"
#include "families.h"
#include "memory.h"
#include "random.h"

/* The table while it grows: parameters are added in the order in which they lie in their unit, and
 * table->n_units is the number of the unit that is being filled. */
struct builder {
    struct parameters *table;
    const struct arch *arch;
    const struct tensor_names *names;
    const struct parameters_options *options;
    int capacity;
};

static struct parameter *add(struct builder *b, enum role role, char *name, int64_t rows,
                             int64_t cols) {
    struct parameters *table = b->table;
    ARRAY_RESERVE(table->item, table->n, b->capacity);
    struct parameter *p = &table->item[table->n++];
    *p = (struct parameter){.name = name,
                            .role = role,
                            .unit = table->n_units,
                            .count = rows * cols,
                            .rows = rows,
                            .cols = cols,
                            .n_dims = 1};
    return p;
}

/* A matrix (rows, cols): decays, normal with standard deviation std. */
static void add_matrix(struct builder *b, enum role role, char *name, int64_t rows, int64_t cols) {
    struct parameter *p = add(b, role, name, rows, cols);
    p->n_dims = 2;
    p->decay = true;
    p->init = INIT_NORMAL;
    p->init_std = b->arch->init_std;
}

static void add_vector(struct builder *b, enum role role, char *name, int64_t length,
                       enum init_kind init) {
    add(b, role, name, length, 1)->init = init;
}

/* The next parameter begins a new unit. */
static void end_unit(struct builder *b) {
    struct parameters *table = b->table;
    table->unit[table->n_units].end = table->n;
    table->n_units++;
    if (table->n_units < b->arch->L + 2) table->unit[table->n_units].first = table->n;
}

/* "model.layers.2.self_attn.q_proj.weight", say. */
static char *block_name(const struct builder *b, const char *part, const char *kind) {
    CHECK(part, "a tensor without a name in this family");
    return mem_format("%slayers.%d.%s.%s", b->names->base, b->table->n_units - 1, part, kind);
}

static void block_matrix(struct builder *b, enum role role, const char *part, int64_t rows,
                         int64_t cols) {
    add_matrix(b, role, block_name(b, part, "weight"), rows, cols);
}

static void block_bias(struct builder *b, enum role role, const char *part, int64_t length) {
    add_vector(b, role, block_name(b, part, "bias"), length, INIT_ZERO);
}

static void block_norm(struct builder *b, enum role weight, enum role bias, const char *part) {
    add_vector(b, weight, block_name(b, part, "weight"), b->arch->D, INIT_ONE);
    if (b->arch->norm == NORM_LAYER) block_bias(b, bias, part, b->arch->D);
}

/* q, k and v stand together, so that they are one matrix and one bias to the model, whether or not
 * the files have them as one tensor. */
static void add_attention(struct builder *b) {
    const struct arch *a = b->arch;
    const struct tensor_names *n = b->names;
    int64_t q = (int64_t)a->H * a->d, kv = (int64_t)a->K * a->d, first = n->k ? q : q + 2 * kv;
    block_matrix(b, ROLE_QKV_WEIGHT, n->q, first, a->D);
    if (n->k) {
        block_matrix(b, ROLE_K_WEIGHT, n->k, kv, a->D);
        block_matrix(b, ROLE_V_WEIGHT, n->v, kv, a->D);
    }
    if (a->qkv_bias) block_bias(b, ROLE_QKV_BIAS, n->q, first);
    if (a->qkv_bias && n->k) {
        block_bias(b, ROLE_K_BIAS, n->k, kv);
        block_bias(b, ROLE_V_BIAS, n->v, kv);
    }
    if (a->qk_norm != QK_NORM_NONE) {
        bool whole = a->qk_norm == QK_NORM_WHOLE;
        add_vector(b, ROLE_Q_NORM, block_name(b, n->q_norm, "weight"), whole ? q : a->d, INIT_ONE);
        add_vector(b, ROLE_K_NORM, block_name(b, n->k_norm, "weight"), whole ? kv : a->d, INIT_ONE);
    }
    block_matrix(b, ROLE_OUT_WEIGHT, n->out, a->D, q);
    if (a->out_bias) block_bias(b, ROLE_OUT_BIAS, n->out, a->D);
}

/* Gate and up stand together too. */
static void add_mlp(struct builder *b) {
    const struct arch *a = b->arch;
    const struct tensor_names *n = b->names;
    bool separate = a->gated && n->up2;
    int64_t first = a->gated && !n->up2 ? 2 * a->F : a->F;
    block_matrix(b, ROLE_UP_WEIGHT, n->up, first, a->D);
    if (separate) block_matrix(b, ROLE_UP2_WEIGHT, n->up2, a->F, a->D);
    if (a->mlp_bias) block_bias(b, ROLE_UP_BIAS, n->up, first);
    if (a->mlp_bias && separate) block_bias(b, ROLE_UP2_BIAS, n->up2, a->F);
    block_matrix(b, ROLE_DOWN_WEIGHT, n->down, a->D, a->F);
    if (a->mlp_bias) block_bias(b, ROLE_DOWN_BIAS, n->down, a->D);
}

/* ---- adapters ---- */

static const struct {
    enum role role;
    enum adapter_input input;
} modules[N_MODULES] = {{ROLE_QKV_WEIGHT, ADAPTERS_QKV},  {ROLE_K_WEIGHT, ADAPTERS_QKV},
                        {ROLE_V_WEIGHT, ADAPTERS_QKV},    {ROLE_OUT_WEIGHT, ADAPTERS_OUT},
                        {ROLE_UP_WEIGHT, ADAPTERS_UP},    {ROLE_UP2_WEIGHT, ADAPTERS_UP},
                        {ROLE_DOWN_WEIGHT, ADAPTERS_DOWN}};

enum role parameters_module_role(int module) {
    return modules[module].role;
}

enum adapter_input parameters_module_input(int module) {
    return modules[module].input;
}

/* "model.layers.2.self_attn.q_proj" of its weight; mem_free. */
static char *module_name(const struct parameter *weight) {
    return mem_format("%.*s", (int)(strlen(weight->name) - strlen(".weight")), weight->name);
}

/* Whether a target is the module's name, or the end of it behind a dot. */
static bool is_target(char *target, const char *module) {
    struct patterns one = {&target, 1};
    if (strcmp(target, "all-linear") == 0) return true;
    for (const char *at = module; at; at = strchr(at, '.')) {
        if (at != module) at++;
        if (patterns_match(&one, at)) return true;
    }
    return false;
}

static bool has_adapter(const struct builder *b, const char *module) {
    const struct patterns *targets = &b->options->lora.targets;
    for (int t = 0; t < targets->n; t++)
        if (is_target(targets->item[t], module)) return true;
    return false;
}

/* The matrix of a module in the block that is being filled; NULL where it has none. */
static struct parameter *find_module(const struct builder *b, int module) {
    struct parameters *table = b->table;
    for (int i = table->unit[table->n_units].first; i < table->n; i++)
        if (table->item[i].role == modules[module].role) return &table->item[i];
    return NULL;
}

/* A, or B where `up`, of a module that is a target. As PEFT starts them: A uniform as torch's
 * Linear, B zero. Whether the module is one. */
static bool add_adapter(struct builder *b, int module, bool up) {
    struct parameter *weight = find_module(b, module);
    if (!weight) return false;
    int64_t rank = b->options->lora.rank;
    int64_t rows = weight->rows, cols = weight->cols;
    char *name = module_name(weight);
    bool is_one = has_adapter(b, name);
    if (is_one) {
        char *full = mem_format("base_model.model.%s.lora_%c.weight", name, up ? 'B' : 'A');
        if (up)
            add_matrix(b, parameters_b_role(module), full, rows, rank);
        else
            add_matrix(b, parameters_a_role(module), full, rank, cols);
        struct parameter *p = &b->table->item[b->table->n - 1];
        p->init = up ? INIT_ZERO : INIT_UNIFORM;
        p->init_std = (float)(1 / sqrt((double)cols));
    }
    mem_free(name);
    return is_one;
}

/* The A's of what reads the same input stand together, as one matrix. */
static void add_adapters(struct builder *b) {
    struct adapters *adapters = &b->table->adapters;
    for (int input = 0; input < N_ADAPTER_INPUTS; input++) {
        int n = 0;
        for (int m = 0; m < N_MODULES; m++)
            n += modules[m].input == (enum adapter_input)input && add_adapter(b, m, false);
        for (int m = 0; m < N_MODULES; m++)
            if (modules[m].input == (enum adapter_input)input) add_adapter(b, m, true);
        adapters->modules[input] = MAX(adapters->modules[input], n);
    }
}

/* Every target is the name of a module; the message lists these as the files have them. */
static int check_target(const struct builder *b, char *target) {
    const struct parameters *table = b->table;
    struct buffer known = {0};
    const char *word[N_MODULES], *near = NULL;
    char *name[N_MODULES] = {NULL};
    int n = 0;
    bool matches = false;
    for (int i = 0; i < table->n && !matches; i++)
        for (int m = 0; m < N_MODULES && !matches; m++) {
            if (table->item[i].role != modules[m].role) continue;
            char *module = module_name(&table->item[i]);
            matches = is_target(target, module);
            if (!matches && table->item[i].unit == 1) {
                name[n] = module;
                word[n] = strrchr(module, '.') + 1;
                buffer_format(&known, "%s, ", word[n++]);
            } else {
                mem_free(module);
            }
        }
    if (!matches) near = config_nearest(target, word, n);
    int status = matches
                     ? 0
                     : fail("lora.targets: expected %sor all-linear, found \"%s\"%s%s", known.data,
                            target, near ? "; hint: did you mean " : "", near ? near : "");
    for (int i = 0; i < n; i++) mem_free(name[i]);
    buffer_free(&known);
    return status;
}

/* Freezes what is neither an adapter nor the score head. */
static int finish_adapters(struct builder *b) {
    const struct lora *lora = &b->options->lora;
    struct parameters *table = b->table;
    if (lora->targets.n == 0) return fail("lora.targets: expected names of modules, found none");
    for (int t = 0; t < lora->targets.n; t++)
        if (check_target(b, lora->targets.item[t]) != 0) return -1;
    double divisor = lora->rslora ? sqrt((double)lora->rank) : (double)lora->rank;
    table->adapters.rank = (int)lora->rank;
    table->adapters.scale = (float)(lora->alpha / divisor);
    for (int i = 0; i < table->n; i++) {
        struct parameter *p = &table->item[i];
        bool is_head = p->role == ROLE_SCORE || p->role == ROLE_TIE_THRESHOLD;
        if (!parameter_is_adapter(p) && !is_head) p->segment = SEGMENT_FROZEN;
    }
    return 0;
}

/* ---- the table ---- */

/* The final norm and the score head. The head's standard deviation, which is not the model's
 * initializer_range, keeps first scores near 1 in size: its input has norm sqrt(D). */
static void add_last_unit(struct builder *b) {
    const struct arch *a = b->arch;
    const char *base = b->names->base, *norm = b->names->final_norm;
    b->table->unit[b->table->n_units].fp32 = true;
    add_vector(b, ROLE_FINAL_NORM_WEIGHT, mem_format("%s%s.weight", base, norm), a->D, INIT_ONE);
    if (a->norm == NORM_LAYER)
        add_vector(b, ROLE_FINAL_NORM_BIAS, mem_format("%s%s.bias", base, norm), a->D, INIT_ZERO);
    if (b->options->head.kind == HEAD_SCORE) {
        add_matrix(b, ROLE_SCORE, mem_copy_string("score.weight"), b->options->head.n_scores, a->D);
        b->table->item[b->table->n - 1].init_std = (float)(1 / sqrt((double)a->D + 1));
    }
    if (b->options->head.tie_threshold)
        add_vector(b, ROLE_TIE_THRESHOLD, mem_copy_string("tie_threshold"), 1, INIT_ZERO);
    end_unit(b);
}

void parameters_place(struct parameters *table) {
    for (int u = 0; u < table->n_units; u++) {
        struct unit *unit = &table->unit[u];
        memset(unit->count, 0, sizeof unit->count);
        for (int i = unit->first; i < unit->end; i++) {
            struct parameter *p = &table->item[i];
            p->offset = unit->count[p->segment];
            unit->count[p->segment] += parameter_extent(p);
        }
    }
}

/* by_role is filled last: the items may have moved while the array grew. */
int parameters_build(struct parameters *table, const struct arch *arch,
                     const struct parameters_options *options) {
    CHECK(options->head.kind != HEAD_SCORE || options->head.n_scores > 0, "a head without scores");
    *table = (struct parameters){.head = options->head};
    table->unit = mem_alloc(arch->L + 2, sizeof *table->unit);
    const struct tensor_names *names = arch->family->names;
    struct builder b = {table, arch, names, options, 0};
    add_matrix(&b, ROLE_EMBEDDING, mem_format("%s%s.weight", names->base, names->embedding),
               arch->V, arch->D);
    if (options->head.kind == HEAD_LM && !arch->tied_head)
        add_matrix(&b, ROLE_LM_HEAD, mem_format("%s.weight", names->lm_head), arch->V, arch->D);
    end_unit(&b);
    for (int layer = 0; layer < arch->L; layer++) {
        block_norm(&b, ROLE_NORM1_WEIGHT, ROLE_NORM1_BIAS, names->norm1);
        add_attention(&b);
        block_norm(&b, ROLE_NORM2_WEIGHT, ROLE_NORM2_BIAS, names->norm2);
        add_mlp(&b);
        if (options->lora.rank > 0) add_adapters(&b);
        end_unit(&b);
    }
    add_last_unit(&b);
    for (int i = 0; i < table->n; i++)
        table->unit[table->item[i].unit].by_role[table->item[i].role] = &table->item[i];
    if (options->lora.rank > 0 && finish_adapters(&b) != 0) {
        parameters_free(table);
        return -1;
    }
    parameters_place(table);
    return 0;
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
    for (int i = 0; i < table->n; i++) count += table->item[i].count;
    return count;
}

int64_t parameters_count_trained(const struct parameters *table) {
    int64_t count = 0;
    for (int u = 0; u < table->n_units; u++) count += table->unit[u].count[SEGMENT_TRAINED];
    return count;
}

int parameters_lowest_trained(const struct parameters *table) {
    int u = 0;
    while (u < table->n_units && table->unit[u].count[SEGMENT_TRAINED] == 0) u++;
    return u;
}

int64_t parameters_count_in_products(const struct parameters *table) {
    const struct parameter *words = table->unit[0].by_role[ROLE_EMBEDDING];
    int64_t count = table->head.kind == HEAD_LM ? words->count : 0;
    for (int i = table->unit[0].end; i < table->n; i++) count += table->item[i].count;
    return count;
}

int parameters_frozen_blocks(const struct parameters *table) {
    return MAX(0, MIN(parameters_lowest_trained(table), table->n_units - 1) - 1);
}

double parameters_count_in_step(const struct parameters *table, double read_share) {
    const struct parameter *words = table->unit[0].by_role[ROLE_EMBEDDING];
    int lowest = parameters_lowest_trained(table);
    double count = 0;
    for (int i = 0; i < table->n; i++) {
        const struct parameter *p = &table->item[i];
        bool is_head = table->head.kind == HEAD_LM && p == words;
        if (p->unit == 0 && !is_head) continue;
        double products = 1 + (is_head || p->unit >= lowest) + (p->segment == SEGMENT_TRAINED);
        count += (double)p->count * products * (is_head ? read_share : 1);
    }
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
        else if (p->init == INIT_UNIFORM)
            out[i] = (float)(p->init_std *
                             (2 * random_uniform(seed, purpose, (uint64_t)(first + i)) - 1));
        else
            out[i] = p->init == INIT_ONE ? 1 : 0;
    }
}
