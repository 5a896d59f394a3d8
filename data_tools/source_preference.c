/* Preferences of mapping files: parsed from the group `preference`, applied to a row whose answers
 * are read. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "source_mapping.h"

/* --- parsing --- */

static int parse_path_member(config_setting_t *group, const char *name, struct path *path) {
    bool is_bad = false;
    const char *text = mapping_string(group, name, &is_bad);
    if (is_bad) return -1;
    if (!text) return fail("preference: \"%s\" is missing", name);
    return path_parse(path, text) == 0 ? 0 : fail_context("preference.%s", name);
}

static json_t *scalar_of(const config_setting_t *setting) {
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return json_integer(config_setting_get_int64(setting));
    case CONFIG_TYPE_FLOAT:
        return json_real(config_setting_get_float(setting));
    case CONFIG_TYPE_BOOL:
        return json_boolean(config_setting_get_bool(setting));
    case CONFIG_TYPE_STRING:
        return json_string(config_setting_get_string(setting));
    default:
        return NULL;
    }
}

/* What a label means: an answer by its name or number (from 1), a tie, or nothing of use. */
static int parse_meaning(const config_setting_t *setting, int *out) {
    static const char *const names[] = {"first", "second", "third", "fourth", "tie", "drop"};
    static const int meanings[] = {0, 1, 2, 3, MEANS_TIE, MEANS_DROP};
    const char *text = setting ? config_setting_get_string(setting) : NULL;
    for (int i = 0; text && i < 6; i++)
        if (strcmp(names[i], text) == 0) {
            *out = meanings[i];
            return 0;
        }
    int number = setting && config_setting_type(setting) == CONFIG_TYPE_INT
                     ? config_setting_get_int(setting)
                     : 0;
    if (number < 1 || number > ROW_MAX_ANSWERS)
        return fail("preference.values: expected \"first\", \"second\", an answer's number from 1, "
                    "\"tie\" or \"drop\"");
    *out = number - 1;
    return 0;
}

static int parse_values(struct preference *p, config_setting_t *group) {
    config_setting_t *list = config_setting_get_member(group, "values");
    if (!list || !config_setting_is_list(list))
        return fail("preference.values: expected a list as in ((1, \"first\"), (2, \"second\"))");
    for (int i = 0; i < config_setting_length(list); i++) {
        config_setting_t *item = config_setting_get_elem(list, (unsigned)i);
        if (!config_setting_is_list(item) || config_setting_length(item) != 2)
            return fail("preference.values: expected (label, meaning) at place %d", i + 1);
        json_t *label = scalar_of(config_setting_get_elem(item, 0));
        if (!label)
            return fail("preference.values: expected a number, text, true or false as label %d",
                        i + 1);
        ARRAY_RESERVE(p->value, p->n_values, p->room_values);
        struct label_value *value = &p->value[p->n_values++];
        *value = (struct label_value){.label = label};
        if (parse_meaning(config_setting_get_elem(item, 1), &value->meaning) != 0) return -1;
        for (int k = 0; k < i; k++)
            if (json_equal(p->value[k].label, label))
                return fail("preference.values: the label %s stands there twice",
                            value_shown(label));
    }
    return p->n_values ? 0 : fail("preference.values is empty");
}

static int parse_number(config_setting_t *group, const char *name, double *out) {
    const config_setting_t *setting = config_setting_get_member(group, name);
    if (!setting) return 0;
    if (!config_setting_is_number(setting)) return fail("preference.%s: expected a number", name);
    *out = config_setting_type(setting) == CONFIG_TYPE_FLOAT
               ? config_setting_get_float(setting)
               : (double)config_setting_get_int64(setting);
    return isfinite(*out) ? 0 : fail("preference.%s: expected a finite number", name);
}

