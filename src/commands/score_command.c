/* `rankwise score`: JSON lines with texts on stdin, a line with a score each on stdout, in order.
 *
 * Every rank encodes the lines of a window; scorer_score deals the work out. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "line_window.h"
#include "log.h"
#include "score_line.h"
#include "scorer.h"

static const char usage[] =
    "usage: rankwise score MODEL [--normalize] [path=value ...] < texts.jsonl > scores.jsonl\n\n"
    "Reads a JSON object per line, {\"text\": \"...\"} or {\"messages\": [{\"role\", \"content\"}, "
    "...]}, and prints\n"
    "{\"score\": ...} for each, in order. MODEL is a run directory (its newest whole checkpoint), "
    "a checkpoint, or a\n"
    "Hugging Face model directory. Template, EOS and truncation are those of the model's score "
    "contract; a model without\n"
    "one is scored as plain text, cut on the right at 1024 tokens, EOS included.\n\n"
    "Lines are scored 256 at a time, or as many as are there when the input pauses, so that a "
    "program may send a line\n"
    "and wait for its score (the last digits depend on what is scored together). The first line "
    "that has no score ends\n"
    "the command, after the scores of those before it.\n\n"
    "A model of several scores prints {\"score\": mean, \"sd\": ..., \"scores\": [...]} where it "
    "is an "
    "ensemble (sd by N - 1),\n"
    "and {\"scores\": {\"name\": ...}} where it scores attributes (num_labels, id2label).\n\n"
    "  --normalize    (score - mean) / sd, the reward's over the training data, which a run "
    "measures "
    "at its end\n\n"
    "Overrides: model.precision=bf16, run.threads=4, ...\n";

enum { WINDOW_LINES = 256, MOST_ROWS = 256, LEAST_TOKENS = 4096 };

struct line_scorer {
    struct scorer *scorer;
    bool normalize;
    struct template_worker *worker;
    struct template_encoded encoded[WINDOW_LINES];
};

static int encode_row(struct line_scorer *s, const json_t *row, struct template_encoded *out) {
    json_t *value = json_object_get(row, "text");
    if (!value) value = json_object_get(row, "messages");
    if (!value) return fail("expected an object with \"text\" or \"messages\"");
    enum template_status status =
        template_encode(s->worker, NULL, &value, 1, json_object_get(row, "tools"), out);
    if (status == TEMPLATE_TOO_LONG)
        return fail("longer than %lld tokens, which the score contract drops",
                    (long long)template_get_options(s->scorer->template)->max_length);
    if (status == TEMPLATE_OK && out->ids.n == 0) return fail("a text without tokens has no score");
    return status == TEMPLATE_OK ? 0 : -1;
}

static int encode_line(struct line_scorer *s, const char *line, size_t length,
                       struct template_encoded *out) {
    if (memchr(line, 0, length))
        return fail("expected JSON, found a zero byte; hint: UTF-16 becomes UTF-8 by iconv -f "
                    "UTF-16 -t UTF-8");
    json_t *row = json_parse(line, length);
    int status = row ? encode_row(s, row, out) : -1;
    json_decref(row);
    return status;
}

/* -1 at the first line that cannot be scored; the window ends before it then. The same on all
 * ranks. */
static int encode_window(struct line_scorer *s, struct line_window *w) {
    const char *at = NULL;
    for (int64_t i = 0; i < w->n_lines; i++) {
        size_t length;
        const char *line = line_window_line(w, &at, &length);
        if (encode_line(s, line, length, &s->encoded[i]) != 0) {
            fail_context("standard input, line %lld", (long long)(w->first_line + i));
            w->n_lines = i;
            return fail_hint("a line is {\"text\": \"...\"}");
        }
    }
    return 0;
}

static void score_window(struct line_scorer *s, const struct line_window *w) {
    const int32_t *sequence[WINDOW_LINES];
    int32_t length[WINDOW_LINES];
    int64_t heads = s->scorer->head.n_scores;
    float *score = mem_alloc(w->n_lines * heads, sizeof *score);
    for (int64_t i = 0; i < w->n_lines; i++) {
        sequence[i] = s->encoded[i].ids.id;
        length[i] = (int32_t)s->encoded[i].ids.n;
    }
    scorer_score(s->scorer, w->n_lines, sequence, length, score);
    struct buffer out = {0};
    for (int64_t i = 0; i < w->n_lines; i++)
        score_line(&out, &s->scorer->contract, score + i * heads, s->normalize);
    if (base_rank == 0) fwrite(out.data, 1, out.length, stdout);
    fflush(stdout); /* someone may wait for it; command_main checks that all was written */
    buffer_free(&out);
    mem_free(score);
}

static int score_stdin(struct line_scorer *s) {
    struct line_window w = {.max_lines = WINDOW_LINES, .first_line = 1};
    struct line_input in = {0};
    int status = 0;
    do {
        status = line_window_next(&w, &in);
        if (status == 0 && w.n_lines > 0) {
            status = encode_window(s, &w);
            if (w.n_lines > 0) score_window(s, &w);
            status = comm_agree(comm_world(), status);
        }
    } while (status == 0 && w.n_lines > 0);
    line_window_free(&w, &in);
    return status;
}

static int check_normalize(const struct scorer *scorer) {
    double mean, sd;
    if (contract_reward(&scorer->contract, 0, &mean, &sd)) return 0;
    return fail("%s: --normalize: expected mean and standard deviation of the reward in the score "
                "contract, found none; hint: a run measures them at its end: give its last "
                "checkpoint, or what was exported from it",
                scorer->path);
}

static int score(struct scorer *scorer, void *self) {
    const bool *normalize = self;
    if (scorer->head.kind == HEAD_LM)
        return fail("%s: expected a model that scores, found a language model; hint: train a score "
                    "head on it: export it, and give that as model.path",
                    scorer->path);
    if (*normalize && check_normalize(scorer) != 0) return -1;
    int64_t max_tokens = MAX(template_get_options(scorer->template)->max_length, LEAST_TOKENS);
    if (scorer_start(scorer, max_tokens, MOST_ROWS) != 0) return -1;
    if (comm_agree(comm_world(), scorer_check_golden(scorer)) != 0) return -1;
    struct line_scorer *s = mem_alloc(1, sizeof *s);
    s->scorer = scorer;
    s->normalize = *normalize;
    s->worker = template_worker_new(scorer->template);
    int status = score_stdin(s);
    template_worker_free(s->worker);
    for (int i = 0; i < WINDOW_LINES; i++) template_encoded_free(&s->encoded[i]);
    mem_free(s);
    return status;
}

int score_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}, {"normalize", false, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 2, 1, usage, argc, argv, &code)) return code;
    log_quiet(true);
    bool normalize = option[1].value != NULL;
    return scorer_command(argc, argv, &a, score, &normalize);
}
