/* Reading safetensors: see safetensors.h; the format is described in huggingface/safetensors'
 * README.
 *
 *   (1) Nothing is believed: the header's length, every shape, dtype and offset is checked against
 *       the file's size before it is used, and tensors may not overlap.
 *   (2) After safetensors_match every entry has its parameter's name, and entries are sorted by
 *   it. */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "file.h"
#include "hash.h"
#include "json.h"

enum { PREFIX_BYTES = 8, HEADER_CEILING = 100 << 20, INDEX_CEILING = 100 << 20, MAX_FILES = 10000 };
enum { READ_BYTES = 1 << 20 };

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A language model's head, which a reward model has no use for, nor one whose head is the
 * embedding. */
static bool is_lm_head(const char *name) {
    return strcmp(name, "lm_head.weight") == 0 || strcmp(name, "embed_out.weight") == 0;
}

/* Buffers that old files carry. */
static bool is_ignored(const char *name) {
    static const char *const tail[] = {".attention.bias", ".attention.masked_bias",
                                       ".rotary_emb.inv_freq", ".rotary_emb.cos_cached",
                                       ".rotary_emb.sin_cached"};
    for (size_t i = 0; i < sizeof tail / sizeof tail[0]; i++)
        if (ends_with(name, tail[i])) return true;
    return strcmp(name, "rotary_emb.inv_freq") == 0;
}

/* ---- the header of one file ---- */

struct range {
    int64_t first, end;
};

static int compare_ranges(const void *a, const void *b) {
    const struct range *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int parse_dtype(const char *text, enum dtype *out) {
    static const enum dtype known[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, dtype_name(known[i])) != 0) continue;
        *out = known[i];
        return 0;
    }
    return fail(
        "dtype: expected F32, F16 or BF16, found %.20s; hint: quantised weights are not read",
        text);
}

static int parse_offsets(const json_t *value, int64_t data_bytes, struct range *out) {
    const json_t *offsets = json_object_get(value, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(end))
        return fail("\"data_offsets\": expected two integers");
    out->first = json_integer_value(first);
    out->end = json_integer_value(end);
    if (out->first < 0 || out->end < out->first || out->end > data_bytes)
        return fail("\"data_offsets\": expected 0 to %lld, the bytes after the header, found %lld "
                    "to %lld; hint: the file may be cut off; get it again",
                    (long long)data_bytes, (long long)out->first, (long long)out->end);
    return 0;
}

/* The count of elements is bounded so that its bytes fit an int64_t in any dtype. A scalar has no
 * dimension and one element. */
static int parse_shape(const json_t *value, struct safetensors_entry *entry) {
    const json_t *shape = json_object_get(value, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > 4)
        return fail("\"shape\": expected up to four numbers");
    entry->n_dims = (int)json_array_size(shape);
    entry->count = 1;
    for (int i = 0; i < entry->n_dims; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        entry->dim[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || entry->dim[i] < 0 ||
            __builtin_mul_overflow(entry->count, entry->dim[i], &entry->count) ||
            entry->count > INT64_MAX / 8)
            return fail("\"shape\": dimension %d is not a size that can be", i);
    }
    return 0;
}

/* One tensor of the header. An ignored one is checked for its place only and not kept. */
static int parse_tensor(struct safetensors *out, const char *name, const json_t *value,
                        int64_t header_end, int64_t data_bytes, int file, struct range *range) {
    struct safetensors_entry entry = {.file = file};
    const char *dtype = "";
    if (!json_is_object(value)) return fail("expected an object");
    if (parse_offsets(value, data_bytes, range)) return -1;
    if (is_ignored(name)) return 0;
    if (json_get_string(value, "dtype", &dtype) || parse_dtype(dtype, &entry.dtype) ||
        parse_shape(value, &entry))
        return -1;
    int64_t bytes = entry.count * (int64_t)dtype_bytes(entry.dtype);
    if (bytes != range->end - range->first)
        return fail("expected %lld bytes by its shape and dtype, found %lld", (long long)bytes,
                    (long long)(range->end - range->first));
    entry.first_byte = header_end + range->first;
    entry.name = mem_copy_string(name);
    out->entry = mem_resize(out->entry, out->n + 1, sizeof *out->entry);
    out->entry[out->n++] = entry;
    return 0;
}

