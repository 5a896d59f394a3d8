/* A line of scores: see score_line.h. */
#include "score_line.h"

#include <math.h>

#include "json.h"

static double value_of(const struct contract *contract, const float *score, int k, bool normalize) {
    double mean = 0, sd = 1;
    bool is_known = !normalize || contract_reward(contract, k, &mean, &sd);
    CHECK(is_known, "a model without mean and standard deviation");
    return normalize ? (score[k] - mean) / sd : score[k];
}

static void put_number(struct buffer *out, const char *before, double value) {
    char text[32];
    buffer_format(out, "%s%s", before, json_number(text, value, 9));
}

static void put_ensemble(struct buffer *out, const struct contract *contract, const float *score,
                         bool normalize) {
    int n = contract_n_heads(contract);
    double mean = 0, squares = 0;
    for (int k = 0; k < n; k++) mean += value_of(contract, score, k, normalize) / n;
    for (int k = 0; k < n; k++) {
        double off = value_of(contract, score, k, normalize) - mean;
        squares += off * off;
    }
    put_number(out, "{\"score\": ", mean);
    put_number(out, ", \"sd\": ", sqrt(squares / (n - 1)));
    for (int k = 0; k < n; k++)
        put_number(out, k ? ", " : ", \"scores\": [", value_of(contract, score, k, normalize));
    buffer_append_text(out, "]}\n");
}

static void put_attributes(struct buffer *out, const struct contract *contract, const float *score,
                           bool normalize) {
    for (int k = 0; k < contract_n_heads(contract); k++) {
        json_t *name = json_string(contract_head_name(contract, k));
        char *quoted = json_text(name);
        buffer_format(out, "%s%s", k ? ", " : "{\"scores\": {", quoted);
        put_number(out, ": ", value_of(contract, score, k, normalize));
        mem_free(quoted);
        json_decref(name);
    }
    buffer_append_text(out, "}}\n");
}

void score_line(struct buffer *out, const struct contract *contract, const float *score,
                bool normalize) {
    switch (contract_heads_kind(contract)) {
    case HEADS_SINGLE:
        put_number(out, "{\"score\": ", value_of(contract, score, 0, normalize));
        buffer_append_text(out, "}\n");
        return;
    case HEADS_ENSEMBLE:
        put_ensemble(out, contract, score, normalize);
        return;
    case HEADS_ATTRIBUTES:
        put_attributes(out, contract, score, normalize);
        return;
    }
}
