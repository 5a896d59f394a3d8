/* The registry of formats, finding one out, and reading by it: see format.h. */
#include "format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format_look.h"

const char *const row_drop_name[N_ROW_DROPS] = {"kept", "tie", "weak_preference", "deleted",
                                                "filtered"};

const char *const format_key_name[N_FORMAT_KEYS] = {"chosen", "rejected", "prompt", "margin",
                                                    "weight", "origin",   "system", "label"};

/* In the order in which they are looked for: the special ones first. */
static const struct format_kind *const kinds[] = {
    &format_pairs,        &format_hh,         &format_helpsteer2,    &format_helpsteer3,
    &format_sharegpt,     &format_summarize,  &format_ultrafeedback, &format_litbench,
    &format_reward_bench, &format_ranked,     &format_rated,         &format_labelled,
    &format_completions,  &format_rationales, &format_prompts,       &format_canonical,
    &format_mapping,
};
enum { N_KINDS = COUNT(kinds) };

/* --- fields --- */

const char *row_find(const json_t *object, const char *const *names, int n) {
    for (int i = 0; i < n; i++) {
        const json_t *value = json_object_get(object, names[i]);
        if (value && !json_is_null(value)) return names[i];
    }
    return NULL;
}

json_t *row_present(json_t *value, const char *name) {
    if (value && !json_is_null(value)) return value;
    fail("\"%s\" is %s", name, value ? "null" : "missing");
    return NULL;
}

json_t *row_field(const json_t *row, const char *key) {
    return row_present(json_object_get(row, key), key);
}

json_t *row_value(const json_t *row, const struct path *path) {
    return row_present(path_get(path, row), path->text);
}

int row_take_answer(struct row *row, json_t *value, const char *name) {
    json_t *passage;
    if (!value) return -1;
    if (passage_read(value, &passage) != 0) return fail_context("\"%s\"", name);
    row_add_answer(row, passage);
    return 0;
}

int row_take_prompt(struct row *row, json_t *value, const char *name) {
    if (!value) return -1;
    return passage_read(value, &row->prompt) == 0 ? 0 : fail_context("\"%s\"", name);
}

/* --- opening --- */

static void list_names(struct buffer *out) {
    for (int i = 0; i < N_KINDS; i++) buffer_format(out, "%s%s", i ? ", " : "", kinds[i]->name);
}

static int unknown(const char *name) {
    struct buffer names = {0};
    list_names(&names);
    fail("--format: expected one of %s, found \"%s\"", names.data, name);
    buffer_free(&names);
    return -1;
}

/* The first row's names, as many as a message can take. */
static void list_keys(struct buffer *out, const json_t *row) {
    const char *key;
    json_t *value;
    int n = 0;
    json_object_foreach((json_t *)row, key, value) {
        if (n++ == 16) {
            buffer_append_text(out, ", ...");
            break;
        }
        buffer_format(out, "%s%.*s", n > 1 ? ", " : "", text_within(key, 40), key);
    }
}

static int not_found(const json_t *row, const char *found) {
    struct buffer keys = {0}, names = {0};
    list_names(&names);
    list_keys(&keys, row);
    if (!json_is_object(row))
        fail("expected a row that is a JSON object, found %s", value_shown(row));
    else
        fail("%s of a row with %s; hint: --format says which it is: %s; or --chosen-key and "
             "--rejected-key, or a "
             "mapping "
             "(rankwise-data help build); --header names the columns of CSV without names",
             *found ? found : "no format is known for the names",
             keys.length ? keys.data : "no names", names.data);
    buffer_free(&keys);
    buffer_free(&names);
    return -1;
}

bool format_matches(const struct format_kind *kind, const json_t *row) {
    for (int i = 0; kind->needs && kind->needs[i]; i++)
        if (!json_object_get(row, kind->needs[i])) return false;
    return kind->matches ? kind->matches(row) : kind->needs != NULL;
}

/* --completions reads other formats than a build of comparisons. */
static bool is_used(const struct format_kind *kind, const struct format_options *o) {
    if (kind->use == USE_PROMPTS) return o->judge;
    return kind->use == USE_BOTH || (kind->use == USE_COMPLETIONS) == o->completions;
}

