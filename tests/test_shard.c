/* shard: what is written is read back, the same bytes each time; and no cut, flipped or wrongly
 * made file is believed. Damage is tried at every kind of place: all data and metadata have
 * checksums, so a flipped byte is an error or has no effect at all. */
#include <glob.h>
#include <hdf5.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "file.h"
#include "forest.h"
#include "random.h"
#include "shard.h"
#include "test.h"

enum { N_PAIRS = 60, MAX_TOKENS = 40 };

/* What a shard of this test holds, made again from the seed whenever it is needed. */
struct side {
    int32_t token[MAX_TOKENS], length;
};

static uint64_t bits(int pair, int what) {
    return random_bits(77, (uint64_t)pair, (uint64_t)what);
}

/* Pairs 3k, 3k + 1 share prompt k; pair 10's chosen side is pair 11's rejected side too. */
static struct side make_side(int pair, bool chosen, int64_t vocabulary) {
    struct side s = {.length = 12 + (int)(bits(pair, chosen) % 25)};
    int prompt = pair % 3 == 2 ? 1000 + pair : pair / 3;
    if (pair == 11 && !chosen) return make_side(10, true, vocabulary);
    for (int i = 0; i < s.length; i++)
        s.token[i] = (int32_t)(bits(i < 8 ? prompt : pair, 100 + i * 2 + (i < 8 ? 0 : chosen)) %
                               (uint64_t)vocabulary);
    return s;
}

static struct tokenizer *small_tokenizer(void) {
    struct tokenizer *t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    if (!t) TEST_END(TEST_FAILED, "%s", error_text());
    return t;
}

static char *temporary_path(const char *name) {
    return mem_format("/tmp/rankwise_test_shard_%d_%s.h5", (int)getpid(), name);
}

static void add_row(struct shard_writer *w, const struct side *chosen, const struct side *rejected,
                    const struct shard_pair *pair, uint64_t prompt, int64_t row, uint16_t source) {
    const int32_t *token[] = {chosen->token, rejected->token},
                  length[] = {chosen->length, rejected->length};
    struct shard_row r = {token, length, 2, 1, pair, prompt, 8, source, row};
    if (shard_writer_row(w, &r) != 0) TEST_END(TEST_FAILED, "%s", error_text());
}

