/* What the writer and the reader of checkpoints share: names, marks, pieces and small HDF5 helpers.
 * Private to checkpoint_*.c. docs/checkpoint.md describes the files for others.
 *
 * A piece is one dataset of a part file: elements [first, first + count) of one tensor, of one
 * kind. Its data is checksummed (CRC-32) in blocks of CHECKPOINT_BLOCK elements, so that a rank
 * that needs a few elements reads and verifies a few blocks. */
#ifndef RANKWISE_CHECKPOINT_FORMAT_H
#define RANKWISE_CHECKPOINT_FORMAT_H
#include "checkpoint.h"
#include "h5.h"
#include "memory.h"

enum {
    CHECKPOINT_BLOCK = 1 << 20,              /* elements: 4 MiB */
    /* elements that are sent and written at once: 16 MiB */
    CHECKPOINT_PIECE = 4 * CHECKPOINT_BLOCK,
    CHECKPOINT_N_KINDS = 3,
};
#define CHECKPOINT_TEXT_CEILING ((int64_t)1 << 30) /* bytes of a text or file in state.h5 */

/* Everything that /piece holds, as it lies there: int64 columns. */
struct checkpoint_piece {
    int64_t part, kind, tensor, first, count;
    int64_t block; /* its first checksum in /block_checksum */
};

/* Pieces with the checksums that their `block` counts from. */
struct checkpoint_pieces {
    struct checkpoint_piece *item;
    uint32_t *sum;
    int64_t n, capacity, n_sums, capacity_sums;
};
void checkpoint_pieces_free(struct checkpoint_pieces *pieces);

/* By kind, tensor and first element: the order in state.h5, in which holes and overlaps show. */
void checkpoint_pieces_sort(struct checkpoint_pieces *pieces);

extern const char
    *const checkpoint_kind_name[CHECKPOINT_N_KINDS]; /* "master", "moment1", "moment2" */

/* "<directory>/part_0003.h5", "<directory>/state.h5"; mem_free. */
char *checkpoint_part_path(const char *directory, int64_t part);
char *checkpoint_state_path(const char *directory);

/* "/moment1/<tensor>/<first>"; mem_free. */
char *checkpoint_dataset_name(int64_t kind, const char *tensor, int64_t first);

int64_t checkpoint_blocks(int64_t count);
uint32_t checkpoint_checksum(const float *data, int64_t count);

/* A chunked dataset of one chunk with a Fletcher-32 checksum, so that a flipped byte is found when
 * it is read. -1 with error_text(). */
int checkpoint_write_array(hid_t file, const char *name, hid_t type, int n_dims,
                           const hsize_t *dim, const void *data);
/* A whole dataset, with one zero byte behind it; HDF5 verifies the checksum. mem_free; NULL with
 * error_text(). */
void *checkpoint_read_array(hid_t file, const char *name, hid_t type, int n_dims, hsize_t *dim);

/* Small datasets and attributes of state.h5 and the marks of parts. -1 with error_text(). */
int checkpoint_write_ints(hid_t file, const char *name, int64_t rows, int64_t cols,
                          const int64_t *data);
int checkpoint_write_bytes(hid_t file, const char *name, const void *data, size_t length);
int checkpoint_write_attribute(hid_t file, const char *name, int64_t n, const int64_t *value);
int checkpoint_read_attribute(hid_t file, const char *name, int64_t n, int64_t *value);

/* A whole dataset, checked against its own checksum; mem_free. NULL with error_text(). dim
 * (n_dims). A text has no zero byte inside. */
int64_t *checkpoint_read_ints(hid_t file, const char *name, int n_dims, hsize_t *dim);
char *checkpoint_read_bytes(hid_t file, const char *name, size_t *length);
char *checkpoint_read_text(hid_t file, const char *name);

int checkpoint_file_bytes(const char *path, int64_t *bytes);

/* A new file through the driver; close tells, with the path, whether all of it reached the disk,
 * and fsyncs it. */
struct checkpoint_file {
    hid_t id;
    char *path;
    int error;
};
int checkpoint_file_create(struct checkpoint_file *f, const char *path);
/* Fails with the first error of the driver, or else with this reason of HDF5. */
int checkpoint_file_failure(struct checkpoint_file *f, const char *reason);
int checkpoint_file_close(struct checkpoint_file *f, int status);

/* --- what the parts of checkpoint_save give each other --- */

/* writer[r] is the rank that writes what rank r owns; -1: another replica saves it. Collective
 * over place->data. */
void checkpoint_assign_writers(int *writer, const struct placement *place, int writers);

/* What a part file ended up as. */
struct checkpoint_part {
    struct checkpoint_pieces pieces;
    int64_t bytes;
};
/* This rank's part in writing the parts: writes its own and its clients' slices, or sends its own;
 * frozen: what is frozen, too. Not agreed. */
int checkpoint_write_part(struct checkpoint_part *out, const char *directory, struct zero *z,
                          const struct parameters *table, const struct placement *place,
                          const int *writer, bool frozen);

/* state.h5. pieces are of all parts, sorted; part_bytes (n_parts). */
int checkpoint_write_state(const char *directory, const struct parameters *table,
                           const struct run_state *state, const struct checkpoint_extra *extra,
                           const struct checkpoint_pieces *pieces, const int64_t *part_bytes,
                           int64_t n_parts);

/* The group /rollout: a table that is not empty; what there is of one. */
int checkpoint_write_rollouts(hid_t file, const struct rollouts *table);
int checkpoint_read_rollouts(hid_t file, struct rollouts *table);

/* The private part of an open checkpoint. */
struct parts {
    hid_t *file; /* (n); H5I_INVALID_HID: not opened yet */
    int64_t *bytes;
    int64_t n;
    uint32_t *sum;
    int64_t n_sums;
    float *block; /* (CHECKPOINT_BLOCK) of piece cached_piece, from element cached_first of it */
    int64_t cached_piece, cached_first;
    hid_t set; /* the dataset of piece open_piece */
    int64_t open_piece;
};

/* checkpoint_open without the look at the name, for a directory that is not yet renamed. */
int checkpoint_open_files(struct checkpoint *c, const char *path);
#endif
