/* The adapters of a block's matrices: out += scale B (A in), and its gradients. Used by block.c
 * alone.
 *
 *   (1) The A's of matrices that read the same input are one matrix to a product, and their B's
 *       write into columns of that input's fused outputs.
 *   (2) Of these outputs a product may have a part, as block.h (4) cuts them; an adapter adds to
 *       what of its own columns lies in it.
 *   (3) What is between A and B is kept with the scale in it: low (n, ranks) c. */
#ifndef RANKWISE_ADAPTER_H
#define RANKWISE_ADAPTER_H
#include "block.h"

/* low = scale A in, for the outputs of `part`; in (n, K) c. */
void adapter_reduce(const struct block *b, enum adapter_input input, struct block_range part,
                    struct tensor in, void *low);
/* out (n, part.count) c or F32 += B low */
void adapter_expand(const struct block *b, enum adapter_input input, struct block_range part,
                    struct tensor out, const void *low);
/* The gradients of A and B +=, din (n, K) c += that of in, from dout (n, part.count) c. */
void adapter_backward(const struct block *b, enum adapter_input input, struct block_range part,
                      struct tensor dout, struct tensor in, const void *low, struct tensor din);

/* Columns of low, at most. */
static inline int64_t adapter_ranks(const struct adapters *a, enum adapter_input input) {
    return (int64_t)a->modules[input] * a->rank;
}
#endif
