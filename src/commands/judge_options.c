/* The options of `rankwise judge`. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"

enum {
    OPTION_HELP,
    OPTION_DATA,
    OPTION_SCORES_FROM,
    OPTION_PARSER,
    OPTION_LIMIT,
    OPTION_SAMPLES,
    OPTION_GREEDY,
    OPTION_TEMPERATURE,
    OPTION_TOP_P,
    OPTION_TOP_K,
    OPTION_MIN_P,
    OPTION_REPETITION,
    OPTION_TOKENS,
    OPTION_ROWS,
    OPTION_SEED,
    OPTION_SEEDS,
    OPTION_CHECKPOINTS,
    OPTION_SWEEP,
    OPTION_BT_TEMPERATURE,
    OPTION_UNC_LOW,
    OPTION_UNC_HIGH,
    OPTION_RANGE,
    OPTION_OUT,
    OPTION_SUMMARY,
    OPTIONS
};

struct option judge_option[OPTIONS] = {
    [OPTION_HELP] = {"help", false, NULL},
    [OPTION_DATA] = {"data", true, NULL},
    [OPTION_SCORES_FROM] = {"scores-from", true, NULL},
    [OPTION_PARSER] = {"parser", true, NULL},
    [OPTION_LIMIT] = {"limit", true, NULL},
    [OPTION_SAMPLES] = {"samples", true, NULL},
    [OPTION_GREEDY] = {"greedy", false, NULL},
    [OPTION_TEMPERATURE] = {"temperature", true, NULL},
    [OPTION_TOP_P] = {"top-p", true, NULL},
    [OPTION_TOP_K] = {"top-k", true, NULL},
    [OPTION_MIN_P] = {"min-p", true, NULL},
    [OPTION_REPETITION] = {"repetition-penalty", true, NULL},
    [OPTION_TOKENS] = {"max-new-tokens", true, NULL},
    [OPTION_ROWS] = {"max-rows", true, NULL},
    [OPTION_SEED] = {"seed", true, NULL},
    [OPTION_SEEDS] = {"seeds", true, NULL},
    [OPTION_CHECKPOINTS] = {"checkpoints", true, NULL},
    [OPTION_SWEEP] = {"sweep", true, NULL},
    [OPTION_BT_TEMPERATURE] = {"bt-temperature", true, NULL},
    [OPTION_UNC_LOW] = {"unc-low", true, NULL},
    [OPTION_UNC_HIGH] = {"unc-high", true, NULL},
    [OPTION_RANGE] = {"range", true, NULL},
    [OPTION_OUT] = {"out", true, NULL},
    [OPTION_SUMMARY] = {"summary", true, NULL},
};
const int judge_n_options = OPTIONS;

/* An option's number within bounds, or what *out has where it was not given. */
static int take_number(int option, double low, double high, double *out) {
    const char *text = judge_option[option].value;
    char *end;
    if (!text) return 0;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || errno != 0 || !(value >= low && value <= high))
        return fail("--%s: expected a number from %g to %g, found \"%.100s\"",
                    judge_option[option].name, low, high, text);
    *out = value;
    return 0;
}

static int take_count(int option, int64_t low, int64_t *out) {
    const char *text = judge_option[option].value;
    char *end;
    if (!text) return 0;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno != 0 || value < low || value > INT32_MAX)
        return fail("--%s: expected a whole number from %lld, found \"%.100s\"",
                    judge_option[option].name, (long long)low, text);
    *out = value;
    return 0;
}

/* Numbers between commas into item[0, most); how many, or -1. */
static int take_list(int option, double low, double high, double *item, int most) {
    const char *at = judge_option[option].value;
    int n = 0;
    while (at && n < most) {
        char *end;
        errno = 0;
        item[n] = strtod(at, &end);
        if (end == at || (*end && *end != ',') || errno != 0) break;
        if (!(item[n] >= low && item[n] <= high)) break;
        n++;
        if (!*end) return n;
        at = end + 1;
    }
    if (!at) return 0;
    return fail("--%s: expected up to %d numbers from %g to %g with commas between, found "
                "\"%.100s\"",
                judge_option[option].name, most, low, high, judge_option[option].value);
}

