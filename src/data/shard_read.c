/* Reading token shards: see shard.h; docs/shard.md describes the file.
 *
 *   (1) Nothing is believed: type, rank, size and contents of every dataset are checked against
 *       each other before they are used.
 *   (2) A claimed size is compared with what its chunks take in the file before memory is taken:
 *       deflate shrinks by 1032 at most, so a small damaged file cannot ask for a large allocation.
 *   (3) The index lies in memory; tokens stay in the file and are read by hyperslab through HDF5's
 *       chunk cache. */
#include <errno.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "h5.h"
#include "shard.h"

enum { DEFLATE_CEILING = 1100, CHUNK_CEILING = 1 << 24, NAME_ROOM = 256 };
enum { CACHE_SLOTS = 12421, CACHE_BYTES = 32 << 20 };
#define TEXT_CEILING ((size_t)1 << 28)
#define BUILD_AGAIN "hint: the file is damaged or cut; build it again with `rankwise-data build`"

/* The open file. */
struct shard_handle {
    hid_t file, token;
    int64_t file_bytes;
};

/* --- the file --- */

static hid_t open_file(const char *path, int64_t *bytes) {
    struct stat s;
    FILE *f = fopen(path, "rb");
    int error = errno;
    bool is_file = f && fstat(fileno(f), &s) == 0 && S_ISREG(s.st_mode);
    if (f) fclose(f);
    if (!f)
        return fail("cannot be opened: %s; hint: shards are made by `rankwise-data build`",
                    strerror(error));
    if (!is_file) return fail("expected a token shard, found no regular file");
    if (s.st_size == 0) return fail("expected a token shard, found an empty file");
    *bytes = s.st_size;
    const char *reason;
    hid_t file = h5_open(path, &reason);
    if (file < 0)
        fail("expected a token shard (HDF5), found something else: %s; " BUILD_AGAIN, reason);
    return file;
}

/* A dataset as its header says it is. */
struct header {
    H5T_class_t class;
    size_t size; /* bytes of an element */
    bool is_signed;
    int64_t n;
};

/* Whether the size that the dataset claims can be true: (2). Every chunk must be there: HDF5 reads
 * a missing one as zeros. */
static int check_storage(hid_t set, const char *name, const struct header *h, int64_t file_bytes) {
    hid_t plist = H5Dget_create_plist(set), space = H5Dget_space(set);
    hsize_t chunk = 0, n_chunks = 0, stored = H5Dget_storage_size(set);
    bool is_chunked = plist >= 0 && H5Pget_layout(plist) == H5D_CHUNKED &&
                      H5Pget_chunk(plist, 1, &chunk) == 1 && chunk > 0 && chunk <= CHUNK_CEILING;
    bool is_counted = is_chunked && space >= 0 && H5Dget_num_chunks(set, space, &n_chunks) >= 0;
    H5_CLOSE(plist, space);
    if (!is_chunked)
        return fail("%s: expected chunks of at most %d elements; " BUILD_AGAIN, name,
                    CHUNK_CEILING);
    hsize_t expected = ((hsize_t)h->n + chunk - 1) / chunk;
    if (!is_counted || n_chunks != expected)
        return fail("%s: expected %llu chunks, found %llu; " BUILD_AGAIN, name,
                    (unsigned long long)expected, (unsigned long long)n_chunks);
    if (stored > (hsize_t)file_bytes || (hsize_t)h->n > (stored / h->size + 1) * DEFLATE_CEILING)
        return fail("%s: claims %lld elements in %llu bytes of a file of %lld; " BUILD_AGAIN, name,
                    (long long)h->n, (unsigned long long)stored, (long long)file_bytes);
    return 0;
}

static int read_header(hid_t set, const char *name, struct header *out) {
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    hsize_t dim = 0;
    int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    if (rank == 1) H5Sget_simple_extent_dims(space, &dim, NULL);
    if (type >= 0)
        *out = (struct header){H5Tget_class(type), H5Tget_size(type),
                               H5Tget_sign(type) == H5T_SGN_2, (int64_t)dim};
    H5_CLOSE(type, space);
    if (type < 0) return fail("%s: its type cannot be read; " BUILD_AGAIN, name);
    if (rank != 1) return fail("%s: expected 1 dimension, found %d; " BUILD_AGAIN, name, rank);
    if (dim > INT64_MAX / 16)
        return fail("%s: %llu elements; " BUILD_AGAIN, name, (unsigned long long)dim);
    return 0;
}

