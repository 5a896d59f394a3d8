/* Writing token shards: see shard.h; docs/shard.md describes the file.
 *
 *   (1) Everything is collected in memory (four bytes a token) and written at the end: the lengths, the groups and
 *       the numbers of forest tokens are known only then.
 *   (2) "<path>.tmp" becomes <path> when all of it is on the disk; a full disk leaves the former file.
 *   (3) The same content gives the same bytes: HDF5's time stamps are off, orders are those of the input.
 *   (4) Metadata has checksums (h5_new_file_access), data has Fletcher-32: a flipped bit is found. */
#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "forest.h"
#include "h5.h"
#include "shard.h"

enum { TOKEN_CHUNK = 8192, INDEX_CHUNK = 65536, FILE_CHUNK = 1 << 18, DEFLATE_LEVEL = 4 };

/* A named run of bytes: a text attribute or a tokenizer file. */
struct named {
    char *name;
    void *data;
    size_t length;
};

struct named_list {
    struct named *item;
    int64_t n, room;
};

struct shard_writer {
    char *path;
    int64_t vocabulary;
    int32_t *token; /* (n_tokens) */
    int64_t *first; /* (n_sequences + 1) */
    int64_t n_tokens, room_tokens, n_sequences, room_first;
    int64_t *slot; /* open addressing by the tokens' hash: sequence + 1, or 0; n_slots is a power of two */
    int64_t n_slots;
    struct comparison *comparison;
    int64_t n_comparisons, room_comparisons;
    struct named_list attributes, files;
};

/* The groups of comparisons of equal prompt, as they lie in /group. */
struct groups {
    int64_t n;
    int64_t *first, *member; /* (n + 1), (n_comparisons) */
    int32_t *forest_tokens;  /* (n) */
};

/* --- collecting --- */

/* A path that cannot be written is told before hours of work, not after. */
static int try_path(const char *path) {
    char *temporary = mem_format("%s.tmp", path);
    FILE *f = fopen(temporary, "ab");
    int status = f ? 0 : fail("%s: cannot be written: %s; hint: is there such a folder?", path, strerror(errno));
    if (f) fclose(f);
    mem_free(temporary);
    return status;
}

struct shard_writer *shard_writer_open(const char *path, int64_t vocabulary) {
    CHECK(vocabulary >= 1 && vocabulary <= INT32_MAX, "a vocabulary of %lld", (long long)vocabulary);
    if (try_path(path) != 0) return NULL;
    struct shard_writer *w = mem_alloc(1, sizeof *w);
    w->path = mem_copy_string(path);
    w->vocabulary = vocabulary;
    w->n_slots = 1024;
    w->slot = mem_alloc(w->n_slots, sizeof *w->slot);
    ARRAY_RESERVE(w->first, 0, w->room_first);
    w->first[0] = 0;
    return w;
}

static void named_free(struct named_list *list) {
    for (int64_t i = 0; i < list->n; i++) {
        mem_free(list->item[i].name);
        mem_free(list->item[i].data);
    }
    mem_free(list->item);
}

static void writer_free(struct shard_writer *w) {
    named_free(&w->attributes);
    named_free(&w->files);
    mem_free(w->path);
    mem_free(w->token);
    mem_free(w->first);
    mem_free(w->slot);
    mem_free(w->comparison);
    mem_free(w);
}

void shard_writer_abandon(struct shard_writer *w) {
    if (!w) return;
    char *temporary = mem_format("%s.tmp", w->path);
    remove(temporary);
    mem_free(temporary);
    writer_free(w);
}

/* FNV-1a over tokens with a final mix, so that low bits depend on every token. */
static uint64_t hash_tokens(const int32_t *token, int64_t n) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < n; i++) hash = (hash ^ (uint32_t)token[i]) * 0x100000001b3u;
    return (hash ^ hash >> 29) * 0x9e3779b97f4a7c15u >> 8;
}

static int64_t sequence_length(const struct shard_writer *w, int64_t s) {
    return w->first[s + 1] - w->first[s];
}

/* The slot of the sequence, or the empty one where it belongs. */
static int64_t find_slot(const struct shard_writer *w, const int32_t *token, int64_t n) {
    int64_t at = (int64_t)(hash_tokens(token, n) & (uint64_t)(w->n_slots - 1));
    for (;; at = (at + 1) & (w->n_slots - 1)) {
        int64_t s = w->slot[at] - 1;
        if (s < 0) return at;
        if (sequence_length(w, s) == n && memcmp(w->token + w->first[s], token, (size_t)n * sizeof *token) == 0)
            return at;
    }
}

