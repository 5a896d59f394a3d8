/* A shard's file as datasets and attributes: see shard_file.h. */
#include "shard_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "h5.h"
#include "memory.h"

enum { DEFLATE_CEILING = 1100, CHUNK_CEILING = 1 << 24 };
enum { CACHE_SLOTS = 12421, CACHE_BYTES = 32 << 20 };
#define TEXT_CEILING SHARD_TEXT_CEILING

hid_t shard_file_open(const char *path, int64_t *bytes) {
    struct stat s;
    FILE *f = fopen(path, "rb");
    int error = errno;
    bool is_file = f && fstat(fileno(f), &s) == 0 && S_ISREG(s.st_mode);
    if (f) fclose(f);
    if (!f)
        return fail("cannot be opened: %s; hint: shards are made by `rankwise-data build`",
                    strerror(error));
    if (!is_file) return fail("expected a token shard, found no regular file");
    if (s.st_size == 0) return fail("expected a token shard, found an empty file");
    *bytes = s.st_size;
    const char *reason;
    hid_t file = h5_open(path, &reason);
    if (file < 0)
        fail("expected a token shard (HDF5), found something else: %s; " BUILD_AGAIN, reason);
    return file;
}

/* A dataset as its header says it is. */
struct header {
    H5T_class_t class;
    size_t size; /* bytes of an element */
    bool is_signed;
    int64_t n, n_cols; /* n_cols 0: one dimension */
};

/* Whether the size that the dataset claims can be true: (2). Every chunk must be there: HDF5 reads
 * a missing one as zeros. */
static int check_storage(hid_t set, const char *name, const struct header *h, int64_t file_bytes) {
    hid_t plist = H5Dget_create_plist(set), space = H5Dget_space(set);
    hsize_t chunk[2] = {0, 1}, n_chunks = 0, stored = H5Dget_storage_size(set);
    hsize_t width = (hsize_t)MAX(h->n_cols, 1), rank = h->n_cols ? 2 : 1;
    bool is_chunked = plist >= 0 && H5Pget_layout(plist) == H5D_CHUNKED &&
                      H5Pget_chunk(plist, (int)rank, chunk) == (int)rank && chunk[0] > 0 &&
                      chunk[1] > 0 && chunk[0] <= CHUNK_CEILING &&
                      chunk[1] <= CHUNK_CEILING / chunk[0];
    bool is_counted = is_chunked && space >= 0 && H5Dget_num_chunks(set, space, &n_chunks) >= 0;
    H5_CLOSE(plist, space);
    if (!is_chunked)
        return fail("%s: expected chunks of at most %d elements; " BUILD_AGAIN, name,
                    CHUNK_CEILING);
    hsize_t expected =
        ((hsize_t)h->n + chunk[0] - 1) / chunk[0] * ((width + chunk[1] - 1) / chunk[1]);
    if (!is_counted || n_chunks != expected)
        return fail("%s: expected %llu chunks, found %llu; " BUILD_AGAIN, name,
                    (unsigned long long)expected, (unsigned long long)n_chunks);
    if (stored > (hsize_t)file_bytes ||
        (hsize_t)h->n > (stored / h->size + 1) * DEFLATE_CEILING / width)
        return fail("%s: claims %lld elements in %llu bytes of a file of %lld; " BUILD_AGAIN, name,
                    (long long)h->n, (unsigned long long)stored, (long long)file_bytes);
    return 0;
}

/* h->n_cols: what it has to be, 0 for a dataset of one dimension. */
static int read_header(hid_t set, const char *name, struct header *h) {
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    hsize_t dim[2] = {0, 0};
    int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1, expected = h->n_cols ? 2 : 1;
    if (rank == expected) H5Sget_simple_extent_dims(space, dim, NULL);
    if (type >= 0)
        *h = (struct header){H5Tget_class(type), H5Tget_size(type), H5Tget_sign(type) == H5T_SGN_2,
                             (int64_t)dim[0], h->n_cols};
    H5_CLOSE(type, space);
    if (type < 0) return fail("%s: its type cannot be read; " BUILD_AGAIN, name);
    if (rank != expected)
        return fail("%s: expected %d dimension%s, found %d; " BUILD_AGAIN, name, expected,
                    expected > 1 ? "s" : "", rank);
    if (dim[0] > INT64_MAX / 16)
        return fail("%s: %llu elements; " BUILD_AGAIN, name, (unsigned long long)dim[0]);
    if (dim[1] != (hsize_t)h->n_cols)
        return fail("%s: expected rows of %lld, found %llu; " BUILD_AGAIN, name,
                    (long long)h->n_cols, (unsigned long long)dim[1]);
    return 0;
}

