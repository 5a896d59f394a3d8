/* What the first rows of a file have in common, which a single row cannot say:
 *
 *   (1) whether the strings at a place hold messages as JSON. They do if most of them do in the
 *       first rows; then all must. Else such a string is a text like any other: an answer may be
 *       JSON.
 *   (2) which columns hold texts that may belong before the answers and are not read.
 *
 * The intake shows the rows (looks_add) before any of them is read; then it stays as it is. */
#ifndef RANKWISE_DATA_TOOLS_FORMAT_LOOK_H
#define RANKWISE_DATA_TOOLS_FORMAT_LOOK_H
#include "format_parts.h"

struct looks *looks_new(void);
void looks_free(struct looks *l); /* accepts NULL */
void looks_add(struct looks *l, const json_t *row);
/* The format reads this column, so it is none that is left out. */
void looks_read(struct looks *l, const char *column);
bool looks_is_read(const struct looks *l, const char *column);

/* By (1): the row with messages in the place of strings that hold them; a new reference, NULL with
 * error_text(). */
json_t *looks_unpack(const struct looks *l, const json_t *row);
/* By (2): appends the columns' names; with a row only those that it has. How many. */
int looks_unread(const struct looks *l, const json_t *row, struct buffer *out);
/* Appends the columns where some strings hold messages and most do not. How many. */
int looks_mixed(const struct looks *l, struct buffer *out);
#endif
