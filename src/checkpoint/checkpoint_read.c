/* Opening a checkpoint and reading elements of it. No MPI here: resume, export, score and inspect
 * all come this way.
 *
 * Everything in state.h5 is checked before it is used: sizes against the file's own size, the
 * table's names and shapes, that the pieces of each kind cover each tensor exactly once, that parts
 * exist with the recorded number of bytes. Parts are opened when the first element of them is asked
 * for (a rank of a large run needs few).
 *
 *   (1) Elements pass through one cached block, which is verified against its checksum when it is
 *       loaded.
 *   (2) HDF5 verifies its own metadata: the files are written in its 1.10 format, which has
 *       checksums throughout. */
#include "checkpoint_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "json.h"

enum { MAX_PARTS = 1 << 20, MAX_NAME = 512 };
static const char damaged[] = "the checkpoint is damaged, use an older one";

static struct parts *parts_of(const struct checkpoint *c) {
    return c->handle;
}

/* --- state.h5 --- */

/* The counters of a run are attributes, and none of them is negative. */
static int read_run_state(hid_t file, struct run_state *state) {
    int64_t in_a_row, finished;
    const struct {
        const char *name;
        int64_t *value;
    } field[] = {
        {"step", &state->step},          {"updates", &state->updates},
        {"skipped", &state->skipped},    {"skipped_in_a_row", &in_a_row},
        {"epoch", &state->cursor.epoch}, {"next", &state->cursor.next},
        {"episodes", &state->episodes},  {"finished", &finished},
    };
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
        if (checkpoint_read_attribute(file, field[i].name, 1, field[i].value) != 0) return -1;
        if (*field[i].value < 0)
            return fail("attribute %s: %lld is negative", field[i].name,
                        (long long)*field[i].value);
    }
    if (in_a_row > INT32_MAX || finished > 1)
        return fail("skipped_in_a_row or finished out of range");
    state->skipped_in_a_row = (int)in_a_row;
    state->finished = finished;
    if (H5Aexists(file, "rollouts") <= 0) return 0;
    if (checkpoint_read_attribute(file, "rollouts", 1, &state->rollouts) != 0 ||
        checkpoint_read_attribute(file, "update", 1, &state->update) != 0)
        return -1;
    if (state->rollouts < 0 || state->update < 0) return fail("rollouts or update is negative");
    return 0;
}

static int read_data_identity(hid_t file, struct run_state *state) {
    char *text = checkpoint_read_text(file, "/data_identity");
    if (!text) return -1;
    int status = strlen(text) < sizeof state->data ? 0 : fail("/data_identity: expected 64 digits");
    if (status == 0) memcpy(state->data, text, strlen(text) + 1);
    mem_free(text);
    return status;
}

/* A text that not every checkpoint has. */
static int read_optional(hid_t file, const char *name, char **out) {
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0) return 0;
    *out = checkpoint_read_text(file, name);
    return *out ? 0 : -1;
}

static int read_texts(hid_t file, struct checkpoint *c) {
    if (read_data_identity(file, &c->state) != 0) return -1;
    if (!(c->config = checkpoint_read_text(file, "/config")) ||
        !(c->arch_json = checkpoint_read_text(file, "/arch")) ||
        !(c->revision = checkpoint_read_text(file, "/revision")) ||
        !(c->written_at = checkpoint_read_text(file, "/written_at")))
        return -1;
    if (read_optional(file, "/data", &c->data) != 0) return -1;
    if (read_optional(file, "/metrics_line", &c->metrics_line) != 0) return -1;
    if (read_optional(file, "/base/path", &c->base) != 0) return -1;
    if (c->base && !(c->base_digest = checkpoint_read_text(file, "/base/digest"))) return -1;
    if (H5Lexists(file, "/contract", H5P_DEFAULT) <= 0) return 0;
    size_t length;
    char *contract = checkpoint_read_bytes(file, "/contract", &length);
    if (!contract) return -1;
    int status = contract_parse(&c->contract, contract, length);
    mem_free(contract);
    return status == 0 ? 0 : fail_context("/contract");
}

struct file_visit {
    struct checkpoint *c;
    hid_t file;
    int capacity;
};