static void write_shard(const char *path, int64_t vocabulary) {
    struct shard_writer *w = shard_writer_open(path, vocabulary);
    ASSERT(w != NULL);
    for (int i = 0; i < N_PAIRS; i++) {
        struct side chosen = make_side(i, true, vocabulary),
                    rejected = make_side(i, false, vocabulary);
        struct shard_pair pair = {.rejected = 1, .margin = 0.5f * (float)i, .weight = 1};
        add_row(w, &chosen, &rejected, &pair, (uint64_t)(i % 3 == 2 ? 1000 + i : i / 3), 3 * i + 1,
                (uint16_t)(i % 2));
    }
    shard_writer_attribute(w, "sources", "[\"a\",\"b\"]");
    shard_writer_attribute(w, "empty", "");
    struct tokenizer *t = small_tokenizer();
    const struct tokenizer_file *file;
    int n = tokenizer_files(t, &file);
    for (int i = 0; i < n; i++)
        shard_writer_tokenizer_file(w, file[i].name, file[i].data, file[i].length);
    shard_writer_tokenizer_file(w, "nothing.json", "", 0);
    struct contract contract = {0};
    struct template_options how = {"text", "", TRUNCATE_RIGHT, MAX_TOKENS};
    ASSERT_INT(contract_make(&contract, t, &how), 0);
    if (shard_writer_finish(w, &contract) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    contract_free(&contract);
    tokenizer_free(t);
}

static bool side_is(struct shard *shard, int64_t sequence, const struct side *side) {
    int32_t token[MAX_TOKENS];
    return shard_length(shard, sequence) == side->length &&
           shard_read(shard, sequence, token) == 0 &&
           memcmp(token, side->token, (size_t)side->length * sizeof *token) == 0;
}

static int64_t forest_of(const struct side *side, int n) {
    const int32_t *sequence[2 * N_PAIRS];
    int32_t length[2 * N_PAIRS];
    for (int i = 0; i < n; i++) {
        sequence[i] = side[i].token;
        length[i] = side[i].length;
    }
    return forest_count(n, sequence, length);
}

/* Everything that write_shard put in; false at the first difference or read error. */
static bool shard_is_whole(struct shard *shard) {
    if (shard->n_comparisons != N_PAIRS || shard->n_groups != N_PAIRS * 2 / 3) return false;
    for (int i = 0; i < N_PAIRS; i++) {
        struct side side[2] = {make_side(i, true, shard->vocabulary),
                               make_side(i, false, shard->vocabulary)};
        if (!side_is(shard, shard->chosen[i], &side[0]) ||
            !side_is(shard, shard->rejected[i], &side[1]))
            return false;
        if (shard->forest_tokens[i] != forest_of(side, 2)) return false;
        if (shard->margin[i] != 0.5f * (float)i || shard->weight[i] != 1) return false;
        if (shard->row[i] != 3 * i + 1 || shard->source[i] != i % 2 || shard->prompt_tokens[i] != 8)
            return false;
    }
    return true;
}

static void open_shard(struct shard *shard, const char *path) {
    if (shard_open(shard, path) != 0) TEST_END(TEST_FAILED, "%s", error_text());
}

static void check_round_trip(int64_t vocabulary) {
    char *path = temporary_path("round");
    struct shard shard;
    write_shard(path, vocabulary);
    open_shard(&shard, path);
    ASSERT_INT(shard.vocabulary, vocabulary);
    ASSERT(shard_is_whole(&shard));
    ASSERT_INT(shard.n_sequences, 2 * N_PAIRS - 1);
    char noted[65], computed[65];
    ASSERT(shard_noted_tokens(&shard, noted));
    ASSERT_INT(shard_digest_tokens(&shard, computed), 0);
    ASSERT_TEXT(noted, computed);
    ASSERT_INT(shard.chosen[10], shard.rejected[11]);
    /* Groups in the order of the input: pairs 0 and 1, pair 2, pairs 3 and 4, ... */
    for (int g = 0; g < shard.n_groups; g++) {
        ASSERT_INT(shard.group_first[g], g / 2 * 3 + g % 2 * 2);
        ASSERT_INT(shard.group_member[shard.group_first[g]], shard.group_first[g]);
        int first = (int)shard.group_first[g], n = (int)shard.group_first[g + 1] - first;
        struct side side[4];
        for (int k = 0; k < 2 * n; k++) side[k] = make_side(first + k / 2, k % 2, vocabulary);
        ASSERT_INT(shard.group_forest_tokens[g], forest_of(side, 2 * n));
    }
    char *sources = shard_text(&shard, "sources"), *empty = shard_text(&shard, "empty");
    ASSERT_TEXT(sources, "[\"a\",\"b\"]");
    ASSERT_TEXT(empty, "");
    ASSERT(shard_text(&shard, "none") == NULL);
    ASSERT_CONTAINS(error_text(), "attribute \"none\" is missing");
    mem_free(sources);
    mem_free(empty);
    shard_close(&shard);
    unlink(path);
    mem_free(path);
}

static void test_round_trip(void) {
    check_round_trip(512);
    check_round_trip(65536);
    check_round_trip(65537);
    check_round_trip(INT32_MAX);
}

/* The carried files against those on the disk. */
static int compare_file(void *self, const char *name, const void *data, size_t length) {
    int *n = self;
    ++*n;
    if (strcmp(name, "nothing.json") == 0) return length != 0;
    char *path = file_join("tests/golden/tokenizer_small", name);
    struct buffer text = {0};
    int differs = file_read(path, 1 << 24, &text) != 0 || text.length != length ||
                  memcmp(text.data, data, length) != 0;
    buffer_free(&text);
    mem_free(path);
    return differs;
}

static int stop_at_once(void *self, const char *name, const void *data, size_t length) {
    (void)name, (void)data, (void)length;
    ++*(int *)self;
    return 7;
}

static void test_tokenizer_files_byte_for_byte(void) {
    char *path = temporary_path("files");
    struct shard shard;
    int n = 0;
    write_shard(path, 512);
    open_shard(&shard, path);
    ASSERT_INT(shard_each_tokenizer_file(&shard, compare_file, &n), 0);
    ASSERT_INT(n, 3);
    n = 0;
    ASSERT_INT(shard_each_tokenizer_file(&shard, stop_at_once, &n), 7);
    ASSERT_INT(n, 1);
    shard_close(&shard);
    unlink(path);
    mem_free(path);
}

static void test_same_content_same_bytes(void) {
    char *path = temporary_path("bytes");
    struct buffer one = {0}, two = {0};
    write_shard(path, 512);
    ASSERT_INT(file_read(path, 1 << 24, &one), 0);
    write_shard(path, 512);
    ASSERT_INT(file_read(path, 1 << 24, &two), 0);
    ASSERT(one.length == two.length && memcmp(one.data, two.data, one.length) == 0);
    buffer_free(&one);
    buffer_free(&two);
    unlink(path);
    mem_free(path);
}

/* Many sequences, random access over chunks, a long attribute. */
static void test_large(void) {
    enum { N = 20000, LENGTH = 37 };
    char *path = temporary_path("large");
    struct shard_writer *w = shard_writer_open(path, 50257);
    ASSERT(w != NULL);
    int32_t token[2][LENGTH];
    const int32_t *const side[] = {token[0], token[1]};
    for (int i = 0; i + 1 < N; i++) {
        int32_t length[] = {LENGTH - i % 5, LENGTH - (i + 1) % 5};
        for (int s = i; s < i + 2; s++)
            for (int k = 0; k < LENGTH; k++)
                token[s - i][k] = (int32_t)(random_bits(1, (uint64_t)s, (uint64_t)k) % 50257);
        const struct shard_pair pair = {.rejected = 1, .weight = 1};
        const struct shard_row row = {side, length, 2, 1, &pair, (uint64_t)i, 0, 0, 0};
        ASSERT_INT(shard_writer_row(w, &row), 0);
    }
    char *text = mem_alloc(300001, 1);
    memset(text, 'x', 300000);
    shard_writer_attribute(w, "long", text);
    struct contract contract = {0};
    struct tokenizer *t = small_tokenizer();
    struct template_options how = {"text", "", TRUNCATE_RIGHT, MAX_TOKENS};
    ASSERT_INT(contract_make(&contract, t, &how), 0);
    ASSERT_INT(shard_writer_finish(w, &contract), 0);
    contract_free(&contract);
    tokenizer_free(t);
    struct shard shard;
    open_shard(&shard, path);
    ASSERT_INT(shard.n_sequences, N);
    for (int k = 0; k < 3000; k++) {
        int64_t s = random_permute(5, 5, k, N);
        int32_t found[LENGTH];
        ASSERT_INT(shard_length(&shard, s), LENGTH - s % 5);
        ASSERT_INT(shard_read(&shard, s, found), 0);
        for (int i = 0; i < LENGTH - s % 5; i++)
            ASSERT_INT(found[i], random_bits(1, (uint64_t)s, (uint64_t)i) % 50257);
    }
    char *again = shard_text(&shard, "long");
    ASSERT_TEXT(again, text);
    mem_free(again);
    mem_free(text);
    shard_close(&shard);
    unlink(path);
    mem_free(path);
}

/* Two prompts with 14,000 pairs each, more tokens than are held at once, now and then in turns:
 * their groups are counted from what is read back. */
static void test_large_groups(void) {
    enum { N = 28000, LENGTH = 200, SHARED = 150 };
    char *path = temporary_path("groups");
    struct shard_writer *w = shard_writer_open(path, 50257);
    ASSERT(w != NULL);
    int32_t *token = mem_alloc(2 * N * LENGTH, sizeof *token),
            *length = mem_alloc(2 * N, sizeof *length);
    const int32_t **all[2] = {mem_alloc(N, sizeof **all), mem_alloc(N, sizeof **all)};
    int64_t n[2] = {0, 0};
    for (int i = 0; i < 2 * N; i++) {
        length[i] = LENGTH - i % 3;
        for (int k = 0; k < LENGTH; k++) {
            uint64_t from = k < SHARED        ? (uint64_t)(i % 7)
                            : k < SHARED + 40 ? (uint64_t)(i % 100)
                                              : (uint64_t)i;
            token[i * LENGTH + k] = (int32_t)(random_bits(1, from, (uint64_t)k) % 50257);
        }
    }
    for (int i = 0; i < N; i++) {
        int prompt = i / 7000 % 2;
        const int32_t *side[] = {token + 2 * i * LENGTH, token + (2 * i + 1) * LENGTH};
        const struct shard_pair pair = {.rejected = 1, .weight = 1};
        const struct shard_row row = {side, length + 2 * i, 2, 1, &pair, (uint64_t)prompt, 0, 0, 0};
        ASSERT_INT(shard_writer_row(w, &row), 0);
        for (int k = 0; k < 2; k++) all[prompt][n[prompt]++] = side[k];
    }
    struct contract contract = {0};
    struct tokenizer *t = small_tokenizer();
    struct template_options how = {.name = "text", .max_length = LENGTH};
    ASSERT_INT(contract_make(&contract, t, &how), 0);
    ASSERT_INT(shard_writer_finish(w, &contract), 0);
    struct shard shard;
    open_shard(&shard, path);
    ASSERT_INT(shard.n_groups, 2);
    for (int g = 0; g < 2; g++) {
        int32_t *lengths = mem_alloc(N, sizeof *lengths);
        for (int64_t i = 0; i < n[g]; i++) lengths[i] = length[(all[g][i] - token) / LENGTH];
        ASSERT_INT(shard.group_forest_tokens[g], forest_count(n[g], all[g], lengths));
        mem_free(lengths);
        mem_free(all[g]);
    }
    for (int64_t i = 0; i < N; i++)
        ASSERT_INT(shard.group_member[i], i / 14000 * 7000 + i / 7000 % 2 * 14000 + i % 7000);
    shard_close(&shard);
    contract_free(&contract);
    tokenizer_free(t);
    mem_free(token);
    mem_free(length);
    unlink(path);
    mem_free(path);
}

/* Whether the file is refused with a message that names it, or is read exactly as it was
 * written. */
static bool refused_or_whole(const char *path, bool *was_refused) {
    struct shard shard;
    *was_refused = true;
    if (shard_open(&shard, path) != 0) return strstr(error_text(), path) != NULL;
    int n = 0;
    int files = shard_each_tokenizer_file(&shard, compare_file, &n);
    /* Damage of tokens or carried files is found when they are read, by the checksum. */
    bool whole = shard_is_whole(&shard) && files == 0;
    bool told =
        files == -1 || strstr(error_text(), "cannot be read") || strstr(error_text(), "sequence ");
    shard_close(&shard);
    *was_refused = !whole;
    return whole || told;
}

static void test_cut_files_are_refused(void) {
    char *path = temporary_path("cut");
    struct buffer image = {0};
    write_shard(path, 512);
    ASSERT_INT(file_read(path, 1 << 24, &image), 0);
    for (size_t length = 0; length < image.length; length += length < 600 ? 7 : 251) {
        bool was_refused;
        ASSERT_INT(file_replace(path, image.data, length), 0);
        error_clear();
        ASSERT(refused_or_whole(path, &was_refused));
        ASSERT(was_refused);
    }
    buffer_free(&image);
    unlink(path);
    mem_free(path);
}

static void test_flipped_bytes_are_found(void) {
    char *path = temporary_path("flip");
    struct buffer image = {0};
    write_shard(path, 512);
    ASSERT_INT(file_read(path, 1 << 24, &image), 0);
    int n_refused = 0, n_tried = 0;
    for (size_t at = 0; at < image.length;
         at += 1 + (size_t)(random_bits(9, 9, at) % (image.length / 900))) {
        char kept = image.data[at];
        image.data[at] ^= (char)(1 << random_bits(9, 8, at) % 8);
        FILE *f = fopen(path, "wb");
        ASSERT(f && fwrite(image.data, 1, image.length, f) == image.length);
        fclose(f);
        image.data[at] = kept;
        bool was_refused;
        error_clear();
        if (!refused_or_whole(path, &was_refused))
            TEST_END(TEST_FAILED, "a flipped bit in byte %zu is not found: \"%s\"", at,
                     error_text());
        n_refused += was_refused;
        n_tried++;
    }
    /* The rest lies in unused room of HDF5's. */
    ASSERT(n_refused > n_tried / 2);
    buffer_free(&image);
    unlink(path);
    mem_free(path);
}

/* --- files that are good HDF5, but wrong --- */

/* Replaces a dataset (or removes it, with n < 0) by chunks of int64, or of another type. */
static void replace_dataset(const char *path, const char *name, hid_t type, int64_t n,
                            const int64_t *data) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    ASSERT(file >= 0);
    H5Ldelete(file, name, H5P_DEFAULT);
    if (n >= 0) {
        hsize_t dim = (hsize_t)n, chunk = (hsize_t)MIN(n, 4);
        hid_t how = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &dim, NULL);
        H5Pset_chunk(how, 1, &chunk);
        hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
        ASSERT(set >= 0);
        if (data) ASSERT(H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        H5Dclose(set);
        H5Sclose(space);
        H5Pclose(how);
    }
    H5Fclose(file);
}

