/* safetensors: files that Python wrote (the golden models), files that are cut or lie, and the
 * writer's own files. */
#include "safetensors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "file.h"
#include "random.h"
#include "test.h"

/* A header and some data as one buffer; parsed as a file of exactly these bytes. */
static int parse_text(struct safetensors *s, const char *header, size_t data_bytes) {
    size_t n = strlen(header);
    char *buffer = mem_alloc((int64_t)(8 + n), 1);
    for (int i = 0; i < 8; i++) buffer[i] = (char)(n >> (8 * i));
    memcpy(buffer + 8, header, n);
    *s = (struct safetensors){0};
    int status = safetensors_parse(s, 0, buffer, 8 + n, 8 + n + data_bytes);
    mem_free(buffer);
    return status;
}

#define ASSERT_REFUSED(header, data_bytes, part)                   \
    do {                                                           \
        struct safetensors refused_;                               \
        ASSERT_INT(parse_text(&refused_, header, data_bytes), -1); \
        ASSERT_CONTAINS(error_text(), part);                       \
        ASSERT_INT(refused_.n, 0);                                 \
        safetensors_close(&refused_);                              \
    } while (0)
#define A_GOOD_ONE "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"

static void test_good_header(void) {
    struct safetensors s;
    ASSERT_INT(parse_text(&s,
                          A_GOOD_ONE
                          ",\"__metadata__\":{\"format\":\"pt\"},"
                          "\"b\":{\"dtype\":\"BF16\",\"shape\":[5],\"data_offsets\":[24,34]}}",
                          34),
               0);
    ASSERT_INT(s.n, 2);
    ASSERT(s.entry[0].n_dims == 2 && s.entry[0].dim[0] == 2 && s.entry[0].dim[1] == 3 &&
           s.entry[0].count == 6);
    ASSERT(s.entry[1].dtype == DTYPE_BF16 && s.entry[1].count == 5);
    ASSERT_INT(s.entry[1].first_byte - s.entry[0].first_byte, 24);
    safetensors_close(&s);
}

static void test_lies_are_refused(void) {
    ASSERT_REFUSED(A_GOOD_ONE "}", 23, "expected 0 to 23");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,20]}}", 24,
                   "expected 24 bytes");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[24,0]}}", 24,
                   "tensor a");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[-24,0]}}", 24,
                   "data_offsets");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24,30]}}", 30,
                   "two integers");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,2.4e1]}}", 24,
                   "two integers");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[6]}}", 24, "two integers");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,24]}}", 24, "\"shape\"");
    ASSERT_REFUSED("{\"a\":{\"shape\":[6],\"data_offsets\":[0,24]}}", 24,
                   "dtype: expected F32, F16 or BF16");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"I8\",\"shape\":[24],\"data_offsets\":[0,24]}}", 24,
                   "found I8");
    ASSERT_REFUSED(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,24]}}", 24,
        "shape");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2,-3],\"data_offsets\":[0,24]}}", 24,
                   "shape");
    ASSERT_REFUSED("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,6],\"data_offsets\":[0,24]}}", 24,
                   "shape");
    ASSERT_REFUSED(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,99999999999999999999]}}", 24,
        "integers");
    ASSERT_REFUSED(A_GOOD_ONE ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[20,24]}}",
                   24, "overlap");
    ASSERT_REFUSED(A_GOOD_ONE ",\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[24,28]}}",
                   28, "duplicate");
    ASSERT_REFUSED(A_GOOD_ONE ",\"b\":7}", 24, "tensor b: expected an object");
    ASSERT_REFUSED("[]", 0, "expected a JSON object");
    ASSERT_REFUSED("{\"a\":", 0, "not valid JSON");
}

/* A file cut at every byte of its header, and at places in its data, is refused. */
static void test_cut_files_are_refused(void) {
    struct buffer whole = {0};
    struct safetensors s = {0};
    ASSERT_INT(
        file_read("tests/golden/models/qwen3_bf16_one_layer_v4/model.safetensors", 1 << 20, &whole),
        0);
    size_t header = 8 + (unsigned char)whole.data[0] + 256u * (unsigned char)whole.data[1];
    for (size_t n = 0; n < whole.length; n += n < header ? 1 : 997) {
        ASSERT_INT(safetensors_parse(&s, 0, whole.data, n, n), -1);
        ASSERT(error_text()[0] != 0);
        ASSERT_INT(s.n, 0);
    }
    ASSERT_INT(safetensors_parse(&s, 0, whole.data, whole.length, whole.length - 1), -1);
    ASSERT_INT(safetensors_parse(&s, 0, whole.data, header, whole.length), 0);
    safetensors_close(&s);
    memset(whole.data, 0xff, 8);
    ASSERT_INT(safetensors_parse(&s, 0, whole.data, whole.length, whole.length), -1);
    ASSERT_CONTAINS(error_text(), "expected a header of at most");
    buffer_free(&whole);
}

/* ---- models ---- */

struct files {
    char *root;
    struct arch arch;
    struct parameters table;
};

