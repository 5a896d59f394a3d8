/* The insides of a template, for the files of src/text alone. */
#ifndef RANKWISE_TEMPLATE_STATE_H
#define RANKWISE_TEMPLATE_STATE_H
#include "template.h"

struct template {
    struct template_options how; /* texts are owned, never NULL but for now */
    const struct tokenizer *tokenizer;
    bool is_text; /* strings as they are: nothing is rendered */
    int bos, eos; /* ids that encoding adds; -1: none */
};
#endif