static int parse_choice(config_setting_t *group, const char *name, const char *const words[2],
                        int *out) {
    bool is_bad = false;
    const char *text = mapping_string(group, name, &is_bad);
    if (is_bad || !text) return is_bad ? -1 : 0;
    for (int i = 0; i < 2; i++)
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return 0;
        }
    return fail("preference.%s: expected \"%s\" or \"%s\", found \"%s\"", name, words[0], words[1],
                text);
}

/* Numbers of answers in rows, from 0 or from 1, which must be said; or the answers' own names. */
static int parse_base(struct preference *p, config_setting_t *group) {
    double base = -1;
    bool is_bad = false;
    if (mapping_string(group, "ids", &is_bad)) {
        if (config_setting_get_member(group, "base"))
            return fail("preference: \"ids\" and \"base\" exclude each other");
        return parse_path_member(group, "ids", &p->ids);
    }
    if (is_bad || parse_number(group, "base", &base) != 0) return -1;
    if (base != 0 && base != 1)
        return fail("preference: expected base = 0 or base = 1 (the first answer's number in the "
                    "rows), or ids = \"path\"");
    p->base = (int)base;
    return 0;
}

static int parse_scores(struct preference *p, config_setting_t *group) {
    static const char *const orders[2] = {"higher", "lower"};
    int order = 0;
    config_setting_t *scores = config_setting_get_member(group, "scores");
    if (parse_choice(group, "better", orders, &order) != 0) return -1;
    p->sign = order ? -1 : 1;
    if (parse_number(group, "min_difference", &p->least) != 0) return -1;
    if (config_setting_type(scores) == CONFIG_TYPE_STRING)
        return parse_path_member(group, "scores", &p->path);
    if (!config_setting_is_aggregate(scores) || config_setting_is_group(scores))
        return fail("preference.scores: expected a path, or a list of paths");
    for (int i = 0; i < config_setting_length(scores); i++) {
        const char *text = config_setting_get_string_elem(scores, i);
        if (!text) return fail("preference.scores: expected paths");
        ARRAY_RESERVE(p->score, p->n_scores, p->room_scores);
        if (path_parse(&p->score[p->n_scores], text) != 0) return fail_context("preference.scores");
        p->n_scores++;
    }
    return 0;
}

static int parse_strength(struct preference *p, config_setting_t *group) {
    static const char *const words[2] = {"first", "second"};
    int positive = -1;
    if (parse_choice(group, "positive", words, &positive) != 0) return -1;
    if (positive < 0)
        return fail("preference: expected positive = \"first\" or \"second\": whom a positive "
                    "strength prefers");
    p->sign = positive ? -1 : 1;
    p->most = INFINITY;
    if (parse_number(group, "min", &p->least) != 0 || parse_number(group, "max", &p->most) != 0)
        return -1;
    return parse_path_member(group, "strength", &p->path);
}

static int parse_between(struct preference *p, config_setting_t *group) {
    config_setting_t *list = config_setting_get_member(group, "between");
    if (!list) return 0;
    for (int i = 0; i < config_setting_length(list); i++) {
        config_setting_t *item = config_setting_get_elem(list, (unsigned)i);
        int pair[2] = {0, 0};
        for (int k = 0;
             k < 2 && item && config_setting_is_aggregate(item) && config_setting_length(item) == 2;
             k++)
            pair[k] = config_setting_get_int_elem(item, k);
        if (pair[0] < 1 || pair[1] < 1 || pair[0] == pair[1] ||
            MAX(pair[0], pair[1]) > ROW_MAX_ANSWERS)
            return fail("preference.between: expected two answers' numbers, from 1, at place %d",
                        i + 1);
        ARRAY_RESERVE(p->between, p->n_between, p->room_between);
        p->between[p->n_between][0] = pair[0] - 1;
        p->between[p->n_between++][1] = pair[1] - 1;
    }
    return p->n_between ? 0 : fail("preference.between: expected a list as in ((1, 2), (1, 3))");
}

