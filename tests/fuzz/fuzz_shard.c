/* A shard with any dataset replaced by any numbers, of any type: an error, or a shard whose every
 * sequence can be read.
 *
 * The bytes decide: which dataset, which type, which chunk, then its contents. HDF5 itself is not
 * fuzzed: wild bytes end in its own parser, and flipped ones at its checksums
 * (tests/test_shard.c). */
#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "h5.h"
#include "json.h"
#include "shard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
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
    "tokenizer/tokenizer.json",
    "comparison/label",
    "answer/sequence",
    "answer/group",
    "answer/rank",
    "answer/source",
    "answer/row",
    "answer/prompt_tokens",
    "answer/score",
    "span/sequence",
    "span/first",
    "span/last",
    "span/weight",
    "span/verdict",
    "prompt/sequence",
    "prompt/pair",
    "prompt/side",
    "prompt/preferred",
    "prompt/source",
    "prompt/row",
    "prompt/target",
    "prompt/meta",
    "prompt/meta_first",
};
enum { N_NAMES = sizeof names / sizeof *names, N_SEQUENCES = 6, VOCABULARY = 300 };

/* Rows with every table that a shard of comparisons may have. */
static void write_compared(struct shard_writer *w, const int32_t *const *side,
                           const int32_t *length) {
    shard_writer_score(w, "score");
    for (int i = 0; i < 5; i++) {
        struct shard_pair pair = {i, (i + 1) % N_SEQUENCES, 0, 1};
        const float label = 0.5f, score[N_SEQUENCES] = {1, 2, 3};
        const struct shard_span span = {0, 1, 3, 1, 0};
        struct shard_row row = {.token = side,
                                .length = length,
                                .n_answers = N_SEQUENCES,
                                .n_pairs = 1,
                                .pair = &pair,
                                .prompt = (uint64_t)i / 2,
                                .prompt_tokens = 1,
                                .label = &label,
                                .has_answers = i > 2,
                                .score = score,
                                .n_scores = 1,
                                .n_spans = i == 3,
                                .span = &span};
        CHECK(shard_writer_row(w, &row) == 0, "%s", error_text());
    }
}

/* Pairs of a judge, the last of them one prompt. */
static void write_asked(struct shard_writer *w, const int32_t *const *side, const int32_t *length) {
    for (int i = 0; i < 4; i++) {
        const struct shard_prompt asked[] = {{0, i < 3 ? i % 2 : -1, 2, "{}"}, {1, i % 2, 1, NULL}};
        struct shard_row row = {
            .token = side + i, .length = length + i, .n_answers = i < 3 ? 2 : 1, .asked = asked};
        CHECK(shard_writer_row(w, &row) == 0, "%s", error_text());
    }
    CHECK(shard_writer_attribute(w, "judge", "j") == 0 &&
              shard_writer_attribute(w, "parser", "p") == 0,
          "%s", error_text());
}

/* The bytes of the shard that is damaged; made once, of each of the two. */
static const struct buffer *good_shard(const char *path, bool is_asked) {
    static struct buffer images[2];
    struct buffer *image = &images[is_asked];
    if (image->data) return image;
    struct shard_writer *w = shard_writer_open(path, VOCABULARY);
    CHECK(w, "%s", error_text());
    int32_t token[] = {1, 2, 3, 4, 5, 6, 7, 299};
    const int32_t *side[N_SEQUENCES];
    int32_t length[N_SEQUENCES];
    for (int s = 0; s < N_SEQUENCES; s++) {
        side[s] = token + s / 2;
        length[s] = 8 - s;
    }
    (is_asked ? write_asked : write_compared)(w, side, length);
    shard_writer_tokenizer_file(w, "tokenizer.json", "{}", 2);
    struct contract contract = {0};
    struct tokenizer *t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    struct template_options how = {"text", "", TRUNCATE_RIGHT, 64};
    CHECK(t && contract_make(&contract, t, &how) == 0 && shard_writer_finish(w, &contract) == 0,
          "%s", error_text());
    contract_free(&contract);
    tokenizer_free(t);
    CHECK(file_read(path, 1 << 20, image) == 0, "%s", error_text());
    return image;
}

static void replace(const char *path, const uint8_t *data, size_t size) {
    const hid_t type[] = {H5T_STD_I64LE,  H5T_STD_I32LE, H5T_STD_U16LE,
                          H5T_IEEE_F32LE, H5T_STD_U8LE,  H5T_STD_U32LE};
    hid_t kind = type[data[1] % 6], file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK(file >= 0, "%s", h5_reason());
    H5Ldelete(file, names[data[0] % N_NAMES], H5P_DEFAULT);
    hsize_t dim = (size - 3) / H5Tget_size(kind), chunk = MAX(1, MIN(dim, data[2]));
    hid_t how = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &dim, NULL);
    H5Pset_chunk(how, 1, &chunk);
    hid_t set =
        H5Dcreate2(file, names[data[0] % N_NAMES], kind, space, H5P_DEFAULT, how, H5P_DEFAULT);
    CHECK(set >= 0, "%s", h5_reason());
    if (dim) H5Dwrite(set, kind, H5S_ALL, H5S_ALL, H5P_DEFAULT, data + 3);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(how);
    H5Fclose(file);
}

static int count_file(void *self, const char *name, const void *data, size_t length) {
    (void)name, (void)data;
    *(size_t *)self += length;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    char path[64];
    struct shard shard;
    snprintf(path, sizeof path, "/dev/shm/fuzz_shard_%d.h5", (int)getpid());
    bool is_asked = strncmp(names[data[0] % N_NAMES], "prompt/", 7) == 0;
    const struct buffer *image = good_shard(path, is_asked);
    size_t held = mem_balance();
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(image->data, 1, image->length, f) == image->length, "%s", path);
    fclose(f);
    h5_quiet();
    replace(path, data, size);
    if (shard_open(&shard, path) == 0) {
        size_t length = 0;
        for (int64_t s = 0; s < shard.n_sequences; s++) {
            int32_t *token = mem_alloc(shard_length(&shard, s), sizeof *token);
            if (shard_read(&shard, s, token) == 0)
                for (int64_t i = 0; i < shard_length(&shard, s); i++)
                    CHECK(token[i] >= 0 && token[i] < shard.vocabulary, "token %d", token[i]);
            mem_free(token);
        }
        for (int64_t i = 0; i < shard.n_answers; i++)
            length += (size_t)shard_length(&shard, shard.answer_sequence[i]);
        for (int64_t i = 0; i < shard.n_spans; i++)
            CHECK(shard.span_last[i] <= shard_length(&shard, shard.span_sequence[i]), "a span");
        for (int64_t i = 0; i < shard.n_prompts; i++) {
            length += (size_t)shard_length(&shard, shard.prompt_sequence[i]);
            mem_free(shard_prompt_meta(&shard, i));
        }
        shard_each_tokenizer_file(&shard, count_file, &length);
        shard_close(&shard);
    } else {
        CHECK(strstr(error_text(), path), "an error without the file's name: %s", error_text());
    }
    CHECK(mem_balance() == held, "%zu bytes left", mem_balance() - held);
    unlink(path);
    return 0;
}
