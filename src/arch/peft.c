/* PEFT's files: see peft.h. */
#include "peft.h"

#include <string.h>

#include "file.h"
#include "json.h"

static const char config_name[] = "adapter_config.json", base_name[] = "adapter_base.json",
                  tensors_name[] = "adapter_model.safetensors",
                  prefix[] = "base_model.model."; /* what PEFT puts before the model's own names */

bool peft_is_there(const char *directory) {
    return file_has(directory, config_name);
}

/* ---- adapter_config.json ---- */

static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* By (1). */
static int check_plain(const json_t *config) {
    static const char *const field[] = {"use_dora",
                                        "fan_in_fan_out",
                                        "rank_pattern",
                                        "alpha_pattern",
                                        "lora_bias",
                                        "layer_replication",
                                        "exclude_modules",
                                        "layers_to_transform",
                                        "target_parameters",
                                        "trainable_token_indices",
                                        "alora_invocation_tokens",
                                        "use_qalora",
                                        "use_bdlora"};
    const char *type = "", *bias = "none";
    if (json_get_string(config, "peft_type", &type) || json_get_string(config, "bias", &bias))
        return -1;
    if (strcmp(type, "LORA") != 0)
        return fail("\"peft_type\": expected LORA, found \"%.50s\"", type);
    if (strcmp(bias, "none") != 0)
        return fail("\"bias\": expected none, found \"%.50s\", which is not implemented", bias);
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++)
        if (!is_empty(json_object_get(config, field[i])))
            return fail("\"%s\": expected nothing, found a value, which is not implemented",
                        field[i]);
    const json_t *saved = json_object_get(config, "modules_to_save"), *one;
    size_t i;
    json_array_foreach(saved, i, one) {
        const char *name = json_string_value(one);
        if (name && (strcmp(name, "score") == 0 || strcmp(name, "classifier") == 0)) continue;
        return fail("\"modules_to_save\": expected the score head alone, found %.100s",
                    name ? name : "no name");
    }
    return 0;
}

static int parse_targets(const json_t *config, struct patterns *out) {
    const json_t *targets = json_object_get(config, "target_modules");
    bool is_one = json_is_string(targets);
    if (is_one && strcmp(json_string_value(targets), "all-linear") != 0)
        return fail("\"target_modules\": expected a list of names or all-linear, found the pattern "
                    "\"%.100s\"",
                    json_string_value(targets));
    int n = is_one ? 1 : (int)json_array_size(targets);
    if (n == 0) return fail("\"target_modules\": expected names of modules, found none");
    out->item = mem_alloc(n, sizeof *out->item);
    for (int i = 0; i < n; i++) {
        const char *name = json_string_value(is_one ? targets : json_array_get(targets, (size_t)i));
        if (!name) return fail("\"target_modules\": expected names of modules");
        out->item[out->n++] = mem_copy_string(name);
    }
    return 0;
}

static int parse_config(struct peft *p, const json_t *config) {
    const char *base = "";
    int64_t rank = 8;
    double alpha = 8;
    if (!json_is_object(config)) return fail("expected a JSON object");
    if (check_plain(config) || json_get_int(config, "r", 1, 4096, &rank) ||
        json_get_number(config, "lora_alpha", &alpha) ||
        json_get_bool(config, "use_rslora", &p->lora.rslora) ||
        json_get_string(config, "base_model_name_or_path", &base))
        return -1;
    p->lora.rank = rank;
    p->lora.alpha = alpha;
    p->base = mem_copy_string(base);
    return parse_targets(config, &p->lora.targets);
}

static int read_config(struct peft *p, const char *directory) {
    char *path = file_join(directory, config_name);
    json_t *config = json_read_file(path);
    int status = config ? parse_config(p, config) : -1;
    json_decref(config);
    if (status != 0 && config) fail_context("%s", path);
    mem_free(path);
    return status;
}

/* By (3). */
static int read_base(struct peft *p, const char *directory) {
    const char *digest = NULL, *quantise = NULL;
    if (!file_has(directory, base_name)) return 0;
    char *path = file_join(directory, base_name);
    json_t *base = json_read_file(path);
    int status = base ? json_get_string(base, "digest", &digest) : -1;
    if (status == 0) status = json_get_string(base, "quantise", &quantise);
    if (status == 0 && digest) p->base_digest = mem_copy_string(digest);
    p->is_quantised = quantise != NULL;
    if (status == 0 && quantise && strcmp(quantise, "nf4") != 0)
        status = fail("%s: quantise: expected nf4, found \"%s\"; hint: it is of a newer version",
                      path, quantise);
    json_decref(base);
    mem_free(path);
    return status;
}