static int parse_each(struct preference *p, config_setting_t *group) {
    p->is_winner = config_setting_get_member(group, "winner") != NULL;
    if (parse_path_member(group, "each", &p->path) != 0 || parse_base(p, group) != 0) return -1;
    if (p->is_winner)
        return parse_path_member(group, "winner", &p->left) == 0
                   ? parse_path_member(group, "loser", &p->right)
                   : -1;
    if (parse_path_member(group, "left", &p->left) != 0 ||
        parse_path_member(group, "right", &p->right) != 0)
        return -1;
    return parse_path_member(group, "pick", &p->pick) == 0 ? parse_values(p, group) : -1;
}

static int parse_kind(struct preference *p, config_setting_t *group) {
    config_setting_t *always = config_setting_get_member(group, "always");
    switch (p->kind) {
    case PREFER_ALWAYS:
        return parse_meaning(always, &p->first) == 0 && p->first >= 0
                   ? 0
                   : fail("preference.always: expected \"first\", \"second\" or an answer's number "
                          "from 1");
    case PREFER_LABEL:
        return parse_path_member(group, "label", &p->path) == 0 ? parse_values(p, group) : -1;
    case PREFER_INDEX:
        return parse_path_member(group, "index", &p->path) == 0 ? parse_base(p, group) : -1;
    case PREFER_SCORES:
        return parse_scores(p, group);
    case PREFER_STRENGTH:
        return parse_strength(p, group);
    case PREFER_LABELS:
        if (parse_path_member(group, "labels", &p->path) != 0 || parse_values(p, group) != 0)
            return -1;
        return parse_between(p, group);
    case PREFER_EACH:
        return parse_each(p, group);
    case PREFER_RANKING:
        return parse_path_member(group, "ranking", &p->path) == 0 ? parse_base(p, group) : -1;
    case PREFER_NONE:
        break;
    }
    return -1;
}

struct kind_names {
    enum preference_kind kind;
    const char *names[8];
};
/* The member that tells the kind, and what may stand beside it. */
static const struct kind_names kind_names[] = {
    {PREFER_ALWAYS, {"always"}},
    {PREFER_LABEL, {"label", "values"}},
    {PREFER_INDEX, {"index", "base", "ids"}},
    {PREFER_SCORES, {"scores", "better", "min_difference", "margin"}},
    {PREFER_STRENGTH, {"strength", "positive", "min", "max", "margin"}},
    {PREFER_LABELS, {"labels", "values", "between"}},
    {PREFER_EACH, {"each", "winner", "loser", "left", "right", "pick"}},
    {PREFER_RANKING, {"ranking", "base", "ids"}},
};

static int parse_preference(struct preference *p, config_setting_t *group) {
    const struct kind_names *found = NULL;
    if (!group || !config_setting_is_group(group))
        return fail("expected preference = { ... }, found none");
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++) {
        if (!config_setting_get_member(group, kind_names[i].names[0])) continue;
        if (found)
            return fail("preference: \"%s\" and \"%s\" exclude each other", found->names[0],
                        kind_names[i].names[0]);
        found = &kind_names[i];
    }
    if (!found)
        return fail("preference: expected one of always, label, index, scores, strength, labels, "
                    "each, ranking; found none");
    static const char *const of_each[] = {"each", "winner", "loser", "left", "right",
                                          "pick", "values", "base",  "ids",  NULL};
    if (mapping_check_names(group, found->kind == PREFER_EACH ? of_each : found->names) != 0)
        return fail_context("preference");
    p->kind = found->kind;
    if (parse_kind(p, group) != 0) return -1;
    static const char *const sources[2] = {"none", "difference"};
    int margin = 0;
    if (parse_choice(group, "margin", sources, &margin) != 0) return -1;
    p->margin_of_scores = margin == 1;
    return 0;
}

int preference_parse(struct preference *p, config_setting_t *group) {
    *p = (struct preference){0};
    if (parse_preference(p, group) == 0) return 0;
    preference_free(p);
    return -1;
}

