/* What every user of HDF5 here needs: its printing switched off, its words for our messages, and
 * new files that survive a full disk. */
#ifndef RANKWISE_H5_H
#define RANKWISE_H5_H
#include <hdf5.h>
#include <stdint.h>

/* HDF5 prints nothing from now on, on this thread; called before the first use by whoever opens a
 * file. */
void h5_quiet(void);

/* The innermost reason of this thread's latest HDF5 call, which failed: any other call, also
 * H5Pclose, clears it. Valid until the next h5_reason. */
const char *h5_reason(void);

/* Closes handles of any kind; those that are not valid are passed over. */
#define H5_CLOSE(...) \
    h5_close_all((const hid_t[]){__VA_ARGS__}, sizeof((hid_t[]){__VA_ARGS__}) / sizeof(hid_t))
void h5_close_all(const hid_t *id, size_t n);

/* Opens a file for reading, without a lock: what is read here never changes, and network file
 * systems often refuse locks. Closing it closes all that is open in it. Negative: *reason says
 * why. */
hid_t h5_open(const char *path, const char **reason);

/* Elements [first, first + count) of a dataset of one dimension, or rows of one of two. NULL, or
 * the reason of the failure, as h5_reason gives it. */
const char *h5_read(hid_t set, hid_t type, int64_t first, int64_t count, void *out);
const char *h5_write(hid_t set, hid_t type, int64_t first, int64_t count, const void *data);

/* A file access list for H5Fcreate: checksummed metadata (the 1.10 format), and a driver whose
 * writes never fail in HDF5's eyes: *error (0 before) gets the first errno, and must be looked at
 * after H5Fclose. H5Pclose it. */
hid_t h5_new_file_access(int *error);
#endif
