/* Dialogues in one text: see hh.h. */
#include "hh.h"

#include <string.h>

static const char mark[] = "\n\nAssistant:";
const size_t hh_mark_length = sizeof mark - 1;

size_t hh_prompt_end(const char *text, size_t length) {
    for (size_t end = length; end >= hh_mark_length; end--)
        if (text[end - 1] == ':' && memcmp(text + end - hh_mark_length, mark, hh_mark_length) == 0)
            return end;
    return 0;
}