/* What a dataset has to be. */
struct column_kind {
    H5T_class_t class;
    size_t size;
    bool is_signed;
    const char *words;
};
static const struct column_kind int64_kind = {H5T_INTEGER, 8, true, "int64"},
                                int32_kind = {H5T_INTEGER, 4, true, "int32"},
                                uint16_kind = {H5T_INTEGER, 2, false, "uint16"},
                                uint32_kind = {H5T_INTEGER, 4, false, "uint32"},
                                uint8_kind = {H5T_INTEGER, 1, false, "uint8"},
                                float_kind = {H5T_FLOAT, 4, true, "float32"};

/* Opens a dataset and checks all that its header says. n: the expected number of elements, or -1
 * for any, which is then put into *found. */
static hid_t open_dataset(hid_t file, const char *name, const struct column_kind *kind, int64_t n,
                          int64_t *found, int64_t file_bytes) {
    hid_t plist = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_chunk_cache(plist, CACHE_SLOTS, CACHE_BYTES, 1);
    hid_t set = H5Dopen2(file, name, plist);
    if (set < 0) fail("dataset %s cannot be opened: %s; " BUILD_AGAIN, name, h5_reason());
    H5Pclose(plist);
    if (set < 0) return -1;
    struct header h = {0};
    int status = read_header(set, name, &h);
    if (status == 0 && (h.class != kind->class || h.size != kind->size ||
                        (h.class == H5T_INTEGER && h.is_signed != kind->is_signed)))
        status = fail("%s: expected %s, found another type (%zu bytes); " BUILD_AGAIN, name,
                      kind->words, h.size);
    if (status == 0 && n >= 0 && h.n != n)
        status = fail("%s: expected %lld elements, found %lld; " BUILD_AGAIN, name, (long long)n,
                      (long long)h.n);
    if (status == 0) status = check_storage(set, name, &h, file_bytes);
    if (status != 0) {
        H5Dclose(set);
        return -1;
    }
    if (found) *found = h.n;
    return set;
}

/* A whole dataset into new memory; NULL with error_text(). */
static void *read_dataset(const struct shard_handle *at, const char *name,
                          const struct column_kind *kind, int64_t n, int64_t *found,
                          hid_t memory_type) {
    int64_t count = n;
    hid_t set = open_dataset(at->file, name, kind, n, &count, at->file_bytes);
    if (set < 0) return NULL;
    if (found) *found = count;
    void *data = mem_alloc(count, kind->size);
    if (count > 0 && H5Dread(set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        fail("%s: cannot be read: %s; " BUILD_AGAIN, name, h5_reason());
        mem_free(data);
        data = NULL;
    }
    H5Dclose(set);
    return data;
}

static int read_number(hid_t file, const char *name, int64_t *out) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) return fail("attribute \"%s\" is missing; " BUILD_AGAIN, name);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool good = type >= 0 && space >= 0 && H5Tget_class(type) == H5T_INTEGER &&
                H5Tget_size(type) == 8 && H5Sget_simple_extent_npoints(space) == 1 &&
                H5Aread(attribute, H5T_NATIVE_INT64, out) >= 0;
    H5_CLOSE(type, space, attribute);
    return good ? 0 : fail("attribute \"%s\": expected one int64; " BUILD_AGAIN, name);
}

/* A text attribute, zero-terminated; NULL with error_text(). */
static char *read_text(hid_t file, const char *name) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    if (attribute < 0) {
        fail("attribute \"%s\" is missing; " BUILD_AGAIN, name);
        return NULL;
    }
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    size_t size = type >= 0 && H5Tget_class(type) == H5T_STRING && !H5Tis_variable_str(type)
                      ? H5Tget_size(type)
                      : 0;
    char *text = NULL;
    if (size > 0 && size <= TEXT_CEILING && space >= 0 &&
        H5Sget_simple_extent_npoints(space) == 1) {
        text = mem_alloc((int64_t)size + 1, 1);
        if (H5Aread(attribute, type, text) < 0) {
            mem_free(text);
            text = NULL;
        }
    }
    if (!text) fail("attribute \"%s\": expected a text of fixed length; " BUILD_AGAIN, name);
    H5_CLOSE(type, space, attribute);
    return text;
}

