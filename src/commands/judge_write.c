/* Asking a model about the pairs of a shard: see judge_write.h.
 *
 * Every rank reads the prompts and keeps the table; writer_write deals out what is to be written.
 * A draw's key is made of the seed, the pair's number in the shard, the side and the sample, so
 * that --limit, windows and ranks change nothing in what is written of a pair. */
#include "judge_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "file.h"
#include "log.h"
#include "random.h"
#include "shard.h"
#include "writer.h"

enum { WINDOW_TEXTS = 4096, FIRST_SAMPLES = 100 };

/* One text that is to be written. */
struct judge_ask {
    int64_t pair; /* in the table */
    int side, k;  /* where its score goes */
};

struct judging {
    const struct judge_options *o;
    uint64_t seed;
    struct shard *shard;
    struct parser *parser;
    struct writer *writer;
    struct judge_table *table;
    int64_t *group, n_groups; /* pairs that are asked about */
    int64_t n_one_sided, n_too_long, n_texts, n_tokens;
    /* of a window */
    struct judge_ask *ask;
    struct generate_request *request;
    struct generated *text;
    int32_t *token; /* of all prompts of the window */
    int64_t n;
};

/* --- which pairs --------------------------------------------------------------------- */

/* Whether a pair has what the judge is asked about: both sides, or one order of them. */
static bool is_whole(const struct judging *j, int64_t group) {
    const struct shard *s = j->shard;
    int sides = 0;
    for (int64_t p = s->prompt_first[group]; p < s->prompt_first[group + 1]; p++)
        sides |= 1 << s->prompt_side[p];
    return parser_is_pairwise(j->parser) ? (sides & 12) != 0 : (sides & 3) == 3;
}

