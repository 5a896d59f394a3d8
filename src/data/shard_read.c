/* Reading token shards: see shard.h; docs/shard.md describes the file.
 *
 *   (1) Nothing is believed: headers are checked by shard_file.c, contents against each other here,
 *       before they are used.
 *   (2) The index lies in memory; tokens stay in the file and are read by hyperslab through HDF5's
 *       chunk cache. */
#include <errno.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "h5.h"
#include "shard.h"
#include "shard_file.h"

enum { NAME_ROOM = 256 };

/* --- the contents --- */

static int read_attributes(struct shard *shard, hid_t file) {
    char *kind = shard_file_text(file, "kind");
    int64_t format = 0;
    int status = kind ? 0 : fail("expected a token shard, found an HDF5 file of another kind");
    if (kind && strcmp(kind, SHARD_KIND) != 0)
        status = fail("expected a token shard, found \"%.100s\"", kind);
    mem_free(kind);
    if (status != 0 || shard_file_number(file, "format", &format) != 0) return -1;
    if (format != SHARD_FORMAT)
        return fail("expected shard format %d, found %lld; hint: build it again with this "
                    "version's `rankwise-data`",
                    SHARD_FORMAT, (long long)format);
    if (shard_file_number(file, "vocabulary", &shard->vocabulary) != 0) return -1;
    if (shard->vocabulary < 1 || shard->vocabulary > INT32_MAX)
        return fail("a vocabulary of %lld; " BUILD_AGAIN, (long long)shard->vocabulary);
    char *text = shard_file_text(file, "contract");
    if (!text) return -1;
    status = contract_parse(&shard->contract, text, strlen(text));
    mem_free(text);
    return status == 0 ? 0 : fail_context("attribute \"contract\"");
}

/* first[0] = 0, ascending by at least that, first[n] = end. */
static int check_offsets(const char *name, const int64_t *first, int64_t n, int64_t end,
                         int64_t least) {
    if (first[0] != 0) return fail("%s: starts at %lld; " BUILD_AGAIN, name, (long long)first[0]);
    for (int64_t i = 0; i < n; i++)
        if (first[i + 1] < first[i] + least || first[i + 1] > end ||
            first[i + 1] - first[i] > INT32_MAX)
            return fail("%s: entry %lld is %lld after %lld of %lld; " BUILD_AGAIN, name,
                        (long long)i + 1, (long long)first[i + 1], (long long)first[i],
                        (long long)end);
    if (first[n] != end)
        return fail("%s: expected to end at %lld, found %lld; " BUILD_AGAIN, name, (long long)end,
                    (long long)first[n]);
    return 0;
}

static int read_sequences(struct shard *shard, struct shard_handle *at) {
    const struct shard_kind *kind = shard->vocabulary <= 65536 ? &shard_uint16 : &shard_uint32;
    at->token = shard_file_dataset(at, "token", kind, -1, &shard->n_tokens);
    if (at->token < 0) return -1;
    int64_t n = 0;
    shard->first = shard_file_read(at, "sequence/first", &shard_int64, -1, &n, H5T_NATIVE_INT64);
    if (!shard->first) return -1;
    if (n < 2)
        return fail("sequence/first: expected at least 2 elements, found %lld; " BUILD_AGAIN,
                    (long long)n);
    shard->n_sequences = n - 1;
    return check_offsets("sequence/first", shard->first, shard->n_sequences, shard->n_tokens, 1);
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
    shard->chosen = shard_file_read(at, "comparison/chosen", &shard_int64, -1,
                                    &shard->n_comparisons, H5T_NATIVE_INT64);
    int64_t n = shard->n_comparisons;
    if (!shard->chosen) return -1;
    if (n < 1 && H5Lexists(at->file, "answer", H5P_DEFAULT) <= 0 &&
        H5Lexists(at->file, "prompt", H5P_DEFAULT) <= 0)
        return fail("comparison/chosen: expected at least 1 element, found none; " BUILD_AGAIN);
    if (!(shard->rejected = shard_file_read(at, "comparison/rejected", &shard_int64, n, NULL,
                                            H5T_NATIVE_INT64)) ||
        !(shard->row =
              shard_file_read(at, "comparison/row", &shard_int64, n, NULL, H5T_NATIVE_INT64)) ||
        !(shard->source = shard_file_read(at, "comparison/source", &shard_uint16, n, NULL,
                                          H5T_NATIVE_UINT16)) ||
        !(shard->margin =
              shard_file_read(at, "comparison/margin", &shard_float, n, NULL, H5T_NATIVE_FLOAT)) ||
        !(shard->weight =
              shard_file_read(at, "comparison/weight", &shard_float, n, NULL, H5T_NATIVE_FLOAT)) ||
        !(shard->forest_tokens = shard_file_read(at, "comparison/forest_tokens", &shard_int32, n,
                                                 NULL, H5T_NATIVE_INT32)))
        return -1;
    if (H5Lexists(at->file, "comparison/prompt_tokens", H5P_DEFAULT) > 0 &&
        !(shard->prompt_tokens = shard_file_read(at, "comparison/prompt_tokens", &shard_int32, n,
                                                 NULL, H5T_NATIVE_INT32)))
        return -1;
    return check_comparisons(shard);
}