void preference_free(struct preference *p) {
    for (int i = 0; i < p->n_scores; i++) path_free(&p->score[i]);
    for (int i = 0; i < p->n_values; i++) json_decref(p->value[i].label);
    struct path *paths[] = {&p->path, &p->left, &p->right, &p->pick, &p->ids};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) path_free(paths[i]);
    mem_free(p->score);
    mem_free(p->value);
    mem_free(p->between);
    *p = (struct preference){0};
}

/* --- applying --- */

/* 1 and "1" are the same label, as files without types have only the second. */
static bool is_label(const json_t *known, const json_t *found) {
    double a, b;
    if (json_equal(known, found)) return true;
    if (json_is_boolean(known) || json_is_boolean(found) ||
        (json_is_string(known) && json_is_string(found)))
        return false;
    return label_number(known, &a) == 0 && label_number(found, &b) == 0 && a == b;
}

static int find_meaning(const struct preference *p, const json_t *label, int n_answers, int *out) {
    struct buffer known = {0};
    for (int i = 0; i < p->n_values; i++) {
        if (!is_label(p->value[i].label, label)) continue;
        *out = p->value[i].meaning;
        if (*out >= n_answers)
            return fail("the label %s means answer %d of %d", value_shown(label), *out + 1,
                        n_answers);
        return 0;
    }
    for (int i = 0; i < p->n_values && i < 8; i++)
        buffer_format(&known, "%s%s", i ? ", " : "", value_shown(p->value[i].label));
    fail("expected one of %s, found %s", known.data, value_shown(label));
    buffer_free(&known);
    return -1;
}

/* The best one against all others. */
static void add_best(struct row *row, int best) {
    for (int i = 0; i < row->n_answers; i++)
        if (i != best) row_add_pair(row, best, i, 0, 1);
}

static void add_drop(struct row *row) {
    if (row->n_pairs == 0 && row->n_ties == 0) row->drop = ROW_FILTERED;
}

static int apply_label(const struct preference *p, const json_t *json, struct row *row) {
    int meaning;
    if (find_meaning(p, path_get(&p->path, json), row->n_answers, &meaning) != 0)
        return fail_context("\"%s\"", p->path.text);
    if (meaning >= 0) add_best(row, meaning);
    if (meaning == MEANS_TIE) row->n_ties += row->n_answers * (row->n_answers - 1) / 2;
    if (meaning == MEANS_DROP) add_drop(row);
    return 0;
}

/* --- numbers of answers --- */

struct names {
    const json_t *value;
    int n, found, n_found;
};

static int visit_name(void *self, json_t *value) {
    struct names *names = self;
    if (value && is_label(value, names->value)) {
        names->found = names->n;
        names->n_found++;
    }
    names->n++;
    return 0;
}

/* The answer that a number or a name in the row means. */
static int find_answer(const struct preference *p, const json_t *json, const json_t *value,
                       const struct row *row, int *out) {
    int64_t number;
    if (!p->ids.text) {
        if (label_integer(value, p->base, p->base + row->n_answers - 1, &number) != 0) return -1;
        *out = (int)number - p->base;
        return 0;
    }
    struct names names = {.value = value};
    if (path_each(&p->ids, json, visit_name, &names) != 0) return -1;
    if (names.n != row->n_answers)
        return fail("\"%s\": expected %d names, one for each answer, found %d", p->ids.text,
                    row->n_answers, names.n);
    if (names.n_found != 1)
        return fail("expected the name of one answer, found %s, which %d have", value_shown(value),
                    names.n_found);
    *out = names.found;
    return 0;
}

static int apply_index(const struct preference *p, const json_t *json, struct row *row) {
    int best;
    if (find_answer(p, json, path_get(&p->path, json), row, &best) != 0)
        return fail_context("\"%s\"", p->path.text);
    add_best(row, best);
    return 0;
}

