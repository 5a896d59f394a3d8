/* Templates: a prompt and the answers to it become id sequences, with rendering, BOS, EOS and
 * truncation in one place, so that the data tools, `score` and the score contract cannot disagree.
 *
 *   (1) A value is a string or a list of {role, content} messages. Strings are taken as they are,
 *       but under a chat template (all but `text`) a string prompt with an answer becomes a user
 *       message, and its string answers become assistant messages. A prompt of NULL: each answer is
 *       a whole text or conversation; the messages that all conversations begin with are the prompt
 *       then.
 *   (2) BOS: what the tokenizer's post-processor puts in front is put there, unless the ids begin
 *       with it already. EOS: `text`, simple_chat and simple_concat_* end in EOS, put there unless
 *       it is; other templates end as they are written. The contract states both rules.
 *   (3) Length: max_prompt_length is for the ids of the prompt rendered alone (with what invites an
 *       answer), max_length for the whole; BOS and EOS count. `left` shortens the contents of the
 *       prompt's messages, the oldest first and from their beginning, and renders again: answers
 *       and the template's frame stay whole. A text without a known prompt loses its first tokens.
 *       `right` shortens the prompt's contents from the end, for max_prompt_length, then drops the
 *       last ids and puts EOS back where the whole ended in it. What cannot be cut enough is too
 *       long. Answers that are compared keep the same prompt.
 *   (4) A template is immutable after opening; each thread has a worker. */
#ifndef RANKWISE_TEMPLATE_H
#define RANKWISE_TEMPLATE_H
#include <jansson.h>
#include "tokenizer.h"

enum truncate { TRUNCATE_RIGHT, TRUNCATE_LEFT, TRUNCATE_DROP, TRUNCATE_ERROR };
/* BAD: the row is not what the template takes. TOO_LONG: it cannot be cut, or is not to be: under
 * TRUNCATE_ERROR the caller stops. error_text() in both. */
enum template_status { TEMPLATE_OK = 0, TEMPLATE_BAD = -1, TEMPLATE_TOO_LONG = 1 };

struct template_options {
    /* "text", a named one, "model" (the tokenizer's own chat_template), or a file of Jinja */
    const char *name;
    /* the Jinja text itself, as a contract carries it; NULL or "": found by the name */
    const char *jinja;
    enum truncate truncate;
    int64_t max_length, max_prompt_length; /* 0: none */
    const char *now;                       /* what strftime_now returns; NULL: it is not defined */
    /* whatever the tokenizer would do: contracts that were made so */
    bool no_bos;
    /* the tokenizer's, where "model" looks for chat_template.jinja; or NULL */
    const char *directory;
    /* with jinja: the Jinja text for rows with tools; NULL or "": the same */
    const char *tool_use;
};

struct template; /* template.c */

/* NULL with error_text(): an unknown name (the known ones shown), a Jinja text with an error (its
 * line shown), no EOS where the template needs one. The tokenizer is not owned. */
struct template *template_open(const struct template_options *options,
                               const struct tokenizer *tokenizer);
void template_free(struct template *t); /* accepts NULL */
/* What to open the same template with; texts are borrowed from it. jinja is "" for the built-in
 * ones, and Jinja text under the name "chat_template" for any other. */
const struct template_options *template_get_options(const struct template *t);
const struct tokenizer *template_tokenizer(const struct template *t);
/* The ids that are put in front, unless they are there. */
const int32_t *template_bos(const struct template *t, int64_t *n);
/* the id that is put at the end; -1: the template decides */
int template_eos(const struct template *t);
bool template_shows_tools(const struct template *t);
/* The template as Jinja for transformers, with what is done beside it: BOS where the tokenizer is
 * to add one, EOS once, the date of --now. mem_free. NULL: strings are taken as they are. */
char *template_export(const struct template *t);
/* -1 with error_text() when the tokenizer of a directory has a chat_template of its own that is
 * another. */
int template_check_own(const struct template *t, const struct tokenizer *own,
                       const char *directory);
/* The built-in ones: index from 0; NULL at the end. */
const char *template_known(int index);

int truncate_parse(const char *name, enum truncate *out);
const char *truncate_name(enum truncate truncate);

struct template_worker; /* template_encode.c: an encoder, buffers, the interpreter's memory */
struct template_worker *template_worker_new(const struct template *t);
void template_worker_free(struct template_worker *w); /* accepts NULL */

/* Which ids are learned, when answers are completions. */
enum template_learn {
    LEARN_NOTHING,
    LEARN_LAST, /* those of the last turn, which is the assistant's */
    LEARN_ALL   /* those of each of the assistant's turns */
};
/* Of every template_encode from now on. verdict: how the last turn's content ends, whose ids are a
 * span of their own; or NULL. It is not owned. Ids that truncation puts back are not learned. A
 * template that does not let a turn be told is an error of template_encode. */
void template_worker_learn(struct template_worker *w, enum template_learn learn,
                           const char *verdict);
/* ids [first, last), first at least 1 */
struct template_span {
    int64_t first, last;
    bool is_verdict;
};

/* The ids of a prompt with one of its answers. */
struct template_encoded {
    struct ids ids;
    struct template_span *span; /* (n_spans), ascending and apart: what is learned */
    int n_spans, capacity_spans;
    /* ids that are the prompt's, as far as they are the same as those of the prompt rendered
     * alone */
    int64_t n_prompt;
    int64_t n_cut;    /* ids that truncation took away */
};
void template_encoded_free(struct template_encoded *encoded);

/* (1) to (3): the ids of the prompt with each answer. tools: what a chat template is given under
 * that name, or NULL. Former contents of out are replaced. */
enum template_status template_encode(struct template_worker *w, const json_t *prompt,
                                     json_t *const *answer, int n_answers, const json_t *tools,
                                     struct template_encoded *out);

/* The ids of a prompt, a string or messages, with what invites an answer and without EOS: what a
 * model is to go on from. tools: as template_encode's. Nothing is cut; one above max_length or
 * max_prompt_length is too long. */
enum template_status template_encode_prompt(struct template_worker *w, const json_t *prompt,
                                            const json_t *tools, struct ids *out);

/* After template_encode: the prompt, before any cut, in a form that is the same for the same
 * prompt; "" when there is none. It is valid until the next call. */
const char *template_prompt_text(const struct template_worker *w, size_t *length);

/* The text that template_encode encodes, before any cut, with EOS written where the template writes
 * it. answer may be NULL: the prompt alone, to which add_generation_prompt adds what invites an
 * answer. Appends to out, which is as it was on failure (-1). */
int template_render(struct template_worker *w, const json_t *prompt, const json_t *answer,
                    bool add_generation_prompt, struct buffer *out);

/* A text that is rendered already, cut on the left or on the right without regard to a frame:
 * golden vectors. */
int template_encode_text(struct template_worker *w, const char *text, size_t length,
                         struct ids *out);
#endif
