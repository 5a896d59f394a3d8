/* config.json -> struct arch.
 *
 *   (1) A missing field, or null, has the default of transformers' configuration class of the same
 *       model_type.
 *   (2) Every field that changes the arithmetic is either implemented or refused by name, never
 *       passed over.
 *   (3) Every size is bounded here, so that no product of sizes overflows an int64_t later.
 *
 * The inverse frequencies are computed in fp32 in transformers' order of operations: positions of
 * some thousands multiply their rounding. */
#include <math.h>
#include <string.h>

#include "families.h"
#include "file.h"
#include "json.h"
#include "labels.h"

enum { CONFIG_CEILING = 16 << 20 };
enum {
    MAX_WIDTH = 1 << 20,
    MAX_FFN = 1 << 22,
    MAX_VOCABULARY = 1 << 24,
    MAX_LAYERS = 4096,
    MAX_HEADS = 1 << 15
};
enum { MAX_HEAD_DIM = 4096, MAX_POSITIONS = 1 << 30 };

static int refuse(const char *key, const json_t *value, const char *expected) {
    char *text = json_text(value);
    int status =
        fail("\"%s\": expected %s, found %.200s, which is not implemented", key, expected, text);
    mem_free(text);
    return status;
}

/* Sizes go through int64_t locals, since struct arch holds the small ones as int: (3). */
static int parse_sizes(struct arch *arch, const json_t *config) {
    const struct family *f = arch->family;
    int64_t L = arch->L, H = arch->H, K = arch->K, d = arch->d;
    if (json_get_int(config, "hidden_size", 1, MAX_WIDTH, &arch->D) ||
        json_get_int(config, "intermediate_size", 1, MAX_FFN, &arch->F) ||
        json_get_int(config, "vocab_size", 1, MAX_VOCABULARY, &arch->V) ||
        json_get_int(config, "num_hidden_layers", 1, MAX_LAYERS, &L) ||
        json_get_int(config, "num_attention_heads", 1, MAX_HEADS, &H) ||
        json_get_int(config, "max_position_embeddings", 1, MAX_POSITIONS, &arch->max_positions) ||
        json_get_int(config, "head_dim", 1, MAX_HEAD_DIM, &d))
        return -1;
    if (f->kv_heads_key) {
        /* unlike a missing one, which has the default */
        if (json_is_null(json_object_get(config, f->kv_heads_key))) K = 0;
        if (json_get_int(config, f->kv_heads_key, 1, MAX_HEADS, &K)) return -1;
    }
    if (K == 0) K = H;
    if (d == 0 && arch->D % H != 0)
        return fail(
            "\"hidden_size\": expected a multiple of num_attention_heads (%lld), found %lld",
            (long long)H, (long long)arch->D);
    if (d == 0) d = arch->D / H;
    if (d > MAX_HEAD_DIM)
        return fail("\"hidden_size\" / \"num_attention_heads\": expected at most %d", MAX_HEAD_DIM);
    if (f->heads_fill_width && d * H != arch->D)
        return fail("\"hidden_size\": expected num_attention_heads * head_dim = %lld, found %lld",
                    (long long)(d * H), (long long)arch->D);
    if (H % K != 0)
        return fail(
            "\"num_key_value_heads\": expected a divisor of num_attention_heads (%lld), found %lld",
            (long long)H, (long long)K);
    arch->L = (int)L, arch->H = (int)H, arch->K = (int)K, arch->d = (int)d;
    return 0;
}

/* A key that the family may not have. */
static int parse_switch(const json_t *config, const char *key, bool *out) {
    return key ? json_get_bool(config, key, out) : 0;
}

static int parse_switches(struct arch *arch, const json_t *config) {
    const struct family *f = arch->family;
    if (parse_switch(config, f->attention_bias_key, &arch->qkv_bias) ||
        parse_switch(config, f->attention_bias_key, &arch->out_bias) ||
        parse_switch(config, f->mlp_bias_key, &arch->mlp_bias))
        return -1;
    return parse_switch(config, f->parallel_key, &arch->parallel_residual) ||
                   parse_switch(config, "tie_word_embeddings", &arch->tied_head)
               ? -1
               : 0;
}

static int parse_numbers(struct arch *arch, const json_t *config) {
    const char *eps_key = arch->family->eps_key;
    double eps = arch->norm_eps, std = arch->init_std;
    if (json_get_number(config, eps_key, &eps) ||
        json_get_number(config, "initializer_range", &std))
        return -1;
    if (!((float)eps > 0 && eps < 1))
        return fail("\"%s\": expected more than 0 and less than 1, found %g", eps_key, eps);
    if (!(std >= 0 && std <= 1))
        return fail("\"initializer_range\": expected 0 to 1, found %g", std);
    arch->norm_eps = (float)eps;
    arch->init_std = (float)std;
    return 0;
}

/* Special tokens: a number, a list of numbers (its first counts), or null. A missing one has the
 * default. */
