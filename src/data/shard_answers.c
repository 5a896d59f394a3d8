/* Answers and spans of a new shard: see shard_answers.h. */
#include "shard_answers.h"

#include <math.h>
#include <string.h>

#include "h5.h"

void answers_spool(struct buffer *out, const struct shard_row *row, int32_t answer,
                   int64_t sequence) {
    static const char zeros[8];
    struct spooled_answer a = {.sequence = sequence,
                               .row = row->row,
                               .rank = row->rank ? row->rank[answer] : -1,
                               .n_scores = row->score ? row->n_scores : 0,
                               .prompt_tokens = row->prompt_tokens,
                               .source = row->source};
    size_t bytes = (size_t)a.n_scores * sizeof(float);
    buffer_append(out, &a, sizeof a);
    if (a.n_scores) buffer_append(out, row->score + (int64_t)answer * a.n_scores, bytes);
    buffer_append(out, zeros, ROUND_UP(bytes, 8) - bytes);
}

static hid_t make_group(hid_t file, const char *name) {
    hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(plist, false);
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, plist, H5P_DEFAULT);
    if (group < 0) fail("group %s: %s", name, h5_reason());
    H5Pclose(plist);
    return group;
}

/* Finishes, where status is 0, and closes every column; then the group. */
static int close_columns(struct shard_column *const *column, int n, hid_t group, int status) {
    for (int i = 0; i < n; i++) {
        if (status == 0 && column[i]->name) status = column_finish(column[i]);
        if (column_close(column[i]) != 0) status = -1;
    }
    H5_CLOSE(group);
    return status;
}

/* --- answers --- */

int answers_open(struct answers *a, hid_t file, int64_t chunk, int32_t n_scores) {
    *a = (struct answers){.at = make_group(file, "answer"), .n_scores = n_scores};
    if (a->at < 0) return -1;
    column_open(&a->sequence, a->at, "sequence", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&a->group, a->at, "group", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&a->rank, a->at, "rank", H5T_STD_I32LE, H5T_NATIVE_INT32, chunk);
    column_open(&a->source, a->at, "source", H5T_STD_U16LE, H5T_NATIVE_UINT16, chunk);
    column_open(&a->row, a->at, "row", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&a->prompt_tokens, a->at, "prompt_tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, chunk);
    if (n_scores == 0) return 0;
    column_open(&a->score, a->at, "score", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, chunk);
    column_widen(&a->score, n_scores);
    a->row_score = mem_alloc(n_scores, sizeof *a->row_score);
    return 0;
}

static int append_answer(struct answers *a, int64_t group, const struct spooled_answer *answer,
                         const float *score) {
    int status = column_append(&a->sequence, &answer->sequence, 1);
    if (status == 0) status = column_append(&a->group, &group, 1);
    if (status == 0) status = column_append(&a->rank, &answer->rank, 1);
    if (status == 0) status = column_append(&a->source, &(uint16_t){(uint16_t)answer->source}, 1);
    if (status == 0) status = column_append(&a->row, &answer->row, 1);
    if (status == 0) status = column_append(&a->prompt_tokens, &answer->prompt_tokens, 1);
    if (status != 0 || a->n_scores == 0) return status;
    for (int32_t i = 0; i < a->n_scores; i++)
        a->row_score[i] = i < answer->n_scores ? score[i] : NAN;
    return column_append(&a->score, a->row_score, 1);
}

int answers_append(struct answers *a, int64_t group, const char *data, size_t n_bytes) {
    int status = 0;
    for (size_t at = 0; at < n_bytes && status == 0;) {
        const struct spooled_answer *answer = (const struct spooled_answer *)(data + at);
        status = append_answer(a, group, answer, (const float *)(answer + 1));
        at += sizeof *answer + ROUND_UP((size_t)answer->n_scores * sizeof(float), 8);
    }
    return status;
}

int answers_close(struct answers *a, int status) {
    struct shard_column *const column[] = {&a->sequence, &a->group,         &a->rank, &a->source,
                                           &a->row,      &a->prompt_tokens, &a->score};
    status = close_columns(column, 7, a->at, status);
    mem_free(a->row_score);
    *a = (struct answers){0};
    return status;
}

/* --- spans --- */

static int open_spans(struct spans *s, hid_t file, int64_t chunk) {
    s->at = make_group(file, "span");
    if (s->at < 0) return -1;
    column_open(&s->sequence, s->at, "sequence", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&s->first, s->at, "first", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&s->last, s->at, "last", H5T_STD_I64LE, H5T_NATIVE_INT64, chunk);
    column_open(&s->weight, s->at, "weight", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, chunk);
    column_open(&s->verdict, s->at, "verdict", H5T_STD_U8LE, H5T_NATIVE_UINT8, chunk);
    return 0;
}

int spans_append(struct spans *s, hid_t file, int64_t chunk, int64_t sequence,
                 const struct shard_span *span) {
    if (!s->at && open_spans(s, file, chunk) != 0) return -1;
    int status = column_append(&s->sequence, &sequence, 1);
    if (status == 0) status = column_append(&s->first, &(int64_t){span->first}, 1);
    if (status == 0) status = column_append(&s->last, &(int64_t){span->last}, 1);
    if (status == 0) status = column_append(&s->weight, &span->weight, 1);
    return status == 0 ? column_append(&s->verdict, &(uint8_t){span->verdict == 1}, 1) : -1;
}

int spans_close(struct spans *s, int status) {
    struct shard_column *const column[] = {&s->sequence, &s->first, &s->last, &s->weight,
                                           &s->verdict};
    status = close_columns(column, 5, s->at, status);
    *s = (struct spans){0};
    return status;
}
