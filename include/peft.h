/* Adapters in PEFT's files: a directory with adapter_config.json and adapter_model.safetensors.
 *
 *   (1) What PEFT's LoRA has beyond include/lora.h (DoRA, biases, ranks by layer, ...) is refused
 *       by its field's name, never passed over.
 *   (2) The score head may be among the tensors (modules_to_save).
 *   (3) An adapter that this program wrote has beside it (adapter_base.json) the digest of its
 *       base, and whether it was trained with the base's linear layers in NF4. */
#ifndef RANKWISE_PEFT_H
#define RANKWISE_PEFT_H
#include "safetensors.h"

struct peft {
    struct lora lora;  /* targets are owned */
    char *base;        /* base_model_name_or_path; "" where it is not told */
    char *base_digest; /* by (3); NULL: not told */
    bool is_quantised; /* by (3) */
    struct safetensors tensors;
    bool has_score;
};

/* Whether a directory holds an adapter. */
bool peft_is_there(const char *directory);
/* -1 with error_text(), and nothing to close. */
int peft_open(struct peft *p, const char *directory);
/* The adapters of a table that was built with p->lora, and nothing else but a score head. */
int peft_match(struct peft *p, const struct parameters *table);
/* Whether the parameter is read from here: an adapter, or the score head by (2). */
bool peft_has(const struct peft *p, const struct parameter *parameter);
void peft_close(struct peft *p);

/* The texts of adapter_config.json and adapter_base.json; mem_free. digest may be NULL. */
char *peft_config(const struct lora *lora, const struct parameters *table, const char *base);
char *peft_base(const char *base, const char *digest, bool is_quantised);
#endif
