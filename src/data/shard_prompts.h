/* /group of a new shard: runs of rows that follow each other and have the same prompt become
 * groups.
 *
 * A group of one run is known from the run. One of several runs needs the tokens again, from the
 * spool; some four million of them are held at once, or 16 for each side of the group where that is
 * more. */
#ifndef RANKWISE_SHARD_PROMPTS_H
#define RANKWISE_SHARD_PROMPTS_H
#include "shard_answers.h"
#include "shard_column.h"
#include "shard_spool.h"

struct shard_run {
    uint64_t prompt;
    int64_t first;            /* comparison */
    int64_t at;               /* of its sides in the spool, which ascends with the runs */
    int32_t n, forest_tokens; /* comparisons; tokens of all its sides as one forest */
};
/* Reorders the runs. Groups come in the order of their first run, members ascending. The spool is
 * flushed. answers: gets the answers of each group; NULL: there are none. */
int groups_write(hid_t at, int64_t chunk, struct shard_run *run, int64_t n_runs,
                 const struct spool *spool, struct answers *answers);
#endif