/* The longest of a group's sequences, whose first and end the table says for each group, and the
 * tokens of all. */
static void measure(const struct shard *shard, const int64_t *sequence, const int64_t *first,
                    int64_t group, int64_t *max, int64_t *all) {
    if (!first) return;
    for (int64_t k = first[group]; k < first[group + 1]; k++) {
        int64_t length = shard_length(shard, sequence[k]);
        *max = MAX(*max, length);
        *all += length;
    }
}

/* Every comparison is in one group, a group has a comparison, an answer or a prompt, and its forest
 * is at least that of its largest member and at most all of them. */
static int check_groups(const struct shard *shard) {
    char *seen = mem_alloc(shard->n_comparisons, 1);
    int status = check_offsets("group/first", shard->group_first, shard->n_groups,
                               shard->n_comparisons, shard->n_answers || shard->n_prompts ? 0 : 1);
    for (int64_t g = 0; status == 0 && g < shard->n_groups; g++) {
        int64_t max = 0, all = 0;
        measure(shard, shard->answer_sequence, shard->answer_first, g, &max, &all);
        measure(shard, shard->prompt_sequence, shard->prompt_first, g, &max, &all);
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
        if (status == 0 && all == 0)
            status = fail("group %lld: has neither comparison nor answer nor prompt; " BUILD_AGAIN,
                          (long long)g);
        if (status == 0 && (tokens < max || tokens > all))
            status = fail("group %lld: %lld forest tokens; " BUILD_AGAIN, (long long)g,
                          (long long)tokens);
    }
    mem_free(seen);
    return status;
}

static int read_groups(struct shard *shard, const struct shard_handle *at) {
    int64_t n = 0;
    shard->group_first = shard_file_read(at, "group/first", &shard_int64, -1, &n, H5T_NATIVE_INT64);
    if (!shard->group_first) return -1;
    if (n < 2)
        return fail("group/first: expected at least 2 elements, found %lld; " BUILD_AGAIN,
                    (long long)n);
    shard->n_groups = n - 1;
    if (!(shard->group_member = shard_file_read(at, "group/member", &shard_int64,
                                                shard->n_comparisons, NULL, H5T_NATIVE_INT64)) ||
        !(shard->group_forest_tokens = shard_file_read(at, "group/forest_tokens", &shard_int32,
                                                       shard->n_groups, NULL, H5T_NATIVE_INT32)))
        return -1;
    if (shard_read_answers(shard, at) != 0 || shard_read_asked(shard, at) != 0) return -1;
    return check_groups(shard);
}

int shard_open(struct shard *shard, const char *path) {
    *shard = (struct shard){.path = mem_copy_string(path)};
    struct shard_handle *at = mem_alloc(1, sizeof *at);
    *at = (struct shard_handle){H5I_INVALID_HID, H5I_INVALID_HID, 0};
    shard->handle = at;
    at->file = shard_file_open(path, &at->file_bytes);
    int status = at->file < 0 ? -1 : read_attributes(shard, at->file);
    if (status == 0) status = read_sequences(shard, at);
    if (status == 0) status = read_comparisons(shard, at);
    if (status == 0) status = shard_read_labels(shard, at);
    if (status == 0) status = read_groups(shard, at);
    if (status == 0) status = shard_read_spans(shard, at);
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
    shard_free_answers(shard);
    shard_free_asked(shard);
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
    bool is_good = size > 0 && size <= SHARD_TEXT_CEILING && !H5Tis_variable_str(type);
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
    hid_t file = is_other ? -1 : shard_file_open(path, &bytes);
    if (file >= 0) {
        /* One that cannot be read is damaged. */
        char *kind =
            H5Aexists(file, "kind") == 0 ? mem_copy_string("") : shard_file_text(file, "kind");
        is_other = kind && strcmp(kind, SHARD_KIND) != 0;
        mem_free(kind);
        H5Fclose(file);
    }
    if (!is_other) return 0;
    return fail("%s: is there already and is no token shard; hint: remove it, or give another name",
                path);
}

char *shard_text(struct shard *shard, const char *name) {
    char *text = shard_file_text(((struct shard_handle *)shard->handle)->file, name);
    if (!text) fail_context("%s", shard->path);
    return text;
}

char *shard_text_of(const char *path, const char *name) {
    int64_t bytes;
    hid_t file = shard_file_open(path, &bytes);
    char *text = file < 0 ? NULL : shard_file_text(file, name);
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
    void *data = shard_file_read(v->at, path, &shard_uint8, -1, &n, H5T_NATIVE_UINT8);
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
