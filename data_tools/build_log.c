/* The log of a build: <shard>.partial, the packed rows of every batch as it was finished. A build
 * that is killed leaves it; the next one with the same digest feeds it to its sink and goes on
 * behind it.
 *
 *   (1) A block is whole when its hash is right, which begins with that of the block before it, and
 *       the first with the digest: what a kill or a power failure cut, or what belongs to another
 *       build, is not taken. So nothing has to be synced.
 *   (2) Blocks are written by one process, which holds the file's lock. Without locks there is no
 *       log.
 *   (3) A log that cannot be written is given up, and the build goes on without it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build.h"
#include "file.h"
#include "hash.h"
#include "log.h"

#define LOG_MAGIC 0x31676f6c7a6e6b72 /* "rknzlog1" */
enum { LARGEST_BLOCK = 1 << 30 };

struct log_block {
    uint64_t magic;
    int64_t n_bytes;
    struct build_place next;
    struct hash128 hash; /* of what stands above, the packed rows and the former block's hash */
};

struct build_log {
    char *path;
    int file;
    struct hash128 former;
};

static struct hash128 hash_block(const struct log_block *block, const void *packed,
                                 struct hash128 former) {
    const struct hash128 part[3] = {former, hash128(block, offsetof(struct log_block, hash), 0),
                                    hash128(packed, (size_t)block->n_bytes, 0)};
    return hash128(part, sizeof part, 0);
}

/* --- reading --- */

static bool read_all(int file, void *out, size_t n) {
    char *to = out;
    while (n) {
        ssize_t got = read(file, to, n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        n -= (size_t)got;
    }
    return true;
}

/* The next whole block; its rows replace packed. */
static bool read_block(struct build_log *log, struct log_block *block, struct buffer *packed) {
    struct stat s;
    off_t at = lseek(log->file, 0, SEEK_CUR);
    if (fstat(log->file, &s) != 0 || !read_all(log->file, block, sizeof *block)) return false;
    if (block->magic != LOG_MAGIC || block->n_bytes < 0 ||
        block->n_bytes > MIN(LARGEST_BLOCK, s.st_size - at))
        return false;
    buffer_clear(packed);
    if (block->n_bytes > (int64_t)packed->capacity) {
        buffer_free(packed);
        packed->data = mem_alloc(block->n_bytes + 1, 1);
        packed->capacity = (size_t)block->n_bytes + 1;
    }
    packed->length = (size_t)block->n_bytes;
    if (!read_all(log->file, packed->data, packed->length)) return false;
    struct hash128 hash = hash_block(block, packed->data, log->former);
    return hash.low == block->hash.low && hash.high == block->hash.high;
}

static void replay(struct build_log *log, struct sink *s, struct build_place *start) {
    struct log_block block;
    struct buffer packed = {0};
    off_t end = 0;
    while (read_block(log, &block, &packed) && sink_take(s, &packed) == 0) {
        log->former = block.hash;
        *start = block.next;
        end = lseek(log->file, 0, SEEK_CUR);
    }
    buffer_free(&packed);
    if (ftruncate(log->file, end) != 0 || lseek(log->file, end, SEEK_SET) < 0)
        log_warn("%s: cannot be cut: %s", log->path, strerror(errno));
    if (end) log_info("going on from %s: %lld rows are done", log->path, (long long)sink_rows(s));
}

/* --- writing --- */

static void give_up(struct build_log *log) {
    unlink(log->path);
    close(log->file);
    log->file = -1;
}

struct build_log *log_start(struct build *b, struct sink *s, struct build_place *start) {
    *start = (struct build_place){0};
    if (!b->digest[0]) return NULL;
    char *path = mem_format("%s.partial", b->out[0]);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || flock(file, LOCK_EX | LOCK_NB) != 0) {
        if (file >= 0) close(file);
        mem_free(path);
        return NULL;
    }
    struct build_log *log = mem_alloc(1, sizeof *log);
    log->path = path;
    log->file = file;
    log->former = hash128(b->digest, strlen(b->digest), 0);
    replay(log, s, start);
    return log;
}

void log_append(struct build_log *log, const struct intake_batch *batch) {
    if (!log || log->file < 0) return;
    if (batch->packed.length > LARGEST_BLOCK) {
        give_up(log); /* a hole would be worse */
        return;
    }
    struct log_block block = {
        .magic = LOG_MAGIC, .n_bytes = (int64_t)batch->packed.length, .next = batch->next};
    block.hash = hash_block(&block, batch->packed.data, log->former);
    log->former = block.hash;
    if (file_write_all(log->file, &block, sizeof block) == 0 &&
        file_write_all(log->file, batch->packed.data, batch->packed.length) == 0)
        return;
    log_info("%s: %s; this build goes on without it, and would start again if it were killed",
             log->path, strerror(errno));
    give_up(log);
}

void log_end(struct build_log *log, bool keep) {
    if (!log) return;
    if (log->file >= 0 && keep)
        close(log->file);
    else if (log->file >= 0)
        give_up(log);
    mem_free(log->path);
    mem_free(log);
}