static void expect_refused(const char *path, const char *why) {
    struct shard shard;
    ASSERT_INT(shard_open(&shard, path), -1);
    ASSERT_CONTAINS(error_text(), path);
    ASSERT_CONTAINS(error_text(), why);
}

static void test_wrong_datasets_are_refused(void) {
    static const char *const name[] = {
        "token",
        "sequence/first",
        "comparison/chosen",
        "comparison/rejected",
        "comparison/row",
        "comparison/margin",
        "comparison/weight",
        "comparison/forest_tokens",
        "comparison/source",
        "comparison/prompt_tokens",
        "group/first",
        "group/member",
        "group/forest_tokens",
    };
    char *path = temporary_path("wrong");
    for (int i = 0; i < N_TESTS(name); i++) {
        write_shard(path, 512);
        replace_dataset(path, name[i], H5T_STD_I64LE, -1, NULL);
        if (strcmp(name[i], "comparison/prompt_tokens") != 0) expect_refused(path, name[i]);
        write_shard(path, 512);
        replace_dataset(path, name[i], H5T_STD_I16LE, 5, NULL);
        expect_refused(path, "found another type");
    }
    write_shard(path, 512);
    replace_dataset(path, "comparison/rejected", H5T_STD_I64LE, N_PAIRS, NULL);
    expect_refused(path, "comparison/rejected: expected 15 chunks, found 0");
    write_shard(path, 512);
    replace_dataset(path, "comparison/chosen", H5T_STD_I64LE, (int64_t)1 << 50, NULL);
    expect_refused(path, "expected 281474976710656 chunks, found 0");
    unlink(path);
    mem_free(path);
}

