/* The forest batch: sequences merged into a trie of shared prefixes, in preorder, without padding
 * (docs/architecture.md).
 *
 *   token[n], position[n], reach[n];   query i may look at key j   <=>   j <= i && i < reach[j]
 *
 *   (1) Preorder: a node's subtree is [i, reach[i]); reach[i] > i; position[i] is its depth in its
 *       tree.
 *   (2) Exactly the distinct prefixes of the given sequences are there, once each; identical
 *       sequences are one. The layout is that of the sequences sorted by their tokens, so it does
 *       not depend on their order.
 *   (3) A read is a token of a sequence at which something is wanted of the model: `row` lists the
 *       distinct rows that are read, ascending; read[i] is the index in `row` of the i-th read.
 *       Each sequence ends in a read, so that no leaf is computed for nothing.
 *   (4) order: all rows sorted by (token, row), for the embedding's backward.
 *
 * Pure integer work on the host: no device, no files. */
#ifndef RANKWISE_FOREST_H
#define RANKWISE_FOREST_H
#include "base.h"

struct forest_read {
    int32_t sequence, position; /* 0 <= position < length of the sequence */
};

struct forest {
    int64_t n;                             /* tokens */
    int32_t *token, *position, *reach, *order; /* (n) each */
    int64_t n_rows;
    int32_t *row;                          /* (n_rows) */
    int64_t n_reads;
    int32_t *read;                         /* (n_reads), in the order given */
    int64_t capacity_tokens, capacity_sequences, capacity_reads; /* what follows is private */
    int32_t *sorted, *stack, *first_read, *read_order;
};

/* Room for that many; nothing is allocated afterwards. */
void forest_init(struct forest *forest, int64_t tokens, int64_t sequences, int64_t reads);
void forest_free(struct forest *forest);

/* sequence[s] has length[s] >= 1 tokens. read: in any order; NULL: one read a sequence, at its last
 * token. The distinct prefixes must fit the room: CHECKed. */
void forest_build(struct forest *forest, int64_t n_sequences, const int32_t *const *sequence,
                  const int32_t *length, int64_t n_reads, const struct forest_read *read);

/* How many tokens the forest of these sequences would have. Needs no room. */
int64_t forest_count(int64_t n_sequences, const int32_t *const *sequence, const int32_t *length);

/* Whether (1) and (2) hold, for tests and debug builds; -1 with error_text(). */
int forest_validate(const struct forest *forest);
#endif
