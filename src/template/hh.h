/* Dialogues in one text, as Anthropic's HH data has them: turns behind "\n\nHuman:" and
 * "\n\nAssistant:". */
#ifndef RANKWISE_HH_H
#define RANKWISE_HH_H
#include "base.h"

/* Of what stands between a prompt and its answer. */
extern const size_t hh_mark_length;
/* Where the prompt of a text ends, in bytes: behind the last "\n\nAssistant:"; 0: there is none. */
size_t hh_prompt_end(const char *text, size_t length);
#endif
