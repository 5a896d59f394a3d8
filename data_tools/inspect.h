/* What rankwise-inspect looks at: a checkpoint or a Hugging Face directory, as a list of tensors
 * that are read by pieces. Needs no MPI and no libconfig, so that it runs on login nodes. */
#ifndef RANKWISE_INSPECT_H
#define RANKWISE_INSPECT_H
#include "checkpoint.h"
#include "safetensors.h"

enum { INSPECT_PIECE = 1 << 20 }; /* elements in memory at once */

struct inspect_tensor {
    char *name; /* owned; "moment1/<name>" for moments */
    enum dtype dtype;
    int n_dims;
    int64_t dim[4], count;
    enum checkpoint_kind kind; /* of a checkpoint, with */
    const char *name_in_file;  /* the tensor's own name; borrowed */
};

struct inspected {
    char *path;
    bool is_checkpoint;
    struct checkpoint checkpoint;
    struct safetensors safetensors;
    struct contract contract; /* an exported model's; a checkpoint's is in it */
    char *config;             /* an exported model's config.json */
    struct inspect_tensor *tensor;
    int n;
};

/* path: a run directory (its newest whole checkpoint), a checkpoint, or a Hugging Face directory.
 * moments: the optimizer's moments are among the tensors. sorted: by name, not in the file's
 * order. */
int inspect_open(struct inspected *o, const char *path, bool moments, bool sorted);
void inspect_close(struct inspected *o);
const struct contract *inspect_contract(const struct inspected *o);
int inspect_read(struct inspected *o, const struct inspect_tensor *t, int64_t first, int64_t count,
                 float *out);
/* NULL: there is none */
const struct inspect_tensor *inspect_find(const struct inspected *o, const char *name);

/* "50257 x 768" into out. */
void inspect_shape(const struct inspect_tensor *t, char *out, size_t capacity);

int show_command(int argc, char **argv);
int diff_command(int argc, char **argv);
int verify_command(int argc, char **argv);
int history_command(int argc, char **argv);
#endif
