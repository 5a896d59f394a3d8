/* The spool of a new shard: see shard_spool.h.
 *
 * Reading back from the shard itself was tried: a chunk is inflated for each sequence, and the
 * groups of a million rows whose prompts come back once took as long as all the rest. */
#include "shard_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 16 };

int spool_open(struct spool *s, const char *path, bool is_narrow) {
    *s = (struct spool){.is_narrow = is_narrow};
    s->file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (s->file < 0) return fail("cannot be written: %s", strerror(errno));
    unlink(path);
    return 0;
}

void spool_close(struct spool *s) {
    if (s->file >= 0) close(s->file);
    buffer_free(&s->buffer);
    *s = (struct spool){.file = -1};
}

int spool_flush(struct spool *s) {
    const char *from = s->buffer.data;
    for (size_t left = s->buffer.length; left;) {
        ssize_t n = write(s->file, from, left);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail("cannot be written: %s", strerror(errno));
        from += n;
        left -= (size_t)n;
    }
    buffer_clear(&s->buffer);
    return 0;
}

static void add(struct spool *s, const void *data, size_t n_bytes) {
    buffer_append(&s->buffer, data, n_bytes);
    s->n_bytes += (int64_t)n_bytes;
}

static void add_tokens(struct spool *s, const int32_t *token, int64_t n) {
    uint16_t narrow[512];
    if (!s->is_narrow) add(s, token, (size_t)n * sizeof *token);
    for (int64_t i = 0, some; i < n && s->is_narrow; i += some) {
        some = MIN(n - i, (int64_t)(sizeof narrow / sizeof *narrow));
        for (int64_t k = 0; k < some; k++) narrow[k] = (uint16_t)token[i + k];
        add(s, narrow, (size_t)some * sizeof *narrow);
    }
}

int spool_add(struct spool *s, const int32_t *length, int64_t n, const int32_t *token,
              const struct buffer *answers, int64_t *at) {
    int64_t n_tokens = 0;
    *at = s->n_bytes;
    add(s, &(int32_t){(int32_t)n}, sizeof(int32_t));
    add(s, length, (size_t)n * sizeof *length);
    for (int64_t i = 0; i < n; i++) n_tokens += length[i];
    add_tokens(s, token, n_tokens);
    add(s, &answers->length, sizeof answers->length);
    add(s, answers->data, answers->length);
    return s->buffer.length < PIECE ? 0 : spool_flush(s);
}

static int read_at(const struct spool *s, int64_t at, void *out, size_t n_bytes) {
    char *to = out;
    while (n_bytes) {
        ssize_t n = pread(s->file, to, n_bytes, at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return fail("its temporary tokens cannot be read again: %s",
                        n ? strerror(errno) : "they are cut");
        to += n;
        at += n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

int spool_count(const struct spool *s, int64_t at, int32_t *n) {
    return read_at(s, at, n, sizeof *n);
}

int spool_lengths(const struct spool *s, int64_t at, int32_t n, int32_t *length,
                  int64_t *tokens_at) {
    *tokens_at = at + (int64_t)sizeof(int32_t) * (1 + (int64_t)n);
    return read_at(s, at + (int64_t)sizeof(int32_t), length, (size_t)n * sizeof *length);
}

int64_t spool_behind(const struct spool *s, int64_t at, int64_t n) {
    return at + n * (s->is_narrow ? 2 : 4);
}

/* Narrow tokens are widened from the end, in the memory that they were read into. */
int spool_tokens(const struct spool *s, int64_t at, int64_t n, int32_t *out) {
    if (read_at(s, at, out, (size_t)(spool_behind(s, at, n) - at)) != 0) return -1;
    const uint16_t *narrow = (const uint16_t *)out;
    for (int64_t i = n - 1; s->is_narrow && i >= 0; i--) {
        uint16_t token;
        memcpy(&token, narrow + i, sizeof token);
        out[i] = token;
    }
    return 0;
}

char *spool_answers(const struct spool *s, int64_t at, size_t *n_bytes) {
    int32_t n;
    int64_t behind;
    if (spool_count(s, at, &n) != 0) return NULL;
    int32_t *length = mem_alloc(n, sizeof *length);
    int status = spool_lengths(s, at, n, length, &behind);
    for (int32_t i = 0; i < n; i++) behind = spool_behind(s, behind, length[i]);
    mem_free(length);
    if (status != 0 || read_at(s, behind, n_bytes, sizeof *n_bytes) != 0) return NULL;
    char *answers = mem_alloc((int64_t)*n_bytes, 1);
    if (read_at(s, behind + (int64_t)sizeof *n_bytes, answers, *n_bytes) == 0) return answers;
    mem_free(answers);
    return NULL;
}
