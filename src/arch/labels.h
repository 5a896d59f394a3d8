/* The part of arch.c that reads the labels of a sequence classifier. */
#ifndef RANKWISE_LABELS_H
#define RANKWISE_LABELS_H
#include <jansson.h>

#include "arch.h"

/* Sets n_labels and label. -1 with error_text(). */
int labels_parse(struct arch *arch, const json_t *config);
void labels_free(struct arch *arch);
#endif
