/* HDF5's error stack, kept off the terminal and read for messages: see h5.h. */
#include "h5.h"

#include <hdf5.h>
#include <stdio.h>

enum { REASON_ROOM = 256 };

void h5_quiet(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *self) {
    char *reason = self;
    if (n == 0 && error->desc) snprintf(reason, REASON_ROOM, "%s", error->desc);
    return 0;
}

const char *h5_reason(void) {
    static _Thread_local char reason[REASON_ROOM];
    snprintf(reason, sizeof reason, "HDF5 gives no reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, reason);
    return reason;
}

void h5_close_all(const hid_t *id, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (id[i] > 0) H5Idec_ref(id[i]);
}

hid_t h5_open(const char *path, const char **reason) {
    h5_quiet();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(access, false, true);
#endif
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file < 0) *reason = h5_reason();
    H5_CLOSE(access);
    return file;
}

/* out NULL: data is written. */
static const char *move(hid_t set, hid_t type, int64_t first, int64_t count, void *out,
                        const void *data) {
    hsize_t at[2] = {(hsize_t)first, 0}, n[2] = {(hsize_t)count, 1}, dim[2];
    hid_t file = H5Dget_space(set);
    int rank = file < 0 ? -1 : H5Sget_simple_extent_ndims(file);
    if (rank == 2 && H5Sget_simple_extent_dims(file, dim, NULL) == 2) n[1] = dim[1];
    hid_t memory = rank == 1 || rank == 2 ? H5Screate_simple(rank, n, NULL) : -1;
    herr_t status = memory < 0 ? -1 : H5Sselect_hyperslab(file, H5S_SELECT_SET, at, NULL, n, NULL);
    if (status >= 0)
        status = out ? H5Dread(set, type, memory, file, H5P_DEFAULT, out)
                     : H5Dwrite(set, type, memory, file, H5P_DEFAULT, data);
    const char *reason = status < 0 ? h5_reason() : NULL;
    H5_CLOSE(file, memory);
    return reason;
}

const char *h5_read(hid_t set, hid_t type, int64_t first, int64_t count, void *out) {
    return move(set, type, first, count, out, NULL);
}

const char *h5_write(hid_t set, hid_t type, int64_t first, int64_t count, const void *data) {
    return move(set, type, first, count, NULL, data);
}