static int64_t *copy_index(const int64_t *from, int64_t n) {
    return memcpy(mem_alloc(n, sizeof *from), from, (size_t)n * sizeof *from);
}

/* Writes a damaged copy of an int64 dataset, expects the complaint, and mends it. */
static void try_damage(const char *path, const char *name, const int64_t *good, int64_t n,
                       int64_t at, int64_t wrong, const char *why) {
    int64_t *bad = copy_index(good, n);
    bad[at] = wrong;
    replace_dataset(path, name, H5T_STD_I64LE, n, bad);
    expect_refused(path, why);
    replace_dataset(path, name, H5T_STD_I64LE, n, good);
    mem_free(bad);
}

/* Contents that contradict each other, each in an otherwise good shard. */
static void test_wrong_contents_are_refused(void) {
    char *path = temporary_path("contents");
    struct shard shard;
    write_shard(path, 512);
    open_shard(&shard, path);
    int64_t n = shard.n_sequences, end = shard.n_tokens;
    int64_t *first = copy_index(shard.first, n + 1), *chosen = copy_index(shard.chosen, N_PAIRS);
    int64_t *member = copy_index(shard.group_member, N_PAIRS),
            *count = mem_alloc(N_PAIRS, sizeof *count);
    for (int i = 0; i < N_PAIRS; i++) count[i] = shard.forest_tokens[i];
    shard_close(&shard);

    try_damage(path, "sequence/first", first, n + 1, 0, 1, "sequence/first: starts at 1");
    try_damage(path, "sequence/first", first, n + 1, 5, first[4], "sequence/first: entry 5");
    try_damage(path, "sequence/first", first, n + 1, 5, -1, "sequence/first: entry 5");
    try_damage(path, "sequence/first", first, n + 1, n, end + 1, "sequence/first: entry");
    try_damage(path, "sequence/first", first, n + 1, n, end - 1, "expected to end at");
    try_damage(path, "comparison/chosen", chosen, N_PAIRS, 3, n, "comparison 3: sequences");
    try_damage(path, "comparison/chosen", chosen, N_PAIRS, 3, -1, "comparison 3: sequences");
    try_damage(path, "group/member", member, N_PAIRS, 7, member[6], "member");
    try_damage(path, "group/member", member, N_PAIRS, 7, N_PAIRS, "member 60");
    replace_dataset(path, "sequence/first", H5T_STD_I64LE, 1, first);
    expect_refused(path, "expected at least 2 elements");
    replace_dataset(path, "sequence/first", H5T_STD_I64LE, n + 1, first);
    replace_dataset(path, "comparison/chosen", H5T_STD_I64LE, N_PAIRS - 1, chosen);
    expect_refused(path, "comparison/rejected: expected 59 elements, found 60");
    replace_dataset(path, "comparison/chosen", H5T_STD_I64LE, N_PAIRS, chosen);
    open_shard(&shard, path);
    shard_close(&shard);
    count[2] = 1;
    replace_dataset(path, "comparison/forest_tokens", H5T_STD_I32LE, N_PAIRS, count);
    expect_refused(path, "comparison 2: 1 forest tokens");
    mem_free(first);
    mem_free(chosen);
    mem_free(member);
    mem_free(count);
    unlink(path);
    mem_free(path);
}

