/* `rankwise-inspect show`: everything about a checkpoint, a Hugging Face directory or a shard that
 * fits on pages. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "file.h"
#include "inspect.h"
#include "json.h"
#include "shard.h"

static const char usage[] = "usage: rankwise-inspect show PATH [--moments] [--diffable] [--json]\n"
                            "\n"
                            "PATH is a run directory (its newest whole checkpoint), a checkpoint, "
                            "a Hugging Face model directory, or a "
                            "token\n"
                            "shard. Lists step, configuration, score contract and each tensor: "
                            "name, dtype, shape, smallest and largest "
                            "element,\n"
                            "mean, Euclidean norm (these four over what is a number) and the count "
                            "of NaN. Tensors are read by pieces.\n"
                            "\n"
                            "  --moments    the optimizer's moments too\n"
                            "  --diffable   sorted by name, without paths, times and revisions: "
                            "two shows can be compared by diff\n"
                            "  --json       one object\n";

struct show {
    bool moments, diffable, json;
};

/* --- one tensor --- */

struct statistics {
    double least, max, mean, norm; /* NaN where no element is a number */
    int64_t n_nan;
};

/* Reads the tensor by pieces; NaN are counted and left out of the other figures. */
static int measure(struct inspected *o, const struct inspect_tensor *t, float *piece,
                   struct statistics *s) {
    double sum = 0, squares = 0;
    int64_t n = 0;
    *s = (struct statistics){INFINITY, -INFINITY};
    for (int64_t first = 0; first < t->count; first += INSPECT_PIECE) {
        int64_t count = MIN(INSPECT_PIECE, t->count - first);
        if (inspect_read(o, t, first, count, piece) != 0) return -1;
        for (int64_t i = 0; i < count; i++) {
            double x = piece[i];
            if (isnan(x)) continue;
            s->least = MIN(s->least, x);
            s->max = MAX(s->max, x);
            sum += x;
            squares += x * x;
            n++;
        }
    }
    s->n_nan = t->count - n;
    if (n == 0) s->least = s->max = NAN;
    s->mean = sum / (double)n;
    s->norm = n ? sqrt(squares) : NAN;
    return 0;
}

/* --- as text --- */

/* A configuration without the comments that explain it; diffable: without where it was run. */
static void shorten_config(struct buffer *out, const char *text, bool diffable) {
    while (*text) {
        size_t length = strcspn(text, "\n"), blank = strspn(text, " \t");
        bool is_place = diffable && strncmp(text + blank, "dir = ", 6) == 0;
        if (blank < length && text[blank] != '#' && !is_place)
            buffer_format(out, "    %.*s\n", (int)length, text);
        text += length + (text[length] == '\n');
    }
}

static void print_heads(const struct contract *contract) {
    double mean, sd;
    int n = contract_n_heads(contract);
    bool is_named = contract_heads_kind(contract) == HEADS_ATTRIBUTES;
    if (n > 1 && !is_named) printf("scores: an ensemble of %d\n", n);
    for (int k = 0; k < n && is_named; k++)
        printf("%s%s%s", k ? ", " : "scores: ", contract_head_name(contract, k),
               k == n - 1 ? "\n" : "");
    for (int k = 0; k < contract_n_rewards(contract); k++)
        if (contract_reward(contract, k, &mean, &sd))
            printf("reward%s%s: mean %.6g, standard deviation %.6g\n", is_named ? " of " : "",
                   is_named ? contract_head_name(contract, k) : "", mean, sd);
}

static void print_contract(const struct contract *contract) {
    struct template_options how;
    if (!contract->json || contract_options(contract, &how) != 0) {
        printf("score contract: none\n");
        return;
    }
    printf("score contract: template %s, cut on the %s at %lld tokens, %s golden scores\n",
           how.name, truncate_name(how.truncate), (long long)how.max_length,
           contract_has_scores(contract) ? "with" : "without");
    print_heads(contract);
}

static void print_checkpoint(const struct inspected *o, const struct show *how) {
    const struct checkpoint *c = &o->checkpoint;
    const struct run_state *s = &c->state;
    if (!how->diffable) {
        printf("checkpoint: %s\n", o->path);
        printf("written: %s by rankwise %s\n", c->written_at, c->revision);
    }
    printf("step: %lld%s\n", (long long)s->step, s->finished ? ", the run's last" : "");
    printf("updates: %lld, skipped %lld (%d in a row)\n", (long long)s->updates,
           (long long)s->skipped, s->skipped_in_a_row);
    printf("data: epoch %lld, next group %lld, %lld pairs seen\n", (long long)s->cursor.epoch,
           (long long)s->cursor.next, (long long)s->episodes);
    if (c->base) printf("frozen weights: of %s, digest %s\n", c->base, c->base_digest);
    for (int i = 0; i < c->n_files; i++)
        printf("carries: %s, %zu bytes\n", c->file[i].name, c->file[i].length);
    struct buffer config = {0};
    shorten_config(&config, c->config, how->diffable);
    printf("configuration:\n%s", config.data ? config.data : "");
    buffer_free(&config);
    printf("architecture: %s\n", c->arch_json);
}

