/* The sink: packed rows, in the order of the inputs, to the shard or, with a split, the two shards;
 * and what is counted on the way.
 *
 *   (1) Which split a prompt is in is a function of its hash and the seed: the same in every
 *       build.
 *   (2) `sources` begins with the inputs, in their order; a row with an origin column of its own
 *       (--origin-key) points to an entry behind them, one for each input and name, in the order of
 *       appearance.
 *   (3) The held-out shard is published first: an up-to-date training shard means that both are. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "build.h"
#include "clock.h"
#include "hash.h"
#include "json.h"
#include "log.h"
#include "random.h"

enum { TRAIN, HELD_OUT, N_SPLITS };

struct counts {
    int64_t rows, dropped[N_REASONS], noted[N_NOTES], n_cut_sides, n_cut_tokens;
    struct shard_sums sums; /* once the shard is closed */
};

/* An origin column's value in an input. */
struct origin {
    int32_t input;
    char *name;
    int64_t rows;
    int64_t next; /* of those with the same hash; -1: none */
};

struct sink {
    struct build *b;
    struct shard_writer *shard[N_SPLITS];
    struct counts counts[N_SPLITS];
    struct origin *origin;
    int64_t n_origins, capacity_origins;
    int64_t first_origin[1024]; /* by hash; -1: none */
    const int32_t **token;      /* (capacity_answers) of the row */
    int64_t capacity_answers;
    float *score; /* (capacity_scores) of the row, in the shards' columns */
    int64_t capacity_scores;
    struct prompts *prompts; /* NULL: no judge is asked */
    bool has_failed;
};

struct sink *sink_open(struct build *b) {
    struct sink *s = mem_alloc(1, sizeof *s);
    s->b = b;
    memset(s->first_origin, -1, sizeof s->first_origin);
    if (b->family && !(s->prompts = prompts_open(b))) {
        sink_close(s);
        return NULL;
    }
    for (int i = 0; i < N_SPLITS; i++) {
        if (b->out[i] &&
            !(s->shard[i] = shard_writer_open(b->out[i], tokenizer_size(b->tokenizer)))) {
            sink_close(s);
            return NULL;
        }
    }
    return s;
}

void sink_close(struct sink *s) {
    if (!s) return;
    for (int i = 0; i < N_SPLITS; i++) shard_writer_abandon(s->shard[i]);
    for (int64_t i = 0; i < s->n_origins; i++) mem_free(s->origin[i].name);
    mem_free(s->origin);
    mem_free(s->token);
    mem_free(s->score);
    prompts_close(s->prompts);
    mem_free(s);
}

int64_t sink_rows(const struct sink *s) {
    return s->counts[TRAIN].rows + s->counts[HELD_OUT].rows;
}

bool sink_failed(const struct sink *s) {
    return s->has_failed;
}

/* --- rows --- */

static int find_split(const struct sink *s, const struct packed_row *row) {
    if (!s->shard[HELD_OUT] || !row->has_prompt) return TRAIN;
    return random_uniform(s->b->options.seed, random_purpose("build: held out"), row->prompt) <
                   s->b->options.eval_fraction
               ? HELD_OUT
               : TRAIN;
}

/* The index in `sources`, by (2); -1 when there are too many. */
static int find_origin(struct sink *s, const struct packed_row *row, const char *name) {
    if (row->n_origin == 0) return row->input;
    uint64_t hash = hash128(name, (size_t)row->n_origin, (uint32_t)row->input).low;
    int64_t *first = &s->first_origin[hash % (sizeof s->first_origin / sizeof *s->first_origin)];
    for (int64_t i = *first; i >= 0; i = s->origin[i].next) {
        struct origin *o = &s->origin[i];
        if (o->input != row->input || strncmp(o->name, name, (size_t)row->n_origin) != 0 ||
            o->name[row->n_origin])
            continue;
        o->rows++;
        return s->b->n_inputs + (int)i;
    }
    if (s->b->n_inputs + s->n_origins > UINT16_MAX)
        return fail("--origin-key: more than %d different values with the inputs; hint: is it the "
                    "right column?",
                    UINT16_MAX);
    ARRAY_RESERVE(s->origin, s->n_origins, s->capacity_origins);
    s->origin[s->n_origins] =
        (struct origin){row->input, mem_format("%.*s", (int)row->n_origin, name), 1, *first};
    *first = s->n_origins;
    return s->b->n_inputs + (int)s->n_origins++;
}

