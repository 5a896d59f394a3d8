/* The insides of a template, for the files of this folder alone. */
#ifndef RANKWISE_TEMPLATE_STATE_H
#define RANKWISE_TEMPLATE_STATE_H
#include "chat.h"
#include "template.h"

struct template {
    struct template_options how; /* texts are owned, never NULL but for now */
    const struct tokenizer *tokenizer;
    struct chat *chat;  /* NULL: text, strings as they are */
    struct frame frame; /* what encoding puts in front: before */
    int eos;            /* and at the end; -1: nothing */
};
#endif
