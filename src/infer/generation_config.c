/* How a model is meant to write: see generation_config.h. */
#include "generation_config.h"

#include "json.h"
#include "log.h"

static const int64_t most_new_tokens = 1 << 24;

struct generation_config generation_config_default(void) {
    return (struct generation_config){
        .sampling = {.greedy = true, .temperature = 1, .top_p = 1, .repetition_penalty = 1}};
}

void generation_config_free(struct generation_config *g) {
    mem_free(g->eos);
    *g = (struct generation_config){0};
}

void generation_config_add_id(struct generation_config *g, int32_t id) {
    if (id < 0) return;
    for (int64_t i = 0; i < g->n_eos; i++)
        if (g->eos[i] == id) return;
    ARRAY_RESERVE(g->eos, g->n_eos, g->capacity_eos);
    g->eos[g->n_eos++] = id;
}

static int add_eos(struct generation_config *g, const json_t *id) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
        return fail("\"eos_token_id\": expected a token number or a list of them");
    generation_config_add_id(g, (int32_t)json_integer_value(id));
    return 0;
}

int generation_config_add_eos(struct generation_config *g, const json_t *json) {
    const json_t *eos = json_object_get(json, "eos_token_id");
    if (!eos || json_is_null(eos)) return 0;
    if (!json_is_array(eos)) return add_eos(g, eos);
    int status = 0;
    for (size_t i = 0; i < json_array_size(eos) && status == 0; i++)
        status = add_eos(g, json_array_get(eos, i));
    return status;
}

/* Warns of each key that has another value than what it has no effect with. */
static void warn_of_others(const json_t *json) {
    static const struct {
        const char *key;
        double off;
    } other[] = {
        {"num_beams", 1},      {"no_repeat_ngram_size", 0}, {"typical_p", 1},
        {"epsilon_cutoff", 0}, {"eta_cutoff", 0},           {"penalty_alpha", 0},
        {"top_h", 0},          {"min_new_tokens", 0},       {"min_length", 0},
        {"guidance_scale", 1}, {"length_penalty", 1},       {"encoder_repetition_penalty", 1}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        const json_t *value = json_object_get(json, other[i].key);
        if (json_is_number(value) && json_number_value(value) != other[i].off)
            log_warn("generation_config.json: \"%s\" is not done here, and has no effect",
                     other[i].key);
    }
}

/* A number in [low, high], or above low where that is not in. */
static int get_number(const json_t *json, const char *key, double low, bool low_is_in, double high,
                      double *out) {
    if (json_get_number(json, key, out) != 0) return -1;
    if ((low_is_in ? *out >= low : *out > low) && *out <= high) return 0;
    return fail("\"%s\": expected a number %s %g and at most %g, found %g", key,
                low_is_in ? "of at least" : "above", low, high, *out);
}

int generation_config_parse(struct generation_config *g, const json_t *json) {
    struct sampling *s = &g->sampling;
    bool samples = !s->greedy;
    int64_t top_k = s->top_k;
    if (!json_is_object(json)) return fail("expected an object");
    if (json_get_bool(json, "do_sample", &samples) != 0 ||
        get_number(json, "temperature", 0, !samples, HUGE_VAL, &s->temperature) != 0 ||
        get_number(json, "top_p", 0, true, 1, &s->top_p) != 0 ||
        get_number(json, "min_p", 0, true, 1, &s->min_p) != 0 ||
        get_number(json, "repetition_penalty", 0, false, HUGE_VAL, &s->repetition_penalty) != 0 ||
        json_get_int(json, "top_k", 0, INT32_MAX, &top_k) != 0 ||
        json_get_int(json, "max_new_tokens", 1, most_new_tokens, &g->max_new_tokens) != 0)
        return -1;
    s->greedy = !samples;
    s->top_k = (int32_t)top_k;
    warn_of_others(json);
    return generation_config_add_eos(g, json);
}

void generation_config_describe(const struct generation_config *g, struct buffer *out) {
    const struct sampling *s = &g->sampling;
    if (s->greedy) buffer_append_text(out, "greedy");
    if (!s->greedy) buffer_format(out, "temperature %g", s->temperature);
    if (!s->greedy && s->top_k > 0) buffer_format(out, ", top_k %d", (int)s->top_k);
    if (!s->greedy && s->top_p < 1) buffer_format(out, ", top_p %g", s->top_p);
    if (!s->greedy && s->min_p > 0) buffer_format(out, ", min_p %g", s->min_p);
    if (s->repetition_penalty != 1)
        buffer_format(out, ", repetition_penalty %g", s->repetition_penalty);
    if (g->max_new_tokens > 0)
        buffer_format(out, ", at most %lld tokens", (long long)g->max_new_tokens);
    buffer_append_text(out, g->n_eos > 0 ? ", EOS" : ", no EOS");
    for (int64_t i = 0; i < g->n_eos; i++) buffer_format(out, " %d", (int)g->eos[i]);
}