static void test_token_beyond_the_vocabulary(void) {
    char *path = temporary_path("vocabulary");
    struct shard shard;
    write_shard(path, 512);
    open_shard(&shard, path);
    int64_t n = shard.n_tokens, *token = mem_alloc(n, 8);
    token[shard.first[4]] = 512;
    shard_close(&shard);
    replace_dataset(path, "token", H5T_STD_U16LE, n, token);
    open_shard(&shard, path);
    int32_t out[MAX_TOKENS];
    ASSERT_INT(shard_read(&shard, 3, out), 0);
    ASSERT_INT(shard_read(&shard, 4, out), -1);
    ASSERT_CONTAINS(error_text(), "sequence 4: token 512 in a vocabulary of 512");
    mem_free(token);
    shard_close(&shard);
    unlink(path);
    mem_free(path);
}

static void test_other_files_are_refused(void) {
    char *path = temporary_path("other");
    expect_refused(path, "cannot be opened");
    expect_refused("/tmp", "no regular file");
    ASSERT_INT(file_replace(path, "", 0), 0);
    expect_refused(path, "empty file");
    ASSERT_INT(file_replace(path, "{\"chosen\": \"a\"}\n", 16), 0);
    expect_refused(path, "expected a token shard (HDF5)");
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    expect_refused(path, "HDF5 file of another kind");
    write_shard(path, 512);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t attribute = H5Aopen(file, "format", H5P_DEFAULT);
    int64_t newer = SHARD_FORMAT + 1;
    ASSERT(H5Awrite(attribute, H5T_NATIVE_INT64, &newer) >= 0);
    H5Aclose(attribute);
    H5Fclose(file);
    expect_refused(path, "expected shard format 1, found 2");
    write_shard(path, 512);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    ASSERT(H5Adelete(file, "contract") >= 0);
    H5Fclose(file);
    expect_refused(path, "attribute \"contract\" is missing");
    unlink(path);
    mem_free(path);
}