static int check_use(const struct format_kind *kind, const struct format_options *o) {
    if (is_used(kind, o)) return 0;
    if (kind->use == USE_PROMPTS) return fail("the format %s is one of --judge", kind->name);
    if (!o->completions) return fail("the format %s is one of --completions", kind->name);
    fail("--completions: expected rows of completions, found the format %s", kind->name);
    return fail_hint("a mapping makes them of any, as {prompt, completion: .chosen}");
}

static const struct format_kind *find_kind(const char *name, const struct format_options *o,
                                           const json_t *row) {
    const struct format_kind *found = NULL;
    for (int i = 0; name && i < N_KINDS; i++) {
        if (strcmp(kinds[i]->name, name) != 0) continue;
        return check_use(kinds[i], o) == 0 ? kinds[i] : NULL;
    }
    if (name) {
        unknown(name);
        return NULL;
    }
    if (o->mapping) return &format_mapping;
    if (o->attributes) return check_use(&format_rated, o) == 0 ? &format_rated : NULL;
    if (!o->completions && (o->key[KEY_CHOSEN] || o->key[KEY_REJECTED])) return &format_pairs;
    struct buffer several = {0};
    int n = 0;
    for (int i = 0; i < N_KINDS; i++) {
        if (!is_used(kinds[i], o) || !format_matches(kinds[i], row)) continue;
        buffer_format(&several, "%s%s", n++ ? " or " : "", kinds[i]->name);
        found = kinds[i];
    }
    if (n == 0 && !o->completions && json_object_get(row, "messages") &&
        format_matches(&format_completions, row)) {
        fail("expected preferences, found a row of a conversation");
        fail_hint("--completions builds what is learned from conversations");
    } else if (n != 1) {
        not_found(row, n ? several.data : "");
    }
    buffer_free(&several);
    return n == 1 ? found : NULL;
}

static int parse_keys(struct format *s) {
    for (int i = 0; i < N_FORMAT_KEYS; i++) {
        const char *text = s->options.key[i];
        if (text && path_parse(&s->key[i], text) != 0)
            return fail_context("--%s-key", format_key_name[i]);
    }
    return 0;
}

int format_open_answers(struct format *s, const json_t *first_row) {
    (void)first_row;
    if (!s->key[KEY_CHOSEN].text && path_parse(&s->key[KEY_CHOSEN], "chosen") != 0) return -1;
    return s->key[KEY_REJECTED].text ? 0 : path_parse(&s->key[KEY_REJECTED], "rejected");
}

/* What the options say is a definition in the program's first line. */
static int open_rationales(struct format *s) {
    static const char usual[] = "def reasons: true; def both_orders: false;";
    const char *how = s->options.rationales ? s->options.rationales : "reasons";
    const char *rest = strstr(s->kind->program, usual);
    bool is_verdict = strcmp(how, "verdict") == 0;
    CHECK(rest, "litbench_rationales.jq: no line \"%s\"", usual);
    if (!is_verdict && strcmp(how, "reasons") != 0)
        return fail("--rationales: expected reasons or verdict, found \"%s\"", how);
    char *program =
        mem_format("def reasons: %s; def both_orders: %s;%s", is_verdict ? "false" : "true",
                   s->options.both_orders ? "true" : "false", rest + strlen(usual));
    s->mapping = mapping_open(program, s->kind->name);
    mem_free(program);
    return s->mapping ? 0 : -1;
}

/* The program of a format that is a mapping: the user's, or its own. */
static int open_mapping(struct format *s) {
    s->mapping = s->options.mapping;
    if (s->kind == &format_mapping && !s->mapping)
        return fail("the format mapping needs --mapping FILE or --jq PROGRAM");
    if (s->kind == &format_mapping)
        buffer_format(&s->about, "mapping: %s", mapping_name(s->mapping));
    else if (s->kind == &format_rationales)
        return open_rationales(s);
    else
        s->mapping = s->kind->program ? mapping_open(s->kind->program, s->kind->name) : NULL;
    return s->mapping || !s->kind->program ? 0 : -1;
}

/* --min-score COLUMN=X */
static int parse_min_score(struct format *s) {
    const char *text = s->options.min_score, *mark = text ? strrchr(text, '=') : NULL;
    char *end = NULL;
    if (!text) return 0;
    if (mark) s->min_score = strtod(mark + 1, &end);
    if (!mark || mark == text || end == mark + 1 || *end || !isfinite(s->min_score))
        return fail("--min-score: expected COLUMN=NUMBER, found \"%s\"", text);
    char *column = mem_format("%.*s", (int)(mark - text), text);
    int status = path_parse(&s->score, column);
    mem_free(column);
    return status == 0 ? 0 : fail_context("--min-score");
}