static void open_golden(struct files *f, const char *golden_case) {
    char *path = mem_format("tests/golden/models/%s", golden_case);
    f->root = mem_format("/tmp/rankwise_test_safetensors_%d", (int)getpid());
    ASSERT_INT(arch_read(&f->arch, path), 0);
    parameters_build(&f->table, &f->arch, &one_score);
    ASSERT_INT(file_make_directory(f->root), 0);
    mem_free(path);
}

static void close_golden(struct files *f) {
    parameters_free(&f->table);
    arch_free(&f->arch);
    ASSERT_INT(file_remove_tree(f->root), 0);
    mem_free(f->root);
}

static int write_model(const struct files *f, enum dtype dtype, uint64_t split_bytes,
                       int64_t piece) {
    struct safetensors_writer *w =
        safetensors_writer_open(f->root, "model", &f->table, dtype, split_bytes);
    int status = 0;
    for (int i = 0; i < f->table.n && status == 0; i++) {
        const struct parameter *p = &f->table.item[i];
        float *data = mem_alloc(p->count, sizeof *data);
        for (int64_t e = 0; e < p->count; e++)
            data[e] = (float)random_normal(1, (uint64_t)i, (uint64_t)e);
        for (int64_t first = 0; first < p->count && status == 0; first += piece)
            status = safetensors_writer_add(w, p, data + first, MIN(piece, p->count - first));
        mem_free(data);
    }
    return safetensors_writer_finish(w);
}

static void check_model(const struct files *f, enum dtype dtype) {
    struct safetensors s;
    ASSERT_INT(safetensors_open(&s, f->root), 0);
    ASSERT_INT(safetensors_match(&s, &f->table), 0);
    ASSERT(s.has_score);
    for (int i = 0; i < f->table.n; i++) {
        const struct parameter *p = &f->table.item[i];
        int64_t first = p->count / 3;
        float *data = mem_alloc(p->count, sizeof *data);
        ASSERT_INT(safetensors_read(&s, p, first, p->count - first, data), 0);
        for (int64_t e = first; e < p->count; e++) {
            float x = (float)random_normal(1, (uint64_t)i, (uint64_t)e);
            float expected = dtype == DTYPE_F32 ? x : bf16_to_float(bf16_from_float(x));
            ASSERT(data[e - first] == expected);
        }
        mem_free(data);
    }
    safetensors_close(&s);
}

static void test_round_trip(void) {
    struct files f;
    open_golden(&f, "llama3_bias_v4");
    for (int bf16 = 0; bf16 < 2; bf16++) {
        enum dtype dtype = bf16 ? DTYPE_BF16 : DTYPE_F32;
        ASSERT_INT(write_model(&f, dtype, 5u << 30, bf16 ? 100 : 1 << 20), 0);
        check_model(&f, dtype);
        char *single = file_join(f.root, "model.safetensors");
        ASSERT(file_exists(single));
        ASSERT_INT(file_remove_tree(single), 0);
        mem_free(single);
        ASSERT_INT(write_model(&f, dtype, 10000, 1 << 20), 0);
        check_model(&f, dtype);
        ASSERT_INT(file_remove_tree(f.root), 0);
        ASSERT_INT(file_make_directory(f.root), 0);
    }
    close_golden(&f);
}

/* A disk that is full: here a limit on the size of files. */
static void test_full_disk(void) {
    struct files f;
    open_golden(&f, "llama");
    struct rlimit former, small = {20000, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &former);
    small.rlim_max = former.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int status = write_model(&f, DTYPE_F32, 5u << 30, 1 << 20);
    setrlimit(RLIMIT_FSIZE, &former);
    ASSERT_INT(status, -1);
    ASSERT_CONTAINS(error_text(), "/model.safetensors: cannot be written: File too large");
    char *left = file_join(f.root, "model.safetensors.tmp"),
         *single = file_join(f.root, "model.safetensors");
    ASSERT(!file_exists(left) && !file_exists(single));
    mem_free(left);
    mem_free(single);
    close_golden(&f);
}

/* A directory stands where the file must go. */
static void test_a_name_that_is_taken(void) {
    struct files f;
    open_golden(&f, "llama");
    char *left = file_join(f.root, "model.safetensors.tmp"),
         *taken = file_join(f.root, "model.safetensors/inside");
    ASSERT_INT(file_make_directory(taken), 0);
    ASSERT_INT(write_model(&f, DTYPE_F32, 5u << 30, 1 << 20), -1);
    ASSERT_CONTAINS(error_text(), "cannot be renamed");
    ASSERT(!file_exists(left));
    ASSERT_INT(rmdir(taken), 0);
    *strrchr(taken, '/') = 0;
    ASSERT_INT(rmdir(taken), 0);
    mem_free(left);
    mem_free(taken);
    close_golden(&f);
}

