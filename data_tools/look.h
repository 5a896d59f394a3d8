/* Looking at shards: what peek, stats and audit share. A shard is looked at with the tokenizer that
 * it carries.
 *
 * The stem of a comparison is what both sides begin with, in tokens. Its prompt is what the shard
 * says (prompt_tokens), and the stem where it says nothing: a stem can be longer, by words that
 * both answers begin with. */
#ifndef RANKWISE_DATA_TOOLS_LOOK_H
#define RANKWISE_DATA_TOOLS_LOOK_H
#include "shard.h"
#include "tokenizer.h"

struct look {
    struct shard shard;
    struct tokenizer *tokenizer; /* what the shard carries */
    json_t *sources;             /* of the attribute; NULL if it has none */
    struct ids ids[2];           /* of the comparison last read: chosen, rejected */
};
/* 0, or -1 with error_text(), and nothing to close. */
int look_open(struct look *look, const char *path);
void look_close(struct look *look);

/* tokens; from the length index alone */
int64_t look_stem(const struct look *look, int64_t comparison);
int64_t look_prompt(const struct look *look, int64_t comparison); /* tokens */
/* Fills look->ids. */
int look_read(struct look *look, int64_t comparison);
int look_read_answer(struct look *look, int64_t answer); /* fills look->ids[0] */
int look_read_prompt(struct look *look, int64_t prompt); /* the same */
/* "hh.jsonl:17": the row that the comparison, answer or prompt came from. out: 512 bytes. */
void look_place(const struct look *look, int64_t comparison, char out[512]);
void look_place_answer(const struct look *look, int64_t answer, char out[512]);
void look_place_prompt(const struct look *look, int64_t prompt, char out[512]);

/* Of two int64_t, for qsort. */
int look_compare_int64(const void *a, const void *b);

/* Says on stderr, now and then, that `done` of `all` are done; the last call has done == all. */
void look_progress(const char *what, int64_t done, int64_t all);
#endif
