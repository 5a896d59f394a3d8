/* Names, checksums and small HDF5 helpers of checkpoints: see checkpoint_format.h. */
#include "checkpoint_format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "file.h"

const char *const checkpoint_kind_name[CHECKPOINT_N_KINDS] = {"master", "moment1", "moment2"};

char *checkpoint_part_path(const char *directory, int64_t part) {
    return mem_format("%s/part_%04lld.h5", directory, (long long)part);
}

char *checkpoint_state_path(const char *directory) {
    return mem_format("%s/state.h5", directory);
}

char *checkpoint_dataset_name(int64_t kind, const char *tensor, int64_t first) {
    return mem_format("/%s/%s/%lld", checkpoint_kind_name[kind], tensor, (long long)first);
}

int64_t checkpoint_blocks(int64_t count) {
    return (count + CHECKPOINT_BLOCK - 1) / CHECKPOINT_BLOCK;
}

uint32_t checkpoint_checksum(const float *data, int64_t count) {
    CHECK(count <= CHECKPOINT_BLOCK, "a block of %lld elements", (long long)count);
    return (uint32_t)crc32(crc32(0, NULL, 0), (const Bytef *)data,
                           (uInt)(count * (int64_t)sizeof *data));
}

void checkpoint_pieces_free(struct checkpoint_pieces *pieces) {
    mem_free(pieces->item);
    mem_free(pieces->sum);
    *pieces = (struct checkpoint_pieces){0};
}

static int by_place(const void *a, const void *b) {
    const struct checkpoint_piece *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

void checkpoint_pieces_sort(struct checkpoint_pieces *pieces) {
    if (pieces->n) qsort(pieces->item, (size_t)pieces->n, sizeof *pieces->item, by_place);
}

int checkpoint_file_bytes(const char *path, int64_t *bytes) {
    struct stat s;
    if (stat(path, &s) != 0) return fail("%s: %s", path, strerror(errno));
    *bytes = s.st_size;
    return 0;
}

int checkpoint_file_create(struct checkpoint_file *f, const char *path) {
    *f = (struct checkpoint_file){.path = mem_copy_string(path)};
    h5_quiet();
    hid_t access = h5_new_file_access(&f->error);
    f->id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    int status = f->id < 0 || f->error ? checkpoint_file_failure(f, h5_reason()) : 0;
    H5Pclose(access);
    return status;
}

int checkpoint_file_failure(struct checkpoint_file *f, const char *reason) {
    bool full = f->error == ENOSPC || f->error == EDQUOT || f->error == EFBIG;
    return fail("%s: cannot be written: %s%s", f->path, f->error ? strerror(f->error) : reason,
                full ? "; hint: free some space or set checkpoint.dir to a place that has more"
                     : "");
}

int checkpoint_file_close(struct checkpoint_file *f, int status) {
    bool failed = f->id >= 0 && H5Fclose(f->id) < 0;
    if ((failed || f->error) && status == 0) status = checkpoint_file_failure(f, h5_reason());
    if (status == 0 && file_sync(f->path) != 0) status = -1;
    mem_free(f->path);
    *f = (struct checkpoint_file){.id = H5I_INVALID_HID};
    return status;
}

int checkpoint_write_array(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dim,
                           const void *data) {
    bool empty = dim[0] == 0;
    hid_t space = H5Screate_simple(n_dims, dim, NULL);
    hid_t links = H5Pcreate(H5P_LINK_CREATE), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    if (!empty) {
        H5Pset_chunk(plist, n_dims, dim);
        H5Pset_fletcher32(plist);
    }
    hid_t set = H5Dcreate2(file, name, type, space, links, plist, H5P_DEFAULT);
    int status = set < 0 ? -1 : 0;
    if (status == 0 && !empty && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = -1;
    if (status != 0) fail("%s: %s", name, h5_reason());
    if (set >= 0 && H5Dclose(set) < 0 && status == 0) status = fail("%s: %s", name, h5_reason());
    H5_CLOSE(plist, links, space);
    return status;
}

int checkpoint_write_ints(hid_t file, const char *name, int64_t rows, int64_t cols,
                          const int64_t *data) {
    hsize_t dim[2] = {(hsize_t)rows, (hsize_t)cols};
    return checkpoint_write_array(file, name, H5T_NATIVE_INT64, cols == 1 ? 1 : 2, dim, data);
}

int checkpoint_write_bytes(hid_t file, const char *name, const void *data, size_t length) {
    hsize_t dim[1] = {length};
    return checkpoint_write_array(file, name, H5T_NATIVE_UINT8, 1, dim, data);
}

int checkpoint_write_attribute(hid_t file, const char *name, int64_t n, const int64_t *value) {
    hsize_t dim[1] = {(hsize_t)n};
    hid_t space = n == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, dim, NULL);
    hid_t attribute = H5Acreate2(file, name, H5T_NATIVE_INT64, space, H5P_DEFAULT, H5P_DEFAULT);
    int status = attribute < 0 || H5Awrite(attribute, H5T_NATIVE_INT64, value) < 0 ? -1 : 0;
    if (status != 0) fail("%s: %s", name, h5_reason());
    H5_CLOSE(attribute, space);
    return status;
}

int checkpoint_read_attribute(hid_t file, const char *name, int64_t n, int64_t *value) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) return fail("attribute %s: %s", name, h5_reason());
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    int status = 0;
    if (space < 0 || H5Sget_simple_extent_npoints(space) != n || type < 0 ||
        H5Tget_class(type) != H5T_INTEGER)
        status = fail("attribute %s: expected %lld integers", name, (long long)n);
    else if (H5Aread(attribute, H5T_NATIVE_INT64, value) < 0)
        status = fail("attribute %s: %s", name, h5_reason());
    H5_CLOSE(type, space, attribute);
    return status;
}