static herr_t read_tokenizer_file(hid_t group, const char *name, const H5L_info_t *info,
                                  void *self) {
    (void)group, (void)info;
    struct file_visit *v = self;
    size_t length;
    if (strlen(name) > MAX_NAME) return fail("/tokenizer: a name of %zu bytes", strlen(name));
    char *full = mem_format("/tokenizer/%s", name);
    char *data = checkpoint_read_bytes(v->file, full, &length);
    mem_free(full);
    if (!data) return -1;
    ARRAY_RESERVE(v->c->file, v->c->n_files, v->capacity);
    v->c->file[v->c->n_files++] = (struct tokenizer_file){mem_copy_string(name), data, length};
    return 0;
}

static int read_tokenizer(hid_t file, struct checkpoint *c) {
    struct file_visit v = {c, file, 0};
    if (H5Lexists(file, "/tokenizer", H5P_DEFAULT) <= 0) return 0;
    hid_t group = H5Gopen2(file, "/tokenizer", H5P_DEFAULT);
    if (group < 0) return fail("/tokenizer: %s", h5_reason());
    error_clear();
    herr_t status = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, read_tokenizer_file, &v);
    if (status < 0 && !error_text()[0]) fail("/tokenizer: %s", h5_reason());
    H5Gclose(group);
    return status < 0 ? -1 : 0;
}