/* --- the contents --- */

static int read_attributes(struct shard *shard, hid_t file) {
    char *kind = read_text(file, "kind");
    int64_t format = 0;
    int status = kind ? 0 : fail("expected a token shard, found an HDF5 file of another kind");
    if (kind && strcmp(kind, SHARD_KIND) != 0)
        status = fail("expected a token shard, found \"%.100s\"", kind);
    mem_free(kind);
    if (status != 0 || read_number(file, "format", &format) != 0) return -1;
    if (format != SHARD_FORMAT)
        return fail("expected shard format %d, found %lld; hint: build it again with this "
                    "version's `rankwise-data`",
                    SHARD_FORMAT, (long long)format);
    if (read_number(file, "vocabulary", &shard->vocabulary) != 0) return -1;
    if (shard->vocabulary < 1 || shard->vocabulary > INT32_MAX)
        return fail("a vocabulary of %lld; " BUILD_AGAIN, (long long)shard->vocabulary);
    char *text = read_text(file, "contract");
    if (!text) return -1;
    status = contract_parse(&shard->contract, text, strlen(text));
    mem_free(text);
    return status == 0 ? 0 : fail_context("attribute \"contract\"");
}

/* first[0] = 0, ascending by at least 1, first[n] = end. */
static int check_offsets(const char *name, const int64_t *first, int64_t n, int64_t end) {
    if (first[0] != 0) return fail("%s: starts at %lld; " BUILD_AGAIN, name, (long long)first[0]);
    for (int64_t i = 0; i < n; i++)
        if (first[i + 1] <= first[i] || first[i + 1] > end || first[i + 1] - first[i] > INT32_MAX)
            return fail("%s: entry %lld is %lld after %lld of %lld; " BUILD_AGAIN, name,
                        (long long)i + 1, (long long)first[i + 1], (long long)first[i],
                        (long long)end);
    if (first[n] != end)
        return fail("%s: expected to end at %lld, found %lld; " BUILD_AGAIN, name, (long long)end,
                    (long long)first[n]);
    return 0;
}

static int read_sequences(struct shard *shard, struct shard_handle *at) {
    const struct column_kind *kind = shard->vocabulary <= 65536 ? &uint16_kind : &uint32_kind;
    at->token = open_dataset(at->file, "token", kind, -1, &shard->n_tokens, at->file_bytes);
    if (at->token < 0) return -1;
    int64_t n = 0;
    shard->first = read_dataset(at, "sequence/first", &int64_kind, -1, &n, H5T_NATIVE_INT64);
    if (!shard->first) return -1;
    if (n < 2)
        return fail("sequence/first: expected at least 2 elements, found %lld; " BUILD_AGAIN,
                    (long long)n);
    shard->n_sequences = n - 1;
    return check_offsets("sequence/first", shard->first, shard->n_sequences, shard->n_tokens);
}

static int check_comparisons(const struct shard *shard) {
    for (int64_t i = 0; i < shard->n_comparisons; i++) {
        int64_t a = shard->chosen[i], b = shard->rejected[i];
        if (a < 0 || a >= shard->n_sequences || b < 0 || b >= shard->n_sequences)
            return fail("comparison %lld: sequences %lld and %lld of %lld; " BUILD_AGAIN,
                        (long long)i, (long long)a, (long long)b, (long long)shard->n_sequences);
        if (!isfinite(shard->margin[i]) || !isfinite(shard->weight[i]) || shard->weight[i] < 0)
            return fail("comparison %lld: margin %g, weight %g; " BUILD_AGAIN, (long long)i,
                        (double)shard->margin[i], (double)shard->weight[i]);
        int64_t of_a = shard_length(shard, a), of_b = shard_length(shard, b),
                both = a == b ? of_a : of_a + of_b;
        if (shard->prompt_tokens &&
            (shard->prompt_tokens[i] < 0 || shard->prompt_tokens[i] > MIN(of_a, of_b)))
            return fail("comparison %lld: %d prompt tokens in %lld and %lld; " BUILD_AGAIN,
                        (long long)i, shard->prompt_tokens[i], (long long)of_a, (long long)of_b);
        if (shard->forest_tokens[i] < MAX(of_a, of_b) || shard->forest_tokens[i] > both)
            return fail("comparison %lld: %d forest tokens of %lld and %lld; " BUILD_AGAIN,
                        (long long)i, shard->forest_tokens[i], (long long)of_a, (long long)of_b);
    }
    return 0;
}

