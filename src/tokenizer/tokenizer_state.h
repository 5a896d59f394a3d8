/* The insides of a tokenizer, for the files of this folder alone: text -> added tokens ->
 * normalizer -> added tokens -> pre-tokenizer -> BPE; and back through the decoder. */
#ifndef RANKWISE_TOKENIZER_STATE_H
#define RANKWISE_TOKENIZER_STATE_H
#include "added.h"
#include "bpe.h"
#include "detokenizer.h"
#include "frame.h"
#include "normalizer.h"
#include "pretokenize.h"
#include "tokenizer.h"

enum { TOKENIZER_FILES = 3 };
struct tokenizer {
    struct bpe bpe;
    struct added added;
    struct pretokenizer pretokenizer;
    struct normalizer normalizer;
    struct detokenizer detokenizer;
    int64_t size; /* the largest id + 1 */
    int bos, eos, pad;
    char *special[SPECIAL_ROLES]; /* texts, owned; NULL: nothing names the role */
    struct frame frame;
    struct tokenizer_file file[TOKENIZER_FILES]; /* data is owned */
    int n_files;
};
struct encoder {
    const struct tokenizer *tokenizer; /* not owned */
    struct bpe_scratch *bpe;
    struct pretokenizer_scratch pretokenizer;
    struct normalizer_scratch normalizer;
    struct ids *out; /* of the call under way, */
    const char *text; /* its text, */
    const char *normal; /* the part of it under way, normalized, */
    int64_t lead;       /* and pretokenizer_run's lead there */
};

/* The file of that name, or NULL. */
const struct tokenizer_file *tokenizer_find_file(const struct tokenizer_file *file, int n,
                                                 const char *name);
/* tokenizer_config.c. What the other files say of added tokens, before added_build; then BOS, EOS
 * and pad. */
int tokenizer_config_added(struct tokenizer *t, const struct tokenizer_file *file, int n);
int tokenizer_config_special(struct tokenizer *t, const struct tokenizer_file *file, int n,
                             const char *option);

/* Encodes checked text as if there were no added tokens. */
int encoder_encode_ordinary(struct encoder *e, const char *text, size_t length, struct ids *out);
#endif