static int take_tensor(struct checkpoint_tensor *t, const char *name, size_t length,
                       const int64_t shape[3]) {
    if (length == 0 || length > MAX_NAME || memchr(name, '/', length))
        return fail("/tensor/name: a name of %zu bytes, or with a slash", length);
    int64_t dims = shape[0], rows = shape[1], cols = shape[2], count;
    if (dims < 1 || dims > 2 || rows < 1 || cols < 1 || (dims == 1 && cols != 1) ||
        __builtin_mul_overflow(rows, cols, &count) || count > INT64_MAX / 64)
        return fail("/tensor/shape: %.*s: %lld dimensions, %lld x %lld", (int)length, name,
                    (long long)dims, (long long)rows, (long long)cols);
    *t = (struct checkpoint_tensor){mem_format("%.*s", (int)length, name), (int)dims, rows, cols,
                                    count};
    return 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* No name stands there twice. */
static int check_names(const struct checkpoint *c) {
    char **name = mem_alloc(c->n_tensors, sizeof *name);
    int status = 0;
    for (int i = 0; i < c->n_tensors; i++) name[i] = c->tensor[i].name;
    qsort(name, (size_t)c->n_tensors, sizeof *name, by_text);
    for (int i = 1; i < c->n_tensors && status == 0; i++)
        if (strcmp(name[i - 1], name[i]) == 0)
            status = fail("/tensor/name: %s stands there twice", name[i]);
    mem_free(name);
    return status;
}

/* As many lines of /tensor/name as rows of /tensor/shape. */
static int take_table(struct checkpoint *c, const char *names, const int64_t *shape, int64_t n) {
    const char *at = names;
    c->tensor = mem_alloc(n, sizeof *c->tensor);
    for (int64_t i = 0; i < n; i++) {
        const char *end = strchr(at, '\n');
        if (!end)
            return fail("/tensor/name: %lld names, expected %lld", (long long)i, (long long)n);
        if (take_tensor(&c->tensor[i], at, (size_t)(end - at), shape + 3 * i) != 0) return -1;
        c->n_tensors++;
        at = end + 1;
    }
    if (*at) return fail("/tensor/name: more names than the %lld shapes", (long long)n);
    return check_names(c);
}

/* Which tensors are frozen; without the data set none is. */
static int read_places(hid_t file, struct checkpoint *c) {
    hsize_t n[1] = {0};
    if (H5Lexists(file, "/tensor/frozen", H5P_DEFAULT) <= 0) return 0;
    int64_t *place = checkpoint_read_ints(file, "/tensor/frozen", 1, n);
    int status = place ? 0 : -1;
    if (status == 0 && n[0] != (hsize_t)c->n_tensors)
        status = fail("/tensor/frozen: expected %d numbers", c->n_tensors);
    for (int i = 0; i < c->n_tensors && status == 0; i++) {
        int64_t last = c->base ? CHECKPOINT_IN_BASE : CHECKPOINT_FROZEN;
        if (place[i] < CHECKPOINT_TRAINED || place[i] > last)
            status = fail("/tensor/frozen: %s: %lld", c->tensor[i].name, (long long)place[i]);
        else
            c->tensor[i].place = (enum checkpoint_place)place[i];
    }
    mem_free(place);
    return status;
}

static int read_table(hid_t file, struct checkpoint *c) {
    hsize_t dim[2] = {0};
    char *names = checkpoint_read_text(file, "/tensor/name");
    int64_t *shape = names ? checkpoint_read_ints(file, "/tensor/shape", 2, dim) : NULL;
    int status = -1;
    if (shape) {
        if (dim[1] != 3 || dim[0] < 1 || dim[0] > 1 << 20)
            fail("/tensor/shape: not (1 .. 2^20, 3)");
        else
            status = take_table(c, names, shape, (int64_t)dim[0]);
    }
    if (status == 0) status = read_places(file, c);
    mem_free(shape);
    mem_free(names);
    return status;
}

/* --- the index --- */

/* How many elements of a tensor the parts have of a kind. */
static int64_t kept_count(const struct checkpoint_tensor *t, int64_t kind) {
    bool is_kept = t->place == CHECKPOINT_TRAINED ||
                   (t->place == CHECKPOINT_FROZEN && kind == CHECKPOINT_MASTER);
    return is_kept ? t->count : 0;
}

/* The pieces lie in the order of kind, tensor and first element, without holes or overlaps, to each
 * tensor's end. */
static int check_cover(const struct checkpoint *c) {
    int64_t at = 0;
    for (int64_t kind = 0; kind < CHECKPOINT_N_KINDS; kind++)
        for (int64_t t = 0; t < c->n_tensors; t++) {
            int64_t covered = 0, kept = kept_count(&c->tensor[t], kind);
            for (; at < c->n_pieces && c->piece[at].kind == kind && c->piece[at].tensor == t;
                 at++) {
                if (c->piece[at].first != covered) break;
                covered += c->piece[at].count;
            }
            if (covered != kept)
                return fail("/piece: %s of %s: %lld of %lld elements are covered",
                            checkpoint_kind_name[kind], c->tensor[t].name, (long long)covered,
                            (long long)kept);
        }
    return at == c->n_pieces ? 0
                             : fail("/piece: piece %lld lies outside or overlaps", (long long)at);
}

static int check_pieces(const struct checkpoint *c) {
    const struct parts *parts = parts_of(c);
    for (int64_t i = 0; i < c->n_pieces; i++) {
        const struct checkpoint_piece *p = &c->piece[i];
        if (p->part < 0 || p->part >= parts->n || p->kind < 0 || p->kind >= CHECKPOINT_N_KINDS ||
            p->tensor < 0 || p->tensor >= c->n_tensors || p->count < 1 || p->first < 0 ||
            p->first > c->tensor[p->tensor].count - p->count || p->block < 0 ||
            p->block > parts->n_sums - checkpoint_blocks(p->count))
            return fail("/piece: entry %lld is out of range", (long long)i);
    }
    return check_cover(c);
}

static int read_index(hid_t file, struct checkpoint *c) {
    struct parts *parts = parts_of(c);
    hsize_t pieces[2] = {0}, sums[1] = {0}, n_parts[1] = {0};
    c->piece = (struct checkpoint_piece *)checkpoint_read_ints(file, "/piece", 2, pieces);
    int64_t *sum = c->piece ? checkpoint_read_ints(file, "/block_checksum", 1, sums) : NULL;
    parts->bytes = sum ? checkpoint_read_ints(file, "/part_bytes", 1, n_parts) : NULL;
    if (!parts->bytes) {
        mem_free(sum);
        return -1;
    }
    parts->sum = mem_alloc((int64_t)sums[0], sizeof *parts->sum);
    for (hsize_t i = 0; i < sums[0]; i++) parts->sum[i] = (uint32_t)sum[i];
    mem_free(sum);
    if (pieces[1] != 6 || pieces[0] > INT32_MAX || n_parts[0] < 1 || n_parts[0] > MAX_PARTS)
        return fail("/piece or /part_bytes: not of the expected shape");
    c->n_pieces = (int)pieces[0];
    parts->n_sums = (int64_t)sums[0];
    parts->n = (int64_t)n_parts[0];
    parts->file = mem_alloc(parts->n, sizeof *parts->file);
    for (int64_t i = 0; i < parts->n; i++) parts->file[i] = H5I_INVALID_HID;
    return check_pieces(c);
}

static int check_parts(const struct checkpoint *c) {
    const struct parts *parts = parts_of(c);
    int status = 0;
    for (int64_t i = 0; i < parts->n && status == 0; i++) {
        char *path = checkpoint_part_path(c->path, i);
        int64_t bytes = 0;
        status = checkpoint_file_bytes(path, &bytes);
        if (status == 0 && bytes != parts->bytes[i])
            status = fail("%s: expected %lld bytes, found %lld", path, (long long)parts->bytes[i],
                          (long long)bytes);
        mem_free(path);
    }
    return status == 0 ? 0 : fail_hint(damaged);
}

static int read_state(hid_t file, struct checkpoint *c) {
    int64_t format, end[2];
    if (checkpoint_read_attribute(file, "format", 1, &format) != 0) return -1;
    if (format < CHECKPOINT_FORMAT || format > CHECKPOINT_FORMAT_FROZEN)
        return fail("format %lld, this program reads %d and %d; hint: use the version of rankwise "
                    "that wrote it",
                    (long long)format, CHECKPOINT_FORMAT, CHECKPOINT_FORMAT_FROZEN);
    if (read_run_state(file, &c->state) != 0 || read_texts(file, c) != 0 ||
        checkpoint_read_rollouts(file, &c->rollouts) != 0 || read_tokenizer(file, c) != 0 ||
        read_table(file, c) != 0 || read_index(file, c) != 0 ||
        checkpoint_read_attribute(file, "end", 2, end) != 0)
        return -1;
    if (end[0] != c->n_pieces || end[1] != parts_of(c)->n_sums)
        return fail("its end mark: expected %d pieces and %lld checksums, as it holds, found %lld "
                    "and %lld",
                    c->n_pieces, (long long)parts_of(c)->n_sums, (long long)end[0],
                    (long long)end[1]);
    return 0;
}

static hid_t open_hdf5(const char *path) {
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    if (readable < 0) {
        fail("%s: cannot be opened: %s", path, strerror(errno));
        return H5I_INVALID_HID;
    }
    close(readable);
    const char *reason;
    hid_t file = h5_open(path, &reason);
    if (file < 0) fail("%s: not a whole HDF5 file: %s; hint: %s", path, reason, damaged);
    return file;
}

static int open_state(struct checkpoint *c) {
    char *path = checkpoint_state_path(c->path);
    hid_t file = open_hdf5(path);
    int status = file < 0 ? -1 : 0;
    if (status == 0) {
        status = read_state(file, c);
        H5Fclose(file);
        if (status != 0) {
            fail_context("%s", path);
            fail_hint(damaged);
        }
    }
    mem_free(path);
    return status;
}

bool checkpoint_is_gone(const char *path) {
    return access(path, F_OK) != 0 && errno == ENOENT;
}

/* Called after a failure: if the directory has lost its name meanwhile, its files are gone and not
 * damaged. */
static int fail_read(const char *path) {
    if (!checkpoint_is_gone(path)) return -1;
    return fail("%s: was removed while it was read; hint: a run keeps its newest checkpoint.keep",
                path);
}

int checkpoint_open_files(struct checkpoint *c, const char *path) {
    *c = (struct checkpoint){.path = mem_copy_string(path)};
    struct parts *parts = c->handle = mem_alloc(1, sizeof *parts);
    parts->cached_piece = parts->open_piece = -1;
    parts->set = H5I_INVALID_HID;
    char *state = checkpoint_state_path(path);
    int status;
    if (!file_is_directory(path)) {
        status = fail("%s: expected a checkpoint directory", path);
    } else {
        status = checkpoint_is_gone(state) ? fail("%s: not a checkpoint: it has no state.h5", path)
                                           : open_state(c);
        if (status == 0) status = check_parts(c);
        if (status != 0) fail_read(path);
    }
    mem_free(state);
    if (status != 0) checkpoint_close(c);
    return status;
}

int checkpoint_open(struct checkpoint *c, const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    if (length > 4 && strncmp(path + length - 4, ".tmp", 4) == 0) {
        *c = (struct checkpoint){0};
        return fail("%s: a checkpoint that was not finished; hint: use one whose name has no .tmp",
                    path);
    }
    return checkpoint_open_files(c, path);
}

/* It accepts whatever part of a checkpoint an open that failed has left. */
void checkpoint_close(struct checkpoint *c) {
    struct parts *parts = c->handle;
    if (parts) {
        H5_CLOSE(parts->set);
        if (parts->file) h5_close_all(parts->file, (size_t)parts->n);
        mem_free(parts->file);
        mem_free(parts->bytes);
        mem_free(parts->sum);
        mem_free(parts->block);
        mem_free(parts);
    }
    tokenizer_files_clear(c->file, c->n_files);
    for (int i = 0; i < c->n_tensors; i++) mem_free(c->tensor[i].name);
    mem_free(c->file);
    mem_free(c->tensor);
    mem_free(c->piece);
    mem_free(c->config);
    mem_free(c->data);
    mem_free(c->metrics_line);
    mem_free(c->base);
    mem_free(c->base_digest);
    safetensors_close(&c->base_tensors);
    mem_free(c->arch_json);
    mem_free(c->revision);
    mem_free(c->written_at);
    mem_free(c->path);
    rollouts_free(&c->rollouts);
    contract_free(&c->contract);
    *c = (struct checkpoint){0};
}

/* --- elements --- */

/* How many datasets and elements the index puts into a part. */
static void expected_end(const struct checkpoint *c, int64_t part, int64_t end[2]) {
    end[0] = end[1] = 0;
    for (int i = 0; i < c->n_pieces; i++)
        if (c->piece[i].part == part) {
            end[0]++;
            end[1] += c->piece[i].count;
        }
}

/* Opens a part if it is not open yet. Its marks must be those that state.h5 expects, so that a part
 * of another checkpoint is not taken for it. */
static int open_part(struct checkpoint *c, int64_t part) {
    struct parts *parts = parts_of(c);
    if (parts->file[part] >= 0) return 0;
    char *path = checkpoint_part_path(c->path, part);
    int64_t format, number, end[2], expected[2];
    hid_t file = open_hdf5(path);
    int status = file < 0 ? -1 : 0;
    if (status == 0 && (checkpoint_read_attribute(file, "format", 1, &format) != 0 ||
                        checkpoint_read_attribute(file, "part", 1, &number) != 0 ||
                        checkpoint_read_attribute(file, "end", 2, end) != 0))
        status = fail_context("%s", path);
    expected_end(c, part, expected);
    if (status == 0 &&
        (format != CHECKPOINT_FORMAT || number != part || memcmp(end, expected, sizeof end) != 0))
        status =
            fail("%s: its marks (format %lld, part %lld, %lld datasets, %lld elements) are not "
                 "those in state.h5",
                 path, (long long)format, (long long)number, (long long)end[0], (long long)end[1]);
    if (status == 0)
        parts->file[part] = file;
    else
        H5_CLOSE(file);
    mem_free(path);
    return status == 0 ? 0 : fail_read(c->path);
}

int checkpoint_open_parts(struct checkpoint *c) {
    for (int64_t i = 0; i < parts_of(c)->n; i++)
        if (open_part(c, i) != 0) return -1;
    return 0;
}

/* Says which dataset of which file is bad. */
static int fail_piece(const struct checkpoint *c, const struct checkpoint_piece *p,
                      const char *what) {
    char *path = checkpoint_part_path(c->path, p->part);
    char *name = checkpoint_dataset_name(p->kind, c->tensor[p->tensor].name, p->first);
    fail("%s: %s: %s; hint: %s", path, name, what, damaged);
    mem_free(name);
    mem_free(path);
    return -1;
}

/* Makes parts->set the dataset of a piece: floats, as many as the index says. */
static int open_piece(struct checkpoint *c, int64_t index) {
    struct parts *parts = parts_of(c);
    const struct checkpoint_piece *p = &c->piece[index];
    if (parts->open_piece == index) return 0;
    if (open_part(c, p->part) != 0) return -1;
    H5_CLOSE(parts->set);
    parts->open_piece = -1;
    char *name = checkpoint_dataset_name(p->kind, c->tensor[p->tensor].name, p->first);
    parts->set = H5Dopen2(parts->file[p->part], name, H5P_DEFAULT);
    mem_free(name);
    if (parts->set < 0) return fail_piece(c, p, h5_reason());
    hid_t space = H5Dget_space(parts->set), type = H5Dget_type(parts->set);
    bool good = space >= 0 && type >= 0 && H5Sget_simple_extent_ndims(space) == 1 &&
                H5Sget_simple_extent_npoints(space) == p->count &&
                H5Tget_class(type) == H5T_FLOAT && H5Tget_size(type) == sizeof(float);
    H5_CLOSE(type, space);
    if (!good) return fail_piece(c, p, "not the floats that state.h5 lists");
    parts->open_piece = index;
    return 0;
}

/* Reads elements [first, first + CHECKPOINT_BLOCK) of a piece into the cache of (1); first is a
 * multiple of the block. */
static int load_block(struct checkpoint *c, int64_t index, int64_t first) {
    struct parts *parts = parts_of(c);
    const struct checkpoint_piece *p = &c->piece[index];
    if (parts->cached_piece == index && parts->cached_first == first) return 0;
    if (open_piece(c, index) != 0) return -1;
    if (!parts->block) parts->block = mem_alloc(CHECKPOINT_BLOCK, sizeof *parts->block);
    parts->cached_piece = -1;
    int64_t count = MIN(CHECKPOINT_BLOCK, p->count - first);
    const char *reason = h5_read(parts->set, H5T_NATIVE_FLOAT, first, count, parts->block);
    if (reason) return fail_piece(c, p, reason);
    if (checkpoint_checksum(parts->block, count) != parts->sum[p->block + first / CHECKPOINT_BLOCK])
        return fail_piece(c, p, "its checksum is not the one in state.h5");
    parts->cached_piece = index;
    parts->cached_first = first;
    return 0;
}

/* The piece that holds an element: the last one that does not start behind it. */
static int64_t find_piece(const struct checkpoint *c, int64_t kind, int64_t tensor,
                          int64_t element) {
    int64_t low = 0, high = c->n_pieces;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        const struct checkpoint_piece *p = &c->piece[middle];
        bool behind = p->kind != kind       ? p->kind > kind
                      : p->tensor != tensor ? p->tensor > tensor
                                            : p->first > element;
        if (behind)
            high = middle;
        else
            low = middle;
    }
    return low;
}

