/* What a tokenizer's post-processor puts around a text: TemplateProcessing, BertProcessing,
 * RobertaProcessing, and ByteLevel, which adds nothing; alone or in a Sequence. Of a template only
 * `single` counts: one sequence. */
#ifndef RANKWISE_FRAME_H
#define RANKWISE_FRAME_H
#include <jansson.h>
#include "tokenizer.h"

/* json: the value of "post_processor"; NULL and null are an empty frame. On failure nothing is left
 * to free. */
int frame_parse(struct frame *frame, const json_t *json);
void frame_free(struct frame *frame);
#endif