static void print_directory(const struct inspected *o, const struct show *how) {
    if (!how->diffable) printf("model: %s\n", o->path);
    if (o->config) printf("config.json: %s\n", o->config);
}

static int name_width(const struct inspected *o) {
    size_t width = 4;
    for (int i = 0; i < o->n; i++) width = MAX(width, strlen(o->tensor[i].name));
    return (int)width;
}

static int print_tensors(struct inspected *o) {
    int width = name_width(o), status = 0;
    int64_t elements = 0;
    float *piece = mem_alloc(INSPECT_PIECE, sizeof *piece);
    printf("%-*s  dtype  %-16s  %13s %13s %13s %13s  %s\n", width, "tensor", "shape", "min", "max",
           "mean", "norm", "NaN");
    for (int i = 0; i < o->n && status == 0; i++) {
        const struct inspect_tensor *t = &o->tensor[i];
        struct statistics s;
        char shape[96];
        inspect_shape(t, shape, sizeof shape);
        status = measure(o, t, piece, &s);
        if (status == 0)
            printf("%-*s  %-5s  %-16s  %13.6g %13.6g %13.6g %13.6g  %lld\n", width, t->name,
                   dtype_name(t->dtype), shape, s.least, s.max, s.mean, s.norm, (long long)s.n_nan);
        elements += t->count;
    }
    printf("%d tensors, %lld elements\n", o->n, (long long)elements);
    mem_free(piece);
    return status;
}

/* --- as JSON --- */

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *tensor_json(struct inspected *o, const struct inspect_tensor *t, float *piece) {
    struct statistics s;
    if (measure(o, t, piece, &s) != 0) return NULL;
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dims; i++) json_array_append_new(shape, json_integer(t->dim[i]));
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I}", "name", t->name, "dtype",
                     dtype_name(t->dtype), "shape", shape, "min", number(s.least), "max",
                     number(s.max), "mean", number(s.mean), "norm", number(s.norm), "nan",
                     (json_int_t)s.n_nan);
}

static void add_checkpoint(json_t *object, const struct inspected *o, const struct show *how) {
    const struct checkpoint *c = &o->checkpoint;
    const struct run_state *s = &c->state;
    if (!how->diffable) {
        json_object_set_new(object, "path", json_string(o->path));
        json_object_set_new(object, "revision", json_string(c->revision));
        json_object_set_new(object, "written_at", json_string(c->written_at));
    }
    json_object_set_new(object, "step", json_integer(s->step));
    json_object_set_new(object, "finished", json_boolean(s->finished));
    json_object_set_new(object, "updates", json_integer(s->updates));
    json_object_set_new(object, "skipped", json_integer(s->skipped));
    json_object_set_new(object, "epoch", json_integer(s->cursor.epoch));
    json_object_set_new(object, "next", json_integer(s->cursor.next));
    json_object_set_new(object, "episodes", json_integer(s->episodes));
    struct buffer config = {0};
    shorten_config(&config, c->config, how->diffable);
    json_object_set_new(object, "config", json_string(config.data ? config.data : ""));
    buffer_free(&config);
    json_object_set_new(object, "architecture", json_loads(c->arch_json, 0, NULL));
}

/* One object for everything; nothing is printed when a tensor cannot be read. */
static int show_json(struct inspected *o, const struct show *how) {
    json_t *object = json_object(), *list = json_array();
    float *piece = mem_alloc(INSPECT_PIECE, sizeof *piece);
    int status = 0;
    json_object_set_new(object, "kind", json_string(o->is_checkpoint ? "checkpoint" : "model"));
    if (o->is_checkpoint)
        add_checkpoint(object, o, how);
    else if (!how->diffable)
        json_object_set_new(object, "path", json_string(o->path));
    if (o->config) json_object_set_new(object, "config", json_loads(o->config, 0, NULL));
    if (inspect_contract(o)->json) json_object_set(object, "contract", inspect_contract(o)->json);
    for (int i = 0; i < o->n && status == 0; i++) {
        json_t *tensor = tensor_json(o, &o->tensor[i], piece);
        if (tensor)
            json_array_append_new(list, tensor);
        else
            status = -1;
    }
    json_object_set_new(object, "tensors", list);
    char *text = json_text(object);
    if (status == 0) puts(text);
    mem_free(text);
    mem_free(piece);
    json_decref(object);
    return status;
}