static int check_overlaps(struct range *range, size_t n) {
    qsort(range, n, sizeof *range, compare_ranges);
    for (size_t i = 1; i < n; i++)
        if (range[i].first < range[i - 1].end)
            return fail("two tensors overlap at byte %lld of the data", (long long)range[i].first);
    return 0;
}

static int parse_tensors(struct safetensors *out, int file, json_t *header, int64_t header_end,
                         int64_t data_bytes) {
    if (!json_is_object(header)) return fail("expected a JSON object as the header");
    struct range *range = mem_alloc((int64_t)json_object_size(header), sizeof *range);
    size_t n = 0;
    int status = 0;
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value) {
        if (strcmp(name, "__metadata__") == 0) continue;
        if (!parse_tensor(out, name, value, header_end, data_bytes, file, &range[n++])) continue;
        status = fail_context("tensor %.200s", name);
        break;
    }
    if (status == 0) status = check_overlaps(range, n);
    mem_free(range);
    return status;
}

static void free_entries(struct safetensors *s, int from) {
    for (int i = from; i < s->n; i++) mem_free(s->entry[i].name);
    s->n = from;
}

static int check_header_length(uint64_t header_bytes, uint64_t file_bytes) {
    if (header_bytes > HEADER_CEILING)
        return fail("expected a header of at most %d bytes, found %llu; hint: this is not a "
                    "safetensors file",
                    (int)HEADER_CEILING, (unsigned long long)header_bytes);
    if (header_bytes > file_bytes - PREFIX_BYTES)
        return fail(
            "the header is cut off: expected %llu bytes, found %llu; hint: get the file again",
            (unsigned long long)header_bytes, (unsigned long long)(file_bytes - PREFIX_BYTES));
    return 0;
}

static uint64_t read_u64(const char *bytes) {
    uint64_t value = 0;
    for (int i = 0; i < PREFIX_BYTES; i++) value |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
    return value;
}

int safetensors_parse(struct safetensors *out, int file, const char *buffer, size_t length,
                      uint64_t file_bytes) {
    if (length < PREFIX_BYTES || file_bytes < PREFIX_BYTES)
        return fail("expected at least %d bytes, found %llu", (int)PREFIX_BYTES,
                    (unsigned long long)file_bytes);
    uint64_t header_bytes = read_u64(buffer);
    if (check_header_length(header_bytes, file_bytes)) return -1;
    if (header_bytes > length - PREFIX_BYTES) return fail("the header is cut off");
    if (file_bytes > INT64_MAX / 2)
        return fail("a file of %llu bytes cannot be", (unsigned long long)file_bytes);

    json_t *header = json_parse(buffer + PREFIX_BYTES, (size_t)header_bytes);
    if (!header) return fail_context("header");
    int former = out->n;
    int64_t header_end = (int64_t)(PREFIX_BYTES + header_bytes);
    int status = parse_tensors(out, file, header, header_end, (int64_t)file_bytes - header_end);
    json_decref(header);
    if (status) free_entries(out, former);
    return status;
}

/* ---- files and directories ---- */

static int read_exactly(int descriptor, char *out, size_t bytes, int64_t offset) {
    while (bytes) {
        ssize_t n = pread(descriptor, out, bytes, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail("cannot be read: %s", strerror(errno));
        if (n == 0)
            return fail("ends at byte %lld, sooner than when it was opened", (long long)offset);
        out += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* The length comes first, so that a damaged one is refused before its bytes are allocated. */
static int read_header(struct safetensors *s, int file, int descriptor) {
    struct stat stat;
    if (fstat(descriptor, &stat) != 0) return fail("%s", strerror(errno));
    if (!S_ISREG(stat.st_mode)) return fail("not a regular file");
    uint64_t file_bytes = (uint64_t)stat.st_size;
    char prefix[PREFIX_BYTES];
    if (file_bytes < PREFIX_BYTES)
        return fail("expected at least %d bytes, found %d", PREFIX_BYTES, (int)file_bytes);
    if (read_exactly(descriptor, prefix, PREFIX_BYTES, 0)) return -1;
    if (check_header_length(read_u64(prefix), file_bytes)) return -1;
    size_t length = PREFIX_BYTES + (size_t)read_u64(prefix);
    char *buffer = mem_alloc((int64_t)length, 1);
    int status = read_exactly(descriptor, buffer, length, 0);
    if (status == 0) status = safetensors_parse(s, file, buffer, length, file_bytes);
    mem_free(buffer);
    return status;
}

static int open_file(struct safetensors *s, const char *directory, const char *name) {
    if (s->n_files == MAX_FILES) return fail("expected at most %d files", (int)MAX_FILES);
    int file = s->n_files++;
    s->path = mem_resize(s->path, s->n_files, sizeof *s->path);
    s->descriptor = mem_resize(s->descriptor, s->n_files, sizeof *s->descriptor);
    s->path[file] = file_join(directory, name);
    s->descriptor[file] = open(s->path[file], O_RDONLY | O_CLOEXEC);
    if (s->descriptor[file] < 0)
        return fail("%s: cannot be opened: %s", s->path[file], strerror(errno));
    if (read_header(s, file, s->descriptor[file])) return fail_context("%s", s->path[file]);
    return 0;
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const struct safetensors_entry *)a)->name,
                  ((const struct safetensors_entry *)b)->name);
}

