/* Writing state.h5: everything of a checkpoint that is not weights or moments, and the index of
 * where those lie. docs/checkpoint.md lists what stands where; checkpoint_read.c reads it. */
#include <string.h>

#include "checkpoint_format.h"
#include "clock.h"

static int write_text(hid_t file, const char *name, const char *text) {
    return checkpoint_write_bytes(file, name, text, strlen(text));
}

static int write_run_state(hid_t file, const struct run_state *state) {
    const struct {
        const char *name;
        int64_t value;
    } field[] = {
        {"step", state->step},          {"updates", state->updates},
        {"skipped", state->skipped},    {"skipped_in_a_row", state->skipped_in_a_row},
        {"epoch", state->cursor.epoch}, {"next", state->cursor.next},
        {"episodes", state->episodes},  {"finished", state->finished},
    };
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++)
        if (checkpoint_write_attribute(file, field[i].name, 1, &field[i].value) != 0) return -1;
    if (state->rollouts == 0) return 0;
    int status = checkpoint_write_attribute(file, "rollouts", 1, &state->rollouts);
    return status == 0 ? checkpoint_write_attribute(file, "update", 1, &state->update) : -1;
}

static int write_texts(hid_t file, const struct checkpoint_extra *extra) {
    char now[24];
    clock_stamp(now);
    if (write_text(file, "/config", extra->config) != 0) return -1;
    if (write_text(file, "/arch", extra->arch_json) != 0) return -1;
    if (write_text(file, "/revision", base_revision()) != 0) return -1;
    if (write_text(file, "/written_at", now) != 0) return -1;
    if (extra->data && write_text(file, "/data", extra->data) != 0) return -1;
    if (extra->metrics_line && write_text(file, "/metrics_line", extra->metrics_line) != 0)
        return -1;
    if (extra->base && (write_text(file, "/base/path", extra->base) != 0 ||
                        write_text(file, "/base/digest", extra->base_digest) != 0))
        return -1;
    if (!extra->contract || !extra->contract->json) return 0;
    char *contract = contract_text(extra->contract);
    int status = write_text(file, "/contract", contract);
    mem_free(contract);
    return status;
}

static int write_tokenizer(hid_t file, const struct checkpoint_extra *extra) {
    int status = 0;
    for (int i = 0; i < extra->n_files && status == 0; i++) {
        char *name = mem_format("/tokenizer/%s", extra->file[i].name);
        status = checkpoint_write_bytes(file, name, extra->file[i].data, extra->file[i].length);
        mem_free(name);
    }
    return status;
}

/* Names one per line, (n_dims, rows, cols) and decay: the parameter table as far as a reader needs
 * it. */
static int write_table(hid_t file, const struct parameters *table) {
    struct buffer names = {0};
    int64_t *shape = mem_alloc(table->n, 3 * sizeof *shape),
            *decay = mem_alloc(table->n, sizeof *decay);
    for (int i = 0; i < table->n; i++) {
        const struct parameter *p = &table->item[i];
        buffer_format(&names, "%s\n", p->name);
        shape[3 * i] = p->n_dims;
        shape[3 * i + 1] = p->rows;
        shape[3 * i + 2] = p->cols;
        decay[i] = p->decay;
    }
    int status = checkpoint_write_bytes(file, "/tensor/name", names.data, names.length);
    if (status == 0) status = checkpoint_write_ints(file, "/tensor/shape", table->n, 3, shape);
    if (status == 0) status = checkpoint_write_ints(file, "/tensor/decay", table->n, 1, decay);
    mem_free(decay);
    mem_free(shape);
    buffer_free(&names);
    return status;
}

static bool has_frozen(const struct parameters *table) {
    return parameters_count_trained(table) < parameters_count(table);
}

/* Which tensors are frozen, where some are. */
static int write_places(hid_t file, const struct parameters *table, bool in_base) {
    if (!has_frozen(table)) return 0;
    int64_t *place = mem_alloc(table->n, sizeof *place);
    for (int i = 0; i < table->n; i++)
        place[i] = table->item[i].segment == SEGMENT_TRAINED ? CHECKPOINT_TRAINED
                   : in_base                                 ? CHECKPOINT_IN_BASE
                                                             : CHECKPOINT_FROZEN;
    int status = checkpoint_write_ints(file, "/tensor/frozen", table->n, 1, place);
    mem_free(place);
    return status;
}

static int write_index(hid_t file, const struct checkpoint_pieces *pieces,
                       const int64_t *part_bytes, int64_t n_parts) {
    int64_t *sum = mem_alloc(pieces->n_sums, sizeof *sum);
    for (int64_t i = 0; i < pieces->n_sums; i++) sum[i] = pieces->sum[i];
    int status = checkpoint_write_ints(file, "/piece", pieces->n, 6, (const int64_t *)pieces->item);
    if (status == 0)
        status = checkpoint_write_ints(file, "/block_checksum", pieces->n_sums, 1, sum);
    if (status == 0) status = checkpoint_write_ints(file, "/part_bytes", n_parts, 1, part_bytes);
    mem_free(sum);
    return status;
}

/* The end mark is written last: a file without it is not whole. */
int checkpoint_write_state(const char *directory, const struct parameters *table,
                           const struct run_state *state, const struct checkpoint_extra *extra,
                           const struct checkpoint_pieces *pieces, const int64_t *part_bytes,
                           int64_t n_parts) {
    char *path = checkpoint_state_path(directory);
    struct checkpoint_file f;
    int64_t format = has_frozen(table) ? CHECKPOINT_FORMAT_FROZEN : CHECKPOINT_FORMAT,
            end[2] = {pieces->n, pieces->n_sums};
    int status = checkpoint_file_create(&f, path);
    if (status == 0) {
        status = checkpoint_write_attribute(f.id, "format", 1, &format);
        if (status == 0) status = write_run_state(f.id, state);
        if (status == 0) status = write_text(f.id, "/data_identity", state->data);
        if (status == 0) status = write_texts(f.id, extra);
        if (status == 0 && extra->rollouts && extra->rollouts->n > 0)
            status = checkpoint_write_rollouts(f.id, extra->rollouts);
        if (status == 0) status = write_tokenizer(f.id, extra);
        if (status == 0) status = write_table(f.id, table);
        if (status == 0) status = write_places(f.id, table, extra->base);
        if (status == 0) status = write_index(f.id, pieces, part_bytes, n_parts);
        if (status == 0) status = checkpoint_write_attribute(f.id, "end", 2, end);
        if (status != 0) fail_context("%s", path);
    }
    status = checkpoint_file_close(&f, status);
    mem_free(path);
    return status;
}