/* Puts one file of one tensor, and asserts what match says about it. */
static void check_match(const struct files *f, const char *name, const char *shape, int bytes,
                        const char *part) {
    char *path = file_join(f->root, "model.safetensors");
    struct buffer text = {0};
    struct safetensors s;
    buffer_append(&text, "\0\0\0\0\0\0\0", 8);
    buffer_format(&text, "{\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%d]}}", name,
                  shape, bytes);
    text.data[0] = (char)(text.length - 8);
    for (int i = 0; i < bytes; i++) buffer_append(&text, "", 1);
    ASSERT_INT(file_replace(path, text.data, text.length), 0);
    ASSERT_INT(safetensors_open(&s, f->root), 0);
    ASSERT_INT(safetensors_match(&s, &f->table), -1);
    ASSERT_CONTAINS(error_text(), part);
    safetensors_close(&s);
    buffer_free(&text);
    mem_free(path);
}

static void test_unknown_missing_and_misshaped_tensors_are_named(void) {
    struct files f;
    open_golden(&f, "llama");
    check_match(&f, "model.layers.9.input_layernorm.weight", "[24]", 96,
                "model.layers.9.input_layernorm.weight is unknown");
    check_match(&f, "model.norm.weight", "[24]", 96, "model.embed_tokens.weight is missing");
    check_match(&f, "norm.weight", "[25]", 100,
                "model.norm.weight: expected shape (24), found (25)");
    check_match(&f, "score.weight", "[2,25]", 200,
                "score.weight: expected shape (1, 24), found (2, 25)");
    check_match(&f, "lm_head.weight", "[2]", 8, "model.embed_tokens.weight is missing");
    close_golden(&f);
}

/* A head of more scores than the table's is no error: whoever opens the model decides. */
static void test_a_head_of_other_scores(void) {
    struct files f;
    struct safetensors s;
    struct parameters_options three = {.head = {HEAD_SCORE, 3}};
    open_golden(&f, "llama");
    parameters_free(&f.table);
    ASSERT_INT(parameters_build(&f.table, &f.arch, &three), 0);
    ASSERT_INT(write_model(&f, DTYPE_F32, UINT64_MAX, 1000), 0);
    ASSERT_INT(safetensors_open(&s, f.root), 0);
    ASSERT_INT(safetensors_match(&s, &f.table), 0);
    ASSERT(s.has_score && s.score_rows == 3);
    parameters_free(&f.table);
    ASSERT_INT(parameters_build(&f.table, &f.arch, &one_score), 0);
    ASSERT_INT(safetensors_match(&s, &f.table), 0);
    ASSERT(!s.has_score && s.score_rows == 3);
    safetensors_close(&s);
    close_golden(&f);
}

static void write_text(const struct files *f, const char *name, const char *text) {
    char *path = file_join(f->root, name);
    ASSERT_INT(file_replace(path, text, strlen(text)), 0);
    mem_free(path);
}

#define ASSERT_NOT_OPENED(f, part)                               \
    do {                                                         \
        struct safetensors unopened_;                            \
        ASSERT_INT(safetensors_open(&unopened_, (f)->root), -1); \
        ASSERT_CONTAINS(error_text(), part);                     \
    } while (0)

static void test_directories_that_are_wrong(void) {
    static const char index_name[] = "model.safetensors.index.json";
    struct files f;
    open_golden(&f, "llama");
    ASSERT_NOT_OPENED(&f, "found neither");
    write_text(&f, index_name, "{\"weight_map\":{}}");
    ASSERT_NOT_OPENED(&f, "\"weight_map\"");
    write_text(&f, index_name, "{\"weight_map\":{\"a\":\"../x.safetensors\"}}");
    ASSERT_NOT_OPENED(&f, "../x.safetensors");
    write_text(&f, index_name, "{\"weight_map\":{\"a\":7}}");
    ASSERT_NOT_OPENED(&f, "expected the name of a file");
    write_text(&f, index_name, "{\"weight_map\":{\"a\":\"missing.safetensors\"}}");
    ASSERT_NOT_OPENED(&f, "missing.safetensors: cannot be opened");
    write_text(&f, index_name, "{\"weight_map\":{\"a\":\"x.safetensors\"}}");
    write_text(&f, "x.safetensors", "");
    ASSERT_NOT_OPENED(&f, "x.safetensors: expected at least 8 bytes, found 0");
    char *empty = file_join(f.root, "x.safetensors");
    ASSERT_INT(file_replace(empty, "\2\0\0\0\0\0\0\0{}", 10), 0);
    mem_free(empty);
    ASSERT_NOT_OPENED(&f, "a is not in x.safetensors");
    write_text(&f, "model.safetensors", "junk");
    ASSERT_NOT_OPENED(&f, "model.safetensors: expected at least 8 bytes");
    write_text(&f, "model.safetensors", "junkjunkjunkjunk");
    ASSERT_NOT_OPENED(&f, "this is not a safetensors file");
    close_golden(&f);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"good_header", test_good_header},
        {"lies_are_refused", test_lies_are_refused},
        {"cut_files_are_refused", test_cut_files_are_refused},
        {"round_trip", test_round_trip},
        {"full_disk", test_full_disk},
        {"a_name_that_is_taken", test_a_name_that_is_taken},
        {"unknown_missing_and_misshaped_tensors_are_named",
         test_unknown_missing_and_misshaped_tensors_are_named},
        {"a_head_of_other_scores", test_a_head_of_other_scores},
        {"directories_that_are_wrong", test_directories_that_are_wrong},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
