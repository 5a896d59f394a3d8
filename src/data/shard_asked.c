/* /prompt of a new shard: see shard_asked.h. */
#include "shard_asked.h"

#include <math.h>
#include <string.h>

#include "h5.h"

static int open_table(struct asked *a, hid_t file, int64_t chunk) {
    hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(plist, false);
    a->at = H5Gcreate2(file, "prompt", H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Pclose(plist);
    if (a->at < 0) return fail("group prompt: %s", h5_reason());
    column_open(&a->sequence, a->at, "sequence", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&a->pair, a->at, "pair", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&a->side, a->at, "side", H5T_STD_I8LE, H5T_NATIVE_INT8, chunk);
    column_open(&a->preferred, a->at, "preferred", H5T_STD_I8LE, H5T_NATIVE_INT8, chunk);
    column_open(&a->source, a->at, "source", H5T_STD_U16LE, H5T_NATIVE_UINT16, chunk);
    column_open(&a->row, a->at, "row", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    return 0;
}

static int append_target(struct asked *a, float target, int64_t chunk) {
    static const float none = NAN;
    int status = 0;
    if (!a->target.name && isnan(target)) return 0;
    if (!a->target.name) {
        column_open(&a->target, a->at, "target", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, chunk);
        for (int64_t i = 0; i < a->n && status == 0; i++)
            status = column_append(&a->target, &none, 1);
    }
    return status == 0 ? column_append(&a->target, &target, 1) : -1;
}

/* Texts end to end; text i begins at meta_first[i]. */
static int append_meta(struct asked *a, const char *meta, int64_t chunk) {
    int status = 0;
    if (!a->meta.name && !meta) return 0;
    if (!a->meta.name) {
        column_open(&a->meta, a->at, "meta", H5T_STD_U8LE, H5T_NATIVE_UINT8, chunk);
        column_open(&a->meta_first, a->at, "meta_first", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
        for (int64_t i = 0; i < a->n && status == 0; i++)
            status = column_append(&a->meta_first, &a->n_meta, 1);
    }
    if (status == 0) status = column_append(&a->meta_first, &a->n_meta, 1);
    int64_t length = meta ? (int64_t)strlen(meta) : 0;
    a->n_meta += length;
    return status == 0 ? column_append(&a->meta, meta, length) : -1;
}

static int append_prompt(struct asked *a, int64_t chunk, const struct shard_row *row,
                         const struct shard_prompt *prompt, int64_t sequence) {
    const int8_t side = (int8_t)prompt->side, preferred = (int8_t)prompt->preferred;
    CHECK(side >= 0 && side <= 3 && preferred >= -1 && preferred <= 1, "side %d, preferred %d",
          side, preferred);
    int status = column_append(&a->sequence, &sequence, 1);
    if (status == 0) status = column_append(&a->pair, &a->n_pairs, 1);
    if (status == 0) status = column_append(&a->side, &side, 1);
    if (status == 0) status = column_append(&a->preferred, &preferred, 1);
    if (status == 0) status = column_append(&a->source, &row->source, 1);
    if (status == 0) status = column_append(&a->row, &row->row, 1);
    if (status == 0) status = append_target(a, prompt->target, chunk);
    if (status == 0) status = append_meta(a, prompt->meta, chunk);
    a->n++;
    return status;
}

int asked_append(struct asked *a, hid_t file, int64_t chunk, const struct shard_row *row,
                 const int64_t *sequence) {
    if (!a->at && open_table(a, file, chunk) != 0) return -1;
    int status = 0;
    for (int32_t i = 0; i < row->n_answers && status == 0; i++)
        status = append_prompt(a, chunk, row, &row->asked[i], sequence[i]);
    a->n_pairs++;
    return status;
}

int asked_close(struct asked *a, int status) {
    struct shard_column *const column[] = {&a->sequence,  &a->pair,   &a->side,
                                           &a->preferred, &a->source, &a->row,
                                           &a->target,    &a->meta,   &a->meta_first};
    if (status == 0 && a->meta.name) status = column_append(&a->meta_first, &a->n_meta, 1);
    for (int i = 0; i < 9; i++) {
        if (status == 0 && column[i]->name) status = column_finish(column[i]);
        if (column_close(column[i]) != 0) status = -1;
    }
    H5_CLOSE(a->at);
    *a = (struct asked){0};
    return status;
}
