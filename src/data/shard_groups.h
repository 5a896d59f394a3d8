/* /group of a new shard: runs of comparisons that follow each other and have the same prompt become groups.
 *
 * A group of one run is known from the run. One of several runs needs the tokens again, which are read back from the
 * file; GROUP_BUDGET tokens are held at once, or LEAST_WIDTH for each sequence of the group where that is more. */
#ifndef RANKWISE_SHARD_GROUPS_H
#define RANKWISE_SHARD_GROUPS_H
#include "shard_column.h"

struct shard_run {
    uint64_t prompt;
    int64_t first;            /* comparison */
    int32_t n, forest_tokens; /* comparisons; tokens of all their sides as one forest */
};
/* What is in the file already: columns after column_finish. */
struct shard_stored {
    const struct shard_column *token, *first, *chosen, *rejected;
    bool is_narrow; /* tokens are uint16, else uint32 */
};
/* Reorders the runs. Groups come in the order of their first comparison, members ascending. */
int groups_write(hid_t at, int64_t chunk, struct shard_run *run, int64_t n_runs, const struct shard_stored *stored);
#endif
