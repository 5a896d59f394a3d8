/* Writing safetensors: see safetensors.h.
 *
 *   (1) Which tensor goes into which file, and where, is settled before the first byte: a file is
 *       closed before the tensor that would carry it above split_bytes.
 *   (2) Files are written as <name>.tmp; only when all are whole and synced are they renamed, the
 *       index last. After an error no .tmp file is left and nothing that stood there before was
 *       touched. */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

enum { WRITE_ELEMENTS = 1 << 18 };

struct safetensors_writer {
    char *directory, *stem;
    const struct parameters *table; /* not owned */
    enum dtype dtype;
    int *file_of; /* (table->n): by (1) */
    int n_files;
    int at;         /* the parameter that is being written */
    int64_t done;   /* how many of its elements have been */
    int file;       /* the file that was begun last */
    int descriptor; /* of that file; -1 before its first element */
    bool failed;
    uint16_t *buffer; /* (WRITE_ELEMENTS) */
};

static uint64_t bytes_of(const struct safetensors_writer *w, const struct parameter *p) {
    return (uint64_t)p->count * dtype_bytes(w->dtype);
}

/* By (1): a tensor is never cut, so a single one above split_bytes has a file of its own. */
static void assign_files(struct safetensors_writer *w, uint64_t split_bytes) {
    uint64_t bytes = 0;
    for (int i = 0; i < w->table->n; i++) {
        uint64_t more = bytes_of(w, &w->table->item[i]);
        if (i > 0 && bytes + more > split_bytes) {
            w->n_files++;
            bytes = 0;
        }
        bytes += more;
        w->file_of[i] = w->n_files;
    }
    w->n_files++;
}

/* "model.safetensors", or "model-00001-of-00003.safetensors"; to be freed. */
static char *file_name(const struct safetensors_writer *w, int file) {
    if (w->n_files == 1) return mem_format("%s.safetensors", w->stem);
    return mem_format("%s-%05d-of-%05d.safetensors", w->stem, file + 1, w->n_files);
}

static char *file_path(const struct safetensors_writer *w, int file, const char *end) {
    char *name = file_name(w, file);
    char *path = mem_format("%s/%s%s", w->directory, name, end);
    mem_free(name);
    return path;
}

static int fail_file(struct safetensors_writer *w, const char *what, int error) {
    char *path = file_path(w, w->file, "");
    w->failed = true;
    fail("%s: %s: %s", path, what, strerror(error));
    mem_free(path);
    return -1;
}