const struct shard_kind shard_int64 = {H5T_INTEGER, 8, true, "int64", 0},
                        shard_int32 = {H5T_INTEGER, 4, true, "int32", 0},
                        shard_int8 = {H5T_INTEGER, 1, true, "int8", 0},
                        shard_uint16 = {H5T_INTEGER, 2, false, "uint16", 0},
                        shard_uint32 = {H5T_INTEGER, 4, false, "uint32", 0},
                        shard_uint8 = {H5T_INTEGER, 1, false, "uint8", 0},
                        shard_float = {H5T_FLOAT, 4, true, "float32", 0};

hid_t shard_file_dataset(const struct shard_handle *at, const char *name,
                         const struct shard_kind *kind, int64_t n, int64_t *found) {
    hid_t plist = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_chunk_cache(plist, CACHE_SLOTS, CACHE_BYTES, 1);
    hid_t set = H5Dopen2(at->file, name, plist);
    if (set < 0) fail("dataset %s cannot be opened: %s; " BUILD_AGAIN, name, h5_reason());
    H5Pclose(plist);
    if (set < 0) return -1;
    struct header h = {.n_cols = kind->n_cols};
    int status = read_header(set, name, &h);
    if (status == 0 && (h.class != kind->class || h.size != kind->size ||
                        (h.class == H5T_INTEGER && h.is_signed != kind->is_signed)))
        status = fail("%s: expected %s, found another type (%zu bytes); " BUILD_AGAIN, name,
                      kind->words, h.size);
    if (status == 0 && n >= 0 && h.n != n)
        status = fail("%s: expected %lld elements, found %lld; " BUILD_AGAIN, name, (long long)n,
                      (long long)h.n);
    if (status == 0) status = check_storage(set, name, &h, at->file_bytes);
    if (status != 0) {
        H5Dclose(set);
        return -1;
    }
    if (found) *found = h.n;
    return set;
}

void *shard_file_read(const struct shard_handle *at, const char *name,
                      const struct shard_kind *kind, int64_t n, int64_t *found, hid_t memory_type) {
    int64_t count = n;
    hid_t set = shard_file_dataset(at, name, kind, n, &count);
    if (set < 0) return NULL;
    if (found) *found = count;
    void *data = mem_alloc(count, kind->size * (size_t)MAX(kind->n_cols, 1));
    if (count > 0 && H5Dread(set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        fail("%s: cannot be read: %s; " BUILD_AGAIN, name, h5_reason());
        mem_free(data);
        data = NULL;
    }
    H5Dclose(set);
    return data;
}

int shard_file_number(hid_t file, const char *name, int64_t *out) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) return fail("attribute \"%s\" is missing; " BUILD_AGAIN, name);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool good = type >= 0 && space >= 0 && H5Tget_class(type) == H5T_INTEGER &&
                H5Tget_size(type) == 8 && H5Sget_simple_extent_npoints(space) == 1 &&
                H5Aread(attribute, H5T_NATIVE_INT64, out) >= 0;
    H5_CLOSE(type, space, attribute);
    return good ? 0 : fail("attribute \"%s\": expected one int64; " BUILD_AGAIN, name);
}

char *shard_file_text(hid_t file, const char *name) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) {
        fail("attribute \"%s\" is missing; " BUILD_AGAIN, name);
        return NULL;
    }
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    size_t size = type >= 0 && H5Tget_class(type) == H5T_STRING && !H5Tis_variable_str(type)
                      ? H5Tget_size(type)
                      : 0;
    char *text = NULL;
    if (size > 0 && size <= TEXT_CEILING && space >= 0 &&
        H5Sget_simple_extent_npoints(space) == 1) {
        text = mem_alloc((int64_t)size + 1, 1);
        if (H5Aread(attribute, type, text) < 0) {
            mem_free(text);
            text = NULL;
        }
    }
    if (!text) fail("attribute \"%s\": expected a text of fixed length; " BUILD_AGAIN, name);
    H5_CLOSE(type, space, attribute);
    return text;
}