static void double_slots(struct shard_writer *w) {
    mem_free(w->slot);
    w->n_slots *= 2;
    w->slot = mem_alloc(w->n_slots, sizeof *w->slot);
    for (int64_t s = 0; s < w->n_sequences; s++)
        w->slot[find_slot(w, w->token + w->first[s], sequence_length(w, s))] = s + 1;
}

int64_t shard_writer_sequence(struct shard_writer *w, const int32_t *token, int64_t n) {
    CHECK(n >= 1 && n < INT32_MAX, "a sequence of %lld tokens", (long long)n);
    for (int64_t i = 0; i < n; i++)
        CHECK(token[i] >= 0 && token[i] < w->vocabulary, "token %d in a vocabulary of %lld", token[i],
              (long long)w->vocabulary);
    if (2 * w->n_sequences >= w->n_slots) double_slots(w);
    int64_t at = find_slot(w, token, n);
    if (w->slot[at]) return w->slot[at] - 1;
    if (w->n_tokens + n > w->room_tokens) {
        w->room_tokens = 2 * (w->n_tokens + n);
        w->token = mem_resize(w->token, w->room_tokens, sizeof *w->token);
    }
    memcpy(w->token + w->n_tokens, token, (size_t)n * sizeof *token);
    w->n_tokens += n;
    w->n_sequences++;
    ARRAY_RESERVE(w->first, w->n_sequences, w->room_first);
    w->first[w->n_sequences] = w->n_tokens;
    w->slot[at] = w->n_sequences;
    return w->n_sequences - 1;
}

void shard_writer_comparison(struct shard_writer *w, const struct comparison *c) {
    CHECK(c->chosen >= 0 && c->chosen < w->n_sequences && c->rejected >= 0 && c->rejected < w->n_sequences,
          "comparison of sequences %lld and %lld", (long long)c->chosen, (long long)c->rejected);
    ARRAY_RESERVE(w->comparison, w->n_comparisons, w->room_comparisons);
    w->comparison[w->n_comparisons++] = *c;
}

static void add_named(struct named_list *list, const char *name, const void *data, size_t length) {
    ARRAY_RESERVE(list->item, list->n, list->room);
    struct named *item = &list->item[list->n++];
    *item = (struct named){mem_copy_string(name), mem_alloc((int64_t)length, 1), length};
    if (length) memcpy(item->data, data, length);
}

void shard_writer_attribute(struct shard_writer *w, const char *name, const char *text) {
    add_named(&w->attributes, name, text, strlen(text));
}

void shard_writer_tokenizer_file(struct shard_writer *w, const char *name, const void *data, size_t length) {
    CHECK(name[0] && name[0] != '.' && !strchr(name, '/'), "a tokenizer file named \"%s\"", name);
    add_named(&w->files, name, data, length);
}

/* --- the length index --- */

static int64_t count_tokens(const struct shard_writer *w, int64_t n, const int64_t *comparison) {
    const int32_t **sequence = mem_alloc(2 * n, sizeof *sequence);
    int32_t *length = mem_alloc(2 * n, sizeof *length);
    for (int64_t i = 0; i < 2 * n; i++) {
        const struct comparison *c = &w->comparison[comparison[i / 2]];
        int64_t s = i % 2 ? c->rejected : c->chosen;
        sequence[i] = w->token + w->first[s];
        length[i] = (int32_t)sequence_length(w, s);
    }
    int64_t count = forest_count(2 * n, sequence, length);
    mem_free(sequence);
    mem_free(length);
    return count;
}

struct prompt {
    uint64_t hash;
    int64_t first, comparison; /* first: the earliest comparison of the prompt */
};

static int by_hash(const void *a, const void *b) {
    const struct prompt *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->comparison < y->comparison ? -1 : 1;
}

static int by_first(const void *a, const void *b) {
    const struct prompt *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->comparison < y->comparison ? -1 : 1;
}