/* The row's scores in the columns that their names have, which are the same ones in both shards. */
static void place_scores(struct sink *s, const struct packed_row *row, const float *score,
                         const char *names, struct shard_row *out) {
    int32_t column[ROW_MAX_SCORES], n_columns = 0;
    for (int32_t k = 0; k < row->n_scores; k++, names += strlen(names) + 1) {
        for (int i = 0; i < N_SPLITS; i++)
            if (s->shard[i]) column[k] = shard_writer_score(s->shard[i], names);
        n_columns = MAX(n_columns, column[k] + 1);
    }
    int64_t all = (int64_t)row->n_answers * n_columns;
    if (all > s->capacity_scores) {
        mem_free(s->score);
        s->capacity_scores = 2 * all;
        s->score = mem_alloc(s->capacity_scores, sizeof *s->score);
    }
    for (int64_t i = 0; i < all; i++) s->score[i] = NAN;
    for (int32_t i = 0; i < row->n_answers; i++)
        for (int32_t k = 0; k < row->n_scores; k++)
            s->score[i * n_columns + column[k]] = score[i * row->n_scores + k];
    out->score = s->score;
    out->n_scores = n_columns;
}

/* Hands the row to the shard of its split, with pointers into the packed bytes. */
static int write_row(struct sink *s, int split, const struct packed_row *row) {
    const struct shard_pair *pair = (const struct shard_pair *)(row + 1);
    const int32_t *length = (const int32_t *)(pair + row->n_pairs),
                  *token = length + row->n_answers;
    if (row->n_answers > s->capacity_answers) {
        mem_free(s->token);
        s->capacity_answers = 2 * (int64_t)row->n_answers;
        s->token = mem_alloc(s->capacity_answers, sizeof *s->token);
    }
    for (int32_t i = 0; i < row->n_answers; token += length[i++]) s->token[i] = token;
    const float *label = (const float *)token;
    const int32_t *rank = (const int32_t *)(label + (row->has_labels ? row->n_pairs : 0));
    const float *score = (const float *)(rank + (row->has_ranks ? row->n_answers : 0));
    const struct shard_span *span =
        (const struct shard_span *)(score + (int64_t)row->n_answers * row->n_scores);
    const struct packed_prompt *prompt = (const struct packed_prompt *)(span + row->n_spans);
    const char *names = (const char *)(prompt + (row->is_asked ? row->n_answers : 0));
    int origin = find_origin(s, row, names + row->n_names);
    if (origin < 0) return -1;
    struct shard_row out = {.token = s->token,
                            .length = length,
                            .n_answers = row->n_answers,
                            .n_pairs = row->n_pairs,
                            .pair = pair,
                            .prompt = row->prompt,
                            .prompt_tokens = row->prompt_tokens,
                            .source = (uint16_t)origin,
                            .row = row->line,
                            .label = row->has_labels ? label : NULL,
                            .has_answers = row->has_answers,
                            .rank = row->has_ranks ? rank : NULL,
                            .n_spans = row->n_spans,
                            .span = span};
    if (row->n_scores) place_scores(s, row, score, names, &out);
    if (row->is_asked) out.asked = prompts_read(s->prompts, row, prompt);
    if (shard_writer_row(s->shard[split], &out) == 0) return 0;
    s->has_failed = true;
    return -1;
}

static int count_row(struct sink *s, const struct packed_row *row) {
    int split = find_split(s, row);
    struct counts *c = &s->counts[split];
    s->b->input[row->input].rows += 1 - row->is_further;
    c->rows += 1 - row->is_further;
    for (int i = 0; i < N_REASONS; i++) c->dropped[i] += row->dropped[i];
    for (int i = 0; i < N_NOTES; i++) c->noted[i] += row->noted[i];
    c->n_cut_sides += row->n_cut_sides;
    c->n_cut_tokens += row->n_cut_tokens;
    return split;
}

static int take_pair(struct sink *s, const struct packed_row *row) {
    if (!row) return 0;
    int split = count_row(s, row);
    return row->n_answers ? write_row(s, split, row) : 0;
}

/* What a judge is asked: a pair may come in two rows. row NULL: the input ends. */
static int take_asked(struct sink *s, const struct packed_row *row) {
    const struct packed_row *whole = NULL;
    bool goes_on = row && prompts_expects(s->prompts, row);
    if (!goes_on && (prompts_end(s->prompts, &whole) != 0 || take_pair(s, whole) != 0)) return -1;
    if (!row) return 0;
    return prompts_take(s->prompts, row, &whole) == 0 ? take_pair(s, whole) : -1;
}

