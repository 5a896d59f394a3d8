/* Added tokens: the ones that are found in the text before anything else looks at it.
 *
 * (1) Those with normalized = false are sought in the text as it is, the others in what the normalizer made of the
 * rest. (2) At each place the longest one wins; of overlapping ones the one that starts first. (3) lstrip and rstrip
 * swallow the whitespace beside it; single_word wants no word character on either side. */
#ifndef RANKWISE_ADDED_H
#define RANKWISE_ADDED_H
#include <jansson.h>
#include "bpe.h"

struct added_token {
    char *content;
    char *written; /* what decoding writes: the content as normalized, where that applies; set by added_build */
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
    int64_t n, room;
    bool starts[256];
};
struct added {
    struct added_token *token; /* sorted by id */
    int64_t n, room;
    struct trie raw, normalized;
};

/* json: the value of "added_tokens". On failure nothing is left to free. */
int added_parse(struct added *added, const json_t *json, const struct bpe *bpe);
/* Builds the tries. normalize (may be NULL) is what the tokenizer's normalizer does to a text. */
void added_build(struct added *added, void (*normalize)(const char *text, size_t length, struct buffer *out));
void added_free(struct added *added);
const struct added_token *added_find(const struct added *added, const char *content, size_t length);
const struct added_token *added_by_id(const struct added *added, int64_t id);

/* Gives the text between tokens (token NULL) and the tokens in their order; stops with -1 when sink does. */
typedef int (*added_sink)(void *self, const struct added_token *token, const char *text, size_t length);
int added_split(const struct added *added, const struct trie *trie, const char *text, size_t length, added_sink sink,
                void *self);
#endif
