/* The sides of every run of rows with one prompt and the run's answers, uncompressed in a file
 * without a name: what the groups of prompts that come back are counted from, and what /answer is
 * written from. Beside the shard, so on the same disk; two or four bytes a token; gone with the
 * descriptor. */
#ifndef RANKWISE_SHARD_SPOOL_H
#define RANKWISE_SHARD_SPOOL_H
#include "memory.h"

struct spool {
    int file;        /* -1: closed */
    bool is_narrow;  /* tokens below 65,536: two bytes each */
    int64_t n_bytes; /* in the file and the buffer */
    struct buffer buffer;
};
/* 0, or -1 with error_text(). */
int spool_open(struct spool *s, const char *path, bool is_narrow);
void spool_close(struct spool *s);
/* n sides with their tokens end to end, and the run's answers as they are. *at: where they are,
 * which is behind all that were added before. */
int spool_add(struct spool *s, const int32_t *length, int64_t n, const int32_t *token,
              const struct buffer *answers, int64_t *at);
int spool_flush(struct spool *s); /* before reading */
/* What spool_add put there: how many sides, their lengths, and where the tokens of the first one
 * are. */
int spool_count(const struct spool *s, int64_t at, int32_t *n);
int spool_lengths(const struct spool *s, int64_t at, int32_t n, int32_t *length,
                  int64_t *tokens_at);
/* where the token n behind that at `at` is */
int64_t spool_behind(const struct spool *s, int64_t at, int64_t n);
/* The answers of the run at `at`; mem_free. NULL with error_text(). */
char *spool_answers(const struct spool *s, int64_t at, size_t *n_bytes);
int spool_tokens(const struct spool *s, int64_t at, int64_t n, int32_t *out);
#endif