/* Elements are numbers from the best on; a list among them has answers that are alike. */
static int apply_ranking(const struct preference *p, const json_t *json, struct row *row) {
    double score[ROW_MAX_ANSWERS];
    json_t *list = path_get(&p->path, json), *unpacked = list ? value_unpacked(list) : NULL;
    size_t n = json_array_size(unpacked);
    int status = unpacked ? 0 : fail("is missing"), n_said = 0, answer = 0;
    for (int i = 0; i < row->n_answers; i++) score[i] = NAN;
    for (size_t i = 0; i < n && status == 0; i++) {
        const json_t *item = json_array_get(unpacked, i);
        size_t n_inner = json_is_array(item) ? json_array_size(item) : 1;
        for (size_t k = 0; k < n_inner && status == 0; k++) {
            status = find_answer(p, json, json_is_array(item) ? json_array_get(item, k) : item, row,
                                 &answer);
            if (status == 0 && !isnan(score[answer]))
                status = fail("expected each answer once, found one twice");
            if (status == 0) score[answer] = -(double)i;
            n_said += status == 0;
        }
    }
    if (status == 0 && n_said != row->n_answers)
        status =
            fail("expected a list of all %d answers, found %d of them", row->n_answers, n_said);
    if (status == 0) row_add_scored(row, score, row->n_answers);
    json_decref(unpacked);
    return status == 0 ? 0 : fail_context("\"%s\"", p->path.text);
}

/* --- scores --- */

struct scores {
    double value[ROW_MAX_ANSWERS];
    int n;
};

static int visit_score(void *self, json_t *value) {
    struct scores *scores = self;
    if (json_is_array(value) && scores->n == 0) {
        json_t *item;
        size_t i;
        json_array_foreach(value, i, item) {
            if (visit_score(self, json_is_array(item) ? NULL : item) != 0) return -1;
        }
        return 0;
    }
    if (scores->n == ROW_MAX_ANSWERS) return fail("more than %d scores", ROW_MAX_ANSWERS);
    if (json_is_boolean(value)) { /* one column for each answer, true for the winner's */
        scores->value[scores->n++] = json_is_true(value);
        return 0;
    }
    if (label_number(value, &scores->value[scores->n]) != 0)
        return fail_context("score %d", scores->n + 1);
    scores->n++;
    return 0;
}

static void add_difference(const struct preference *p, struct row *row, int a, int b,
                           double difference) {
    if (difference == 0) {
        row->n_ties++;
    } else if (fabs(difference) >= p->least) {
        float margin = p->margin_of_scores ? (float)fabs(difference) : 0;
        row_add_pair(row, difference > 0 ? a : b, difference > 0 ? b : a, margin, 1);
    }
}

static int apply_scores(const struct preference *p, const json_t *json, struct row *row) {
    struct scores scores = {.n = 0};
    for (int i = 0; i < p->n_scores; i++)
        if (path_each(&p->score[i], json, visit_score, &scores) != 0)
            return fail_context("\"%s\"", p->score[i].text);
    if (p->n_scores == 0 && path_each(&p->path, json, visit_score, &scores) != 0)
        return fail_context("\"%s\"", p->path.text);
    if (scores.n != row->n_answers)
        return fail("expected %d scores, one for each answer, found %d", row->n_answers, scores.n);
    for (int i = 0; i < scores.n; i++)
        for (int k = i + 1; k < scores.n; k++)
            add_difference(p, row, i, k, p->sign * (scores.value[i] - scores.value[k]));
    if (row->n_pairs == 0 && row->n_ties == 0) row->drop = ROW_WEAK;
    return 0;
}