static int open_kind(struct format *s, const json_t *first_row) {
    const char *turns = s->options.turns;
    if (turns && strcmp(turns, "hh") != 0) return fail("--turns: expected hh, found \"%s\"", turns);
    if (open_mapping(s) != 0 || parse_keys(s) != 0 || parse_min_score(s) != 0) return -1;
    return s->kind->open ? s->kind->open(s, first_row) : 0;
}

static void read_column(struct format *s, const struct path *path) {
    if (path->text && path->n_steps > 0 && path->step[0].key)
        looks_read(s->looks, path->step[0].key);
    if (path->text) looks_read(s->looks, path->text);
}

static void read_columns(struct format *s) {
    for (int i = 0; i < N_FORMAT_KEYS; i++) read_column(s, &s->key[i]);
    read_column(s, &s->score);
    for (int i = 0; s->kind->columns && s->kind->columns[i]; i++)
        looks_read(s->looks, s->kind->columns[i]);
}

void format_look(struct format *s, const json_t *row) {
    looks_add(s->looks, row);
    json_t *tools = json_object_get(row, "tools");
    tools = tools ? value_unpacked(tools) : NULL;
    if (json_is_object(json_array_get(tools, 0))) looks_read(s->looks, "tools");
    json_decref(tools);
    json_t *unpacked = s->kind->look ? looks_unpack(s->looks, row) : NULL;
    if (unpacked) s->kind->look(s, unpacked);
    json_decref(unpacked);
}

struct format *format_open(const char *name, const struct format_options *options,
                           const json_t *first_row) {
    const struct format_options none = {0};
    if (!options) options = &none;
    const struct format_kind *kind = find_kind(name, options, first_row);
    if (!kind) return NULL;
    struct format *s = mem_alloc(1, sizeof *s);
    s->kind = kind;
    s->options = *options;
    s->is_named = name != NULL;
    s->looks = looks_new();
    if (open_kind(s, first_row) != 0) {
        format_close(s);
        return NULL;
    }
    read_columns(s);
    if (first_row) format_look(s, first_row);
    return s;
}

const char *format_name(const struct format *s) {
    return s->kind->name;
}

void format_about(const struct format *s, struct buffer *out) {
    struct buffer names = {0};
    if (s->kind->describe)
        s->kind->describe(s, out);
    else
        buffer_append_text(out, s->about.length ? s->about.data : s->kind->name);
    if (s->kind->columns && looks_unread(s->looks, NULL, &names))
        buffer_format(out, "; columns not read: %s", names.data);
    buffer_clear(&names);
    bool is_taken_apart = !s->kind->is_raw && !s->kind->program;
    if (is_taken_apart && looks_mixed(s->looks, &names))
        buffer_format(out, "; texts, though some hold messages as JSON: %s", names.data);
    buffer_free(&names);
}

void format_close(struct format *s) {
    if (!s) return;
    if (s->kind->program) mapping_close(s->mapping);
    for (int i = 0; i < N_FORMAT_KEYS; i++) path_free(&s->key[i]);
    path_free(&s->score);
    looks_free(s->looks);
    buffer_free(&s->about);
    mem_free(s);
}

/* --- reading --- */

/* After an error of a mapping, which misspells a column rather than that the row is bad. */
static int hint_columns(const json_t *row) {
    struct buffer hint = {0};
    buffer_append_text(&hint, "the row has ");
    list_keys(&hint, row);
    fail_hint(hint.data);
    buffer_free(&hint);
    return -1;
}

static int take_number(const struct path *path, const json_t *json, double least, float *out) {
    double number = 0;
    const json_t *value = row_value(json, path);
    if (!value) return -1;
    if (label_number(value, &number) != 0) return fail_context("\"%s\"", path->text);
    if (!isfinite((float)number))
        return fail("\"%s\": expected a number of 32 bits, found %g", path->text, number);
    if (number < least)
        return fail("\"%s\": expected a number of at least %g, found %g", path->text, least,
                    number);
    *out = (float)number;
    return 0;
}

static int take_label(const struct format *s, const json_t *json, float *out) {
    if (take_number(&s->key[KEY_LABEL], json, -INFINITY, out) != 0) return -1;
    if (*out >= 0 && *out <= 1) return 0;
    return fail("\"%s\": expected a probability from 0 to 1, found %g", s->key[KEY_LABEL].text,
                (double)*out);
}

