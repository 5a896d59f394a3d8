/* The marks of reasoning: see think_marks.h. */
#include "think_marks.h"

#include <string.h>

size_t think_mark_length(const char *text, bool is_assistant) {
    static const char *const mark[] = {"<think>", "</think>"};
    for (int i = 0; i < 2 && is_assistant; i++)
        if (strncmp(text, mark[i], strlen(mark[i])) == 0) return strlen(mark[i]);
    return 0;
}

size_t think_mark_distance(const char *text, size_t length, bool is_assistant) {
    size_t n = 0;
    while (n < length && !think_mark_length(text + n, is_assistant)) n++;
    return n;
}
