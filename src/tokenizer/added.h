/* Added tokens: the ones that are found in the text before anything else looks at it.
 *
 * Their ids are those that the library gives, whatever the file says: the vocabulary's, or the next
 * free one from the vocabulary's size on.
 *
 *   (1) Those with normalized = false are sought in the text as it is, the others in what the
 *       normalizer made of the rest.
 *   (2) Of those that begin at one place the longest wins; of those that overlap, the first.
 *   (3) lstrip and rstrip swallow the whitespace beside it; single_word wants no word character on
 *       either side. */
#ifndef RANKWISE_ADDED_H
#define RANKWISE_ADDED_H
#include <jansson.h>
#include "bpe.h"
#include "normalizer.h"

struct added_token {
    char *content;
    /* what decoding writes: the content as normalized, where that applies; set by added_build */
    char *written;
    bool is_skipped; /* by decoding without special tokens; set by added_build */
    size_t length;
    int id;
    bool is_special, single_word, lstrip, rstrip, normalized;
};
struct trie_node {
    int32_t child, sibling, token; /* -1: none */
    unsigned char byte;
};
struct trie {
    struct trie_node *node; /* node[0] is the root */
    int64_t n, capacity;
    bool starts[256];
};
struct added {
    struct added_token *token; /* sorted by id */
    int64_t n, capacity;
    struct trie raw, normalized;
};

/* json: the value of "added_tokens", or an object of such tokens by their ids
 * (added_tokens_decoder). One that is there already gets the new properties. On failure the caller
 * calls added_free. */
int added_parse(struct added *added, const json_t *json, const struct bpe *bpe);
/* Makes a token special that no list need have: one that is known becomes special, another one is
 * added if it has an id. */
void added_make_special(struct added *added, const char *content, const struct bpe *bpe);
/* Builds the tries and sorts; -1 when the normalizer gives up. */
int added_build(struct added *added, const struct normalizer *normalizer);
void added_free(struct added *added);
const struct added_token *added_find(const struct added *added, const char *content, size_t length);
const struct added_token *added_by_id(const struct added *added, int64_t id);

/* Gives the text between tokens (token NULL) and the tokens in their order; stops with -1 when sink
 * does. */
typedef int (*added_sink)(void *self, const struct added_token *token, const char *text,
                          size_t length);
int added_split(const struct added *added, const struct trie *trie, const char *text, size_t length,
                added_sink sink, void *self);
#endif
