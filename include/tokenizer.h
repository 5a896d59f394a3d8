/* Tokenizers: text to ids and back, as the Hugging Face tokenizers library does it, from
 * tokenizer.json.
 *
 * Built here: BPE (bpe.h), byte-level as in GPT-2, GPT-NeoX, Llama 3 and Qwen, and of characters
 * with byte fallback as in Llama 2, Mistral and Gemma, with added tokens (added.h), normalizers
 * (normalizer.h), pre-tokenizers (pretokenize.h), post-processors (frame.h) and decoders
 * (detokenizer.h). What is not built is an error that names it. Readers take buffers, so that they
 * can be fuzzed. A tokenizer is immutable after opening; encoding needs an encoder per thread,
 * which holds the scratch and the word cache. */
#ifndef RANKWISE_TOKENIZER_H
#define RANKWISE_TOKENIZER_H
#include "memory.h"

struct tokenizer; /* tokenizer.c */
struct encoder;

/* A file of the tokenizer's folder, as shards, checkpoints and exports carry it. */
struct tokenizer_file {
    /* tokenizer.json, tokenizer_config.json, special_tokens_map.json, config.json */
    const char *name;
    const void *data;
    size_t length;
};

/* What tokenizer_config.json calls "bos_token" and so on. */
enum special_role {
    SPECIAL_BOS,
    SPECIAL_EOS,
    SPECIAL_UNK,
    SPECIAL_SEP,
    SPECIAL_PAD,
    SPECIAL_CLS,
    SPECIAL_MASK,
    SPECIAL_ROLES
};
const char *special_name(enum special_role role); /* "bos" */
/* Gives each of "eos=</s>,pad=<pad>" to take, which ends it by -1. A token reaches to the end or to
 * a comma that another role follows. */
typedef int special_take(void *self, enum special_role role, const char *token);
int special_parse(const char *option, special_take *take, void *self);

/* Frees the names and data of files that the caller owns; not the array. */
void tokenizer_files_clear(struct tokenizer_file *file, int n);

/* special: "eos=</s>,pad=<pad>" or NULL. BOS, EOS and pad come from tokenizer_config.json (a string
 * or {content}), then special_tokens_map.json, then `special` (an existing token; one that
 * contradicts a file is an error), then, when none of these has a key for any of the three,
 * config.json's ids. An EOS that is found nowhere is an error when it is asked for, not here. NULL
 * with error_text(). */
struct tokenizer *tokenizer_open(const struct tokenizer_file *file, int n_files,
                                 const char *special);
/* directory: one with these files, or a single tokenizer.json of any name. */
struct tokenizer *tokenizer_open_directory(const char *directory, const char *special);
void tokenizer_free(struct tokenizer *t);

/* The files it was opened from (tokenizer.json, tokenizer_config.json, special_tokens_map.json;
 * borrowed). */
int tokenizer_files(const struct tokenizer *t, const struct tokenizer_file **file);

int64_t tokenizer_size(const struct tokenizer *t);              /* the largest id + 1 */
int tokenizer_id(const struct tokenizer *t, const char *token); /* -1 if there is none */
/* -1 if there is none; so with eos and pad */
int tokenizer_bos(const struct tokenizer *t);
int tokenizer_eos(const struct tokenizer *t);
int tokenizer_pad(const struct tokenizer *t);
/* The text of a role, from the first that names it as told at tokenizer_open; NULL: nothing does.
 * It need not be a token, except for BOS, EOS and pad. */
const char *tokenizer_special(const struct tokenizer *t, enum special_role role);
/* What tokenizer.json's post-processor puts before and after one text when special tokens are asked
 * for (borrowed). tokenizer_config.json's add_bos_token and add_eos_token do not count, as in
 * transformers 5. */
struct frame {
    const int32_t *before, *after;
    int64_t n_before, n_after;
};
struct frame tokenizer_frame(const struct tokenizer *t);
/* The token's content, bytes in the vocabulary's alphabet; NULL if there is no such id. */
const char *tokenizer_token(const struct tokenizer *t, int id);
/* Added tokens: index from 0; false when there is none of that index. */
bool tokenizer_added(const struct tokenizer *t, int index, int *id, const char **content,
                     bool *is_special);
/* `at`, a place in a text, moved out of the added token that encoding recognises around it: to the
 * token's end where moves_on, else to its beginning. */
size_t tokenizer_boundary(const struct tokenizer *t, const char *text, size_t length, size_t at,
                          bool moves_on);

/* Identity, what a tokenizer does and not how its file is written: SHA-256 over the ordinary
 * (token, id) list and the ids of a fixed built-in corpus. The same for a re-saved file and for one
 * with more added tokens. out: 65 bytes. */
void tokenizer_identity(const struct tokenizer *t, char out[65]);

struct encoder *encoder_new(const struct tokenizer *t);
void encoder_free(struct encoder *e);
struct ids {
    int32_t *id;
    int64_t n, capacity;
};
void ids_free(struct ids *ids);
/* Appends the ids of text (valid UTF-8, else -1 with the byte's place). Special tokens in the text
 * are recognised; none are added. */
int encoder_encode(struct encoder *e, const char *text, size_t length, struct ids *out);
/* Appends the bytes of the tokens; special tokens are written unless skip_special. Invalid UTF-8
 * becomes U+FFFD, as the library does. An id without a token is an error, but with skip_special has
 * no text, as in the library: models have more words than their tokenizers have tokens. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *id, int64_t n, bool skip_special,
                     struct buffer *out);
#endif