/* All columns have as many elements as the first; a shard may lack the prompts' lengths. */
static int read_comparisons(struct shard *shard, const struct shard_handle *at) {
    shard->chosen = read_dataset(at, "comparison/chosen", &int64_kind, -1, &shard->n_comparisons,
                                 H5T_NATIVE_INT64);
    int64_t n = shard->n_comparisons;
    if (!shard->chosen) return -1;
    if (n < 1)
        return fail("comparison/chosen: expected at least 1 element, found none; " BUILD_AGAIN);
    if (!(shard->rejected =
              read_dataset(at, "comparison/rejected", &int64_kind, n, NULL, H5T_NATIVE_INT64)) ||
        !(shard->row =
              read_dataset(at, "comparison/row", &int64_kind, n, NULL, H5T_NATIVE_INT64)) ||
        !(shard->source =
              read_dataset(at, "comparison/source", &uint16_kind, n, NULL, H5T_NATIVE_UINT16)) ||
        !(shard->margin =
              read_dataset(at, "comparison/margin", &float_kind, n, NULL, H5T_NATIVE_FLOAT)) ||
        !(shard->weight =
              read_dataset(at, "comparison/weight", &float_kind, n, NULL, H5T_NATIVE_FLOAT)) ||
        !(shard->forest_tokens =
              read_dataset(at, "comparison/forest_tokens", &int32_kind, n, NULL, H5T_NATIVE_INT32)))
        return -1;
    if (H5Lexists(at->file, "comparison/prompt_tokens", H5P_DEFAULT) > 0 &&
        !(shard->prompt_tokens =
              read_dataset(at, "comparison/prompt_tokens", &int32_kind, n, NULL, H5T_NATIVE_INT32)))
        return -1;
    return check_comparisons(shard);
}

/* Every comparison is in one group, and a group's forest is at least its largest member's and at
 * most all of them. */
static int check_groups(const struct shard *shard) {
    char *seen = mem_alloc(shard->n_comparisons, 1);
    int status =
        check_offsets("group/first", shard->group_first, shard->n_groups, shard->n_comparisons);
    for (int64_t g = 0; status == 0 && g < shard->n_groups; g++) {
        int64_t max = 0, all = 0;
        for (int64_t k = shard->group_first[g]; status == 0 && k < shard->group_first[g + 1]; k++) {
            int64_t i = shard->group_member[k];
            if (i < 0 || i >= shard->n_comparisons || seen[i]) {
                status = fail("group %lld: member %lld; " BUILD_AGAIN, (long long)g, (long long)i);
                break;
            }
            seen[i] = 1;
            max = MAX(max, shard->forest_tokens[i]);
            all += shard->forest_tokens[i];
        }
        int64_t tokens = shard->group_forest_tokens[g];
        if (status == 0 && (tokens < max || tokens > all))
            status = fail("group %lld: %lld forest tokens; " BUILD_AGAIN, (long long)g,
                          (long long)tokens);
    }
    mem_free(seen);
    return status;
}

static int read_groups(struct shard *shard, const struct shard_handle *at) {
    int64_t n = 0;
    shard->group_first = read_dataset(at, "group/first", &int64_kind, -1, &n, H5T_NATIVE_INT64);
    if (!shard->group_first) return -1;
    if (n < 2)
        return fail("group/first: expected at least 2 elements, found %lld; " BUILD_AGAIN,
                    (long long)n);
    shard->n_groups = n - 1;
    if (!(shard->group_member = read_dataset(at, "group/member", &int64_kind, shard->n_comparisons,
                                             NULL, H5T_NATIVE_INT64)) ||
        !(shard->group_forest_tokens = read_dataset(at, "group/forest_tokens", &int32_kind,
                                                    shard->n_groups, NULL, H5T_NATIVE_INT32)))
        return -1;
    return check_groups(shard);
}

