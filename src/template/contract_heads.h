/* The part of contract.c's reading that contract_heads.c does. */
#ifndef RANKWISE_CONTRACT_HEADS_H
#define RANKWISE_CONTRACT_HEADS_H
#include <jansson.h>

/* Heads, reward and golden scores have the types and counts that readers rely on; -1 with
 * error_text(). */
int contract_check_heads(const json_t *json);
#endif
