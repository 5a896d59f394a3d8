/* The score contract: everything that decides which number a text gets, as one JSON text that
 * travels from shard to checkpoint to exported model and is compared whenever two of them meet.
 *
 *   tokenizer   identity: what it does, not how its file is written (tokenizer_identity)
 *   special     special and added tokens, content -> id: compared one by one; one side may have
 *   more
 *   template    its name and text ("" for a built-in one); "now": what strftime_now returns, where
 *   that was given;
 *               "tool_use": the text for rows with tools, where that is another
 *   bos_token   what the template's variable is, where it names it and there is one
 *   bos, eos    the rule and the token. BOS: "none", "prepend_unless_there"; EOS:
 *   "append_unless_there", or
 *               "as_rendered", and then "at": "end", "inside" or "nowhere" of what the template
 *               writes
 *   position    where the score is read: "last_token"
 *   max_length, truncate; max_prompt_length where there is one
 *   precision   of the golden scores; another precision is no reason to refuse
 *   heads       what the scores of a text are: {"kind": "ensemble", "n": N}, N scores of the same;
 *               {"kind": "attributes", "names": [...]}; one score where this is not there
 *   reward      mean and sd (population) of the score over "answers" answers of the training data;
 *               lists for attributes. Not there before the end of training
 *   golden      eight (text, ids, score) vectors; score null until a model is there, a list where
 *               there are several heads; "messages" where the text is that of a conversation */
#ifndef RANKWISE_CONTRACT_H
#define RANKWISE_CONTRACT_H
#include <jansson.h>
#include "template.h"

struct contract {
    json_t *json; /* owned; a zeroed struct is "no contract" */
};

/* Encodes the golden texts. */
int contract_make(struct contract *contract, const struct tokenizer *tokenizer,
                  const struct template_options *options);
int contract_parse(struct contract *contract, const char *json, size_t length);
char *contract_text(const struct contract *contract); /* mem_free */
/* What its template is opened with (texts borrowed from it). -1 when it states what cannot be done
 * here. */
int contract_options(const struct contract *contract, struct template_options *options);
/* What to give tokenizer_open with the carried files: "bos=<token>,eos=<token>", for folders that
 * do not name them themselves. NULL without a contract. mem_free. */
char *contract_special(const struct contract *contract);
void contract_copy(struct contract *to, const struct contract *from);
void contract_free(struct contract *contract);

/* 0 when both would give a text the same ids and read the score at the same place; else -1 with
 * error_text() that says which part differs, what was expected (a, named a_name) and what was found
 * (b). */
int contract_compare(const struct contract *a, const char *a_name, const struct contract *b,
                     const char *b_name);

/* 0 when the same ids mean the same text, whatever is scored and how it is rendered. */
int contract_compare_tokenizers(const struct contract *a, const char *a_name,
                                const struct contract *b, const char *b_name);

/* What the scores of a text are. */
enum heads_kind { HEADS_SINGLE, HEADS_ENSEMBLE, HEADS_ATTRIBUTES };
/* name: (n), of attributes alone. Other heads than before: golden scores and reward are dropped. */
void contract_set_heads(struct contract *contract, enum heads_kind kind, int n,
                        const char *const *name);
enum heads_kind contract_heads_kind(const struct contract *contract);
int contract_n_heads(const struct contract *contract);
const char *contract_head_name(const struct contract *contract, int k); /* borrowed */

/* Means and standard deviations of the reward: one of each, or one for each attribute. */
int contract_n_rewards(const struct contract *contract);
void contract_set_reward(struct contract *contract, const double *mean, const double *sd,
                         int64_t n_answers);
/* Those of head k; false: the contract has none. */
bool contract_reward(const struct contract *contract, int k, double *mean, double *sd);

/* The golden vectors; score: (CONTRACT_N_GOLDEN, heads). */
enum { CONTRACT_N_GOLDEN = 8 };
/* The ids of golden text k of a contract that is there; ids_free. */
struct ids contract_golden(const struct contract *contract, int k);
int contract_set_scores(struct contract *contract, const char *precision, const double *score);
/* 0 when scores are there and each differs by at most tolerance of the contract's precision (F32
 * 1e-4, BF16 5e-2). */
int contract_check_scores(const struct contract *contract, const char *precision,
                          const double *score);
bool contract_has_scores(const struct contract *contract);
#endif