/* Groups in the order of their first comparison, members ascending. -1 when a group's forest is beyond an int32. */
static int make_groups(const struct shard_writer *w, struct groups *out) {
    int64_t n = w->n_comparisons;
    struct prompt *prompt = mem_alloc(n, sizeof *prompt);
    for (int64_t i = 0; i < n; i++) prompt[i] = (struct prompt){w->comparison[i].prompt, i, i};
    qsort(prompt, (size_t)n, sizeof *prompt, by_hash);
    for (int64_t i = 1; i < n; i++)
        if (prompt[i].hash == prompt[i - 1].hash) prompt[i].first = prompt[i - 1].first;
    qsort(prompt, (size_t)n, sizeof *prompt, by_first);
    *out =
        (struct groups){.first = mem_alloc(n + 1, sizeof *out->first), .member = mem_alloc(n, sizeof *out->member)};
    out->forest_tokens = mem_alloc(n, sizeof *out->forest_tokens);
    for (int64_t i = 0; i < n; i++) {
        out->member[i] = prompt[i].comparison;
        if (i == 0 || prompt[i].first != prompt[i - 1].first) out->first[out->n++] = i;
    }
    out->first[out->n] = n;
    mem_free(prompt);
    for (int64_t g = 0; g < out->n; g++) {
        int64_t count = count_tokens(w, out->first[g + 1] - out->first[g], out->member + out->first[g]);
        if (count > INT32_MAX) return fail("a prompt with %lld tokens of answers", (long long)count);
        out->forest_tokens[g] = (int32_t)count;
    }
    return 0;
}

static void groups_free(struct groups *g) {
    mem_free(g->first);
    mem_free(g->member);
    mem_free(g->forest_tokens);
}

/* --- the file --- */

/* A one-dimensional dataset, chunked, shuffled, deflated, checksummed. A negative `at` (a former failure) is passed
 * on, so that a run of calls needs one check: returns -1 on failure, with error_text() of the first. */
static int write_dataset(int status, hid_t at, const char *name, hid_t file_type, hid_t memory_type, int64_t n,
                         int64_t chunk, const void *data) {
    if (status != 0) return status;
    hsize_t dim = (hsize_t)n, chunk_dim = (hsize_t)MAX(1, MIN(n, chunk));
    hid_t how = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &dim, NULL);
    H5Pset_obj_track_times(how, false);
    H5Pset_chunk(how, 1, &chunk_dim);
    H5Pset_shuffle(how);
    H5Pset_deflate(how, DEFLATE_LEVEL);
    H5Pset_fletcher32(how);
    hid_t set = H5Dcreate2(at, name, file_type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (set < 0 || H5Dwrite(set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = fail("dataset %s: %s", name, h5_reason());
    if (set >= 0 && H5Dclose(set) < 0 && status == 0) status = fail("dataset %s: %s", name, h5_reason());
    H5Sclose(space);
    H5Pclose(how);
    return status;
}

static int write_attribute(int status, hid_t file, const char *name, hid_t type, const void *data) {
    if (status != 0) return status;
    hid_t space = H5Screate(H5S_SCALAR), attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, data) < 0) status = fail("attribute %s: %s", name, h5_reason());
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return status;
}

static int write_text(int status, hid_t file, const char *name, const char *text, size_t length) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, MAX(length, 1));
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    status = write_attribute(status, file, name, type, length ? text : "");
    H5Tclose(type);
    return status;
}