static int parse_token_id(const json_t *config, const char *key, int *out) {
    const json_t *value = json_object_get(config, key);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (!value) return 0;
    *out = -1;
    if (json_is_null(value)) return 0;
    if (!json_is_integer(value) || json_integer_value(value) < -1 ||
        json_integer_value(value) >= MAX_VOCABULARY)
        return fail("\"%s\": expected a token number", key);
    *out = (int)json_integer_value(value);
    return 0;
}

/* By (2): what transformers would compute and this program does not. */
static int check_implemented(const struct arch *arch, const json_t *config) {
    const char *expected = arch->family->activation, *activation = expected;
    if (json_get_string(config, "hidden_act", &activation)) return -1;
    bool swish = arch->gated && strcmp(activation, "swish") == 0; /* another name of silu */
    if (strcmp(activation, expected) != 0 && !swish)
        return refuse("hidden_act", json_object_get(config, "hidden_act"), expected);

    const json_t *value = json_object_get(config, "quantization_config");
    if (value && !json_is_null(value))
        return refuse("quantization_config", value, "none (F32, F16 or BF16 weights)");
    bool use_mrope = false;
    if (json_get_bool(config, "use_mrope", &use_mrope)) return -1;
    if (use_mrope) return refuse("use_mrope", json_object_get(config, "use_mrope"), "false");
    bool is_causal = true; /* transformers 5 attends in both directions where it is false */
    if (json_get_bool(config, "is_causal", &is_causal)) return -1;
    if (!is_causal) return refuse("is_causal", json_object_get(config, "is_causal"), "true");
    return 0;
}

/* Whether layer_types has a sliding window in it; a kind that is not implemented is refused. */
static int parse_layer_types(const json_t *types, bool *slides) {
    const json_t *type;
    size_t i;
    json_array_foreach(types, i, type) {
        const char *name = json_string_value(type);
        if (name && strcmp(name, "full_attention") == 0) continue;
        if (!name || strcmp(name, "sliding_attention") != 0)
            return refuse("layer_types", type, "full_attention or sliding_attention");
        *slides = true;
    }
    return 0;
}

/* Sets the window. Where it counts only with use_sliding_window, it does so in the layers that
 * layer_types names or, without these, from layer max_window_layers on. */
static int parse_window(struct arch *arch, const json_t *config) {
    const json_t *types = json_object_get(config, "layer_types");
    int64_t first = 28;
    bool use = false, slides = false;
    if (json_is_null(json_object_get(config, "sliding_window")))
        arch->window = 0; /* unlike a missing one, which has the default */
    if (json_get_int(config, "sliding_window", 1, INT64_MAX, &arch->window)) return -1;
    if (arch->family->always_windows) return 0;
    if (json_get_bool(config, "use_sliding_window", &use) ||
        json_get_int(config, "max_window_layers", INT64_MIN, INT64_MAX, &first) ||
        parse_layer_types(types, &slides))
        return -1;
    if (slides && !use)
        return refuse("layer_types", types, "full_attention without use_sliding_window");
    if (!json_is_array(types)) slides = first < arch->L;
    if (!use || !slides) arch->window = 0;
    return 0;
}

int arch_check_length(const struct arch *arch, int64_t longest) {
    if (arch->window == 0 || longest <= arch->window) return 0;
    return fail("\"sliding_window\": expected at least %lld, the longest sequence there may be, "
                "found %lld; sliding windows are not implemented; hint: a window changes nothing "
                "while no sequence is longer: build the shards with --max-length %lld",
                (long long)longest, (long long)arch->window, (long long)arch->window);
}

/* Llama 3's frequencies: long wavelengths divided by factor, short ones kept, a linear blend
 * between. */
static int scale_llama3(struct arch *arch, const json_t *config, const json_t *rope) {
    double factor = NAN, low = NAN, high = NAN;
    int64_t original = arch->max_positions;
    if (json_get_number(rope, "factor", &factor) ||
        json_get_number(rope, "low_freq_factor", &low) ||
        json_get_number(rope, "high_freq_factor", &high) ||
        json_get_int(rope, "original_max_position_embeddings", 1, MAX_POSITIONS, &original) ||
        json_get_int(config, "original_max_position_embeddings", 1, MAX_POSITIONS,
                     &original)) /* outside wins */
        return -1;
    if (!(factor > 0 && low > 0 && high > low && factor < 1e9 && high < 1e9))
        return fail("rope type llama3: expected factor > 0 and high_freq_factor > low_freq_factor "
                    "> 0, found %g, %g, %g",
                    factor, high, low);
    float low_wavelength = (float)((double)original / low),
          high_wavelength = (float)((double)original / high);
    float f = (float)factor, l = (float)low, width = (float)(high - low);
    for (int i = 0; i < arch->rope_dims / 2; i++) {
        float inverse = arch->inverse_frequency[i], wavelength = (float)(2 * M_PI) / inverse;
        if (wavelength > low_wavelength) {
            inverse = inverse / f;
        } else if (wavelength >= high_wavelength) {
            float smooth = ((float)original / wavelength - l) / width;
            inverse = (1 - smooth) * inverse / f + smooth * inverse;
        }
        arch->inverse_frequency[i] = inverse;
    }
    return 0;
}