int shard_open(struct shard *shard, const char *path) {
    *shard = (struct shard){.path = mem_copy_string(path)};
    struct shard_handle *at = mem_alloc(1, sizeof *at);
    *at = (struct shard_handle){H5I_INVALID_HID, H5I_INVALID_HID, 0};
    shard->handle = at;
    at->file = open_file(path, &at->file_bytes);
    int status = at->file < 0 ? -1 : read_attributes(shard, at->file);
    if (status == 0) status = read_sequences(shard, at);
    if (status == 0) status = read_comparisons(shard, at);
    if (status == 0) status = read_groups(shard, at);
    if (status == 0) return 0;
    shard_close(shard);
    return fail_context("%s", path);
}

void shard_close(struct shard *shard) {
    struct shard_handle *at = shard->handle;
    if (at) H5_CLOSE(at->token, at->file);
    mem_free(at);
    mem_free(shard->path);
    mem_free(shard->first);
    mem_free(shard->chosen);
    mem_free(shard->rejected);
    mem_free(shard->row);
    mem_free(shard->source);
    mem_free(shard->margin);
    mem_free(shard->weight);
    mem_free(shard->forest_tokens);
    mem_free(shard->prompt_tokens);
    mem_free(shard->group_first);
    mem_free(shard->group_member);
    mem_free(shard->group_forest_tokens);
    contract_free(&shard->contract);
    *shard = (struct shard){0};
}

int shard_suits(const struct shard *shard, const struct contract *contract,
                const char *contract_name, int64_t embedding_rows) {
    if (contract_compare(contract, contract_name, &shard->contract, shard->path) != 0) return -1;
    if (shard->vocabulary <= embedding_rows) return 0;
    return fail("%s: has token ids up to %lld, the model's embedding has %lld rows; hint: build "
                "the shard with the tokenizer of the model",
                shard->path, (long long)shard->vocabulary - 1, (long long)embedding_rows);
}

int64_t shard_length(const struct shard *shard, int64_t sequence) {
    CHECK(sequence >= 0 && sequence < shard->n_sequences, "sequence %lld of %lld",
          (long long)sequence, (long long)shard->n_sequences);
    return shard->first[sequence + 1] - shard->first[sequence];
}

int shard_read(struct shard *shard, int64_t sequence, int32_t *out) {
    const struct shard_handle *at = shard->handle;
    int64_t count = shard_length(shard, sequence);
    const char *reason = h5_read(at->token, H5T_NATIVE_INT32, shard->first[sequence], count, out);
    if (reason) return fail("sequence %lld: %s; " BUILD_AGAIN, (long long)sequence, reason);
    for (int64_t i = 0; i < count; i++)
        if (out[i] < 0 || out[i] >= shard->vocabulary)
            return fail("sequence %lld: token %d in a vocabulary of %lld; " BUILD_AGAIN,
                        (long long)sequence, out[i], (long long)shard->vocabulary);
    return 0;
}

/* --- all of it --- */

/* In pieces: a read of each sequence would unpack a chunk for each. */
static int verify_tokens(const struct shard *shard) {
    enum { PIECE = 1 << 20 };
    const struct shard_handle *at = shard->handle;
    int32_t *token = mem_alloc(PIECE, sizeof *token);
    int status = 0;
    for (int64_t i = 0; i < shard->n_tokens && status == 0; i += PIECE) {
        int64_t count = MIN(PIECE, shard->n_tokens - i);
        const char *reason = h5_read(at->token, H5T_NATIVE_INT32, i, count, token);
        if (reason) status = fail("token: %s; " BUILD_AGAIN, reason);
        for (int64_t k = 0; k < count && status == 0; k++)
            if (token[k] < 0 || token[k] >= shard->vocabulary)
                status = fail("token %d in a vocabulary of %lld; " BUILD_AGAIN, token[k],
                              (long long)shard->vocabulary);
    }
    mem_free(token);
    return status;
}

static int take_file(void *self, const char *name, const void *data, size_t length) {
    (void)self, (void)name, (void)data, (void)length;
    return 0;
}

static herr_t read_attribute(hid_t file, const char *name, const H5A_info_t *about, void *self) {
    (void)about, (void)self;
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute);
    size_t size = type < 0 ? 0 : H5Tget_size(type);
    bool is_good = size > 0 && size <= TEXT_CEILING && !H5Tis_variable_str(type);
    void *data = is_good ? mem_alloc((int64_t)size, 1) : NULL;
    if (is_good) is_good = H5Aread(attribute, type, data) >= 0;
    mem_free(data);
    H5_CLOSE(type, attribute);
    return is_good ? 0 : -1;
}

