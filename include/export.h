/* Export: a Hugging Face directory that transformers opens with AutoModelForSequenceClassification
 * and scores alike, or with AutoModelForCausalLM where the checkpoint is a language model's.
 *
 *   (1) Written beside <directory>, renamed when whole; the golden scores in score_contract.json
 *       are computed from what was written, by opening it again, so that a wrong export does not
 *       get its name.
 *   (2) transformers reads the score at the last token that is not the pad token. The pad token
 *       must therefore be one that no text has: where the tokenizer has none of its own, one is
 *       added, in a spare row of the embedding or a new one. A language model keeps what its
 *       tokenizer has.
 *   (3) One rank writes; parameters are read piece by piece, so that no whole model is in
 *   memory. */
#ifndef RANKWISE_EXPORT_H
#define RANKWISE_EXPORT_H
#include "scorer.h"

struct export_pad {
    char *token; /* NULL: what the tokenizer has */
    int id;
    bool is_added; /* the tokenizer did not have it */
    int64_t rows;  /* of the exported embedding: the model's, or one more */
};
int export_pad_choose(struct export_pad *pad, const struct tokenizer *tokenizer,
                      int64_t embedding_rows);
void export_pad_free(struct export_pad *pad);

/* The exported config.json, from the model's own and what the contract says of the scores;
 * contract NULL: a language model's. mem_free; NULL with error_text(). */
char *export_config(const struct arch *arch, const struct contract *contract,
                    const struct export_pad *pad, enum dtype dtype);

/* A tokenizer file of this name, as it is exported: byte for byte where nothing has to change. 1:
 * there is none, and none is needed. chat_template: what tokenizer_config.json states; NULL: what
 * it has. */
int export_tokenizer_file(struct buffer *out, const char *name, const struct tokenizer *tokenizer,
                          const struct export_pad *pad, const char *chat_template);

/* README.md: what the model is, and Python that scores with it, or writes. mem_free. */
char *export_card(const struct scorer *s, const struct export_pad *pad, const char *name,
                  enum dtype dtype);

char *export_lm_card(const struct scorer *s, const char *name, enum dtype dtype);

struct export_options {
    enum dtype dtype;
    bool force; /* an existing model directory is replaced */
    bool merge; /* a model with adapters: whole, with these in its weights; else they alone */
};
/* Writes the model that `s` has open (not started). Collective; agreed. */
int export_model(struct scorer *s, const char *directory, const struct export_options *options);
#endif
