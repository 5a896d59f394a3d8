/* checkpoint_save: the order in which a checkpoint becomes whole, and what is removed afterwards.
 *
 *   (1) Nothing of a former checkpoint is touched before the new one is complete on disk and its
 *       end marks are read back; a failure removes what was begun and is the same -1 on all ranks.
 *   (2) A directory loses its name before it loses its contents: a run killed at any moment leaves
 *       no half-removed checkpoint under a whole one's name.
 *   (3) What is written has a name of this run's until it is whole, and rank 0 asks whether the run
 *       still owns its directories before it makes, renames or removes anything: ranks of a run
 *       that was killed may live on beside its successor, and change nothing of that one's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint_format.h"
#include "file.h"
#include "log.h"

static int check_owner(const struct checkpoint_options *options) {
    return options->still_owns ? options->still_owns(options->self) : 0;
}

/* Rank 0: an empty directory for the new one. */
static int prepare(const char *directory, const char *temporary,
                   const struct checkpoint_options *options) {
    if (check_owner(options) != 0 || file_make_directory(directory) != 0) return -1;
    if (file_remove_tree(temporary) != 0) return -1;
    return file_make_directory(temporary);
}

static int rename_path(const char *from, const char *to) {
    return rename(from, to) == 0
               ? 0
               : fail("%s: cannot be renamed to %s: %s", from, to, strerror(errno));
}

/* Takes a whole checkpoint's name away, then removes it. */
static int remove_whole(const char *path) {
    char *gone = mem_format("%s.removed.tmp", path);
    int status = file_remove_tree(gone);
    if (status == 0) status = rename_path(path, gone);
    if (status == 0) status = file_remove_tree(gone);
    mem_free(gone);
    return status;
}

/* Gives the new checkpoint its name; a former one of the same step stands beside it until that is
 * done. */
static int put_in_place(const char *directory, const char *temporary, const char *final) {
    char *former = mem_format("%s.former.tmp", final);
    bool replaces = file_exists(final);
    int status = file_remove_tree(former);
    if (status == 0 && replaces) status = rename_path(final, former);
    if (status == 0) {
        status = rename_path(temporary, final);
        if (status != 0 && replaces) rename(former, final);
    }
    if (status == 0) status = file_sync(directory);
    if (status == 0 && replaces && file_remove_tree(former) != 0) log_warn("%s", error_text());
    mem_free(former);
    return status;
}

/* What was written is read back: state.h5 whole, and every part with its end mark. */
static int read_back(const char *temporary) {
    struct checkpoint c;
    if (checkpoint_open_files(&c, temporary) != 0) return -1;
    int status = checkpoint_open_parts(&c);
    checkpoint_close(&c);
    return status;
}

/* Old checkpoints beyond `keep`, the one just written not among them. What cannot be removed is
 * only a warning. */
static void remove_old(const char *directory, int64_t written, int keep) {
    int64_t *step;
    int n = checkpoint_list(directory, &step);
    if (n < 0) log_warn("old checkpoints kept: %s", error_text());
    for (int i = 0, left = n; i < n && left > keep; i++) {
        if (step[i] == written) continue;
        char *path = checkpoint_path(directory, step[i]);
        if (remove_whole(path) != 0) log_warn("old checkpoint kept: %s", error_text());
        mem_free(path);
        left--;
    }
    mem_free(step);
}

/* All parts' pieces on rank 0, with block numbers that count through. */
static void add_part(struct checkpoint_pieces *all, const struct checkpoint_pieces *part) {
    all->item = mem_resize(all->item, all->n + part->n, sizeof *all->item);
    all->sum = mem_resize(all->sum, all->n_sums + part->n_sums, sizeof *all->sum);
    for (int64_t i = 0; i < part->n; i++) {
        all->item[all->n + i] = part->item[i];
        all->item[all->n + i].block += all->n_sums;
    }
    if (part->n_sums)
        memcpy(all->sum + all->n_sums, part->sum, (size_t)part->n_sums * sizeof *all->sum);
    all->n += part->n;
    all->n_sums += part->n_sums;
}

