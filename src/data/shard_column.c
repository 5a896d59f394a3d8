/* Columns of a new shard: see shard_column.h. */
#include "shard_column.h"

#include <string.h>

#include "h5.h"
#include "memory.h"

enum { DEFLATE_LEVEL = 1, LEAST_ROOM = 1024 };

void column_open(struct shard_column *c, hid_t at, const char *name, hid_t file_type,
                 hid_t memory_type, int64_t chunk) {
    *c = (struct shard_column){
        .name = name, .at = at, .file_type = file_type, .memory_type = memory_type};
    c->size = H5Tget_size(memory_type);
    c->chunk = chunk;
}

void column_widen(struct shard_column *c, int64_t width) {
    c->width = width;
    c->size *= (size_t)width;
    c->chunk = MAX(c->chunk / width, 1);
}

/* max: H5S_UNLIMITED, or the only size it will have. */
static int make_set(struct shard_column *c, hsize_t n, hsize_t max, hsize_t chunk) {
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE), access = H5Pcreate(H5P_DATASET_ACCESS);
    hsize_t width = (hsize_t)c->width, dim[] = {n, width}, most[] = {max, width};
    hsize_t part[] = {chunk, width};
    int rank = c->width ? 2 : 1;
    hid_t space = H5Screate_simple(rank, dim, most);
    H5Pset_obj_track_times(plist, false);
    H5Pset_chunk(plist, rank, part);
    H5Pset_shuffle(plist);
    H5Pset_deflate(plist, DEFLATE_LEVEL);
    H5Pset_fletcher32(plist);
    H5Pset_chunk_cache(access, 0, 0, 1); /* chunks are written whole, and once */
    hid_t set = H5Dcreate2(c->at, c->name, c->file_type, space, H5P_DEFAULT, plist, access);
    int status = set < 0 ? fail("dataset %s: %s", c->name, h5_reason()) : 0;
    H5_CLOSE(space, access, plist);
    c->set = MAX(set, 0);
    return status;
}

/* The buffer behind what is in the file. */
static int write_buffer(struct shard_column *c) {
    const char *reason = h5_write(c->set, c->memory_type, c->n, c->filled, c->buffer);
    c->n += c->filled;
    c->filled = 0;
    return reason ? fail("dataset %s: %s", c->name, reason) : 0;
}

static int write_grown(struct shard_column *c) {
    hsize_t end[] = {(hsize_t)(c->n + c->filled), (hsize_t)c->width};
    if (!c->set && make_set(c, 0, H5S_UNLIMITED, (hsize_t)c->chunk) != 0) return -1;
    if (H5Dset_extent(c->set, end) < 0) return fail("dataset %s: %s", c->name, h5_reason());
    return write_buffer(c);
}

int column_append(struct shard_column *c, const void *data, int64_t n) {
    const char *from = data;
    while (n) {
        int64_t some = MIN(n, c->chunk - c->filled);
        if (c->filled + some > c->capacity) {
            c->capacity = MIN(c->chunk, MAX(2 * (c->filled + some), LEAST_ROOM));
            c->buffer = mem_resize(c->buffer, c->capacity, c->size);
        }
        memcpy(c->buffer + (size_t)c->filled * c->size, from, (size_t)some * c->size);
        c->filled += some;
        from += (size_t)some * c->size;
        n -= some;
        if (c->filled == c->chunk && write_grown(c) != 0) return -1;
    }
    return 0;
}

int column_finish(struct shard_column *c) {
    int status = 0;
    hsize_t n = (hsize_t)c->filled;
    if (!c->set) {
        status = make_set(c, n, n, MAX(n, 1));
        if (status == 0 && n) status = write_buffer(c);
    } else if (n) {
        status = write_grown(c);
    }
    mem_free(c->buffer);
    c->buffer = NULL;
    c->capacity = 0;
    return status;
}

int column_close(struct shard_column *c) {
    int status = c->set && H5Dclose(c->set) < 0 ? fail("dataset %s: %s", c->name, h5_reason()) : 0;
    mem_free(c->buffer);
    *c = (struct shard_column){0};
    return status;
}
