/* What stats counts of one shard, and the picture of it. */
#ifndef RANKWISE_DATA_TOOLS_STATS_H
#define RANKWISE_DATA_TOOLS_STATS_H
#include <jansson.h>

#include "base.h"

enum {
    LENGTH_PROMPT,
    LENGTH_CHOSEN,
    LENGTH_REJECTED,
    LENGTH_CHOSEN_ANSWER,
    LENGTH_REJECTED_ANSWER,
    N_LENGTHS
};

struct shard_stats {
    const char *path;             /* borrowed */
    int64_t n_comparisons, n_sequences, n_groups;
    int64_t *length[N_LENGTHS];   /* (n_comparisons) each, ascending */
    int64_t tokens;               /* of both sides, end to end */
    int64_t forest, group_forest; /* with what a pair, or a prompt's pairs, share counted once */
    /* batches of PADDED_PAIRS pairs to their longest; everything to max_length */
    int64_t padded, padded_full;
    int64_t max_length;
};
enum { PADDED_PAIRS = 8 };

/* What labels, answers and spans hold, as far as the shard has them; nothing where it has none.
 * print: for people; else into the object. */
struct look;
void stats_tables_print(const struct look *look);
void stats_tables_add(const struct look *look, json_t *object);

/* Draws the histograms of prompt, chosen and rejected lengths, a panel for each shard, at most
 * three side by side, through gnuplot. The file's name ends in .png or .svg. -1 with
 * error_text(). */
int stats_plot(const char *path, const struct shard_stats *stats, int n);
#endif
