/* rankwise-data peek: comparisons, answers or a judge's prompts of a shard as the model will see
 * them, token by token.
 *
 * What is shown comes out of the shard and through its own tokenizer's decoder; nothing is rendered
 * again. A character whose bytes lie in several tokens is shown with the first of them. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "config.h"
#include "data_tools.h"
#include "look.h"
#include "peek_paint.h"
#include "random.h"

static const char usage[] =
    "usage: rankwise-data peek SHARD [options]\n"
    "\n"
    "Shows comparisons as the model sees them: the stem that both sides share, then each branch, "
    "tokens on cycling\n"
    "background colours, with labels. Without --from a sample is taken over the whole shard.\n"
    "\n"
    "  --answers      answers with their ranks and scores, or completions with what is learned: "
    "for shards without\n"
    "                 comparisons as a matter of course\n"
    "  --count N      how many comparisons, answers or prompts (3)\n"
    "  --from N       from this one on, counted from 0\n"
    "  --seed N       of the sample (0)\n"
    "  --ids          the numbers of the tokens too\n"
    "  --color WHEN   auto (default: on a terminal, unless NO_COLOR is set), always, never\n"
    "  --html FILE    a page instead (- for standard output)\n";

struct peek {
    struct look look;
    FILE *out;
    enum paint paint;
    bool show_ids;
    struct buffer text, before;
};

/* ---- one part of a comparison ---- */

/* How many bytes at the end of the text begin a character that is not whole: the decoder has put
 * U+FFFD there. */
static bool ends_broken(const struct buffer *text, size_t from) {
    return text->length >= from + 3 &&
           memcmp(text->data + text->length - 3, "\xEF\xBF\xBD", 3) == 0;
}

/* The text of tokens [first, first + n) as they stand behind the token before them, since what a
 * decoder does with the first token of all (dropping a blank) it does not do with others. */
static int decode_behind(struct peek *p, const struct ids *ids, int64_t first, int64_t n,
                         size_t *skip) {
    int64_t back = MIN(first, 1);
    buffer_clear(&p->before);
    buffer_clear(&p->text);
    buffer_append(&p->before, "", 0);
    buffer_append(&p->text, "", 0);
    if (tokenizer_decode(p->look.tokenizer, ids->id + first - back, back, false, &p->before) != 0)
        return -1;
    if (tokenizer_decode(p->look.tokenizer, ids->id + first - back, back + n, false, &p->text) != 0)
        return -1;
    bool is_prefix = p->text.length >= p->before.length &&
                     memcmp(p->text.data, p->before.data, p->before.length) == 0;
    *skip = is_prefix ? p->before.length : 0;
    if (is_prefix) return 0;
    buffer_clear(&p->text);
    return tokenizer_decode(p->look.tokenizer, ids->id + first, n, false, &p->text);
}

static int paint_tokens(struct peek *p, const struct ids *ids, int64_t first, int64_t end) {
    enum { MOST_TOGETHER = 4 }; /* bytes of a UTF-8 character */
    for (int64_t i = first, n; i < end; i += n) {
        size_t skip;
        for (n = 1; n <= MOST_TOGETHER && i + n <= end; n++) {
            if (decode_behind(p, ids, i, n, &skip) != 0) return -1;
            if (!ends_broken(&p->text, skip)) break;
        }
        if (n > MOST_TOGETHER || i + n > end) { /* broken for good: the tokens one by one */
            n = 1;
            if (decode_behind(p, ids, i, n, &skip) != 0) return -1;
        }
        paint_token(p->out, p->paint, p->text.data + skip, p->text.length - skip, i, ids->id[i]);
    }
    return 0;
}

static int show_part(struct peek *p, const char *name, const struct ids *ids, int64_t first,
                     int64_t end, const char *note) {
    struct buffer about = {0};
    buffer_format(&about, "%lld tokens%s", (long long)(end - first), note);
    if (p->show_ids)
        for (int64_t i = first; i < end; i++)
            buffer_format(&about, "%s%d", i == first ? ": " : " ", ids->id[i]);
    paint_part(p->out, p->paint, name, about.data);
    int status = paint_tokens(p, ids, first, end);
    paint_part_end(p->out, p->paint);
    buffer_free(&about);
    return status;
}

/* ---- a comparison ---- */

