/* Unpacking into a window: see reader_bytes.h. */
#include "reader_bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "reader.h"

enum { PIECE = 1 << 18 };

/* Up to `most` bytes of the file; 0 at its end. */
static int64_t read_file(struct bytes *b, void *to, size_t max) {
    for (;;) {
        ssize_t n = read(b->file, to, max);
        if (n >= 0) return n;
        if (errno != EINTR) return fail("cannot be read: %s", strerror(errno));
    }
}

static int more_packed(struct bytes *b) {
    if (b->packed_over || b->packed_at < b->packed_filled) return 0;
    int64_t n = read_file(b, b->packed, PIECE);
    if (n < 0) return -1;
    b->packed_at = 0;
    b->packed_filled = (size_t)n;
    b->packed_over = n == 0;
    b->n_packed += n;
    return 0;
}

static int cut(const char *kind) {
    return fail("a cut %s file: it ends too early; hint: copy it again", kind);
}

/* --- gzip --- */

/* Zeros after the last member are padding. */
static void skip_padding(struct bytes *b) {
    while (b->packed_at < b->packed_filled && b->packed[b->packed_at] == 0) b->packed_at++;
}

/* How many bytes it unpacked, at most capacity: it reads on until there are some, over the ends of
 * members; 0 at the end of the file. */
static int64_t unpack_gzip(struct bytes *b, char *to, size_t capacity) {
    z_stream *z = b->stream;
    z->next_out = (Bytef *)to;
    z->avail_out = (uInt)MIN(capacity, 1u << 30);
    size_t asked = z->avail_out;
    while (z->avail_out == asked) {
        if (more_packed(b) != 0) return -1;
        if (b->between) skip_padding(b);
        if (b->packed_at == b->packed_filled) {
            if (!b->packed_over) continue;
            return b->between ? 0 : cut("gzip");
        }
        z->next_in = (Bytef *)b->packed + b->packed_at;
        z->avail_in = (uInt)(b->packed_filled - b->packed_at);
        b->between = false;
        int status = inflate(z, Z_NO_FLUSH);
        b->packed_at = b->packed_filled - z->avail_in;
        if (status == Z_STREAM_END) {
            b->between = true;
            inflateReset(z);
        } else if (status != Z_OK) {
            return fail("a damaged gzip file (%s); hint: copy it again",
                        z->msg ? z->msg : "no more can be unpacked");
        }
    }
    return (int64_t)(asked - z->avail_out);
}

/* --- zstd --- */

static int64_t unpack_zstd(struct bytes *b, char *to, size_t capacity) {
    ZSTD_outBuffer out = {to, capacity, 0};
    while (out.pos == 0) {
        if (more_packed(b) != 0) return -1;
        /* A frame may hold back bytes that it has no room for: only an empty step at the end means
         * a cut. */
        if (b->packed_over && b->between) return 0;
        ZSTD_inBuffer in = {b->packed, b->packed_filled, b->packed_at};
        size_t status = ZSTD_decompressStream(b->stream, &out, &in);
        if (ZSTD_isError(status)) {
            bool is_wide = ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge;
            return fail("a zstd file that cannot be unpacked (%s); hint: %s",
                        ZSTD_getErrorName(status),
                        is_wide ? "unpack it with zstd -d --long=31" : "copy it again");
        }
        if (b->packed_over && out.pos == 0 && in.pos == b->packed_at) return cut("zstd");
        b->packed_at = in.pos;
        b->between = status == 0;
    }
    return (int64_t)out.pos;
}

/* --- the window --- */

static int64_t unpack(struct bytes *b, char *to, size_t capacity) {
    switch (b->packing) {
    case PACKING_GZIP:
        return unpack_gzip(b, to, capacity);
    case PACKING_ZSTD:
        return unpack_zstd(b, to, capacity);
    case PACKING_NONE:
        break;
    }
    int64_t n = read_file(b, to, capacity);
    if (n > 0) b->n_packed += n;
    return n;
}

static void hash_consumed(struct bytes *b) {
    sha256_add(&b->hash, b->data + b->hashed, b->at - b->hashed);
    b->hashed = b->at;
}

/* Room for another piece behind the unread bytes: (1), (2). */
static int make_room(struct bytes *b) {
    size_t unread = b->filled - b->at;
    if ((int64_t)unread >= b->max_row)
        return fail("a row of more than %lld bytes; hint: --max-row raises the limit",
                    (long long)b->max_row);
    if (b->capacity - b->filled >= PIECE / 2) return 0;
    hash_consumed(b);
    if (unread) memmove(b->data, b->data + b->at, unread);
    b->at = b->hashed = 0;
    b->filled = unread;
    size_t ceiling = (size_t)b->max_row + PIECE;
    if (b->capacity - unread < b->capacity / 2 && b->capacity < ceiling) {
        b->capacity = MIN(2 * b->capacity, ceiling);
        b->data = mem_resize(b->data, (int64_t)b->capacity, 1);
    }
    return 0;
}