/* By (2). A name may stand once, over all files. */
static int sort_entries(struct safetensors *s) {
    if (s->n > 1) qsort(s->entry, (size_t)s->n, sizeof *s->entry, compare_entries);
    for (int i = 1; i < s->n; i++)
        if (strcmp(s->entry[i].name, s->entry[i - 1].name) == 0)
            return fail("tensor %.200s stands twice, in %s and %s", s->entry[i].name,
                        s->path[s->entry[i - 1].file], s->path[s->entry[i].file]);
    return 0;
}

static struct safetensors_entry *find_entry(const struct safetensors *s, const char *name) {
    struct safetensors_entry key = {.name = (char *)name};
    return s->n ? bsearch(&key, s->entry, (size_t)s->n, sizeof key, compare_entries) : NULL;
}

static int file_of(struct safetensors *s, const char *directory, const char *name, int *out) {
    if (strchr(name, '/') || !ends_with(name, ".safetensors"))
        return fail(
            "\"weight_map\": expected the name of a .safetensors file beside it, found %.200s",
            name);
    for (*out = 0; *out < s->n_files; ++*out)
        if (strcmp(strrchr(s->path[*out], '/') + 1, name) == 0) return 0;
    return open_file(s, directory, name);
}

/* Opens every file that the index names, then checks that each tensor is in the file it names. */
static int open_shards(struct safetensors *s, const char *directory, const json_t *index) {
    const json_t *map = json_object_get(index, "weight_map"), *value;
    const char *name;
    int file;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return fail("\"weight_map\": expected names of files");
    json_object_foreach((json_t *)map, name, value) {
        if (!json_is_string(value))
            return fail("\"weight_map\": %.200s: expected the name of a file", name);
        if (file_of(s, directory, json_string_value(value), &file)) return -1;
    }
    if (sort_entries(s)) return -1;
    json_object_foreach((json_t *)map, name, value) {
        const struct safetensors_entry *entry = find_entry(s, name);
        if (file_of(s, directory, json_string_value(value), &file)) return -1;
        bool needed = !is_ignored(name) && !is_lm_head(name);
        if (needed && (!entry || entry->file != file))
            return fail("\"weight_map\": %.200s is not in %s", name, json_string_value(value));
    }
    return 0;
}

static int open_index(struct safetensors *s, const char *directory, const char *path) {
    json_t *index = json_read_file(path);
    if (!index) return -1;
    int status = open_shards(s, directory, index);
    json_decref(index);
    return status ? fail_context("%s", path) : 0;
}

int safetensors_open_file(struct safetensors *out, const char *directory, const char *name) {
    *out = (struct safetensors){0};
    int status = open_file(out, directory, name);
    if (status == 0) status = sort_entries(out);
    if (status) safetensors_close(out);
    return status;
}

/* Where both are there, the single file wins, as in transformers. */
int safetensors_open(struct safetensors *out, const char *directory) {
    *out = (struct safetensors){0};
    char *single = file_join(directory, "model.safetensors");
    char *index = file_join(directory, "model.safetensors.index.json");
    int status;
    if (file_exists(single)) {
        status = open_file(out, directory, "model.safetensors");
        if (status == 0) status = sort_entries(out);
    } else if (file_exists(index)) {
        status = open_index(out, directory, index);
    } else {
        status = fail(
            "%s: expected model.safetensors or model.safetensors.index.json, found neither; hint: "
            "other formats (pytorch_model.bin) are not read; save the model with "
            "safe_serialization=True",
            directory);
    }
    mem_free(single);
    mem_free(index);
    if (status) safetensors_close(out);
    return status ? fail_hint("a file that is damaged or cut must be fetched again") : 0;
}

