/* What the scores of a text are: heads, the reward's mean and standard deviation, golden scores.
 * See contract.h. */
#include "contract_heads.h"

#include <math.h>
#include <string.h>

#include "config.h"
#include "contract.h"
#include "json.h"

/* --- heads --- */

static const json_t *heads_names(const struct contract *contract) {
    return json_object_get(json_object_get(contract->json, "heads"), "names");
}

enum heads_kind contract_heads_kind(const struct contract *contract) {
    const json_t *heads = json_object_get(contract->json, "heads");
    if (!heads) return HEADS_SINGLE;
    return json_object_get(heads, "names") ? HEADS_ATTRIBUTES : HEADS_ENSEMBLE;
}

int contract_n_heads(const struct contract *contract) {
    const json_t *heads = json_object_get(contract->json, "heads");
    switch (contract_heads_kind(contract)) {
    case HEADS_SINGLE:
        break;
    case HEADS_ENSEMBLE:
        return (int)json_integer_value(json_object_get(heads, "n"));
    case HEADS_ATTRIBUTES:
        return (int)json_array_size(json_object_get(heads, "names"));
    }
    return 1;
}

const char *contract_head_name(const struct contract *contract, int k) {
    const char *name = json_string_value(json_array_get(heads_names(contract), (size_t)k));
    CHECK(name, "head %d is no attribute", k);
    return name;
}

static json_t *ensemble(int n) {
    return json_pack("{s:s, s:i}", "kind", "ensemble", "n", n);
}

static json_t *attributes(int n, const char *const *name) {
    json_t *names = json_array();
    for (int k = 0; k < n; k++) json_array_append_new(names, json_string(name[k]));
    return json_pack("{s:s, s:o}", "kind", "attributes", "names", names);
}

/* Scores and rewards of other heads mean nothing any more. */
static void forget_scores(struct contract *contract) {
    size_t k;
    json_t *vector;
    json_array_foreach(json_object_get(contract->json, "golden"), k, vector)
        json_object_set_new(vector, "score", json_null());
    json_object_del(contract->json, "reward");
}

void contract_set_heads(struct contract *contract, enum heads_kind kind, int n,
                        const char *const *name) {
    json_t *heads = NULL;
    CHECK(contract->json && n >= 1 && n <= MODEL_MAX_HEADS, "%d heads", n);
    if (kind == HEADS_ATTRIBUTES) heads = attributes(n, name);
    if (kind == HEADS_ENSEMBLE && n > 1) heads = ensemble(n);
    if (json_equal(heads, json_object_get(contract->json, "heads"))) {
        json_decref(heads);
        return;
    }
    forget_scores(contract);
    json_object_del(contract->json, "heads");
    if (heads) json_object_set_new(contract->json, "heads", heads);
}

static int check_names(const json_t *names) {
    size_t n = json_array_size(names);
    if (!json_is_array(names) || n < 1 || n > MODEL_MAX_HEADS)
        return fail("\"heads\": \"names\": expected a list of 1 to %d", MODEL_MAX_HEADS);
    for (size_t k = 0; k < n; k++) {
        const char *name = json_string_value(json_array_get(names, k));
        if (!name || !*name) return fail("\"heads\": \"names\"[%zu]: expected a name", k);
        for (size_t i = 0; i < k; i++)
            if (json_equal(json_array_get(names, i), json_array_get(names, k)))
                return fail("\"heads\": \"names\": expected each once, found \"%.100s\" twice",
                            name);
    }
    return 0;
}

static int check_heads(const json_t *heads) {
    const char *kind = NULL;
    int64_t n = 0;
    if (!json_is_object(heads)) return fail("\"heads\": expected an object");
    if (json_get_string(heads, "kind", &kind) != 0) return fail_context("\"heads\"");
    if (kind && strcmp(kind, "attributes") == 0)
        return check_names(json_object_get(heads, "names"));
    if (!kind || strcmp(kind, "ensemble") != 0 || json_object_get(heads, "names"))
        return fail("\"heads\": expected the kind ensemble or attributes, found %.100s",
                    kind ? kind : "none");
    if (json_get_int(heads, "n", 2, MODEL_MAX_HEADS, &n) != 0) return fail_context("\"heads\"");
    return n ? 0 : fail("\"heads\": \"n\" is missing");
}

/* --- numbers of a text or a model: one, or a list where there are several --- */

static json_t *numbers(const double *value, int n) {
    if (n == 1) return json_real(*value);
    json_t *list = json_array();
    for (int k = 0; k < n; k++) json_array_append_new(list, json_real(value[k]));
    return list;
}

static double number_at(const json_t *numbers, int k) {
    return json_number_value(json_is_array(numbers) ? json_array_get(numbers, (size_t)k) : numbers);
}

static bool are_numbers(const json_t *numbers, int n) {
    if (n == 1) return json_is_number(numbers);
    if (!json_is_array(numbers) || json_array_size(numbers) != (size_t)n) return false;
    for (int k = 0; k < n; k++)
        if (!json_is_number(json_array_get(numbers, (size_t)k))) return false;
    return true;
}

