/* A mapping: a jq program that makes canonical records (format_canonical.c) of a file's records.
 * format_mapping.c is the only file that knows libjq (1.6, Debian 12's).
 *
 *   (1) What a program passes on stays the record's own. An output, or a part of one, that is a
 *       string, list or object of the record becomes the parsed record's value again, with its
 *       digits, the order of its names and its bytes. It is recognized by its address: libjq shares
 *       values, and copies one that it changes while the record still holds it, as it does here
 *       until the last output is taken. A slice of a list is a value of its own, its elements are
 *       the record's.
 *   (2) What a program makes is jq's: numbers are doubles, so that 1.0 alone, outside of what it
 *       was in, is 1, and "\(.x)" has the shortest digits that mean the same double. An integer
 *       beyond 2^53 would lose digits: the program has it as a string, which (1) makes the integer
 *       again. Texts are checked to be UTF-8 on both ways, numbers to be finite.
 *   (3) What a program makes depends on the record alone. now, env, input, inputs, input_filename,
 *       input_line_number, localtime, strflocaltime, the %s of strftime and strptime, halt,
 *       halt_error and modulemeta are errors that say so; $ENV, import and include do not compile;
 *       ~/.jq is not read. debug and stderr write to standard error.
 *   (4) A program gives at most MAPPING_MAX_RECORDS for one record. libjq cannot be interrupted: a
 *       program that runs on without an output holds the build until it is killed. Nor does it
 *       bound its recursion: values that a program nests some 100,000 deep overflow the stack.
 *   (5) mapping_run may be called from several threads at once. A libjq state serves one thread at
 *       a time; each new one is compiled once. */
#ifndef RANKWISE_DATA_TOOLS_FORMAT_MAPPING_H
#define RANKWISE_DATA_TOOLS_FORMAT_MAPPING_H
#include <jansson.h>

enum { MAPPING_MAX_RECORDS = 1 << 16, MAPPING_MAX_TEXT = 1 << 28 };

struct mapping;
/* program: its text; name: what messages call it, a path or an option. NULL with error_text(). */
struct mapping *mapping_open(const char *program, const char *name);
/* The same from a file of jq. */
struct mapping *mapping_open_file(const char *path);
const char *mapping_name(const struct mapping *m);
const char *mapping_program(const struct mapping *m);
/* The program's outputs for one record: a new list; NULL with error_text(). */
json_t *mapping_run(struct mapping *m, const json_t *record);
void mapping_close(struct mapping *m); /* accepts NULL */
#endif
