/* The table of a rollout whose updates are under way, in state.h5: a dataset for each column. */
#include <string.h>

#include "checkpoint_format.h"

/* The type of a column in a file. */
#define FILE_TYPE(type)                  \
    _Generic((type)0, int64_t            \
             : H5T_NATIVE_INT64, int32_t \
             : H5T_NATIVE_INT32, uint8_t \
             : H5T_NATIVE_UINT8, float   \
             : H5T_NATIVE_FLOAT)

/* Columns that a table may lack. */
static bool has_column(const struct rollouts *t, const char *name) {
    if (strcmp(name, "old") == 0) return t->has_old;
    return strcmp(name, "reference") != 0 || t->has_reference;
}

static int write_column(hid_t file, const struct rollouts *t, const char *name, hid_t type,
                        const void *data, int64_t n) {
    hsize_t dim[1] = {(hsize_t)n};
    if (!has_column(t, name)) return 0;
    char *path = mem_format("/rollout/%s", name);
    int status = checkpoint_write_array(file, path, type, 1, dim, data);
    mem_free(path);
    return status;
}

int checkpoint_write_rollouts(hid_t file, const struct rollouts *t) {
    if (checkpoint_write_attribute(file, "samples", 1, &t->samples) != 0) return -1;
    if (write_column(file, t, "first", H5T_NATIVE_INT64, t->first, t->n + 1) != 0) return -1;
#define WRITE(type, name) \
    if (write_column(file, t, #name, FILE_TYPE(type), t->name, COUNT) != 0) return -1;
#define COUNT t->n_tokens
    ROLLOUT_TOKEN_COLUMNS(WRITE)
#undef COUNT
#define COUNT t->n
    ROLLOUT_COLUMNS(WRITE)
#undef COUNT
#undef WRITE
    return 0;
}

static int read_column(hid_t file, const struct rollouts *t, const char *name, hid_t type,
                       void *data, int64_t n) {
    hsize_t dim[1];
    if (!has_column(t, name)) return 0;
    char *path = mem_format("/rollout/%s", name);
    void *found = checkpoint_read_array(file, path, type, 1, dim);
    int status = found ? 0 : -1;
    if (found && dim[0] != (hsize_t)n)
        status = fail("%s: expected %lld items, found %llu", path, (long long)n,
                      (unsigned long long)dim[0]);
    if (status == 0) memcpy(data, found, (size_t)n * H5Tget_size(type));
    mem_free(found);
    mem_free(path);
    return status;
}

static int check_table(const struct rollouts *t) {
    if (t->samples < 1 || t->n % t->samples != 0)
        return fail("/rollout: %lld sequences in groups of %lld", (long long)t->n,
                    (long long)t->samples);
    for (int64_t i = 0; i < t->n; i++) {
        int64_t before = i > 0 ? t->pair[i - 1] : 0;
        if (t->first[i] < 0 || t->first[i + 1] > t->n_tokens || t->prompt_length[i] < 1 ||
            t->prompt_length[i] >= t->first[i + 1] - t->first[i] || t->pair[i] < before ||
            t->pair[i] > before + (i > 0))
            return fail("/rollout: sequence %lld is not whole", (long long)i);
    }
    return 0;
}

/* The lengths of the columns are those of two of them. */
static int read_size(hid_t file, int64_t *n, int64_t *n_tokens) {
    hsize_t dim[1];
    int64_t *first = checkpoint_read_ints(file, "/rollout/first", 1, dim);
    if (!first) return -1;
    *n = (int64_t)dim[0] - 1;
    int status = *n < 1 || first[0] != 0 || first[*n] < 1 || first[*n] > CHECKPOINT_TEXT_CEILING
                     ? fail("/rollout/first: expected at least one sequence")
                     : 0;
    *n_tokens = status == 0 ? first[*n] : 0;
    mem_free(first);
    return status;
}

int checkpoint_read_rollouts(hid_t file, struct rollouts *t) {
    int64_t n, n_tokens;
    if (H5Lexists(file, "/rollout", H5P_DEFAULT) <= 0) return 0;
    if (read_size(file, &n, &n_tokens) != 0) return -1;
    rollouts_resize(t, n, n_tokens);
    t->has_old = H5Lexists(file, "/rollout/old", H5P_DEFAULT) > 0;
    t->has_reference = H5Lexists(file, "/rollout/reference", H5P_DEFAULT) > 0;
    if (checkpoint_read_attribute(file, "samples", 1, &t->samples) != 0) return -1;
    if (read_column(file, t, "first", H5T_NATIVE_INT64, t->first, n + 1) != 0) return -1;
#define READ(type, name) \
    if (read_column(file, t, #name, FILE_TYPE(type), t->name, COUNT) != 0) return -1;
#define COUNT n_tokens
    ROLLOUT_TOKEN_COLUMNS(READ)
#undef COUNT
#define COUNT n
    ROLLOUT_COLUMNS(READ)
#undef COUNT
#undef READ
    return check_table(t);
}
