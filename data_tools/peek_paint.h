/* Painting tokens: the same pieces of text for a terminal, for a plain file, or for an HTML page.
 *
 * Background colours cycle red, green, blue, yellow, magenta, so that two tokens side by side
 * differ. Characters that would act on a terminal are shown as escapes; a line feed is shown and
 * acted on. */
#ifndef RANKWISE_DATA_TOOLS_PEEK_PAINT_H
#define RANKWISE_DATA_TOOLS_PEEK_PAINT_H
#include <stdio.h>

#include "memory.h"

enum paint { PAINT_PLAIN, PAINT_TERMINAL, PAINT_HTML };
enum { PAINT_COLOURS = 5 };

void paint_start(FILE *out, enum paint paint, const char *title);
void paint_heading(FILE *out, enum paint paint, const char *text);
/* The name of a part ("stem", "chosen"), with what is to be said of it. */
void paint_part(FILE *out, enum paint paint, const char *name, const char *about);
void paint_token(FILE *out, enum paint paint, const char *text, size_t length, int64_t index,
                 int32_t id);
void paint_part_end(FILE *out, enum paint paint);
void paint_finish(FILE *out, enum paint paint);
#endif