int bytes_more(struct bytes *b) {
    if (make_room(b) != 0) return -1;
    int64_t n = unpack(b, b->data + b->filled, b->capacity - b->filled);
    if (n < 0) return -1;
    b->filled += (size_t)n;
    b->n_unpacked += n;
    if (b->packing != PACKING_NONE && b->n_unpacked > READER_FREE_BYTES &&
        (b->n_unpacked - READER_FREE_BYTES) / b->max_ratio > b->n_packed)
        return fail("unpacks to more than %d MiB and %lld times its own size: stopped; hint: if "
                    "that is right, "
                    "--max-ratio raises the limit",
                    READER_FREE_BYTES >> 20, (long long)b->max_ratio);
    return n > 0;
}

int64_t bytes_need(struct bytes *b, size_t n) {
    while (b->filled - b->at < n) {
        int status = bytes_more(b);
        if (status < 0) return -1;
        if (status == 0) break;
    }
    return (int64_t)(b->filled - b->at);
}

/* --- opening --- */

static enum packing packing_of(const char *text, size_t length) {
    if (length >= 2 && memcmp(text, "\x1F\x8B", 2) == 0) return PACKING_GZIP;
    if (length >= 4 && memcmp(text, "\x28\xB5\x2F\xFD", 4) == 0) return PACKING_ZSTD;
    /* A skippable frame: 0x184D2A50 to 0x184D2A5F. */
    if (length >= 4 && (text[0] & 0xF0) == 0x50 && memcmp(text + 1, "\x2A\x4D\x18", 3) == 0)
        return PACKING_ZSTD;
    return PACKING_NONE;
}

/* The bytes read so far were packed ones: they become the packed side, and the window begins
 * anew. */
static int start_unpacking(struct bytes *b, enum packing packing) {
    b->packing = packing;
    b->packed = mem_alloc(MAX(PIECE, (int64_t)b->filled), 1);
    memcpy(b->packed, b->data, b->filled);
    b->packed_filled = b->filled;
    b->filled = 0;
    b->n_unpacked = 0;
    if (packing == PACKING_GZIP) {
        z_stream *z = mem_alloc(1, sizeof *z);
        b->stream = z;
        if (inflateInit2(z, 15 + 16) != Z_OK)
            return fail("zlib: %s", z->msg ? z->msg : "out of memory");
    } else {
        b->stream = ZSTD_createDStream();
        if (!b->stream) return fail("zstd: out of memory");
    }
    if (bytes_need(b, 4) < 0) return -1;
    if (packing_of(b->data, b->filled) != PACKING_NONE)
        return fail("packed twice: there is a packed file in it; hint: unpack it once");
    return 0;
}

int bytes_open(struct bytes *b, int file, int64_t max_row, int64_t max_ratio) {
    struct stat about;
    *b = (struct bytes){.file = file,
                        .size = -1,
                        .max_row = max_row,
                        .max_ratio = max_ratio,
                        .capacity = 2 * PIECE};
    b->data = mem_resize(NULL, (int64_t)b->capacity, 1); /* not zeroed */
    sha256_start(&b->hash);
    if (fstat(file, &about) == 0 && S_ISREG(about.st_mode)) b->size = about.st_size;
    int64_t n = bytes_need(b, 4);
    enum packing packing = n < 0 ? PACKING_NONE : packing_of(b->data, b->filled);
    if (n >= 0 && packing == PACKING_NONE) return 0;
    if (n >= 0 && start_unpacking(b, packing) == 0) return 0;
    bytes_close(b);
    return -1;
}

void bytes_hash(const struct bytes *b, char out[65]) {
    struct sha256 hash = b->hash;
    sha256_add(&hash, b->data + b->hashed, b->at - b->hashed);
    sha256_finish(&hash, out);
}

void bytes_close(struct bytes *b) {
    if (!b->data) return;
    if (b->packing == PACKING_GZIP) {
        inflateEnd(b->stream);
        mem_free(b->stream);
    }
    if (b->packing == PACKING_ZSTD) ZSTD_freeDStream(b->stream);
    close(b->file);
    mem_free(b->packed);
    mem_free(b->data);
    *b = (struct bytes){0};
}
