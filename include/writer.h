/* A writer: a language model that was opened as a scorer is, and the generator that writes with it.
 * scorer_command_writes opens; then
 *
 *   writer_open    how the model is meant to write (generation_config.json), which the caller may
 *                  change, and the templates of prompts
 *   writer_start   device, weights, pages
 *   writer_write   any number of times
 *   writer_close   before scorer_close */
#ifndef RANKWISE_WRITER_H
#define RANKWISE_WRITER_H
#include "generation_config.h"
#include "generator.h"
#include "scorer.h"

struct stops;

struct writer {
    struct scorer *scorer; /* not owned */
    struct generation_config config;
    struct template *text, *chat; /* of prompts, taken as they are; of messages, or NULL */
    char *no_chat;                /* why there is none */
    struct template_worker *text_worker, *chat_worker;
    int64_t max_tokens; /* of a prompt with what is written; writer_start's */
    struct stops *stops;
    struct decoder *decoder;
    struct generator *generator;
};

struct writer_options {
    const char *const *stop;
    int n_stop;
    int64_t max_rows;   /* continuations under way at a time, on each rank */
    int64_t max_prompt; /* tokens; 0: as many as the model has positions and memory has room for */
};

/* -1 with error_text(). writer_close is for both outcomes, of writer_start too. */
int writer_open(struct writer *w, struct scorer *s);
/* Says on the log how is written. Collective; agreed. */
int writer_start(struct writer *w, const struct writer_options *options);
void writer_close(struct writer *w);

/* The ids that {"prompt": text} or {"messages": [...], "tools": [...]} is gone on from: a prompt as
 * it is, behind the BOS that the tokenizer puts there; messages by the chat template, with what
 * invites an answer. -1 with error_text(). */
int writer_encode(struct writer *w, const json_t *row, struct ids *out);
/* 0 where a prompt of so many tokens and max_new_tokens have room. */
int writer_check_length(const struct writer *w, int64_t n_prompt);

/* out[i], valid until the next call, for request[i]: all ranks give all and get all. Collective
 * over the data-parallel ranks; agreed. */
int writer_write(struct writer *w, const struct generate_request *request, int64_t n,
                 struct generated *out);
/* Appends the text: without special tokens, and ending before a stop text. */
int writer_text(const struct writer *w, const struct generated *g, struct buffer *out);
#endif