int safetensors_scores(const struct safetensors *s) {
    const struct safetensors_entry *head = find_entry(s, "score.weight");
    return head && head->n_dims == 2 ? (int)MIN(head->dim[0], MODEL_MAX_HEADS) : 0;
}

void safetensors_close(struct safetensors *s) {
    free_entries(s, 0);
    mem_free(s->entry);
    for (int i = 0; i < s->n_files; i++) {
        mem_free(s->path[i]);
        if (s->descriptor[i] >= 0) close(s->descriptor[i]);
    }
    mem_free(s->path);
    mem_free(s->descriptor);
    *s = (struct safetensors){0};
}

/* ---- parameters ---- */

/* The parameter an entry is meant for: its name as it is, or with the base model's prefix put
 * before it; a language model's head by either name. */
static const struct parameter *parameter_of(const struct parameters *table, const char *name) {
    const struct parameter *p = parameters_find(table, name);
    if (p) return p;
    if (is_lm_head(name)) return table->unit[0].by_role[ROLE_LM_HEAD];
    const char *base = table->item[0].name; /* "model.embed_tokens.weight" */
    char *full = mem_format("%.*s%s", (int)(strchr(base, '.') + 1 - base), base, name);
    p = parameters_find(table, full);
    mem_free(full);
    return p;
}

/* The message names both shapes: they tell which of config.json's sizes is wrong. */
static int check_shape(const struct safetensors_entry *entry, const struct parameter *p) {
    bool same = entry->n_dims == p->n_dims && entry->dim[0] == p->rows &&
                (p->n_dims == 1 || entry->dim[1] == p->cols);
    if (same) return 0;
    struct buffer found = {0};
    for (int i = 0; i < entry->n_dims; i++)
        buffer_format(&found, "%s%lld", i ? ", " : "", (long long)entry->dim[i]);
    int status = p->n_dims == 1
                     ? fail("%s: expected shape (%lld), found (%s)", p->name, (long long)p->rows,
                            found.data ? found.data : "")
                     : fail("%s: expected shape (%lld, %lld), found (%s)", p->name,
                            (long long)p->rows, (long long)p->cols, found.data ? found.data : "");
    buffer_free(&found);
    return status;
}

/* Whether the entry is a score head as wide as p, which may have more or fewer scores: the caller
 * decides what becomes of it. */
static bool is_score_head(const struct safetensors_entry *entry, const struct parameter *p) {
    return p->role == ROLE_SCORE && entry->n_dims == 2 && entry->dim[1] == p->cols;
}

/* Forgets the heads that this model does not have. */
static void drop_other_heads(struct safetensors *s, const struct parameters *table) {
    int kept = 0;
    for (int i = 0; i < s->n; i++) {
        bool head = is_lm_head(s->entry[i].name) || strcmp(s->entry[i].name, "score.weight") == 0;
        if (head && !parameter_of(table, s->entry[i].name))
            mem_free(s->entry[i].name);
        else
            s->entry[kept++] = s->entry[i];
    }
    s->n = kept;
}

/* Entries take their parameter's full name, so they are sorted anew: (2). Two of them may now have
 * one name, with and without the prefix, which sort_entries refuses. */
int safetensors_match_some(struct safetensors *s, const struct parameters *table) {
    drop_other_heads(s, table);
    s->has_score = s->has_lm_head = false;
    s->score_rows = 0;
    for (int i = 0; i < s->n; i++) {
        struct safetensors_entry *entry = &s->entry[i];
        const struct parameter *p = parameter_of(table, entry->name);
        if (!p)
            return fail("%s: tensor %.200s is unknown to this architecture", s->path[entry->file],
                        entry->name);
        if (is_score_head(entry, p)) {
            s->score_rows = entry->dim[0];
        } else if (check_shape(entry, p)) {
            return fail_context("%s", s->path[entry->file]);
        }
        mem_free(entry->name);
        entry->name = mem_copy_string(p->name);
    }
    for (int i = 0; i < table->n; i++)
        if (table->item[i].role == ROLE_SCORE) s->has_score = s->score_rows == table->item[i].rows;
    return sort_entries(s);
}