static bool is_there(const char *pattern) {
    glob_t found;
    bool is_any = glob(pattern, 0, NULL, &found) == 0;
    globfree(&found);
    return is_any;
}

/* A disk that takes no more than n bytes of a file. */
static void limit_files(rlim_t n) {
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = MIN(n, limit.rlim_max);
    setrlimit(RLIMIT_FSIZE, &limit);
}

static int finish_small_shard(const char *path) {
    struct shard_writer *w = shard_writer_open(path, 512);
    const int32_t one[] = {1, 2}, other[] = {1, 3}, *const side[] = {one, other}, length[] = {2, 2};
    const struct shard_pair pair = {.rejected = 1, .weight = 1};
    const struct shard_row row = {side, length, 2, 1, &pair, 0, 0, 0, 0};
    shard_writer_row(w, &row); /* a full disk is told at the end at the latest */
    struct tokenizer *t = small_tokenizer();
    struct contract contract = {0};
    struct template_options how = {"text", "", TRUNCATE_RIGHT, MAX_TOKENS};
    int status = contract_make(&contract, t, &how);
    if (status == 0) status = shard_writer_finish(w, &contract);
    contract_free(&contract);
    tokenizer_free(t);
    return status;
}

static void test_full_disk_leaves_the_former_shard(void) {
    char *path = temporary_path("full"), *temporary = mem_format("%s.tmp-*", path);
    struct shard shard;
    write_shard(path, 512);
    for (rlim_t n = 0; n < 6000; n += 1000) {
        limit_files(n);
        int status = finish_small_shard(path);
        limit_files(RLIM_INFINITY);
        ASSERT_INT(status, -1);
        ASSERT_CONTAINS(error_text(), path);
        ASSERT_CONTAINS(error_text(), "File too large");
        ASSERT(!is_there(temporary));
        open_shard(&shard, path);
        ASSERT(shard_is_whole(&shard));
        shard_close(&shard);
    }
    ASSERT_INT(finish_small_shard(path), 0);
    open_shard(&shard, path);
    ASSERT_INT(shard.n_comparisons, 1);
    shard_close(&shard);
    unlink(path);
    mem_free(path);
    mem_free(temporary);
}