/* The object that holds the rope's fields, in either spelling; an empty one counts as none. */
static int find_rope(const json_t *config, const json_t **out) {
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(config, keys[i]);
        if (!value || json_is_null(value)) continue;
        if (!json_is_object(value)) return refuse(keys[i], value, "an object");
        if (json_object_size(value) == 0) continue;
        *out = value;
        return 0;
    }
    return 0;
}

/* theta and the rotated share of a head: inside the rope's object first, then the older spellings
 * beside it. */
static int parse_rope_numbers(const struct arch *arch, const json_t *config, const json_t *rope,
                              double *theta, double *share) {
    const struct family *f = arch->family;
    *theta = 10000;
    *share = f->rotary_share > 0 ? f->rotary_share : 1;
    if (json_get_number(config, "rope_theta", theta) ||
        (f->theta_key && json_get_number(config, f->theta_key, theta)) ||
        json_get_number(rope, "rope_theta", theta) ||
        json_get_number(config, "partial_rotary_factor", share) ||
        (f->share_key && json_get_number(config, f->share_key, share)) ||
        json_get_number(rope, "partial_rotary_factor", share))
        return -1;
    if (!(*theta > 1e-30 && *theta < 1e30))
        return fail("rope_theta: expected a positive number, found %g", *theta);
    if (!(*share > 0 && *share <= 1))
        return fail("partial_rotary_factor: expected 0 to 1, found %g", *share);
    if (f->rotary_share == 0 && *share != 1)
        return fail(
            "\"partial_rotary_factor\": expected 1 for %s, found %g, which is not implemented",
            f->model_type, *share);
    return 0;
}

/* Reads the rotary positions: how many dimensions of a head turn, and each pair's frequency. */
static int parse_rope(struct arch *arch, const json_t *config) {
    const json_t *rope = NULL, *value;
    if (find_rope(config, &rope)) return -1;
    const char *type = "default", *key;
    if (json_get_string(rope, "type", &type) || json_get_string(rope, "rope_type", &type))
        return -1;
    json_object_foreach((json_t *)rope, key, value) {
        if (json_is_object(value))
            return refuse(key, value, "one set of rope parameters for all layers");
    }
    bool llama3 = strcmp(type, "llama3") == 0;
    if (!llama3 && strcmp(type, "default") != 0)
        return fail(
            "\"rope_type\": expected default or llama3, found %.100s, which is not implemented",
            type);

    double theta, share;
    if (parse_rope_numbers(arch, config, rope, &theta, &share)) return -1;
    int dims = (int)(arch->d * share);
    arch->rope_dims = ROUND_UP(dims, 2); /* an odd number too, as in transformers 5 */
    if (dims < 1 || arch->rope_dims > arch->d)
        return fail("rotated dimensions of a head: expected an even number from 2 to %d, found %d",
                    arch->d, dims);
    arch->inverse_frequency = mem_alloc(arch->rope_dims / 2, sizeof(float));
    for (int i = 0; i < arch->rope_dims / 2; i++)
        arch->inverse_frequency[i] = 1 / (float)pow((float)theta, (float)(2 * i) / (float)dims);
    return llama3 ? scale_llama3(arch, config, rope) : 0;
}

static int parse_config(struct arch *arch, const json_t *config) {
    const char *type = NULL;
    if (!json_is_object(config)) return fail("expected a JSON object");
    if (json_get_string(config, "model_type", &type) || arch_defaults(arch, type)) return -1;
    if (parse_sizes(arch, config) || parse_switches(arch, config) || parse_numbers(arch, config) ||
        check_implemented(arch, config) || parse_window(arch, config))
        return -1;
    if (parse_token_id(config, "pad_token_id", &arch->pad_token_id) ||
        parse_token_id(config, "bos_token_id", &arch->bos_token_id) ||
        parse_token_id(config, "eos_token_id", &arch->eos_token_id) || labels_parse(arch, config))
        return -1;
    return parse_rope(arch, config);
}

int arch_parse(struct arch *arch, const char *json, size_t length) {
    *arch = (struct arch){0};
    json_t *config = json_parse(json, length);
    if (!config) return -1;
    int status = parse_config(arch, config);
    json_decref(config);
    if (status) {
        arch_free(arch);
        return -1;
    }
    arch->json = mem_alloc((int64_t)length + 1, 1);
    memcpy(arch->json, json, length);
    return 0;
}

/* A family that is not supported and a path that is no model look alike to a user: both get the
 * list of families as a hint. */
int arch_read(struct arch *arch, const char *directory) {
    char *path = file_join(directory, "config.json");
    struct buffer text = {0};
    *arch = (struct arch){0};
    int status = file_read(path, CONFIG_CEILING, &text);
    if (status == 0 && arch_parse(arch, text.data, text.length)) status = fail_context("%s", path);
    if (status) {
        char *known = family_list();
        char *hint = mem_format("expected the Hugging Face directory of a model of type %s", known);
        fail_hint(hint);
        mem_free(hint);
        mem_free(known);
    }
    buffer_free(&text);
    mem_free(path);
    return status;
}

void arch_free(struct arch *arch) {
    labels_free(arch);
    mem_free(arch->inverse_frequency);
    mem_free(arch->json);
    *arch = (struct arch){0};
}