static int write_all(struct safetensors_writer *w, const void *data, size_t bytes) {
    const char *at = data;
    while (bytes) {
        ssize_t n = write(w->descriptor, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_file(w, "cannot be written", errno);
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* The length, then the JSON header, padded with spaces so that the data begin at a multiple of
 * 8. */
static int write_header(struct safetensors_writer *w, int file) {
    struct buffer text = {0};
    uint64_t offset = 0;
    buffer_append_text(&text, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < w->table->n; i++) {
        const struct parameter *p = &w->table->item[i];
        if (w->file_of[i] != file) continue;
        buffer_format(&text, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld", p->name,
                      dtype_name(w->dtype), (long long)p->rows);
        if (p->n_dims == 2) buffer_format(&text, ",%lld", (long long)p->cols);
        buffer_format(&text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                      (unsigned long long)(offset + bytes_of(w, p)));
        offset += bytes_of(w, p);
    }
    buffer_append_text(&text, "}");
    while (text.length % 8 != 0) buffer_append_text(&text, " ");
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)((uint64_t)text.length >> (8 * i));
    int status = write_all(w, prefix, sizeof prefix);
    if (status == 0) status = write_all(w, text.data, text.length);
    buffer_free(&text);
    return status;
}

static int begin_file(struct safetensors_writer *w, int file) {
    char *path = file_path(w, file, ".tmp");
    w->file = file;
    w->descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int error = errno;
    mem_free(path);
    return w->descriptor < 0 ? fail_file(w, "cannot be made", error) : write_header(w, file);
}

static int end_file(struct safetensors_writer *w) {
    int status = fsync(w->descriptor), error = errno;
    if (close(w->descriptor) != 0 && status == 0) {
        status = -1;
        error = errno;
    }
    w->descriptor = -1;
    return status == 0 ? 0 : fail_file(w, "cannot be synced", error);
}

struct safetensors_writer *safetensors_writer_open(const char *directory, const char *stem,
                                                   const struct parameters *table, enum dtype dtype,
                                                   uint64_t split_bytes) {
    CHECK(dtype == DTYPE_F32 || dtype == DTYPE_BF16, "dtype %s is not written", dtype_name(dtype));
    struct safetensors_writer *w = mem_alloc(1, sizeof *w);
    w->directory = mem_copy_string(directory);
    w->stem = mem_copy_string(stem);
    w->table = table;
    w->dtype = dtype;
    w->descriptor = -1;
    w->file_of = mem_alloc(table->n, sizeof *w->file_of);
    w->buffer = mem_alloc(WRITE_ELEMENTS, sizeof *w->buffer);
    assign_files(w, split_bytes);
    return w;
}

static int write_elements(struct safetensors_writer *w, const float *data, int64_t count) {
    if (w->dtype == DTYPE_F32) return write_all(w, data, (size_t)count * sizeof *data);
    for (int64_t done = 0; done < count; done += WRITE_ELEMENTS) {
        int64_t n = MIN(WRITE_ELEMENTS, count - done);
        for (int64_t i = 0; i < n; i++) w->buffer[i] = bf16_from_float(data[done + i]);
        if (write_all(w, w->buffer, (size_t)n * sizeof *w->buffer)) return -1;
    }
    return 0;
}

int safetensors_writer_add(struct safetensors_writer *w, const struct parameter *p,
                           const float *data, int64_t count) {
    if (w->failed) return -1;
    CHECK(w->at < w->table->n && p == &w->table->item[w->at] && count >= 0 &&
              w->done + count <= p->count,
          "%s is written out of order", p->name);
    if (w->descriptor < 0 && begin_file(w, w->file_of[w->at])) return -1;
    if (write_elements(w, data, count)) return -1;
    w->done += count;
    if (w->done < p->count) return 0;
    w->done = 0;
    w->at++;
    bool last = w->at == w->table->n || w->file_of[w->at] != w->file_of[w->at - 1];
    return last ? end_file(w) : 0;
}

/* Tensors of which file, in the form that transformers writes: sizes in bytes, names in order. */
static int write_index(const struct safetensors_writer *w) {
    struct buffer text = {0};
    buffer_format(
        &text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
        (unsigned long long)((uint64_t)parameters_count(w->table) * dtype_bytes(w->dtype)));
    for (int i = 0; i < w->table->n; i++) {
        char *name = file_name(w, w->file_of[i]);
        buffer_format(&text, "%s\n    \"%s\": \"%s\"", i ? "," : "", w->table->item[i].name, name);
        mem_free(name);
    }
    buffer_append_text(&text, "\n  }\n}\n");
    char *path = mem_format("%s/%s.safetensors.index.json", w->directory, w->stem);
    int status = file_replace(path, text.data, text.length);
    mem_free(path);
    buffer_free(&text);
    return status;
}

/* By (2): from .tmp to its name, or away. */
static int settle_file(const struct safetensors_writer *w, int file, bool keep) {
    char *temporary = file_path(w, file, ".tmp"), *path = file_path(w, file, "");
    int status = 0;
    if (keep && rename(temporary, path) != 0)
        status = fail("%s: cannot be renamed: %s", temporary, strerror(errno));
    if (!keep || status) unlink(temporary);
    mem_free(temporary);
    mem_free(path);
    return status;
}

/* A rename that fails leaves the files before it in place and removes the .tmp of those behind it;
 * without an index nobody takes them for a model. */
int safetensors_writer_finish(struct safetensors_writer *w) {
    bool whole = !w->failed && w->at == w->table->n;
    if (!w->failed) CHECK(whole, "only %d of %d tensors were written", w->at, w->table->n);
    if (w->descriptor >= 0) close(w->descriptor);
    int status = whole ? 0 : -1;
    for (int i = 0; i < w->n_files; i++)
        if (settle_file(w, i, whole && status == 0)) status = -1;
    if (status == 0) status = file_sync(w->directory);
    if (status == 0 && w->n_files > 1) status = write_index(w);
    mem_free(w->directory);
    mem_free(w->stem);
    mem_free(w->file_of);
    mem_free(w->buffer);
    mem_free(w);
    return status;
}

void safetensors_writer_abandon(struct safetensors_writer *w) {
    w->failed = true;
    safetensors_writer_finish(w);
}