static int take(struct sink *s, const struct packed_row *row) {
    struct build_input *input = &s->b->input[row->input];
    if (row->kind == PACKED_END) {
        if (s->prompts && take_asked(s, NULL) != 0) return -1;
        memcpy(input->text_sha256, row + 1, 64);
        mem_free(input->found);
        input->found = mem_format("%.*s", row->n_origin - 64, (const char *)(row + 1) + 64);
        return 0;
    }
    if (row->is_asked) return take_asked(s, row);
    int split = count_row(s, row);
    return row->n_pairs || row->has_answers ? write_row(s, split, row) : 0;
}

int sink_take(struct sink *s, const struct buffer *packed) {
    for (size_t at = 0; at < packed->length;) {
        const struct packed_row *row = (const struct packed_row *)(packed->data + at);
        if (take(s, row) != 0) return -1;
        at += (size_t)row->n_bytes;
    }
    return 0;
}

/* --- the end --- */

static json_t *describe_counts(const struct counts *c) {
    json_t *dropped = json_object();
    for (int i = 0; i < N_REASONS; i++)
        if (i < DROPPED_NO_TOKENS || c->dropped[i]) /* the others are rare enough to be left out */
            json_object_set_new(dropped, build_reason_name[i], json_integer(c->dropped[i]));
    json_t *notes = json_object();
    for (int i = 0; i < N_NOTES; i++)
        if (c->noted[i]) json_object_set_new(notes, build_note_name[i], json_integer(c->noted[i]));
    json_t *counts =
        json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I}", "read", (json_int_t)c->rows, "kept",
                  (json_int_t)c->sums.comparisons, "dropped", dropped, "cut_sides",
                  (json_int_t)c->n_cut_sides, "cut_tokens", (json_int_t)c->n_cut_tokens, "tokens",
                  (json_int_t)c->sums.tokens, "forest_tokens", (json_int_t)c->sums.forest_tokens);
    if (c->sums.answers) json_object_set_new(counts, "answers", json_integer(c->sums.answers));
    if (c->sums.learned_tokens)
        json_object_set_new(counts, "learned_tokens", json_integer(c->sums.learned_tokens));
    if (c->sums.prompts) {
        json_object_set_new(counts, "kept", json_integer(c->sums.pairs));
        json_object_set_new(counts, "prompts", json_integer(c->sums.prompts));
    }
    if (json_object_size(notes)) json_object_set(counts, "notes", notes);
    json_decref(notes);
    return counts;
}

static json_t *describe_input(const struct build_input *in) {
    json_t *about = json_pack("{s:s, s:I}", "path", in->path, "rows", (json_int_t)in->rows);
    if (in->text_sha256[0]) json_object_set_new(about, "text_sha256", json_string(in->text_sha256));
    if (in->sha256[0]) json_object_set_new(about, "file_sha256", json_string(in->sha256));
    const char *format = in->format ? format_name(in->format) : in->found;
    if (format && format[0]) json_object_set_new(about, "format", json_string(format));
    if (in->take == TAKE_FRACTION) json_object_set_new(about, "fraction", json_real(in->fraction));
    if (in->take == TAKE_COUNT) json_object_set_new(about, "count", json_integer(in->count));
    return about;
}

static json_t *describe_sources(const struct sink *s) {
    json_t *list = json_array();
    for (int i = 0; i < s->b->n_inputs; i++)
        json_array_append_new(list, describe_input(&s->b->input[i]));
    for (int64_t i = 0; i < s->n_origins; i++) {
        const struct origin *o = &s->origin[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "path", s->b->input[o->input].path,
                                              "origin", o->name, "rows", (json_int_t)o->rows));
    }
    return list;
}

static int write_json(struct shard_writer *w, const char *name, json_t *value) {
    char *text = json_text(value);
    int status = shard_writer_attribute(w, name, text);
    mem_free(text);
    json_decref(value);
    return status;
}

static int write_attributes(struct sink *s, int split) {
    struct shard_writer *w = s->shard[split];
    json_t *options = name_options(s->b);
    if (s->shard[HELD_OUT])
        json_object_set_new(options, "side", json_string(split == TRAIN ? "train" : "held_out"));
    int status = write_json(w, "sources", describe_sources(s));
    if (status == 0) status = write_json(w, "rows", describe_counts(&s->counts[split]));
    if (write_json(w, "options", options) != 0) status = -1;
    if (status == 0) status = shard_writer_attribute(w, "digest", s->b->digest);
    if (status == 0) status = shard_writer_attribute(w, "revision", base_revision());
    const struct prompt_family *f = s->b->family;
    if (status == 0 && f) status = shard_writer_attribute(w, "judge", prompt_family_name(f));
    if (status == 0 && f) status = shard_writer_attribute(w, "parser", prompt_family_parser(f));
    const struct tokenizer_file *file;
    int n_files = tokenizer_files(s->b->tokenizer, &file);
    for (int i = 0; i < n_files && status == 0; i++)
        status = shard_writer_tokenizer_file(w, file[i].name, file[i].data, file[i].length);
    return status;
}