/* --- the reward --- */

/* The heads of an ensemble score alike, so they have one reward together. */
int contract_n_rewards(const struct contract *contract) {
    return contract_heads_kind(contract) == HEADS_ATTRIBUTES ? contract_n_heads(contract) : 1;
}

void contract_set_reward(struct contract *contract, const double *mean, const double *sd,
                         int64_t n_answers) {
    int n = contract_n_rewards(contract);
    json_object_set_new(contract->json, "reward",
                        json_pack("{s:o, s:o, s:I}", "mean", numbers(mean, n), "sd", numbers(sd, n),
                                  "answers", (json_int_t)n_answers));
}

bool contract_reward(const struct contract *contract, int k, double *mean, double *sd) {
    const json_t *reward = json_object_get(contract->json, "reward");
    if (!reward) return false;
    *mean = number_at(json_object_get(reward, "mean"), k);
    *sd = number_at(json_object_get(reward, "sd"), k);
    return true;
}

static int check_reward(const struct contract *contract, const json_t *reward) {
    int n = contract_n_rewards(contract);
    const json_t *mean = json_object_get(reward, "mean"), *sd = json_object_get(reward, "sd");
    if (!are_numbers(mean, n) || !are_numbers(sd, n))
        return fail("\"reward\": expected mean and sd of %d scores", n);
    for (int k = 0; k < n; k++)
        if (!(number_at(sd, k) > 0))
            return fail("\"reward\": \"sd\": expected more than 0, found %g", number_at(sd, k));
    return 0;
}

/* --- golden vectors --- */

static json_t *vector_at(const struct contract *contract, int k) {
    CHECK(contract->json && k >= 0 && k < CONTRACT_N_GOLDEN, "golden vector %d", k);
    return json_array_get(json_object_get(contract->json, "golden"), (size_t)k);
}

struct ids contract_golden(const struct contract *contract, int k) {
    const json_t *list = json_object_get(vector_at(contract, k), "ids");
    int64_t n = (int64_t)json_array_size(list);
    struct ids ids = {mem_alloc(n, sizeof *ids.id), n, n};
    for (int64_t i = 0; i < n; i++)
        ids.id[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return ids;
}

int contract_set_scores(struct contract *contract, const char *precision, const double *score) {
    if (!contract->json) return fail("no score contract");
    int n = contract_n_heads(contract);
    for (int i = 0; i < CONTRACT_N_GOLDEN * n; i++)
        if (!isfinite(score[i]))
            return fail("the score of golden text %d is %g: expected a finite number", i / n,
                        score[i]);
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++)
        json_object_set_new(vector_at(contract, k), "score", numbers(score + (size_t)k * n, n));
    json_object_set_new(contract->json, "precision", json_string(precision));
    return 0;
}

static const json_t *golden_score(const struct contract *contract, int k) {
    return json_object_get(vector_at(contract, k), "score");
}

bool contract_has_scores(const struct contract *contract) {
    if (!contract->json) return false;
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++)
        if (!are_numbers(golden_score(contract, k), contract_n_heads(contract))) return false;
    return true;
}

static double tolerance_of(const char *precision) {
    return precision && (strcasecmp(precision, "F32") == 0 || strcasecmp(precision, "fp32") == 0)
               ? 1e-4
               : 5e-2;
}

/* The tolerance is the looser one of the two precisions, and relative where a score is beyond 1. */
int contract_check_scores(const struct contract *contract, const char *precision,
                          const double *score) {
    if (!contract_has_scores(contract)) return fail("the score contract has no golden scores");
    const char *stored = json_string_value(json_object_get(contract->json, "precision"));
    double tolerance = MAX(tolerance_of(stored), tolerance_of(precision));
    int n = contract_n_heads(contract);
    for (int i = 0; i < CONTRACT_N_GOLDEN * n; i++) {
        double expected = number_at(golden_score(contract, i / n), i % n);
        if (fabs(score[i] - expected) <= tolerance * MAX(1, fabs(expected))) continue;
        fail("golden score %d: expected %.9g (%s) within %g, found %.9g (%s)", i / n, expected,
             stored ? stored : "?", tolerance, score[i], precision);
        return n > 1 ? fail_context("head %d", i % n) : -1;
    }
    return 0;
}

/* --- reading --- */

int contract_check_heads(const json_t *json) {
    const struct contract contract = {(json_t *)json};
    const json_t *heads = json_object_get(json, "heads"), *reward = json_object_get(json, "reward");
    if (heads && check_heads(heads) != 0) return -1;
    if (reward && check_reward(&contract, reward) != 0) return -1;
    int n = contract_n_heads(&contract);
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++) {
        const json_t *score = golden_score(&contract, k);
        if (score && !json_is_null(score) && !are_numbers(score, n))
            return fail("\"golden\"[%d]: \"score\": expected %s or null", k,
                        n == 1 ? "a number" : "a number for each head");
    }
    return 0;
}
