/* /prompt of a new shard: what a judge is asked, a row for each prompt, written as they come. The
 * columns of targets and of metadata are there from the first prompt on that has one. */
#ifndef RANKWISE_SHARD_ASKED_H
#define RANKWISE_SHARD_ASKED_H
#include "shard.h"
#include "shard_column.h"

/* A zeroed one has no prompt yet. */
struct asked {
    hid_t at;
    struct shard_column sequence, pair, side, preferred, source, row, target, meta, meta_first;
    int64_t n, n_pairs, n_meta; /* n_meta: bytes */
};
/* The prompts of a row, which are one pair; sequence (n_answers): their numbers. Functions return
 * 0, or -1 with error_text(). */
int asked_append(struct asked *a, hid_t file, int64_t chunk, const struct shard_row *row,
                 const int64_t *sequence);
/* writes what is left, if status is 0, and closes; status, or -1 */
int asked_close(struct asked *a, int status);
#endif