/* One comparison: a heading, then the stem once, then what each answer has behind it. */
static int show(struct peek *p, int64_t comparison) {
    const struct shard *s = &p->look.shard;
    char place[512], note[64];
    struct buffer heading = {0};
    if (look_read(&p->look, comparison) != 0) return -1;
    int64_t stem = look_stem(&p->look, comparison);
    look_place(&p->look, comparison, place);
    buffer_format(&heading, "comparison %lld of %lld, from %s", (long long)comparison,
                  (long long)s->n_comparisons, place);
    if (s->margin[comparison] != 0)
        buffer_format(&heading, ", margin %g", (double)s->margin[comparison]);
    if (s->weight[comparison] != 1)
        buffer_format(&heading, ", weight %g", (double)s->weight[comparison]);
    if (s->label && s->label[comparison] != 1)
        buffer_format(&heading, ", label %g", (double)s->label[comparison]);
    paint_heading(p->out, p->paint, heading.data);
    buffer_free(&heading);
    snprintf(note, sizeof note, ", of which %lld prompt",
             (long long)look_prompt(&p->look, comparison));
    static const char *const name[2] = {"chosen", "rejected"};
    if (show_part(p, "stem", &p->look.ids[0], 0, stem, note) != 0) return -1;
    for (int i = 0; i < 2; i++)
        if (show_part(p, name[i], &p->look.ids[i], stem, p->look.ids[i].n, "") != 0) return -1;
    return 0;
}

/* ---- an answer ---- */

static void describe_answer(const struct look *look, int64_t answer, struct buffer *out) {
    const struct shard *s = &look->shard;
    char place[512];
    look_place_answer(look, answer, place);
    buffer_format(out, "answer %lld of %lld, from %s", (long long)answer, (long long)s->n_answers,
                  place);
    if (s->answer_rank[answer] >= 0) buffer_format(out, ", rank %d", s->answer_rank[answer]);
    for (int64_t i = 0; i < s->n_scores; i++) {
        double score = s->answer_score[answer * s->n_scores + i];
        if (!isnan(score)) buffer_format(out, ", %s %g", s->score_name[i], score);
    }
}

/* One answer behind its prompt; of a completion what is learned by itself. */
static int show_answer(struct peek *p, int64_t answer) {
    const struct shard *s = &p->look.shard;
    struct buffer heading = {0};
    if (look_read_answer(&p->look, answer) != 0) return -1;
    describe_answer(&p->look, answer, &heading);
    paint_heading(p->out, p->paint, heading.data);
    buffer_free(&heading);
    const struct ids *ids = &p->look.ids[0];
    int64_t at = s->answer_prompt_tokens[answer], span;
    int64_t end = shard_spans(s, s->answer_sequence[answer], &span);
    if (span < end) at = MIN(at, s->span_first[span]);
    if (at > 0 && show_part(p, "prompt", ids, 0, at, "") != 0) return -1;
    for (; span < end; span++) {
        char note[64] = "";
        if (at < s->span_first[span] &&
            show_part(p, "not learned", ids, at, s->span_first[span], "") != 0)
            return -1;
        if (s->span_weight[span] != 1)
            snprintf(note, sizeof note, " of weight %g", (double)s->span_weight[span]);
        if (show_part(p, s->span_verdict[span] ? "verdict" : "learned", ids, s->span_first[span],
                      s->span_last[span], note) != 0)
            return -1;
        at = s->span_last[span];
    }
    if (at == ids->n) return 0;
    return show_part(p, s->n_spans ? "not learned" : "answer", ids, at, ids->n, "");
}

/* ---- a prompt ---- */

/* What a judge is asked, up to where it begins to write. */
static int show_prompt(struct peek *p, int64_t prompt) {
    const struct shard *s = &p->look.shard;
    struct buffer heading = {0};
    char place[512];
    if (look_read_prompt(&p->look, prompt) != 0) return -1;
    look_place_prompt(&p->look, prompt, place);
    int side = s->prompt_side[prompt], preferred = s->prompt_preferred[prompt];
    buffer_format(&heading, "prompt %lld of %lld, from %s, pair %lld, ", (long long)prompt,
                  (long long)s->n_prompts, place, (long long)s->prompt_pair[prompt]);
    if (side < 2) buffer_format(&heading, "side %d", side);
    if (side >= 2) buffer_format(&heading, "side %d as A", side - 2);
    if (preferred >= 0) buffer_format(&heading, ", better is side %d", preferred);
    if (s->prompt_target && !isnan(s->prompt_target[prompt]))
        buffer_format(&heading, ", target %g", (double)s->prompt_target[prompt]);
    paint_heading(p->out, p->paint, heading.data);
    buffer_free(&heading);
    return show_part(p, "prompt", &p->look.ids[0], 0, p->look.ids[0].n, "");
}

struct wanted {
    int64_t count, from, seed; /* from < 0: a sample */
    bool answers;
};