void *checkpoint_read_array(hid_t file, const char *name, hid_t type, int n_dims, hsize_t *dim) {
    size_t item_bytes = H5Tget_size(type);
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = -1, stored = -1, plist = -1;
    void *data = NULL;
    hsize_t file_bytes = 0;
    if (set < 0) {
        fail("%s: %s", name, h5_reason());
        return NULL;
    }
    space = H5Dget_space(set);
    stored = H5Dget_type(set);
    plist = H5Dget_create_plist(set);
    H5Fget_filesize(file, &file_bytes);
    if (space < 0 || stored < 0 || plist < 0 || H5Sget_simple_extent_ndims(space) != n_dims ||
        H5Sget_simple_extent_dims(space, dim, NULL) != n_dims ||
        H5Tget_class(stored) != H5Tget_class(type) || H5Tget_size(stored) != item_bytes) {
        fail("%s: expected %d-dimensional %s of %zu bytes", name, n_dims,
             H5Tget_class(type) == H5T_INTEGER ? "integers" : "numbers", item_bytes);
        goto done;
    }
    hsize_t n = 1;
    for (int i = 0; i < n_dims; i++)
        if (__builtin_mul_overflow(n, dim[i], &n)) n = file_bytes;
    if (n > (hsize_t)CHECKPOINT_TEXT_CEILING || n * item_bytes > file_bytes) {
        fail("%s: %llu items of %zu bytes in a file of %llu bytes", name, (unsigned long long)n,
             item_bytes, (unsigned long long)file_bytes);
        goto done;
    }
    if (n > 0 && H5Pget_nfilters(plist) != 1) {
        fail("%s: expected a checksum, found none", name);
        goto done;
    }
    data = mem_alloc((int64_t)(n * item_bytes) + 1, 1);
    if (n > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        fail("%s: damaged: %s", name, h5_reason());
        mem_free(data);
        data = NULL;
    }
done:
    H5_CLOSE(plist, stored, space, set);
    return data;
}

int64_t *checkpoint_read_ints(hid_t file, const char *name, int n_dims, hsize_t *dim) {
    return checkpoint_read_array(file, name, H5T_NATIVE_INT64, n_dims, dim);
}

char *checkpoint_read_bytes(hid_t file, const char *name, size_t *length) {
    hsize_t dim[1];
    char *data = checkpoint_read_array(file, name, H5T_NATIVE_UINT8, 1, dim);
    *length = data ? dim[0] : 0;
    return data;
}

char *checkpoint_read_text(hid_t file, const char *name) {
    size_t length;
    char *text = checkpoint_read_bytes(file, name, &length);
    if (text && strlen(text) != length) {
        fail("%s: expected %zu bytes of text, found a zero byte after %zu", name, length,
             strlen(text));
        mem_free(text);
        return NULL;
    }
    return text;
}