static herr_t meet_object(hid_t file, const char *name, const H5O_info_t *about, void *self) {
    (void)file, (void)name, (void)about, (void)self;
    return 0;
}

/* Attributes, among them those that no reader needs, and the names of all there is. */
static int verify_rest(hid_t file) {
    hsize_t at = 0;
    if (H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_NATIVE, &at, read_attribute, NULL) < 0)
        return fail("attributes: %s; " BUILD_AGAIN, h5_reason());
    if (H5Ovisit(file, H5_INDEX_NAME, H5_ITER_NATIVE, meet_object, NULL) < 0)
        return fail("groups: %s; " BUILD_AGAIN, h5_reason());
    return 0;
}

int shard_verify(struct shard *shard) {
    int status = verify_tokens(shard);
    if (status == 0) status = verify_rest(((struct shard_handle *)shard->handle)->file);
    if (status != 0) return fail_context("%s", shard->path);
    return shard_each_tokenizer_file(shard, take_file, NULL);
}

int shard_check_replaced(const char *path) {
    static const char magic[] = "\x89HDF\r\n\x1a\n";
    char begin[8] = {0};
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be read: %s", path, strerror(errno));
    size_t n = fread(begin, 1, sizeof begin, f);
    fclose(f);
    if (n == 0) return 0;
    bool is_other = n < sizeof begin || memcmp(begin, magic, sizeof begin) != 0;
    int64_t bytes;
    hid_t file = is_other ? -1 : open_file(path, &bytes);
    if (file >= 0) {
        /* One that cannot be read is damaged. */
        char *kind = H5Aexists(file, "kind") == 0 ? mem_copy_string("") : read_text(file, "kind");
        is_other = kind && strcmp(kind, SHARD_KIND) != 0;
        mem_free(kind);
        H5Fclose(file);
    }
    if (!is_other) return 0;
    return fail("%s: is there already and is no token shard; hint: remove it, or give another name",
                path);
}

char *shard_text(struct shard *shard, const char *name) {
    char *text = read_text(((struct shard_handle *)shard->handle)->file, name);
    if (!text) fail_context("%s", shard->path);
    return text;
}

char *shard_text_of(const char *path, const char *name) {
    int64_t bytes;
    hid_t file = open_file(path, &bytes);
    char *text = file < 0 ? NULL : read_text(file, name);
    H5_CLOSE(file);
    if (!text) fail_context("%s", path);
    return text;
}

/* --- the tokenizer's files --- */

/* One file of /tokenizer to the visitor. */
struct shard_visitor {
    const struct shard_handle *at;
    int (*visit)(void *self, const char *name, const void *data, size_t length);
    void *self;
};

static int visit_file(const struct shard_visitor *v, hsize_t index) {
    char name[NAME_ROOM], path[NAME_ROOM + 16];
    ssize_t length = H5Lget_name_by_idx(v->at->file, "tokenizer", H5_INDEX_NAME, H5_ITER_INC, index,
                                        name, sizeof name, H5P_DEFAULT);
    if (length <= 0 || length >= (ssize_t)sizeof name)
        return fail("tokenizer: file %d has no usable name; " BUILD_AGAIN, (int)index);
    snprintf(path, sizeof path, "tokenizer/%s", name);
    int64_t n = 0;
    void *data = read_dataset(v->at, path, &uint8_kind, -1, &n, H5T_NATIVE_UINT8);
    if (!data) return -1;
    int status = v->visit(v->self, name, data, (size_t)n);
    mem_free(data);
    return status;
}

int shard_each_tokenizer_file(struct shard *shard,
                              int (*visit)(void *self, const char *name, const void *data,
                                           size_t length),
                              void *self) {
    struct shard_visitor v = {shard->handle, visit, self};
    H5G_info_t info;
    if (H5Gget_info_by_name(v.at->file, "tokenizer", &info, H5P_DEFAULT) < 0)
        return fail("%s: tokenizer: %s; " BUILD_AGAIN, shard->path, h5_reason());
    int status = 0;
    for (hsize_t i = 0; i < info.nlinks && status == 0; i++) status = visit_file(&v, i);
    return status;
}