static void receive_part(const struct ranks *data, int from, struct checkpoint_part *part) {
    int64_t size[3];
    comm_receive(data, from, size, sizeof size);
    part->bytes = size[0];
    part->pieces = (struct checkpoint_pieces){.n = size[1], .n_sums = size[2]};
    part->pieces.item = mem_alloc(size[1], sizeof *part->pieces.item);
    part->pieces.sum = mem_alloc(size[2], sizeof *part->pieces.sum);
    comm_receive(data, from, part->pieces.item, (size_t)size[1] * sizeof *part->pieces.item);
    comm_receive(data, from, part->pieces.sum, (size_t)size[2] * sizeof *part->pieces.sum);
}

static void send_part(const struct ranks *data, const struct checkpoint_part *part) {
    int64_t size[3] = {part->bytes, part->pieces.n, part->pieces.n_sums};
    comm_send(data, 0, size, sizeof size);
    comm_send(data, 0, part->pieces.item, (size_t)size[1] * sizeof *part->pieces.item);
    comm_send(data, 0, part->pieces.sum, (size_t)size[2] * sizeof *part->pieces.sum);
}

/* Rank 0 gathers what the writers noted and returns the number of parts; part_bytes has room for
 * every rank. */
static int64_t gather_parts(const struct ranks *data, const int *writer,
                            const struct checkpoint_part *mine, struct checkpoint_pieces *all,
                            int64_t *part_bytes) {
    if (data->rank != 0) {
        if (writer[data->rank] == data->rank) send_part(data, mine);
        return 0;
    }
    int64_t n = 0;
    for (int r = 0; r < data->size; r++) {
        if (writer[r] != r) continue;
        struct checkpoint_part other = {0};
        if (r != 0) receive_part(data, r, &other);
        add_part(all, r == 0 ? &mine->pieces : &other.pieces);
        part_bytes[n++] = r == 0 ? mine->bytes : other.bytes;
        checkpoint_pieces_free(&other.pieces);
    }
    checkpoint_pieces_sort(all);
    return n;
}

/* Rank 0: what was written gets its name, if it is whole and the run still owns the directory. */
static int publish(const char *directory, const char *temporary, int64_t step,
                   const struct checkpoint_options *options) {
    char *final = checkpoint_path(directory, step);
    int status = read_back(temporary);
    if (status == 0) status = file_sync(temporary);
    if (status == 0) status = check_owner(options);
    if (status == 0) status = put_in_place(directory, temporary, final);
    if (status == 0 && options->keep > 0) {
        status = check_owner(options);
        if (status == 0) remove_old(directory, step, options->keep);
    }
    mem_free(final);
    return status;
}

/* "step_000200.<run>.tmp"; mem_free. */
static char *temporary_path(const char *directory, int64_t step, const char *run) {
    char *final = checkpoint_path(directory, step);
    char *path = mem_format("%s%s%s.tmp", final, *run ? "." : "", run);
    mem_free(final);
    return path;
}

/* Every phase that can fail ends in an agreement, so that all ranks give up together. */
int checkpoint_save(const char *directory, struct zero *z, const struct parameters *table,
                    const struct placement *place, const struct run_state *state,
                    const struct checkpoint_extra *extra,
                    const struct checkpoint_options *options) {
    const struct ranks *data = &place->data;
    bool lead = data->rank == 0;
    char *temporary = temporary_path(directory, state->step, options->run);
    int *writer = mem_alloc(data->size, sizeof *writer);
    int64_t *part_bytes = mem_alloc(data->size, sizeof *part_bytes);
    struct checkpoint_part part = {0};
    struct checkpoint_pieces all = {0};

    int status = comm_agree(data, lead ? prepare(directory, temporary, options) : 0);
    if (status == 0) {
        checkpoint_assign_writers(writer, place, options->writers);
        status = comm_agree(
            data, checkpoint_write_part(&part, temporary, z, table, place, writer, !extra->base));
        if (status == 0) {
            int64_t n_parts = gather_parts(data, writer, &part, &all, part_bytes);
            if (lead) {
                status = checkpoint_write_state(temporary, table, state, extra, &all, part_bytes,
                                                n_parts);
                if (status == 0) status = publish(directory, temporary, state->step, options);
            }
            status = comm_agree(data, status);
        }
        if (status != 0 && lead) file_discard(temporary);
    }

    checkpoint_pieces_free(&all);
    checkpoint_pieces_free(&part.pieces);
    mem_free(part_bytes);
    mem_free(writer);
    mem_free(temporary);
    return status;
}