static int show_all(struct peek *p, const struct wanted *w) {
    const struct shard *s = &p->look.shard;
    bool is_asked = s->n_prompts > 0 && !w->answers;
    bool is_answers = !is_asked && (w->answers || s->n_comparisons == 0);
    int64_t all = is_asked ? s->n_prompts : is_answers ? s->n_answers : s->n_comparisons;
    if (all == 0) return fail("--answers: the shard has none; hint: build --answers keep");
    if (w->from >= all)
        return fail("--from: expected %s below %lld, found %lld",
                    is_asked     ? "a prompt"
                    : is_answers ? "an answer"
                                 : "a comparison",
                    (long long)all, (long long)w->from);
    int64_t n = MIN(w->count, w->from < 0 ? all : all - w->from),
            *index = mem_alloc(n, sizeof *index);
    uint64_t purpose = random_purpose("peek");
    for (int64_t i = 0; i < n; i++)
        index[i] = w->from < 0 ? random_permute((uint64_t)w->seed, purpose, i, all) : w->from + i;
    qsort(index, (size_t)n, sizeof *index, look_compare_int64);
    int status = 0;
    for (int64_t i = 0; i < n && status == 0; i++)
        status = is_asked     ? show_prompt(p, index[i])
                 : is_answers ? show_answer(p, index[i])
                              : show(p, index[i]);
    mem_free(index);
    return status;
}

/* ---- the command ---- */

enum { O_ANSWERS, O_COUNT, O_FROM, O_SEED, O_IDS, O_COLOR, O_HTML, O_HELP, N_OPTIONS };

static int read_number(const struct option *o, int64_t low, int64_t *out) {
    if (!o->value) return 0;
    char *end;
    errno = 0;
    long long n = strtoll(o->value, &end, 10);
    if (errno || end == o->value || *end || n < low)
        return fail("--%s: expected an integer of at least %lld, found \"%.100s\"", o->name,
                    (long long)low, o->value);
    *out = n;
    return 0;
}

static int read_colour(const char *when, enum paint *paint) {
    bool is_shown = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    if (when && strcmp(when, "always") != 0 && strcmp(when, "never") != 0 &&
        strcmp(when, "auto") != 0)
        return fail("--color: expected auto, always or never, found \"%.100s\"", when);
    if (when && strcmp(when, "auto") != 0) is_shown = strcmp(when, "always") == 0;
    *paint = is_shown ? PAINT_TERMINAL : PAINT_PLAIN;
    return 0;
}

static int run(struct peek *p, const char *path, const char *html, const struct wanted *w) {
    if (look_open(&p->look, path) != 0) return -1;
    p->out = stdout;
    if (html && strcmp(html, "-") != 0) p->out = fopen(html, "w");
    if (!p->out) return fail("%s: cannot be written: %s", html, strerror(errno));
    paint_start(p->out, p->paint, path);
    int status = show_all(p, w);
    paint_finish(p->out, p->paint);
    bool is_bad = p->out != stdout && (ferror(p->out) | (fclose(p->out) != 0));
    if (status == 0 && is_bad) return fail("%s: could not be written", html);
    return status;
}

/* The command: a sample of --count comparisons, or those from --from on. */
int peek_command(int argc, char **argv) {
    struct option o[N_OPTIONS] = {
        [O_COUNT] = {"count", true}, [O_FROM] = {"from", true},        [O_SEED] = {"seed", true},
        [O_IDS] = {"ids", false},    [O_COLOR] = {"color", true},      [O_HTML] = {"html", true},
        [O_HELP] = {"help", false},  [O_ANSWERS] = {"answers", false},
    };
    struct arguments inputs;
    int code;
    if (command_arguments(&inputs, o, N_OPTIONS, 1, usage, argc, argv, &code)) return code;
    struct peek p = {.show_ids = o[O_IDS].value != NULL};
    struct wanted w = {3, -1, 0, o[O_ANSWERS].value != NULL};
    if (read_number(&o[O_COUNT], 1, &w.count) != 0 || read_number(&o[O_FROM], 0, &w.from) != 0 ||
        read_number(&o[O_SEED], 0, &w.seed) != 0 || read_colour(o[O_COLOR].value, &p.paint) != 0) {
        code = command_misuse(argv[0], usage);
    } else {
        if (o[O_HTML].value) p.paint = PAINT_HTML;
        code = command_finish(run(&p, inputs.positional[0], o[O_HTML].value, &w));
        look_close(&p.look);
    }
    buffer_free(&p.text);
    buffer_free(&p.before);
    arguments_free(&inputs);
    return code;
}