int peft_open(struct peft *p, const char *directory) {
    *p = (struct peft){0};
    int status = read_config(p, directory);
    if (status == 0) status = read_base(p, directory);
    if (status == 0) status = safetensors_open_file(&p->tensors, directory, tensors_name);
    if (status != 0) peft_close(p);
    return status;
}

void peft_close(struct peft *p) {
    patterns_free(&p->lora.targets);
    safetensors_close(&p->tensors);
    mem_free(p->base);
    mem_free(p->base_digest);
    *p = (struct peft){0};
}

/* ---- tensors ---- */

bool peft_has(const struct peft *p, const struct parameter *parameter) {
    return parameter_is_adapter(parameter) || (parameter->role == ROLE_SCORE && p->has_score);
}

/* Names become the table's: those of adapters are, the score head's lacks PEFT's prefix there. */
static void rename_entries(struct safetensors *s) {
    for (int i = 0; i < s->n; i++) {
        char *name = s->entry[i].name;
        const char *own = name + strlen(prefix);
        if (strncmp(name, prefix, strlen(prefix)) != 0 || strcmp(own, "score.weight") != 0)
            continue;
        s->entry[i].name = mem_copy_string(own);
        mem_free(name);
    }
}

int peft_match(struct peft *p, const struct parameters *table) {
    static const char other[] = "the adapter may be of another base";
    rename_entries(&p->tensors);
    if (safetensors_match_some(&p->tensors, table) != 0) return fail_hint(other);
    p->has_score = p->tensors.has_score;
    for (int i = 0; i < table->n; i++) {
        const struct parameter *q = &table->item[i];
        bool found = safetensors_has(&p->tensors, q->name);
        if (parameter_is_adapter(q) && !found)
            return fail("%s: tensor %s is missing; hint: %s", p->tensors.path[0], q->name, other);
        if (found && !peft_has(p, q))
            return fail("%s: tensor %s is no adapter; hint: %s", p->tensors.path[0], q->name,
                        other);
    }
    return 0;
}

/* ---- writing ---- */

/* As they were given; globs, which PEFT does not know, as the modules that they chose. */
static json_t *list_targets(const struct lora *lora, const struct parameters *table) {
    json_t *list = json_array();
    bool has_glob = false;
    for (int i = 0; i < lora->targets.n; i++) {
        const char *target = lora->targets.item[i];
        if (strcmp(target, "all-linear") == 0) {
            json_decref(list);
            return json_string(target);
        }
        json_array_append_new(list, json_string(target));
        has_glob = has_glob || strpbrk(target, "*?[");
    }
    if (!has_glob) return list;
    json_array_clear(list);
    for (int i = 0; i < table->n; i++) {
        const struct parameter *p = &table->item[i];
        const char *end = strstr(p->name, ".lora_A."), *name = p->name + strlen(prefix);
        if (parameter_is_adapter(p) && end)
            json_array_append_new(list, json_stringn(name, (size_t)(end - name)));
    }
    return list;
}

char *peft_config(const struct lora *lora, const struct parameters *table, const char *base) {
    bool is_whole = lora->alpha == (double)(int64_t)lora->alpha;
    json_t *alpha = is_whole ? json_integer((json_int_t)lora->alpha) : json_real(lora->alpha);
    bool is_lm = table->head.kind == HEAD_LM;
    json_t *saved = is_lm ? json_null() : json_pack("[s]", "score");
    json_t *config = json_pack(
        "{s:s, s:s, s:s, s:I, s:o, s:b, s:o, s:s, s:f, s:b, s:b, s:o, s:b}", "peft_type", "LORA",
        "task_type", is_lm ? "CAUSAL_LM" : "SEQ_CLS", "base_model_name_or_path", base, "r",
        (json_int_t)lora->rank, "lora_alpha", alpha, "use_rslora", lora->rslora, "target_modules",
        list_targets(lora, table), "bias", "none", "lora_dropout", 0.0, "fan_in_fan_out", false,
        "inference_mode", true, "modules_to_save", saved, "init_lora_weights", true);
    CHECK(config, "a configuration that cannot be packed");
    char *text = json_text_pretty(config);
    json_decref(config);
    return text;
}

char *peft_base(const char *base, const char *digest, bool is_quantised) {
    json_t *object = json_pack("{s:s}", "base", base);
    if (digest) json_object_set_new(object, "digest", json_string(digest));
    if (is_quantised) json_object_set_new(object, "quantise", json_string("nf4"));
    char *text = json_text_pretty(object);
    json_decref(object);
    return text;
}