static int apply_strength(const struct preference *p, const json_t *json, struct row *row) {
    double strength;
    const json_t *value = row_value(json, &p->path);
    if (!value) return -1;
    if (row->n_answers != 2) return fail("a strength is of 2 answers, found %d", row->n_answers);
    if (label_number(value, &strength) != 0 || !(fabs(strength) <= p->most))
        return fail("\"%s\": expected a number from %g to %g, found %s", p->path.text, -p->most,
                    p->most, value_shown(value));
    add_difference(p, row, 0, 1, p->sign * strength);
    if (row->n_pairs == 0 && row->n_ties == 0) row->drop = ROW_WEAK;
    return 0;
}

/* --- labels of pairs --- */

static int add_labelled(const struct preference *p, struct row *row, int left, int right,
                        const json_t *label) {
    int meaning;
    if (left >= row->n_answers || right >= row->n_answers)
        return fail("answers %d and %d of %d are compared", left + 1, right + 1, row->n_answers);
    if (find_meaning(p, label, 2, &meaning) != 0) return -1;
    if (meaning >= 0) row_add_pair(row, meaning ? right : left, meaning ? left : right, 0, 1);
    row->n_ties += meaning == MEANS_TIE;
    return 0;
}

static int apply_labels(const struct preference *p, const json_t *json, struct row *row) {
    const json_t *list = row_value(json, &p->path);
    if (!list) return -1;
    int n = p->between ? p->n_between : row->n_answers * (row->n_answers - 1) / 2, at = 0;
    if ((int)json_array_size(list) != n)
        return fail("\"%s\": expected %d labels, found %zu", p->path.text, n,
                    json_array_size(list));
    for (int i = 0; i < (p->between ? n : row->n_answers); i++)
        for (int k = i + 1; k < (p->between ? i + 2 : row->n_answers); k++, at++) {
            int left = p->between ? p->between[i][0] : i, right = p->between ? p->between[i][1] : k;
            if (add_labelled(p, row, left, right, json_array_get(list, (size_t)at)) != 0)
                return fail_context("\"%s\"[%d]", p->path.text, at);
        }
    add_drop(row);
    return 0;
}

static int apply_each(const struct preference *p, const json_t *json, struct row *row) {
    const json_t *list = row_value(json, &p->path), *item;
    size_t i;
    if (!list) return -1;
    if (!json_is_array(list))
        return fail("\"%s\": expected a list, found %s", p->path.text, value_shown(list));
    if (json_array_size(list) > INT_MAX / 2) return fail("\"%s\" is too long", p->path.text);
    json_array_foreach(list, i, item) {
        int left, right;
        if (find_answer(p, json, path_get(&p->left, item), row, &left) != 0 ||
            find_answer(p, json, path_get(&p->right, item), row, &right) != 0)
            return fail_context("\"%s\"[%zu]", p->path.text, i);
        if (left == right)
            return fail("\"%s\"[%zu]: an answer compared with itself", p->path.text, i);
        if (p->is_winner)
            row_add_pair(row, left, right, 0, 1);
        else if (add_labelled(p, row, left, right, path_get(&p->pick, item)) != 0)
            return fail_context("\"%s\"[%zu]", p->path.text, i);
    }
    add_drop(row);
    return 0;
}

int preference_apply(const struct preference *p, const json_t *json, struct row *row) {
    if (row->n_answers < 2) return fail("expected 2 answers or more, found %d", row->n_answers);
    switch (p->kind) {
    case PREFER_ALWAYS:
        if (p->first >= row->n_answers)
            return fail("preference.always: answer %d of %d", p->first + 1, row->n_answers);
        add_best(row, p->first);
        return 0;
    case PREFER_LABEL:
        return apply_label(p, json, row);
    case PREFER_INDEX:
        return apply_index(p, json, row);
    case PREFER_SCORES:
        return apply_scores(p, json, row);
    case PREFER_STRENGTH:
        return apply_strength(p, json, row);
    case PREFER_LABELS:
        return apply_labels(p, json, row);
    case PREFER_EACH:
        return apply_each(p, json, row);
    case PREFER_RANKING:
        return apply_ranking(p, json, row);
    case PREFER_NONE:
        break;
    }
    return fail("no preference");
}
