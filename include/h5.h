/* What every user of HDF5 here needs: its printing switched off, its words for our messages, and
 * new files that survive a full disk. */
#ifndef RANKWISE_H5_H
#define RANKWISE_H5_H
#include <hdf5.h>

/* HDF5 prints nothing from now on, on this thread; called before the first use by whoever opens a
 * file. */
void h5_quiet(void);

/* The innermost reason of this thread's latest HDF5 call, which failed: any other call, also
 * H5Pclose, clears it. Valid until the next h5_reason. */
const char *h5_reason(void);

/* A file access list for H5Fcreate: checksummed metadata (the 1.10 format), and a driver whose
 * writes never fail in HDF5's eyes: *error (0 before) gets the first errno, and must be looked at
 * after H5Fclose. H5Pclose it. */
hid_t h5_new_file_access(int *error);
#endif
