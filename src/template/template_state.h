/* The insides of a template, for the files of this folder alone. */
#ifndef RANKWISE_TEMPLATE_STATE_H
#define RANKWISE_TEMPLATE_STATE_H
#include "chat.h"
#include "template.h"

struct template {
    struct template_options options; /* texts are owned, never NULL but for now */
    const struct tokenizer *tokenizer;
    struct chat *chat;  /* NULL: text, strings as they are */
    struct frame frame; /* what encoding puts in front: before */
    int eos;            /* and at the end; -1: nothing */
};

struct template_worker {
    const struct template *template; /* not owned */
    struct encoder *encoder;
    struct jinja_memory *memory;
    json_t *extra; /* {"tools": [...]} of the row that is encoded, or NULL */
    struct buffer text, prompt_text;
    struct ids prompt_ids; /* of the prompt alone; none where it cannot be rendered alone */
    enum template_learn learn;
    const char *verdict; /* not owned */
    struct buffer part_text;
    struct ids part_ids;
};

/* template_render.c. Plain: the prompt, which may be NULL, and the parts of the answers are
 * strings; else they are lists of messages. */
struct template_form {
    bool is_plain;
    json_t *prompt;
};
static inline bool template_is_given(const json_t *value) {
    return value && !json_is_null(value);
}
/* prompt: NULL or given. Fills form->prompt and part (n_answers), all new references. */
int template_take_form(const struct template *t, struct template_form *form, const json_t *prompt,
                       json_t *const *answer, int n_answers, json_t **part);
json_t *template_joined(const json_t *prompt, const json_t *answer); /* a new reference */
void template_append_string(const json_t *string, struct buffer *out);
/* is_encoded: the text is going to be encoded. EOS is not written then where it is put as an id:
 * the tokenizer need not read the written text as that id. */
int template_render_messages(struct template_worker *w, const json_t *list,
                             bool add_generation_prompt, bool is_encoded, struct buffer *out);
/* With what invites an answer, if the template knows such a thing. */
int template_render_prompt(struct template_worker *w, const json_t *prompt, struct buffer *out);

/* template_ids.c. A text's ids with BOS, and EOS where it is a whole text; replaces out. */
int template_text_ids(struct template_worker *w, const char *text, size_t length, bool is_whole,
                      struct ids *out);
/* The ids of the prompt (w->prompt_ids) and of each part. */
int template_messages_ids(struct template_worker *w, const json_t *prompt, json_t *const *part,
                          int n, struct template_encoded *out);
int template_plain_ids(struct template_worker *w, const struct template_form *form,
                       json_t *const *part, int n, struct template_encoded *out);

/* template_cut.c. What does not fit is cut, or is too long. */
enum template_status template_cut(struct template_worker *w, const struct template_form *form,
                                  json_t *const *part, int n, struct template_encoded *out);
/* A text of which no part is known. */
void template_cut_text(const struct template *t, struct ids *ids);

/* template_learn.c. out has the ids of the text already, before any cut; its spans are replaced. 0,
 * or -1 with error_text(). */
int template_learn_messages(struct template_worker *w, const json_t *messages,
                            const struct buffer *text, struct template_encoded *out);
int template_learn_text(struct template_worker *w, const struct buffer *text, size_t prompt_length,
                        struct template_encoded *out);
/* n ids at `at` are gone; those from n on are gone. */
void template_spans_removed(struct template_encoded *out, int64_t at, int64_t n);
void template_spans_cut(struct template_encoded *out, int64_t n);
#endif
