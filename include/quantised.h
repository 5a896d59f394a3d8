/* The bytes of quantised parameters (nf4.h), from a reader of their elements, in bounded memory.
 *
 * Codes come from their own elements alone. What stands behind them, absmax codes, scales and the
 * offset, comes from all elements of the parameter: the first time that any of these bytes is asked
 * for, the parameter is read once more, and they are kept until another parameter's are. */
#ifndef RANKWISE_QUANTISED_H
#define RANKWISE_QUANTISED_H
#include "parameters.h"

/* Zeroed but for the reader, which is not owned. */
struct quantised_source {
    const struct parameter_reader *reader;
    float *piece;               /* elements on their way */
    const struct parameter *of; /* whose `behind` it is; NULL: nobody's */
    uint8_t *behind;            /* what stands behind the codes */
};

/* Bytes [first, first + count) of the parameter; -1 with error_text(), also where an element is no
 * number. Ranges that go upwards read each element once. */
int quantised_read(struct quantised_source *q, const struct parameter *p, int64_t first,
                   int64_t count, uint8_t *out);
/* Elements [first, first + count) as the bytes give them back, in fp32. */
int quantised_read_back(struct quantised_source *q, const struct parameter *p, int64_t first,
                        int64_t count, float *out);
void quantised_free(struct quantised_source *q);
#endif