/* One column of the comparisons, taken out of the structs. */
#define WRITE_COLUMN(field, c_type, file_type, memory_type)                                                        \
    do {                                                                                                           \
        c_type *column = mem_alloc(w->n_comparisons, sizeof *column);                                              \
        for (int64_t i = 0; i < w->n_comparisons; i++) column[i] = w->comparison[i].field;                         \
        status = write_dataset(status, at, #field, file_type, memory_type, w->n_comparisons, INDEX_CHUNK, column); \
        mem_free(column);                                                                                          \
    } while (0)

static int write_comparisons(const struct shard_writer *w, hid_t at) {
    int status = 0;
    WRITE_COLUMN(chosen, int64_t, H5T_STD_I64LE, H5T_NATIVE_INT64);
    WRITE_COLUMN(rejected, int64_t, H5T_STD_I64LE, H5T_NATIVE_INT64);
    WRITE_COLUMN(margin, float, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT);
    WRITE_COLUMN(weight, float, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT);
    WRITE_COLUMN(source, uint16_t, H5T_STD_U16LE, H5T_NATIVE_UINT16);
    WRITE_COLUMN(row, int64_t, H5T_STD_I64LE, H5T_NATIVE_INT64);
    int32_t *count = mem_alloc(w->n_comparisons, sizeof *count);
    for (int64_t i = 0; i < w->n_comparisons; i++) count[i] = (int32_t)MIN(count_tokens(w, 1, &i), INT32_MAX);
    status = write_dataset(status, at, "forest_tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, w->n_comparisons,
                           INDEX_CHUNK, count);
    mem_free(count);
    return status;
}

static int write_groups(const struct shard_writer *w, hid_t at) {
    struct groups g;
    int status = make_groups(w, &g);
    status = write_dataset(status, at, "first", H5T_STD_I64LE, H5T_NATIVE_INT64, g.n + 1, INDEX_CHUNK, g.first);
    status =
        write_dataset(status, at, "member", H5T_STD_I64LE, H5T_NATIVE_INT64, w->n_comparisons, INDEX_CHUNK, g.member);
    status = write_dataset(status, at, "forest_tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, g.n, INDEX_CHUNK,
                           g.forest_tokens);
    groups_free(&g);
    return status;
}

static int write_sequences(const struct shard_writer *w, hid_t at) {
    return write_dataset(0, at, "first", H5T_STD_I64LE, H5T_NATIVE_INT64, w->n_sequences + 1, INDEX_CHUNK, w->first);
}

static int write_files(const struct shard_writer *w, hid_t at) {
    int status = 0;
    for (int64_t i = 0; i < w->files.n; i++)
        status = write_dataset(status, at, w->files.item[i].name, H5T_STD_U8LE, H5T_NATIVE_UINT8,
                               (int64_t)w->files.item[i].length, FILE_CHUNK, w->files.item[i].data);
    return status;
}

static int write_group(int status, hid_t file, const char *name, const struct shard_writer *w,
                       int (*write)(const struct shard_writer *w, hid_t at)) {
    if (status != 0) return status;
    hid_t how = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(how, false);
    hid_t at = H5Gcreate2(file, name, H5P_DEFAULT, how, H5P_DEFAULT);
    H5Pclose(how);
    if (at < 0) return fail("group %s: %s", name, h5_reason());
    status = write(w, at);
    H5Gclose(at);
    return status;
}

static int write_all(const struct shard_writer *w, hid_t file, const struct contract *contract) {
    int64_t format = SHARD_FORMAT;
    int status = write_text(0, file, "kind", SHARD_KIND, strlen(SHARD_KIND));
    status = write_attribute(status, file, "format", H5T_STD_I64LE, &format);
    status = write_attribute(status, file, "vocabulary", H5T_STD_I64LE, &w->vocabulary);
    char *text = contract_text(contract);
    status = write_text(status, file, "contract", text, strlen(text));
    mem_free(text);
    for (int64_t i = 0; i < w->attributes.n; i++) {
        const struct named *a = &w->attributes.item[i];
        status = write_text(status, file, a->name, a->data, a->length);
    }
    hid_t token_type = w->vocabulary <= 65536 ? H5T_STD_U16LE : H5T_STD_U32LE;
    status = write_dataset(status, file, "token", token_type, H5T_NATIVE_INT32, w->n_tokens, TOKEN_CHUNK, w->token);
    status = write_group(status, file, "sequence", w, write_sequences);
    status = write_group(status, file, "comparison", w, write_comparisons);
    status = write_group(status, file, "group", w, write_groups);
    return write_group(status, file, "tokenizer", w, write_files);
}

/* Writes and closes the whole file, by (2). */
static int write_file(const struct shard_writer *w, const char *temporary, const struct contract *contract) {
    int error = 0;
    hid_t access = h5_new_file_access(&error), how = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_obj_track_times(how, false);
    hid_t file = H5Fcreate(temporary, H5F_ACC_TRUNC, how, access);
    int status = file < 0 ? fail("%s", h5_reason()) : write_all(w, file, contract);
    if (file >= 0 && H5Fclose(file) < 0 && status == 0) status = fail("%s", h5_reason());
    H5Pclose(how);
    H5Pclose(access);
    if (error) status = fail("cannot be written: %s", strerror(error));
    return status == 0 ? 0 : fail_context("%s", w->path);
}

int shard_writer_finish(struct shard_writer *w, const struct contract *contract) {
    h5_quiet();
    char *temporary = mem_format("%s.tmp", w->path);
    int status =
        w->n_comparisons ? write_file(w, temporary, contract) : fail("%s: no comparison is left to write", w->path);
    if (status == 0) status = file_publish(temporary, w->path);
    if (status == 0)
        writer_free(w);
    else
        shard_writer_abandon(w);
    mem_free(temporary);
    return status;
}