static int compare_groups(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* All pairs, or so many of them by the seed, ascending. */
static int choose_pairs(struct judging *j) {
    int64_t n = 0, limit = j->o->limit, n_all = j->shard->n_groups;
    int64_t *whole = mem_alloc(n_all, sizeof *whole);
    for (int64_t g = 0; g < n_all; g++)
        if (is_whole(j, g)) whole[n++] = g;
    j->n_one_sided = n_all - n;
    j->n_groups = limit > 0 ? MIN(limit, n) : n;
    j->group = mem_alloc(j->n_groups, sizeof *j->group);
    uint64_t purpose = random_purpose("judge pairs");
    for (int64_t i = 0; i < j->n_groups; i++)
        j->group[i] = whole[j->n_groups < n ? random_permute(j->seed, purpose, i, n) : i];
    mem_free(whole);
    if (j->n_groups > 0) {
        qsort(j->group, (size_t)j->n_groups, sizeof *j->group, compare_groups);
        return 0;
    }
    return fail("%s: expected pairs that are asked about as %s reads them, found none; hint: "
                "--parser names another one",
                j->shard->path, parser_spec(j->parser));
}

/* Texts that a window has room for. */
static int64_t window_room(const struct judging *j) {
    return WINDOW_TEXTS + 2 * j->o->samples;
}

/* --- a window ------------------------------------------------------------------------ */

/* Asks for the samples of a prompt, which is too long or has room. *token: where its ids go. */
static int ask_prompt(struct judging *j, int64_t prompt, int64_t pair, int order, int32_t **token) {
    const struct shard *s = j->shard;
    int64_t length = shard_length(s, s->prompt_sequence[prompt]);
    int samples = (int)j->o->samples;
    bool fits = writer_check_length(j->writer, length) == 0;
    if (shard_read(j->shard, s->prompt_sequence[prompt], *token) != 0)
        return fail_context("%s", s->path);
    for (int k = 0; k < samples && fits; k++) {
        int side = s->prompt_side[prompt];
        j->ask[j->n] = (struct judge_ask){pair, side < 2 ? side : 0, order * samples + k};
        j->request[j->n++] = (struct generate_request){
            *token, length, generate_key(j->seed, 0, s->prompt_pair[prompt], side, k, 0)};
    }
    j->n_too_long += !fits;
    *token += length;
    return 0;
}

/* The first of the pairs that were made of one row, which have one prompt: the build leaves them
 * side by side. */
static int64_t cluster_of(const struct shard *s, int64_t group) {
    int64_t row = s->prompt_row[s->prompt_first[group]];
    uint16_t source = s->prompt_source[s->prompt_first[group]];
    while (group > 0 && s->prompt_row[s->prompt_first[group - 1]] == row &&
           s->prompt_source[s->prompt_first[group - 1]] == source)
        group--;
    return s->prompt_pair[s->prompt_first[group]];
}

static int ask_pair(struct judging *j, int64_t group, int32_t **token) {
    const struct shard *s = j->shard;
    int64_t first = s->prompt_first[group], end = s->prompt_first[group + 1];
    int samples = (int)j->o->samples, orders = 0, status = 0;
    bool compares = j->table->is_pairwise;
    for (int64_t p = first; p < end; p++) orders += s->prompt_side[p] >= 2;
    int n = compares ? orders * samples : samples;
    struct judge_pair *pair =
        judge_table_add(j->table, s->prompt_pair[first], s->prompt_preferred[first], n, n);
    pair->cluster = cluster_of(s, group);
    int order = 0;
    for (int64_t p = first; p < end && status == 0; p++) {
        int side = s->prompt_side[p];
        if ((side >= 2) != compares) continue;
        for (int k = 0; k < samples && compares; k++) pair->order[order * samples + k] = side == 3;
        if (!compares) pair->length[side] = shard_length(s, s->prompt_sequence[p]);
        status = ask_prompt(j, p, j->table->n - 1, order, token);
        order += compares;
    }
    return status;
}

/* Keeps what was written, with its scores. */
static int keep_texts(struct judging *j) {
    struct buffer text = {0};
    int status = 0;
    for (int64_t i = 0; i < j->n && status == 0; i++) {
        const struct judge_ask *a = &j->ask[i];
        buffer_clear(&text);
        buffer_append(&text, "", 0);
        status = writer_text(j->writer, &j->text[i], &text);
        judge_table_set(j->table, &j->table->pair[a->pair], a->side, a->k, text.data, text.length,
                        j->parser);
        j->n_tokens += j->text[i].n;
    }
    j->n_texts += j->n;
    buffer_free(&text);
    return status;
}

/* Tokens of the prompts of a pair. */
static int64_t pair_tokens(const struct judging *j, int64_t group) {
    const struct shard *s = j->shard;
    int64_t n = 0;
    for (int64_t p = s->prompt_first[group]; p < s->prompt_first[group + 1]; p++)
        n += shard_length(s, s->prompt_sequence[p]);
    return n;
}

/* Asks about pairs [*next, ...) as long as a window has room for them. */
static int write_window(struct judging *j, int64_t *next) {
    int64_t end = *next, tokens = 0, texts = 0;
    for (; end < j->n_groups && texts < WINDOW_TEXTS; end++) {
        tokens += pair_tokens(j, j->group[end]);
        texts += 2 * j->o->samples;
    }
    j->n = 0;
    j->token = mem_resize(j->token, MAX(tokens, 1), sizeof *j->token);
    int32_t *token = j->token;
    int status = 0;
    for (; *next < end && status == 0; (*next)++) status = ask_pair(j, j->group[*next], &token);
    status = comm_agree(comm_world(), status);
    if (status == 0) status = writer_write(j->writer, j->request, j->n, j->text);
    return status == 0 ? comm_agree(comm_world(), keep_texts(j)) : status;
}

/* How many of the first samples have a score: whether the parser fits is seen early. */
static void tell_parse_rate(const struct judging *j) {
    int n = 0, read = 0;
    for (int64_t i = 0; i < j->n && n < FIRST_SAMPLES; i++, n++) {
        const struct judge_ask *a = &j->ask[i];
        read += !isnan(j->table->pair[a->pair].score[a->side][a->k]);
    }
    if (n == 0) return;
    log_info("%s reads a score in %d of the first %d texts", parser_spec(j->parser), read, n);
    if (read * 20 < n && j->table->pair[0].text[j->ask[0].side])
        log_warn("%s hardly fits what is written, which begins \"%.120s\"; hint: --parser",
                 parser_spec(j->parser),
                 j->table->pair[j->ask[0].pair].text[j->ask[0].side][j->ask[0].k].data);
}

static int write_all(struct judging *j) {
    double begin = clock_seconds();
    int status = 0;
    j->ask = mem_alloc(window_room(j), sizeof *j->ask);
    j->request = mem_alloc(window_room(j), sizeof *j->request);
    j->text = mem_alloc(window_room(j), sizeof *j->text);
    for (int64_t next = 0; next < j->n_groups && status == 0;) {
        bool is_first = next == 0;
        status = write_window(j, &next);
        if (status == 0 && is_first) tell_parse_rate(j);
        log_progress("%lld of %lld pairs", (long long)next, (long long)j->n_groups);
    }
    double seconds = clock_seconds() - begin;
    log_info("wrote %lld texts of %lld tokens in %.1f s: %.0f tokens/s", (long long)j->n_texts,
             (long long)j->n_tokens, seconds, (double)j->n_tokens / fmax(seconds, 1e-9));
    mem_free(j->token);
    j->token = NULL;
    mem_free(j->text);
    mem_free(j->request);
    mem_free(j->ask);
    return status;
}

/* --- a table ------------------------------------------------------------------------- */

/* The table of one seed. */
static int judge_shard(struct judging *j, struct judge_table *t, uint64_t seed) {
    *t = (struct judge_table){.is_pairwise = parser_is_pairwise(j->parser)};
    judge_table_set_parser(t, j->parser);
    if (j->shard->judge) t->family = mem_copy_string(j->shard->judge);
    j->table = t;
    j->seed = seed;
    j->n_texts = j->n_tokens = j->n_too_long = 0;
    int status = choose_pairs(j);
    if (status == 0) status = write_all(j);
    mem_free(j->group);
    j->group = NULL;
    if (status == 0 && j->n_one_sided > 0)
        log_warn("%lld pairs with one side are left out", (long long)j->n_one_sided);
    if (status == 0 && j->n_too_long > 0)
        log_warn("%lld prompts leave no room for what is to be written: they count as silence",
                 (long long)j->n_too_long);
    return status;
}

/* Tokens of the longest prompt. */
static int64_t longest_prompt(const struct shard *s) {
    int64_t most = 1;
    for (int64_t p = 0; p < s->n_prompts; p++)
        most = MAX(most, shard_length(s, s->prompt_sequence[p]));
    return most;
}

static int open_parser(struct judging *j) {
    const struct shard *s = j->shard;
    const char *spec = j->o->parser ? j->o->parser : s->parser;
    if (s->n_prompts == 0)
        return fail("%s: expected prompts of a judge, found none; hint: rankwise-data build "
                    "--judge",
                    s->path);
    if (!spec) return fail("%s: names no parser; hint: --parser", s->path);
    j->parser = parser_open(spec);
    return j->parser ? 0 : -1;
}

static int open_shard(struct judging *j, struct shard *shard, const struct scorer *s) {
    if (shard_open(shard, j->o->data) != 0) return -1;
    j->shard = shard;
    if (contract_compare_tokenizers(&s->contract, s->path, &shard->contract, shard->path) != 0)
        return fail_hint("build the shard with the tokenizer of the model");
    if (shard->vocabulary > s->arch.V)
        return fail("%s: has token ids up to %lld, the model's embedding has %lld rows",
                    shard->path, (long long)shard->vocabulary - 1, (long long)s->arch.V);
    return open_parser(j);
}

static int start_writer(struct judging *j, struct scorer *s) {
    struct writer_options options = {.max_rows = j->o->max_rows,
                                     .max_prompt = longest_prompt(j->shard)};
    int status = writer_open(j->writer, s);
    if (status == 0) status = generation_config_parse(&j->writer->config, j->o->settings);
    status = comm_agree(comm_world(), status);
    return status == 0 ? comm_agree(comm_world(), writer_start(j->writer, &options)) : status;
}

static bool is_done(const struct judge_options *o, const char *name, int seed) {
    char *path = judge_sweep_path(o->sweep, name, o->seed[seed]);
    bool is_there = file_exists(path);
    mem_free(path);
    return is_there;
}

/* Rank 0 keeps the table. */
static int keep_table(const struct judge_options *o, const struct judge_table *t, const char *name,
                      uint64_t seed) {
    if (name) {
        char *path = judge_sweep_path(o->sweep, name, seed);
        int status = judge_report_lines(t, path);
        mem_free(path);
        return status;
    }
    json_t *figures = judge_report_figures(t, o, seed);
    int status = judge_report_write(t, o, figures);
    if (status == 0) judge_report_print(figures);
    json_decref(figures);
    return status;
}

/* All seeds, but those whose files are there. name: NULL without a sweep. */
static int judge_seeds(struct judging *j, const char *name) {
    int status = 0;
    for (int i = 0; i < j->o->n_seeds && status == 0; i++) {
        double done = name && base_rank == 0 && is_done(j->o, name, i);
        comm_max(comm_world(), &done, 1);
        if (done > 0) continue;
        struct judge_table t;
        if (name) log_info("%s, seed %llu", name, (unsigned long long)j->o->seed[i]);
        status = judge_shard(j, &t, j->o->seed[i]);
        if (status == 0 && base_rank == 0) status = keep_table(j->o, &t, name, j->o->seed[i]);
        status = comm_agree(comm_world(), status);
        judge_table_free(&t);
    }
    return status;
}

static int judge_with(struct scorer *s, const struct judge_options *o, const char *name) {
    struct shard shard = {0};
    struct writer writer = {0};
    struct judging j = {.o = o, .writer = &writer};
    int status = comm_agree(comm_world(), open_shard(&j, &shard, s));
    if (status == 0) {
        status = start_writer(&j, s);
        if (status == 0) status = judge_seeds(&j, name);
        writer_close(&writer);
    }
    parser_close(j.parser);
    if (j.shard) shard_close(&shard);
    return status;
}

/* --- models -------------------------------------------------------------------------- */

static int judge_path(const char *path, const struct arguments *a, const struct judge_options *o,
                      const char *name) {
    struct scorer s;
    int status = scorer_open(&s, path, true, a->overrides, a->n_overrides);
    if (status != 0) return status;
    status = judge_with(&s, o, name);
    scorer_close(&s);
    return status;
}

static bool is_all_done(const struct judge_options *o, const char *name) {
    double missing = 0;
    for (int i = 0; i < o->n_seeds && base_rank == 0; i++) missing += !is_done(o, name, i);
    comm_max(comm_world(), &missing, 1);
    return missing == 0;
}

static int judge_checkpoints(const struct arguments *a, const struct judge_options *o) {
    struct judge_checkpoint *list = NULL;
    int n = judge_sweep_checkpoints(&list, o, a->positional[0]), status = n < 0 ? -1 : 0;
    if (status == 0 && base_rank == 0) status = judge_sweep_begin(o, a->positional[0]);
    status = comm_agree(comm_world(), status);
    for (int i = 0; i < n && status == 0; i++)
        if (!is_all_done(o, list[i].name)) status = judge_path(list[i].path, a, o, list[i].name);
    for (int i = 0; i < n; i++) {
        mem_free(list[i].name);
        mem_free(list[i].path);
    }
    mem_free(list);
    if (status == 0 && base_rank == 0) status = judge_sweep_summarise(o);
    return comm_agree(comm_world(), status);
}

int judge_model(int argc, char **argv, struct arguments *a, const struct judge_options *o) {
    comm_start(&argc, &argv);
    int code = command_finish(o->sweep ? judge_checkpoints(a, o)
                                       : judge_path(a->positional[0], a, o, NULL));
    arguments_free(a);
    comm_stop();
    return code;
}
