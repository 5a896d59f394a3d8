/* A file driver for HDF5 that survives a full disk: see h5.h.
 *
 * HDF5 does not: when a write of 1.10.8 fails, H5Fclose keeps the file half open and the library
 * ends the program with a segmentation fault when it closes itself (tried with RLIMIT_FSIZE from 1
 * kB to 1 MB: each time). A run that may go on without this file must not end that way. So this
 * driver tells HDF5 that every write succeeds, keeps the first errno for the caller, and drops all
 * that comes after it. The caller looks at the error before it trusts the file.
 *
 *   (1) *error stays 0 exactly if everything that HDF5 wrote has reached the kernel.
 *   (2) Only for new files: opening truncates. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "h5.h"
#include "memory.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

/* What the property list carries to open(). */
struct driver_info {
    int *error;
};

struct driver_file {
    H5FD_t base; /* HDF5's part stands first */
    int descriptor;
    int *error;
    haddr_t end_of_space, end_of_file;
};

static void note_error(struct driver_file *f) {
    if (*f->error == 0) *f->error = errno ? errno : EIO;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr) {
    (void)flags, (void)maxaddr;
    const struct driver_info *info = H5Pget_driver_info(fapl);
    if (!info) return NULL;
    int descriptor = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        *info->error = errno;
        return NULL;
    }
    struct driver_file *f = mem_alloc(1, sizeof *f);
    f->descriptor = descriptor;
    f->error = info->error;
    return &f->base;
}

static herr_t driver_close(H5FD_t *base) {
    struct driver_file *f = (struct driver_file *)base;
    /* where network file systems tell that the disk is full */
    if (close(f->descriptor) != 0) note_error(f);
    mem_free(f);
    return 0;
}

static herr_t driver_query(const H5FD_t *base, unsigned long *flags) {
    (void)base;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *base, H5FD_mem_t type) {
    (void)type;
    return ((const struct driver_file *)base)->end_of_space;
}

static herr_t driver_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t address) {
    (void)type;
    ((struct driver_file *)base)->end_of_space = address;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *base, H5FD_mem_t type) {
    (void)type;
    return ((const struct driver_file *)base)->end_of_file;
}

/* What lies beyond the end reads as zeros, as in HDF5's own driver. */
static herr_t driver_read(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size,
                          void *out) {
    (void)type, (void)dxpl;
    struct driver_file *f = (struct driver_file *)base;
    char *to = out;
    while (size) {
        ssize_t n = pread(f->descriptor, to, size, (off_t)address);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) note_error(f);
        if (n <= 0) break;
        to += n;
        address += (haddr_t)n;
        size -= (size_t)n;
    }
    memset(to, 0, size);
    return 0;
}

static herr_t driver_write(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size,
                           const void *data) {
    (void)type, (void)dxpl;
    struct driver_file *f = (struct driver_file *)base;
    const char *from = data;
    f->end_of_file = MAX(f->end_of_file, address + size);
    while (size && *f->error == 0) {
        ssize_t n = pwrite(f->descriptor, from, size, (off_t)address);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            note_error(f);
            break;
        }
        from += n;
        address += (haddr_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static herr_t driver_truncate(H5FD_t *base, hid_t dxpl, hbool_t closing) {
    (void)dxpl, (void)closing;
    struct driver_file *f = (struct driver_file *)base;
    if (f->end_of_file == f->end_of_space) return 0;
    if (*f->error == 0 && ftruncate(f->descriptor, (off_t)f->end_of_space) != 0) note_error(f);
    f->end_of_file = f->end_of_space;
    return 0;
}

/* The driver is registered once for the process; the place for the error belongs to each file. */
hid_t h5_new_file_access(int *error) {
    static const H5FD_class_t driver = {
#if H5_VERSION_GE(1, 13, 0)
        .version = H5FD_CLASS_VERSION,
        .value =
            (H5FD_class_value_t)300, /* from the range that HDF5 leaves to tests and private use */
#endif
        .name = "rankwise",
        .maxaddr = INT64_MAX,
        .fc_degree = H5F_CLOSE_STRONG,
        .fapl_size = sizeof(struct driver_info),
        .open = driver_open,
        .close = driver_close,
        .query = driver_query,
        .get_eoa = driver_get_eoa,
        .set_eoa = driver_set_eoa,
        .get_eof = driver_get_eof,
        .read = driver_read,
        .write = driver_write,
        .truncate = driver_truncate,
        .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
    static hid_t id = H5I_INVALID_HID;
    if (id < 0) id = H5FDregister(&driver);
    struct driver_info info = {error};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(id >= 0 && H5Pset_driver(access, id, &info) >= 0, "HDF5 refuses the file driver");
    /* This version of the format has a checksum on all of its metadata. */
    CHECK(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0,
          "HDF5 refuses its format of 1.10");
    return access;
}
