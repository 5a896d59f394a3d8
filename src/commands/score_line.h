/* A line of `rankwise score`: what is written of the scores of one text. */
#ifndef RANKWISE_SCORE_LINE_H
#define RANKWISE_SCORE_LINE_H
#include "contract.h"

/* Appends a JSON object and a line feed. score: (heads of the contract).
 *
 *   {"score": x}
 *   {"score": mean, "sd": deviation, "scores": [x, ...]}   of an ensemble; sd is the sample's, by
 *                                                          N - 1
 *   {"scores": {"name": x, ...}}                           of attributes
 *
 * normalize: each x is (x - mean) / sd of the reward, which the contract must have. */
void score_line(struct buffer *out, const struct contract *contract, const float *score,
                bool normalize);
#endif
