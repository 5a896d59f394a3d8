/* Chat templates as text: which Jinja it is, and what it is given, so that the text is that of
 * transformers' apply_chat_template(tokenize=False).
 *
 *   (1) Messages lose the keys whose value is null; reasoning_content is filled from `thinking` and
 *       `reasoning`, and `thinking` from it, as transformers does.
 *   (2) The tokenizer's bos_token, eos_token, unk_token, ... are variables, and so is everything in
 *       `extra`. `tools` and `documents` are undefined unless they are given there.
 *   (3) A chat is immutable after opening; each thread renders with a jinja_memory of its own. */
#ifndef RANKWISE_CHAT_H
#define RANKWISE_CHAT_H
#include "jinja.h"
#include "tokenizer.h"

struct chat_options {
    /* a built-in one, "model" (the tokenizer's own chat_template), or a file of Jinja */
    const char *name;
    const char *jinja;     /* Jinja text instead, or NULL or "" */
    /* the tokenizer's, for chat_template.jinja and additional_chat_templates/; or NULL */
    const char *directory;
    /* "bos=<s>,eos=</s>": instead of what the tokenizer's files say; or NULL */
    const char *special;
    const char *now;       /* what strftime_now returns; NULL: there is no such function */
    const char *tool_use; /* with jinja: Jinja text instead where there are tools; or NULL or "" */
};

struct chat; /* chat.c */

/* tokenizer may be NULL: no special tokens but those of `special`. NULL with error_text(). */
struct chat *chat_open(const struct chat_options *options, const struct tokenizer *tokenizer);
void chat_free(struct chat *c); /* accepts NULL */
const char *chat_jinja(const struct chat *c);  /* Jinja text; "" for a built-in one */
const char *chat_tool_use(const struct chat *c); /* that for rows with tools; "": the same */
bool chat_shows_tools(const struct chat *c);       /* whether its text names tools */
/* whether its text names a variable or function */
bool chat_mentions(const struct chat *c, const char *name);

/* Appends the text of the messages. extra: an object of more variables, or NULL. without_eos:
 * eos_token is empty. -1 with error_text(); out is as it was then. */
int chat_render(const struct chat *c, struct jinja_memory *memory, const json_t *messages,
                const json_t *extra, bool add_generation_prompt, bool without_eos,
                struct buffer *out);

/* The built-in ones: index from 0; NULL at the end. ends_in_eos: EOS belongs at the end of a whole
 * conversation. */
struct chat_named {
    const char *name, *jinja;
    bool ends_in_eos;
};
const struct chat_named *chat_known(int index);
const struct chat_named *chat_find_named(const char *name);
#endif