/* --min-score: a row below it is filtered. */
static int take_min_score(const struct format *s, const json_t *json, struct row *row) {
    double score;
    const json_t *value = row_value(json, &s->score);
    if (!value) return -1;
    if (label_truth(value, &score) != 0) return fail_context("\"%s\"", s->score.text);
    if (score >= s->min_score) return 0;
    row->drop = ROW_FILTERED;
    row->n_pairs = row->n_ties = row->n_known_ties = 0;
    return 0;
}

/* "tools": a list of objects, or a string of JSON that holds one; any other column of that name is
 * something else. */
static int take_tools(const json_t *json, struct row *row) {
    json_t *value = json_object_get(json, "tools");
    if (!value) return 0;
    json_t *tools = value_unpacked(value);
    if (!tools) return fail_context("\"tools\"");
    if (json_is_object(json_array_get(tools, 0))) row->tools = json_incref(tools);
    json_decref(tools);
    return 0;
}

/* The columns that any format may have beside its own. */
static int take_columns(const struct format *s, const json_t *json, struct row *row) {
    float margin = 0, weight = 1, label = 1;
    if (s->key[KEY_MARGIN].text && take_number(&s->key[KEY_MARGIN], json, -INFINITY, &margin) != 0)
        return -1;
    if (s->key[KEY_WEIGHT].text && take_number(&s->key[KEY_WEIGHT], json, 0, &weight) != 0)
        return -1;
    if (s->key[KEY_LABEL].text && row->n_pairs > 0 && take_label(s, json, &label) != 0) return -1;
    for (int i = 0; i < row->n_pairs; i++) {
        if (s->key[KEY_MARGIN].text) row->pair[i].margin = margin;
        if (s->key[KEY_WEIGHT].text) row->pair[i].weight = weight;
        if (s->key[KEY_LABEL].text) row->pair[i].label = label;
    }
    for (int i = 0; i < row->n_known_ties && s->key[KEY_WEIGHT].text; i++)
        row->tie[i].weight = weight;
    if (s->key[KEY_WEIGHT].text) row->weight = weight;
    bool is_weightless = row->has_answers && row->n_pairs + row->n_known_ties == 0;
    if (s->key[KEY_WEIGHT].text && is_weightless && !s->options.completions)
        return fail("--weight-key: comparisons and completions have weights, found an answer with "
                    "ratings alone");
    if (s->score.text && take_min_score(s, json, row) != 0) return -1;
    if (!s->key[KEY_ORIGIN].text) return 0;
    const json_t *origin = row_value(json, &s->key[KEY_ORIGIN]);
    const char *text = json_string_value(origin);
    if (!origin) return -1;
    if (!text || strlen(text) != json_string_length(origin))
        return fail("\"%s\": expected a string, found %s", s->key[KEY_ORIGIN].text,
                    value_shown(origin));
    row->origin = mem_copy_string(text);
    return 0;
}

/* --turns hh: answers to a dialogue become whole conversations, as do answers that are one. */
static int split_turns(struct row *row) {
    bool is_split = row->prompt && hh_is_marked(row->prompt);
    for (int i = 0; i < row->n_answers; i++) {
        json_t *answer = row->answer[i];
        if (!json_is_string(answer) || !(is_split || hh_is_marked(answer))) continue;
        row->answer[i] = hh_dialogue(row->prompt, answer);
        json_decref(answer);
        if (row->answer[i]) continue;
        row->answer[i] = json_null();
        return fail_context("answer %d", i + 1);
    }
    if (!is_split) return 0;
    json_decref(row->prompt);
    row->prompt = NULL;
    return 0;
}

int row_check_chat(const struct row *row) {
    const json_t *first = row->n_answers ? row->answer[0] : NULL, *prompt = row->prompt;
    if (json_array_size(prompt) == 1)
        prompt = json_object_get(json_array_get(prompt, 0), "content");
    bool is_prompt = prompt && hh_is_marked(prompt);
    if (is_prompt || (row->is_bare && hh_is_marked(first))) {
        fail("expected messages, found a dialogue with \"Human:\" and \"Assistant:\" in %s, which "
             "the template would take as one text",
             is_prompt ? "the prompt" : "an answer");
        return fail_hint("--turns hh splits it into messages");
    }
    if (!row->is_bare || !json_is_string(first)) return 0;
    if (row->is_inside) {
        fail("expected messages, or answers beside their prompt, found texts that begin with it");
        return fail_hint("--prompt-key none takes them as they are; a mapping can cut the prompt "
                         "off");
    }
    fail(
        "expected messages or a prompt, which the template puts into its frame, found texts alone");
    return fail_hint("--prompt-key says which column is the prompt; --prompt-key none: there is "
                     "none, and the texts are taken as they are");
}