bool safetensors_has(const struct safetensors *s, const char *name) {
    return find_entry(s, name) != NULL;
}

int safetensors_match(struct safetensors *s, const struct parameters *table) {
    static const char other_model[] = "config.json and the weights may belong to different models";
    static const char tied[] =
        "\"tie_word_embeddings\" in config.json tells whether the embedding is the head";
    if (safetensors_match_some(s, table) != 0) return fail_hint(other_model);
    for (int i = 0; i < table->n; i++) {
        const struct parameter *p = &table->item[i];
        bool found = find_entry(s, p->name) != NULL;
        if (p->role == ROLE_LM_HEAD && s->may_lack_lm_head)
            s->has_lm_head = found;
        else if (p->role != ROLE_SCORE && p->role != ROLE_TIE_THRESHOLD &&
                 !parameter_is_adapter(p) && !found)
            return fail("%s: tensor %s is missing; hint: %s", s->path[0], p->name,
                        p->role == ROLE_LM_HEAD ? tied : other_model);
    }
    return 0;
}

static void convert(float *out, const char *in, enum dtype dtype, int64_t n) {
    if (dtype == DTYPE_F32) {
        memcpy(out, in, (size_t)n * sizeof(float));
        return;
    }
    const uint16_t *bits = (const uint16_t *)(const void *)in;
    for (int64_t i = 0; i < n; i++)
        out[i] = dtype == DTYPE_BF16 ? bf16_to_float(bits[i]) : f16_to_float(bits[i]);
}

int safetensors_read(struct safetensors *s, const struct parameter *p, int64_t first, int64_t count,
                     float *out) {
    const struct safetensors_entry *entry = find_entry(s, p->name);
    CHECK(entry && first >= 0 && count >= 0 && first + count <= entry->count,
          "%s: elements %lld + %lld", p->name, (long long)first, (long long)count);
    int64_t size = (int64_t)dtype_bytes(entry->dtype), piece = READ_BYTES / size;
    char *buffer = mem_alloc(MIN(count, piece), (size_t)size);
    int status = 0;
    for (int64_t done = 0; done < count && status == 0; done += piece) {
        int64_t n = MIN(piece, count - done);
        status = read_exactly(s->descriptor[entry->file], buffer, (size_t)(n * size),
                              entry->first_byte + (first + done) * size);
        if (status == 0) convert(out + done, buffer, entry->dtype, n);
    }
    mem_free(buffer);
    return status ? fail_context("%s: tensor %s", s->path[entry->file], p->name) : 0;
}

/* Blocks are hashed by the fast hash, and the blocks' hashes by the strong one. */
static int add_tensor(struct safetensors *s, struct sha256 *hash, const char *name, char *buffer) {
    const struct safetensors_entry *entry = find_entry(s, name);
    if (!entry) return fail("tensor %s is missing", name);
    int64_t bytes = entry->count * (int64_t)dtype_bytes(entry->dtype);
    sha256_add(hash, name, strlen(name) + 1);
    sha256_add(hash, dtype_name(entry->dtype), strlen(dtype_name(entry->dtype)) + 1);
    sha256_add(hash, entry->dim, sizeof entry->dim);
    for (int64_t done = 0; done < bytes; done += READ_BYTES) {
        size_t n = (size_t)MIN(bytes - done, READ_BYTES);
        if (read_exactly(s->descriptor[entry->file], buffer, n, entry->first_byte + done) != 0)
            return fail_context("%s: tensor %s", s->path[entry->file], name);
        struct hash128 block = hash128(buffer, n, 0);
        sha256_add(hash, &block, sizeof block);
    }
    return 0;
}

int safetensors_digest(struct safetensors *s, const char *const *name, int n, char out[65]) {
    char *buffer = mem_alloc(READ_BYTES, 1);
    struct sha256 hash;
    int status = 0;
    sha256_start(&hash);
    for (int i = 0; i < n && status == 0; i++) status = add_tensor(s, &hash, name[i], buffer);
    sha256_finish(&hash, out);
    mem_free(buffer);
    return status;
}
