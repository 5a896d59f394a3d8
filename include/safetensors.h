/* safetensors files and directories: a single model.safetensors, or shards with
 * model.safetensors.index.json.
 *
 * The header parser takes a buffer and checks every number in it: offsets inside the file, sizes
 * that match shape and dtype, no overlap. Elements are read by range (pread), converted to fp32.
 * Names are matched to the parameter table: with or without the base-model prefix ("model.",
 * "gpt_neox."); a head that the table has not (lm_head / embed_out, score) and old buffers
 * (attention.bias, masked_bias, inv_freq) are ignored; any other unknown or missing tensor is an
 * error that names it, but for adapters, which are not expected here. */
#ifndef RANKWISE_SAFETENSORS_H
#define RANKWISE_SAFETENSORS_H
#include "parameters.h"

struct safetensors_entry {
    char *name;
    enum dtype dtype;
    int n_dims;
    int64_t dim[4], count;
    int64_t first_byte; /* in the file */
    int file;
};
struct safetensors {
    struct safetensors_entry *entry;
    int n;
    char **path;
    int *descriptor;
    int n_files;
    /* What safetensors_match found: scores of the score head, 0 without one; whether it is the
     * table's. */
    int64_t score_rows;
    bool has_score;
    /* Set before safetensors_match: that a language model's head may be missing, which
     * has_lm_head then tells. */
    bool may_lack_lm_head, has_lm_head;
};

/* The header of one file: buffer holds the first `length` bytes (8 + header at least), file_bytes
 * is its size. */
int safetensors_parse(struct safetensors *out, int file, const char *buffer, size_t length,
                      uint64_t file_bytes);
int safetensors_open(struct safetensors *out, const char *directory);
/* Scores of the score head in opened files; 0: there is none. */
int safetensors_scores(const struct safetensors *s);
/* One file of a directory, by its name. */
int safetensors_open_file(struct safetensors *out, const char *directory, const char *name);
void safetensors_close(struct safetensors *s);

/* Checks every parameter of the table against the files. The score head may be missing or have
 * other scores: has_score tells. */
int safetensors_match(struct safetensors *s, const struct parameters *table);
/* The same where not all parameters are expected. */
int safetensors_match_some(struct safetensors *s, const struct parameters *table);
bool safetensors_has(const struct safetensors *s, const char *name);
int safetensors_read(struct safetensors *s, const struct parameter *p, int64_t first, int64_t count,
                     float *out);

/* SHA-256 of the names, shapes and elements of n tensors, as the files have them: what tells two
 * models apart, however they are cut into files. -1 with error_text(). */
int safetensors_digest(struct safetensors *s, const char *const *name, int n, char out[65]);

/* Writing: one file at a time, tensors in the order of begin. total bytes decide about an index
 * above `split_bytes`. */
struct safetensors_writer;
/* stem: "model" of model.safetensors */
struct safetensors_writer *safetensors_writer_open(const char *directory, const char *stem,
                                                   const struct parameters *table, enum dtype dtype,
                                                   uint64_t split_bytes);
/* The next elements of p; parameters in the table's order, each in order. */
int safetensors_writer_add(struct safetensors_writer *w, const struct parameter *p,
                           const float *data, int64_t count);
/* fsync, rename, index; frees w also on error */
int safetensors_writer_finish(struct safetensors_writer *w);
void safetensors_writer_abandon(struct safetensors_writer *w); /* removes what was begun; frees w */
#endif
