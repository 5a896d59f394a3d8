/* A filter of JSON lines, as encode, decode and render are: one line out for each row in, in order;
 * blank lines are skipped. */
#ifndef RANKWISE_DATA_TOOLS_FILTER_H
#define RANKWISE_DATA_TOOLS_FILTER_H
#include <jansson.h>

/* A row, which it may change, to its answer: a new reference, or NULL with error_text(). */
typedef json_t *filter_convert(void *self, json_t *row);
/* 0, or -1 with error_text(), which names the file and the line. */
int filter_file(const char *path, filter_convert *convert, void *self);
#endif