static void test_writing_fails_cleanly(void) {
    ASSERT(shard_writer_open("/nonexistent/directory/x.h5", 10) == NULL);
    ASSERT_CONTAINS(error_text(), "/nonexistent/directory/x.h5: cannot be written");
    char *path = temporary_path("none"), *temporary = mem_format("%s.tmp-*", path);
    struct shard_writer *w = shard_writer_open(path, 10);
    struct contract none = {0};
    ASSERT_INT(shard_writer_finish(w, &none), -1);
    ASSERT_CONTAINS(error_text(), "no comparison");
    shard_writer_abandon(shard_writer_open(path, 10));
    shard_writer_abandon(NULL);
    ASSERT(!file_exists(path) && !is_there(temporary));
    struct shard closed = {0};
    shard_close(&closed);
    /* After all these tests: no handle of HDF5's is left open. */
    ASSERT_INT(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    mem_free(path);
    mem_free(temporary);
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"shard_round_trip", test_round_trip},
        {"shard_tokenizer_files_byte_for_byte", test_tokenizer_files_byte_for_byte},
        {"shard_same_content_same_bytes", test_same_content_same_bytes},
        {"shard_large", test_large},
        {"shard_large_groups", test_large_groups},
        {"shard_cut_files_are_refused", test_cut_files_are_refused},
        {"shard_flipped_bytes_are_found", test_flipped_bytes_are_found},
        {"shard_wrong_datasets_are_refused", test_wrong_datasets_are_refused},
        {"shard_wrong_contents_are_refused", test_wrong_contents_are_refused},
        {"shard_token_beyond_the_vocabulary", test_token_beyond_the_vocabulary},
        {"shard_other_files_are_refused", test_other_files_are_refused},
        {"shard_full_disk_leaves_the_former_shard", test_full_disk_leaves_the_former_shard},
        {"shard_writing_fails_cleanly", test_writing_fails_cleanly},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
