/* `rankwise score`: JSON lines with texts on stdin, a line with a score each on stdout, in order.
 *
 * Rank 0 reads windows of lines and broadcasts them; every rank encodes them and scorer_score deals
 * the work out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "log.h"
#include "scorer.h"

static const char usage[] =
    "usage: rankwise score MODEL [path=value ...] < texts.jsonl > scores.jsonl\n"
    "\n"
    "Reads a JSON object per line, {\"text\": \"...\"} or {\"messages\": [{\"role\", "
    "\"content\"}, ...]}, and prints\n"
    "{\"score\": ...} for each, in order. MODEL is a run directory (its newest whole "
    "checkpoint), a checkpoint, or a\n"
    "Hugging Face model directory. Template, EOS and truncation are those of the model's "
    "score contract; a model without\n"
    "one is scored as plain text, cut on the right at 1024 tokens, EOS included.\n"
    "\n"
    "Overrides: model.precision=bf16, run.threads=4, ...\n";

enum { WINDOW_LINES = 256, MOST_ROWS = 256, LEAST_TOKENS = 4096 };
static const size_t line_ceiling = 1 << 30;

/* A window of input lines, each ended by a line feed. */
struct window {
    struct buffer text;
    int64_t n_lines, first_line; /* first_line counts from 1 */
};

struct lines {
    struct scorer *o;
    struct template_worker *worker;
    struct template_side side[WINDOW_LINES];
};

/* On rank 0: the next lines of stdin. */
static int read_window(struct window *w) {
    char *line = NULL;
    size_t room = 0;
    ssize_t n = 0;
    buffer_clear(&w->text);
    for (w->n_lines = 0; w->n_lines < WINDOW_LINES && (n = getline(&line, &room, stdin)) >= 0;
         w->n_lines++) {
        if ((size_t)n > line_ceiling) break;
        buffer_append(&w->text, line, (size_t)n);
        if (n == 0 || line[n - 1] != '\n') buffer_append_text(&w->text, "\n");
    }
    free(line);
    if (n >= 0 && (size_t)n > line_ceiling)
        return fail("line %lld: longer than %zu bytes", (long long)(w->first_line + w->n_lines),
                    line_ceiling);
    return ferror(stdin) ? fail("standard input cannot be read: %s", strerror(errno)) : 0;
}

/* The same window on all ranks; collective. */
static int share_window(struct window *w) {
    const struct group *world = comm_world();
    if (comm_agree(world, world->rank == 0 ? read_window(w) : 0) != 0) return -1;
    int64_t size[2] = {w->n_lines, (int64_t)w->text.length};
    comm_broadcast(world, 0, size, sizeof size);
    if (world->rank != 0) {
        w->n_lines = size[0];
        w->text.length = 0;
        char *room = mem_alloc(size[1] + 1, 1);
        comm_broadcast(world, 0, room, (size_t)size[1]);
        buffer_append(&w->text, room, (size_t)size[1]);
        mem_free(room);
    } else {
        comm_broadcast(world, 0, w->text.data, (size_t)size[1]);
    }
    return 0;
}

static int encode_row(struct lines *s, const json_t *row, struct template_side *out) {
    json_t *value = json_object_get(row, "text");
    if (!value) value = json_object_get(row, "messages");
    if (!value) return fail("expected an object with \"text\" or \"messages\"");
    enum template_status status =
        template_encode(s->worker, NULL, &value, 1, json_object_get(row, "tools"), out);
    if (status == TEMPLATE_TOO_LONG)
        return fail("longer than %lld tokens, which the score contract drops",
                    (long long)template_how(s->o->template)->max_length);
    if (status == TEMPLATE_OK && out->ids.n == 0) return fail("a text without tokens has no score");
    return status == TEMPLATE_OK ? 0 : -1;
}

static int encode_window(struct lines *s, const struct window *w) {
    const char *at = w->text.data;
    for (int64_t i = 0; i < w->n_lines; i++) {
        const char *end = strchr(at, '\n');
        if (!end) return fail("line %lld: has a zero byte", (long long)(w->first_line + i));
        json_t *row = json_parse(at, (size_t)(end - at));
        int status = row ? encode_row(s, row, &s->side[i]) : -1;
        json_decref(row);
        if (status != 0) {
            fail_context("standard input, line %lld", (long long)(w->first_line + i));
            return fail_hint("a line is {\"text\": \"...\"}");
        }
        at = end + 1;
    }
    return 0;
}

static void score_window(struct lines *s, const struct window *w) {
    const int32_t *sequence[WINDOW_LINES];
    int32_t length[WINDOW_LINES];
    float score[WINDOW_LINES];
    for (int64_t i = 0; i < w->n_lines; i++) {
        sequence[i] = s->side[i].ids.id;
        length[i] = (int32_t)s->side[i].ids.n;
    }
    scorer_score(s->o, w->n_lines, sequence, length, score);
    char text[32];
    for (int64_t i = 0; i < w->n_lines && base_rank == 0; i++)
        printf("{\"score\": %s}\n", json_number(text, score[i], 9));
}

static int score_stdin(struct lines *s) {
    struct window w = {.first_line = 1};
    int status = 0;
    do {
        status = share_window(&w);
        if (status == 0) status = comm_agree(comm_world(), encode_window(s, &w));
        if (status == 0 && w.n_lines > 0) score_window(s, &w);
        w.first_line += w.n_lines;
    } while (status == 0 && w.n_lines > 0);
    buffer_free(&w.text);
    return status;
}

static int score(struct scorer *o, void *self) {
    (void)self;
    if (scorer_start(o, MAX(template_how(o->template)->max_length, LEAST_TOKENS), MOST_ROWS) != 0)
        return -1;
    if (comm_agree(comm_world(), scorer_check_golden(o)) != 0) return -1;
    struct lines *s = mem_alloc(1, sizeof *s);
    s->o = o;
    s->worker = template_worker_new(o->template);
    int status = score_stdin(s);
    template_worker_free(s->worker);
    for (int i = 0; i < WINDOW_LINES; i++) template_side_free(&s->side[i]);
    mem_free(s);
    return status;
}

int score_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 1, 1, usage, argc, argv, &code)) return code;
    log_quiet(true);
    return scorer_command(argc, argv, &a, score, NULL);
}
