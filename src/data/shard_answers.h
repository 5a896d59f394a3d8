/* /answer and /span of a new shard.
 *
 *   (1) Answers come with their rows and are written at the end, by group: until then they lie in
 *       the spool, each as a struct spooled_answer and its scores.
 *   (2) Spans are written as their sequences are stored, so they ascend by sequence. */
#ifndef RANKWISE_SHARD_ANSWERS_H
#define RANKWISE_SHARD_ANSWERS_H
#include "memory.h"
#include "shard.h"
#include "shard_column.h"

struct spooled_answer {
    int64_t sequence, row;
    int32_t rank, n_scores; /* float (n_scores) behind it, with zeros up to a multiple of 8 bytes */
    int32_t prompt_tokens, source;
};
/* One answer behind the others of a run. */
void answers_spool(struct buffer *out, const struct shard_row *row, int32_t answer,
                   int64_t sequence);

/* The columns of /answer. A zeroed one is closed. */
struct answers {
    hid_t at;
    struct shard_column sequence, group, rank, source, row, prompt_tokens, score;
    int32_t n_scores; /* 0: there is no score */
    float *row_score; /* (n_scores) */
};
/* Functions that return int: 0, or -1 with error_text(). */
int answers_open(struct answers *a, hid_t file, int64_t chunk, int32_t n_scores);
/* What answers_spool made of answers of this group. */
int answers_append(struct answers *a, int64_t group, const char *data, size_t n_bytes);
/* writes what is left, if status is 0, and closes; status, or -1 */
int answers_close(struct answers *a, int status);

/* The columns of /span. A zeroed one has no span yet. */
struct spans {
    hid_t at;
    struct shard_column sequence, first, last, weight, verdict;
};
int spans_append(struct spans *s, hid_t file, int64_t chunk, int64_t sequence,
                 const struct shard_span *span);
int spans_close(struct spans *s, int status);
#endif