json_t *format_records(const struct format *s, json_t *row) {
    if (!json_is_object(row)) {
        fail("expected a row that is a JSON object, found %s", value_shown(row));
        return NULL;
    }
    json_t *unpacked = s->kind->is_raw ? json_incref(row) : looks_unpack(s->looks, row);
    if (!unpacked || !s->mapping) return unpacked ? json_pack("[o]", unpacked) : NULL;
    json_t *records = mapping_run(s->mapping, unpacked);
    json_decref(unpacked);
    if (!records) hint_columns(row);
    return records;
}

static int read_record(const struct format *s, const json_t *row_json, const json_t *record,
                       struct row *row) {
    if (!json_is_object(record))
        return fail("expected a record that is an object, found %s", value_shown(record));
    int status = (s->mapping ? format_canonical.read : s->kind->read)(s, record, row);
    if (status == 0) status = take_columns(s, row_json, row);
    if (status == 0) status = take_tools(record, row);
    return status == 0 && s->options.turns ? split_turns(row) : status;
}

int format_read(const struct format *s, const json_t *row_json, const json_t *record,
                struct row *row) {
    row_clear(row);
    if (read_record(s, row_json, record, row) != 0) {
        row_clear(row);
        return s->mapping ? hint_columns(row_json) : -1;
    }
    if (row->n_scores > ROW_MAX_SCORES) {
        int n = row->n_scores;
        row_clear(row);
        return fail("expected at most %d scores of an answer, found %d", ROW_MAX_SCORES, n);
    }
    row_settle(row);
    row_finish(row, &s->options);
    return 0;
}

/* --- help --- */

const char *format_known(int index) {
    return index >= 0 && index < N_KINDS ? kinds[index]->name : NULL;
}

/* What `rankwise-data help build` says below the usage. */
void format_help(struct buffer *out) {
    buffer_append_text(
        out, "formats (--format NAME; without it the first row's names tell, or an error):\n");
    for (int i = 0; i < N_KINDS; i++)
        buffer_format(out, "  %-23s %s\n%*s%s\n", kinds[i]->name, kinds[i]->summary, 26, "",
                      kinds[i]->keys);
    buffer_append_text(
        out,
        "\n"
        "  --chosen-key K, --rejected-key K   pairs: the two answers; K is a name or a path "
        "as a.b[0].c\n"
        "  --prompt-key K       what stands before the answers; none: nothing does\n"
        "  --system-key K       pairs: a system message before the prompt\n"
        "  --margin-key K, --weight-key K     a margin and a weight per row (0 and 1)\n"
        "  --origin-key K       a column that says where a row is from\n"
        "  --min-strength X     helpsteer2, helpsteer3: weaker preferences are dropped (1)\n"
        "  --score-key K        ultrafeedback, ranked: the score within an answer\n"
        "  --label-key K        the probability that the first answer is better; labelled: "
        "its label\n"
        "  --attributes A,B     rated: the columns of the ratings\n"
        "  --min-score K=X      rows whose column K is below X are filtered\n"
        "  --rationales HOW     litbench_rationales: reasons (and verdict) or verdict alone\n"
        "  --both-orders        litbench_rationales: each row with its stories exchanged, too\n"
        "  --mapping FILE, --jq PROGRAM       a jq program that makes canonical rows of any\n"
        "  --turns hh           texts with \\n\\nHuman: and \\n\\nAssistant: become messages\n"
        "\n"
        "inputs are JSON lines, a JSON array, CSV with a header, each also .gz or .zst or - "
        "for standard input, "
        "or parquet:\n"
        "  --rows NAME          the member of a JSON object that holds the rows\n"
        "  --delimiter C        of CSV, when it is not to be found out\n"
        "  --header A,B,C       the names of CSV's columns, when its first line is a row\n"
        "  --max-row N, --max-ratio N   bytes of the longest row (1G); of unpacked to packed "
        "bytes, "
        "beyond 256 MiB (250)\n"
        "\n"
        "docs/sources.md has an example row of each, and mappings.\n");
}