/* --- a shard --- */

static int64_t count_learned(const struct shard *s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_spans; i++) n += s->span_last[i] - s->span_first[i];
    return n;
}

static int64_t count_ranked(const struct shard *s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_answers; i++) n += s->answer_rank[i] >= 0;
    return n;
}

/* The tables that a shard may lack, as far as they are there. */
static void add_tables(json_t *object, const struct shard *s) {
    json_object_set_new(object, "labels", json_boolean(s->label != NULL));
    json_object_set_new(object, "answers", json_integer(s->n_answers));
    json_object_set_new(object, "ranked_answers", json_integer(count_ranked(s)));
    json_t *names = json_array();
    for (int64_t i = 0; i < s->n_scores; i++)
        json_array_append_new(names, json_string(s->score_name[i]));
    json_object_set_new(object, "scores", names);
    json_object_set_new(object, "spans", json_integer(s->n_spans));
    json_object_set_new(object, "learned_tokens", json_integer(count_learned(s)));
    if (s->n_prompts == 0) return;
    json_object_set_new(object, "prompts", json_integer(s->n_prompts));
    json_object_set_new(object, "judge", json_string(s->judge));
    json_object_set_new(object, "parser", json_string(s->parser));
}

static void print_tables(const struct shard *s) {
    if (s->label) printf("labels: of every comparison\n");
    if (s->n_answers)
        printf("answers: %lld, %lld of them ranked%s", (long long)s->n_answers,
               (long long)count_ranked(s), s->n_scores ? ", scores" : "\n");
    for (int64_t i = 0; i < s->n_scores; i++)
        printf(" %s%s", s->score_name[i], i + 1 < s->n_scores ? "," : "\n");
    if (s->n_spans)
        printf("spans: %lld, %lld learned tokens\n", (long long)s->n_spans,
               (long long)count_learned(s));
    if (s->n_prompts)
        printf("prompts: %lld of the judge %s, parser %s\n", (long long)s->n_prompts, s->judge,
               s->parser);
}

/* A shard has no tensors: its counts and its contract are shown. */
static int show_shard(const char *path, const struct show *how) {
    struct shard s;
    if (shard_open(&s, path) != 0) return -1;
    double tokens = 0;
    for (int64_t i = 0; i < s.n_groups; i++) tokens += s.group_forest_tokens[i];
    if (how->json) {
        json_t *object =
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:f}", "kind", "shard", "comparisons",
                      (json_int_t)s.n_comparisons, "groups", (json_int_t)s.n_groups, "sequences",
                      (json_int_t)s.n_sequences, "tokens", (json_int_t)s.n_tokens, "vocabulary",
                      (json_int_t)s.vocabulary, "forest_tokens", tokens);
        add_tables(object, &s);
        if (s.contract.json) json_object_set(object, "contract", s.contract.json);
        char *text = json_text(object);
        puts(text);
        mem_free(text);
        json_decref(object);
    } else {
        if (!how->diffable) printf("shard: %s\n", path);
        printf("comparisons: %lld in %lld groups\n", (long long)s.n_comparisons,
               (long long)s.n_groups);
        printf("sequences: %lld, %lld tokens, %.0f forest tokens, ids below %lld\n",
               (long long)s.n_sequences, (long long)s.n_tokens, tokens, (long long)s.vocabulary);
        print_tables(&s);
        print_contract(&s.contract);
    }
    shard_close(&s);
    return 0;
}

static int show(const char *path, const struct show *how) {
    if (file_exists(path) && !file_is_directory(path)) return show_shard(path, how);
    struct inspected o;
    if (inspect_open(&o, path, how->moments, how->diffable) != 0) return -1;
    int status = 0;
    if (how->json) {
        status = show_json(&o, how);
    } else {
        if (o.is_checkpoint)
            print_checkpoint(&o, how);
        else
            print_directory(&o, how);
        print_contract(inspect_contract(&o));
        status = print_tensors(&o);
    }
    inspect_close(&o);
    return status;
}

int show_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL},
                              {"moments", false, NULL},
                              {"diffable", false, NULL},
                              {"json", false, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 4, 1, usage, argc, argv, &code)) return code;
    struct show how = {option[1].value, option[2].value, option[3].value};
    code = command_finish(show(a.positional[0], &how));
    arguments_free(&a);
    return code;
}