static int finish_split(struct sink *s, int split, const struct contract *contract) {
    int status = write_attributes(s, split);
    struct shard_writer *w = s->shard[split];
    s->shard[split] = NULL;
    if (status == 0) return shard_writer_finish(w, contract);
    shard_writer_abandon(w);
    return status;
}

static int check_pairs(struct sink *s) {
    for (int i = 0; i < N_SPLITS; i++) {
        if (!s->shard[i]) continue;
        s->counts[i].sums = shard_writer_sums(s->shard[i]);
        const struct shard_sums *sums = &s->counts[i].sums;
        if (sums->comparisons || sums->answers || sums->prompts) continue;
        const struct format_options *o = &s->b->options.format_options;
        return fail(
            "%s: no %s is left to write; hint: the lines above count what was read and dropped%s",
            s->b->out[i],
            o->completions               ? "completion"
            : o->answers == ANSWERS_ONLY ? "answer"
                                         : "pair",
            s->shard[HELD_OUT] ? "; --eval-fraction and --seed decide on the split" : "");
    }
    return 0;
}

int sink_finish(struct sink *s) {
    struct contract contract = {0};
    if (s->prompts && take_asked(s, NULL) != 0) return -1;
    if (check_pairs(s) != 0) return -1;
    if (contract_make(&contract, s->b->tokenizer, template_get_options(s->b->template)) != 0)
        return -1;
    bool is_split = s->shard[HELD_OUT] != NULL;
    int status = is_split ? finish_split(s, HELD_OUT, &contract) : 0;
    if (status == 0) status = finish_split(s, TRAIN, &contract);
    if (status == 0 && s->prompts) status = prompts_finish(s->prompts);
    contract_free(&contract);
    s->has_failed = status != 0;
    return status;
}

static void print_split(const struct sink *s, int split, double seconds) {
    const struct counts *c = &s->counts[split];
    bool is_learned = s->b->options.format_options.completions;
    struct buffer kept = {0};
    if (c->sums.prompts)
        buffer_format(&kept, ", %lld prompts of %lld pairs", (long long)c->sums.prompts,
                      (long long)c->sums.pairs);
    else if (c->sums.comparisons || !c->sums.answers)
        buffer_format(&kept, ", %lld pairs", (long long)c->sums.comparisons);
    if (c->sums.answers)
        buffer_format(&kept, ", %lld %s", (long long)c->sums.answers,
                      is_learned ? "completions" : "answers");
    log_info("%s: %lld rows read%s kept, %.2f s", s->b->out[split], (long long)c->rows, kept.data,
             seconds);
    buffer_free(&kept);
    if (c->sums.learned_tokens)
        log_info("  tokens that are learned: %lld of different sequences",
                 (long long)c->sums.learned_tokens);
    for (int i = 0; i < N_REASONS; i++)
        if (c->dropped[i])
            log_info("  dropped, %s: %lld", build_reason_name[i], (long long)c->dropped[i]);
    for (int i = 0; i < N_NOTES; i++)
        if (c->noted[i])
            log_info("  kept, but %s: %lld", build_note_name[i], (long long)c->noted[i]);
    if (c->n_cut_sides)
        log_info("  cut to %lld tokens: %lld sides, %lld tokens lost",
                 (long long)template_get_options(s->b->template)->max_length,
                 (long long)c->n_cut_sides, (long long)c->n_cut_tokens);
    if (c->sums.comparisons == 0 && c->sums.answers) {
        log_info("  tokens: %lld", (long long)c->sums.tokens);
        return;
    }
    log_info("  tokens: %lld, as forests of shared prefixes: %lld (%.2f times less)",
             (long long)c->sums.tokens, (long long)c->sums.forest_tokens,
             (double)c->sums.tokens / (double)MAX(c->sums.forest_tokens, 1));
}

void sink_summary(const struct sink *s, double seconds) {
    for (int i = 0; i < s->b->n_inputs; i++) {
        struct buffer about = {0};
        if (!s->b->input[i].format) continue;
        format_about(s->b->input[i].format, &about);
        log_info("%s: %s", s->b->input[i].path, about.data);
        buffer_free(&about);
    }
    for (int i = 0; i < N_SPLITS; i++)
        if (s->b->out[i]) print_split(s, i, seconds);
}