/* --seed is one of them, --seeds a list of whole numbers. */
static int take_seeds(struct judge_options *o) {
    double list[JUDGE_MOST_SEEDS];
    int64_t seed = 0;
    if (judge_option[OPTION_SEED].value && judge_option[OPTION_SEEDS].value)
        return fail("--seed and --seeds: expected one of them");
    o->n_seeds = take_list(OPTION_SEEDS, 0, INT32_MAX, list, JUDGE_MOST_SEEDS);
    if (o->n_seeds < 0 || take_count(OPTION_SEED, 0, &seed) != 0) return -1;
    for (int i = 0; i < o->n_seeds; i++) {
        if (list[i] != floor(list[i])) return fail("--seeds: expected whole numbers");
        o->seed[i] = (uint64_t)list[i];
        for (int k = 0; k < i; k++)
            if (o->seed[k] == o->seed[i])
                return fail("--seeds: %g stands there twice; expected each once", list[i]);
    }
    if (o->n_seeds > 0) return 0;
    o->seed[0] = (uint64_t)seed;
    o->n_seeds = 1;
    return 0;
}

/* The options that generation_config_parse takes, under its names. Words are drawn where one of the
 * first four is given, or several samples are. */
static const struct {
    int option;
    const char *key;
} setting[] = {{OPTION_TEMPERATURE, "temperature"},
               {OPTION_TOP_P, "top_p"},
               {OPTION_TOP_K, "top_k"},
               {OPTION_MIN_P, "min_p"},
               {OPTION_REPETITION, "repetition_penalty"},
               {OPTION_TOKENS, "max_new_tokens"}};
enum { SETTINGS = sizeof setting / sizeof *setting, DRAWING_SETTINGS = 4 };

static int take_sampling(struct judge_options *o) {
    o->samples = 1;
    o->max_rows = 64;
    o->settings = json_object();
    int status = take_count(OPTION_SAMPLES, 1, &o->samples);
    if (status == 0) status = take_count(OPTION_ROWS, 1, &o->max_rows);
    bool draws = o->samples > 1;
    for (int i = 0; i < SETTINGS && status == 0; i++) {
        if (!judge_option[setting[i].option].value) continue;
        double value = 0;
        status = take_number(setting[i].option, 0, INT32_MAX, &value);
        bool is_whole = value == floor(value);
        json_object_set_new(o->settings, setting[i].key,
                            is_whole ? json_integer((json_int_t)value) : json_real(value));
        draws = draws || i < DRAWING_SETTINGS;
    }
    json_object_set_new(o->settings, "do_sample", json_boolean(draws));
    if (status == 0 && draws && judge_option[OPTION_GREEDY].value)
        return fail("--greedy: expected one sample and no option of sampling beside it");
    return status;
}

static int take_figures(struct judge_options *o) {
    o->temperature = 1;
    o->uncertain_low = o->uncertain_high = NAN;
    int status = take_number(OPTION_BT_TEMPERATURE, 1e-6, 1e9, &o->temperature);
    if (status == 0) status = take_number(OPTION_UNC_LOW, -1e9, 1e9, &o->uncertain_low);
    if (status == 0) status = take_number(OPTION_UNC_HIGH, -1e9, 1e9, &o->uncertain_high);
    if (status == 0) o->n_ranges = take_list(OPTION_RANGE, 0, 1e9, o->range, JUDGE_RANGES);
    return o->n_ranges < 0 ? -1 : status;
}

int judge_options_read(struct judge_options *o) {
    *o = (struct judge_options){.data = judge_option[OPTION_DATA].value,
                                .scores_from = judge_option[OPTION_SCORES_FROM].value,
                                .out = judge_option[OPTION_OUT].value,
                                .summary = judge_option[OPTION_SUMMARY].value,
                                .sweep = judge_option[OPTION_SWEEP].value,
                                .checkpoints = judge_option[OPTION_CHECKPOINTS].value,
                                .parser = judge_option[OPTION_PARSER].value};
    int status = take_count(OPTION_LIMIT, 1, &o->limit);
    if (status == 0) status = take_sampling(o);
    if (status == 0) status = take_figures(o);
    if (status == 0) status = take_seeds(o);
    if (status == 0 && o->sweep && (o->out || o->summary))
        status = fail("--out and --summary: expected none beside --sweep DIR, which has both");
    if (status == 0 && !o->sweep && (o->checkpoints || judge_option[OPTION_SEEDS].value))
        status = fail("--checkpoints and --seeds: expected --sweep DIR, which takes their results");
    return status;
}

void judge_options_free(struct judge_options *o) {
    json_decref(o->settings);
}
