/* `rankwise score`: JSON lines with texts on stdin, a line with a score each on stdout, in order.
 *
 * Rank 0 reads windows of lines and broadcasts them; every rank encodes them and scorer_score deals
 * the work out. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
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
/* PAUSE: milliseconds without input after which what is there is scored. They are enough that the
 * windows of a file or of a flowing pipe are full, and few for whoever waits for an answer. */
enum { PAUSE = 10, READ_BYTES = 1 << 16 };
static const size_t line_ceiling = 1 << 30;

/* A window of input lines, each ended by a line feed. */
struct window {
    struct buffer text;
    int64_t n_lines, first_line; /* first_line counts from 1 */
};

/* What was read of stdin and is in no window yet. */
struct input {
    struct buffer held;
    size_t at, searched; /* the next line begins at `at`; no line feed in [at, searched) */
    bool at_end;
};

struct line_scorer {
    struct scorer *scorer;
    bool normalize;
    struct template_worker *worker;
    struct template_encoded encoded[WINDOW_LINES];
};

static bool input_pauses(void) {
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&wait, 1, PAUSE) < 1;
}

/* Waits for input and appends it; at_end is set when there is no more. */
static int read_more(struct input *in) {
    char piece[READ_BYTES];
    ssize_t n;
    do n = read(STDIN_FILENO, piece, sizeof piece);
    while (n < 0 && errno == EINTR);
    if (n < 0) return fail("standard input cannot be read: %s", strerror(errno));
    if (in->at > 0) {
        memmove(in->held.data, in->held.data + in->at, in->held.length - in->at);
        in->held.length -= in->at;
        in->searched -= in->at;
        in->at = 0;
    }
    buffer_append(&in->held, piece, (size_t)n);
    in->at_end = n == 0;
    return 0;
}

/* Moves the next line into the window, also a last one without a line feed. False: it is not there
 * yet. */
static bool take_line(struct window *w, struct input *in) {
    size_t length = in->held.length, unseen = length - in->searched;
    const char *data = in->held.data;
    const char *end = unseen ? memchr(data + in->searched, '\n', unseen) : NULL;
    in->searched = end ? (size_t)(end - data) + 1 : length;
    if (!end && (!in->at_end || in->at == length)) return false;
    buffer_append(&w->text, data + in->at, in->searched - in->at);
    if (!end) buffer_append_text(&w->text, "\n");
    in->at = in->searched;
    w->n_lines++;
    return true;
}

/* On rank 0: the next lines of stdin, as many as are there, or none at its end. What cannot be read
 * fails once the lines before it have been given. */
static int read_window(struct window *w, struct input *in) {
    buffer_clear(&w->text);
    w->n_lines = 0;
    while (w->n_lines < WINDOW_LINES) {
        if (take_line(w, in)) continue;
        bool is_long = in->held.length - in->at > line_ceiling;
        if (in->at_end || (w->n_lines > 0 && (is_long || input_pauses()))) break;
        if (is_long)
            return fail("standard input, line %lld: expected at most %zu bytes, found more",
                        (long long)w->first_line, line_ceiling);
        if (read_more(in) != 0) return w->n_lines > 0 ? 0 : -1;
    }
    return 0;
}

/* Rank 0 reads the next window and sends it to the others. Agreed. */
static int share_window(struct window *w, struct input *in) {
    const struct ranks *world = comm_world();
    if (comm_agree(world, world->rank == 0 ? read_window(w, in) : 0) != 0) return -1;
    int64_t size[2] = {w->n_lines, (int64_t)w->text.length};
    comm_broadcast(world, 0, size, sizeof size);
    if (world->rank != 0) {
        w->n_lines = size[0];
        w->text.length = 0;
        char *capacity = mem_alloc(size[1] + 1, 1);
        comm_broadcast(world, 0, capacity, (size_t)size[1]);
        buffer_append(&w->text, capacity, (size_t)size[1]);
        mem_free(capacity);
    } else {
        comm_broadcast(world, 0, w->text.data, (size_t)size[1]);
    }
    return 0;
}

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
static int encode_window(struct line_scorer *s, struct window *w) {
    const char *at = w->text.data, *end = at + w->text.length;
    for (int64_t i = 0; i < w->n_lines; i++) {
        size_t length = (size_t)((const char *)memchr(at, '\n', (size_t)(end - at)) - at);
        if (encode_line(s, at, length, &s->encoded[i]) != 0) {
            fail_context("standard input, line %lld", (long long)(w->first_line + i));
            w->n_lines = i;
            return fail_hint("a line is {\"text\": \"...\"}");
        }
        at += length + 1;
    }
    return 0;
}

static void score_window(struct line_scorer *s, const struct window *w) {
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
    struct window w = {.first_line = 1};
    struct input in = {0};
    int status = 0;
    do {
        status = share_window(&w, &in);
        if (status == 0 && w.n_lines > 0) {
            status = encode_window(s, &w);
            if (w.n_lines > 0) score_window(s, &w);
            status = comm_agree(comm_world(), status);
        }
        w.first_line += w.n_lines;
    } while (status == 0 && w.n_lines > 0);
    buffer_free(&in.held);
    buffer_free(&w.text);
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
