/* The insides of a tokenizer, for the files of src/text alone: text -> added tokens -> normalizer -> added tokens ->
 * pre-tokenizer -> BPE. */
#ifndef RANKWISE_TOKENIZER_STATE_H
#define RANKWISE_TOKENIZER_STATE_H
#include "added.h"
#include "bpe.h"
#include "frame.h"
#include "pretokenize.h"
#include "tokenizer.h"

enum { TOKENIZER_FILES = 3 };
struct tokenizer {
    struct bpe bpe;
    struct added added;
    struct pretokenizer pretokenizer;
    void (*normalize)(const char *text, size_t length, struct buffer *out); /* NULL: none */
    int64_t size;                                                           /* the largest id + 1 */
    int bos, eos, pad;
    struct frame frame;
    struct tokenizer_file file[TOKENIZER_FILES]; /* data is owned */
    int n_files;
};
struct encoder {
    const struct tokenizer *tokenizer; /* not owned */
    struct bpe_scratch *bpe;
    struct pretokenizer_scratch pretokenizer;
    struct buffer normalized;
    struct ids *out; /* of the call under way */
};

/* Encodes checked text as if there were no added tokens. */
int encoder_encode_ordinary(struct encoder *e, const char *text, size_t length, struct ids *out);
#endif
