/* A shard's HDF5 file for reading: datasets and attributes of which nothing is believed. Type, rank
 * and size are checked, and the size that a dataset claims is compared with what its chunks take in
 * the file before memory is taken: deflate shrinks by 1032 at most, so a small damaged file cannot
 * ask for a large allocation. */
#ifndef RANKWISE_SHARD_FILE_H
#define RANKWISE_SHARD_FILE_H
#include <hdf5.h>

#include "base.h"

#define BUILD_AGAIN "hint: the file is damaged or cut; build it again with `rankwise-data build`"
#define SHARD_TEXT_CEILING ((size_t)1 << 28)

/* The open file. */
struct shard_handle {
    hid_t file, token;
    int64_t file_bytes;
};

/* What a dataset has to be. */
struct shard_kind {
    H5T_class_t class;
    size_t size;
    bool is_signed;
    const char *words;
    int64_t n_cols; /* of its rows; 0: one dimension */
};
extern const struct shard_kind shard_int64, shard_int32, shard_int8, shard_uint16, shard_uint32,
    shard_uint8, shard_float;

/* Negative, NULL or -1 with error_text() on failure. */
hid_t shard_file_open(const char *path, int64_t *bytes);
/* Opens a dataset and checks all that its header says. n: the expected number of elements or rows,
 * or -1 for any, which is then put into *found. */
hid_t shard_file_dataset(const struct shard_handle *at, const char *name,
                         const struct shard_kind *kind, int64_t n, int64_t *found);
/* A whole dataset into new memory. */
void *shard_file_read(const struct shard_handle *at, const char *name,
                      const struct shard_kind *kind, int64_t n, int64_t *found,
                      hid_t memory_type);
int shard_file_number(hid_t file, const char *name, int64_t *out);
/* A text attribute, zero-terminated; mem_free. */
char *shard_file_text(hid_t file, const char *name);

/* shard_read_answers.c: /comparison/label, /answer and /span, as far as they are there, after the
 * comparisons; and what of them the groups have to fit. */
struct shard;
int shard_read_labels(struct shard *shard, const struct shard_handle *at);
int shard_read_answers(struct shard *shard, const struct shard_handle *at);
int shard_read_spans(struct shard *shard, const struct shard_handle *at);
void shard_free_answers(struct shard *shard);
/* shard_read_asked.c: /prompt, if it is there, after the number of groups is known. */
int shard_read_asked(struct shard *shard, const struct shard_handle *at);
void shard_free_asked(struct shard *shard);
#endif
