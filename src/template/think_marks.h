/* The marks of reasoning in what an assistant said, <think> and </think>: chat templates look for
 * them, so no cut may take them. */
#ifndef RANKWISE_THINK_MARKS_H
#define RANKWISE_THINK_MARKS_H
#include "base.h"

/* The length of the mark that the text begins with; 0 for none, and for what is no assistant's. */
size_t think_mark_length(const char *text, bool is_assistant);
/* The bytes before the next mark, or all. */
size_t think_mark_distance(const char *text, size_t length, bool is_assistant);
#endif
