/* One answer a row (format_single.c), with what is known of it alone.
 *
 *   rated      an answer with ratings in columns of their own: HelpSteer2's five attributes, or
 *              those that --attributes names; one that is null is missing
 *   labelled   an answer and whether it is good: true or false, 1 or 0, or a probability (TRL's
 *              unpaired preferences, KTO)
 *
 * Such rows give no comparison; their answers are kept in any case. */
#include <math.h>
#include <string.h>

#include "format_parts.h"

static const char *const helpsteer_names[] = {"helpfulness", "correctness", "coherence",
                                              "complexity", "verbosity"};

/* --- rated --- */

static int take_attribute(const json_t *json, const char *name, struct row *row) {
    const json_t *value = json_object_get(json, name);
    double score = NAN;
    if (!value) return fail("\"%s\" is missing", name);
    if (!json_is_null(value) && label_truth(value, &score) != 0)
        return fail_context("\"%s\"", name);
    row_set_score(row, name, 0, score);
    return 0;
}

static int read_rated(const struct format *s, const json_t *json, struct row *row) {
    const char *at = s->options.attributes;
    if (row_take_single(s, json, row) != 0) return -1;
    for (int i = 0; i < COUNT(helpsteer_names) && !at; i++)
        if (take_attribute(json, helpsteer_names[i], row) != 0) return -1;
    while (at && *at) {
        size_t length = strcspn(at, ",");
        char *name = mem_format("%.*s", (int)length, at);
        int status = take_attribute(json, name, row);
        mem_free(name);
        if (status != 0) return -1;
        at += length + (at[length] == ',');
    }
    return 0;
}

const struct format_kind format_rated = {
    .name = "rated",
    .summary = "an answer with ratings: HelpSteer2's five, or the columns of --attributes A,B",
    .keys = "prompt, response, helpfulness, correctness, coherence, complexity, verbosity",
    .needs =
        NAMES("response", "helpfulness", "correctness", "coherence", "complexity", "verbosity"),
    .columns = SINGLE_COLUMNS,
    .read = read_rated,
};

/* --- labelled --- */

static bool matches_labelled(const json_t *row) {
    const json_t *label = json_object_get(row, "label");
    return row_is_single(row) && (json_is_boolean(label) || json_is_number(label));
}

static int open_labelled(struct format *s, const json_t *first_row) {
    (void)first_row;
    return s->key[KEY_LABEL].text ? 0 : path_parse(&s->key[KEY_LABEL], "label");
}

static int read_labelled(const struct format *s, const json_t *json, struct row *row) {
    const struct path *key = &s->key[KEY_LABEL];
    const json_t *value = row_value(json, key);
    double label;
    if (!value || row_take_single(s, json, row) != 0) return -1;
    if (label_truth(value, &label) != 0) return fail_context("\"%s\"", key->text);
    if (label < 0 || label > 1)
        return fail("\"%s\": expected true, false, or a probability from 0 to 1, found %g",
                    key->text, label);
    row_set_score(row, "label", 0, label);
    return 0;
}

const struct format_kind format_labelled = {
    .name = "labelled",
    .summary = "an answer that is good or not (TRL's unpaired preferences, KTO)",
    .keys = "prompt, completion, or messages; label: true or false, or --label-key",
    .columns = SINGLE_COLUMNS,
    .matches = matches_labelled,
    .open = open_labelled,
    .read = read_labelled,
};