static int find_tensor(const struct checkpoint *c, const char *name) {
    for (int t = 0; t < c->n_tensors; t++)
        if (strcmp(c->tensor[t].name, name) == 0) return t;
    return -1;
}

const struct checkpoint_tensor *checkpoint_tensor_find(const struct checkpoint *c,
                                                       const char *name) {
    int t = find_tensor(c, name);
    return t < 0 ? NULL : &c->tensor[t];
}

int checkpoint_scores(const struct checkpoint *c) {
    const struct checkpoint_tensor *head = checkpoint_tensor_find(c, "score.weight");
    return head ? (int)MIN(head->rows, MODEL_MAX_HEADS) : 0;
}

static int read_base(struct checkpoint *c, const char *tensor, int64_t first, int64_t count,
                     float *out) {
    struct parameter p = {.name = (char *)tensor};
    CHECK(c->base_tensors.n_files > 0, "%s: its base is not open", c->path);
    return safetensors_read(&c->base_tensors, &p, first, count, out);
}

int checkpoint_read(struct checkpoint *c, enum checkpoint_kind kind, const char *tensor,
                    int64_t first, int64_t count, float *out) {
    int t = find_tensor(c, tensor);
    if (t < 0) return fail("%s: it has no tensor %s", c->path, tensor);
    if (first < 0 || count < 0 || first > c->tensor[t].count - count)
        return fail("%s: %s: elements %lld + %lld of %lld", c->path, tensor, (long long)first,
                    (long long)count, (long long)c->tensor[t].count);
    if (kind != CHECKPOINT_MASTER && c->tensor[t].place != CHECKPOINT_TRAINED)
        return fail("%s: %s is frozen and has no moments", c->path, tensor);
    if (c->tensor[t].place == CHECKPOINT_IN_BASE) return read_base(c, tensor, first, count, out);
    while (count > 0) {
        int64_t index = find_piece(c, kind, t, first);
        const struct checkpoint_piece *p = &c->piece[index];
        int64_t inside = first - p->first, block = inside / CHECKPOINT_BLOCK * CHECKPOINT_BLOCK;
        int64_t n = MIN(count, MIN(p->count, block + CHECKPOINT_BLOCK) - inside);
        if (load_block(c, index, block) != 0) return -1;
        memcpy(out, parts_of(c)->block + (inside - block), (size_t)n * sizeof *out);
        first += n;
        count -= n;
        out += n;
    }
    return 0;
}

int checkpoint_read_parameter(struct checkpoint *c, enum checkpoint_kind kind,
                              const struct parameter *p, int64_t first, int64_t count, float *out) {
    int t = find_tensor(c, p->name);
    if (t < 0) return fail("%s: it has no tensor %s, which the model needs", c->path, p->name);
    const struct checkpoint_tensor *saved = &c->tensor[t];
    if (saved->n_dims != p->n_dims || saved->rows != p->rows || saved->cols != p->cols)
        return fail("%s: %s: the model needs %lld x %lld, the checkpoint has %lld x %lld", c->path,
                    p->name, (long long)p->rows, (long long)p->cols, (long long)saved->rows,
                    (long long)saved->cols);
    return checkpoint_read(c, kind, p->name, first, count, out);
}
