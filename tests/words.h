/* Language models of tests/models' families with random weights, for the tests of generation: a
 * zero on this rank's placement, and what a test makes of it. Failures end the test. */
#ifndef RANKWISE_TESTS_WORDS_H
#define RANKWISE_TESTS_WORDS_H
#include "decoder.h"
#include "device.h"
#include "file.h"
#include "model.h"
#include "ops.h"
#include "random.h"
#include "test.h"
#include "test_device.h"

#define WORDS_TRY(call)                                                        \
    do {                                                                       \
        if ((call) != 0) TEST_END(TEST_FAILED, "%s: %s", #call, error_text()); \
    } while (0)

static const char *const word_families[] = {"llama", "mistral", "neox", "olmo2",
                                            "phi3",  "qwen2",   "qwen3"};
enum { N_WORD_FAMILIES = sizeof word_families / sizeof *word_families, WORDS = 300 };

struct words {
    struct device *dev; /* not owned */
    struct arch arch;
    struct parameters table;
    struct placement place;
    struct zero *z;
    enum dtype dtype;
};

/* What a model has beside its family. */
struct words_kind {
    const char *family;
    enum dtype dtype;
    int stage;
    bool adapters, quantised; /* quantised: with adapters */
    bool parallel; /* x + attention(norm1(x)) + mlp(norm2(x)), or not, against the family's habit */
};

/* Matrices and vectors of which none is 0 or 1. */
static int words_read(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    (void)self;
    uint64_t purpose = random_purpose(p->name);
    for (int64_t i = 0; i < count; i++) {
        double x = random_normal(1, purpose, (uint64_t)(first + i));
        out[i] = (float)(p->init == INIT_ONE ? 1 + 0.2 * x : 0.15 * x);
    }
    return 0;
}

/* Table and weights, once arch is there. */
static inline void words_start(struct words *w, struct device *dev,
                               const struct parameters_options *build,
                               const struct words_kind *kind,
                               const struct parameter_reader *reader) {
    w->dev = dev;
    w->dtype = kind->dtype;
    WORDS_TRY(parameters_build(&w->table, &w->arch, build));
    if (kind->quantised) WORDS_TRY(parameters_quantise(&w->table, "test"));
    WORDS_TRY(placement_init(&w->place, 0));
    device_join(dev, &w->place);
    struct zero_options how = {
        .stage = kind->stage, .dtype = kind->dtype, .prefetch = true, .first_unit_twice = true};
    w->z = zero_init(dev, &w->place, &w->table, &how);
    WORDS_TRY(zero_load(w->z, reader));
    zero_publish(w->z);
}

static inline void words_open(struct words *w, struct device *dev, const struct words_kind *kind) {
    char *path = mem_format("tests/models/%s/config.json", kind->family);
    struct buffer text = {0};
    *w = (struct words){0};
    WORDS_TRY(file_read(path, 1 << 20, &text));
    char *vocabulary = strstr(text.data, "50304");
    ASSERT(vocabulary);
    memcpy(vocabulary, "  300", 5);
    WORDS_TRY(arch_parse(&w->arch, text.data, text.length));
    if (kind->parallel) w->arch.parallel_residual = !w->arch.parallel_residual;
    buffer_free(&text);
    mem_free(path);
    struct parameters_options build = language_model;
    char *all[] = {"all-linear"};
    if (kind->adapters || kind->quantised)
        build.lora = (struct lora){.rank = 4, .alpha = 8, .targets = {all, 1}};
    words_start(w, dev, &build, kind, &(struct parameter_reader){words_read, NULL});
}

static inline void words_close(struct words *w) {
    zero_free(w->z);
    device_leave(w->dev, &w->place);
    placement_free(&w->place);
    parameters_free(&w->table);
    arch_free(&w->arch);
}

/* Options with what the model has; the sizes are the caller's. */
static inline struct decoder_options words_options(const struct words *w,
                                                   struct decoder_options sizes) {
    sizes.dtype = w->dtype;
    sizes.quantised = parameters_largest_quantised(&w->table);
    sizes.adapters = w->table.adapters;
    sizes.gathers = zero_gathers(w->z);
    return sizes;
}

static inline int32_t words_token(uint64_t sequence, int64_t position) {
    return (int32_t)(random_bits(5, sequence, (uint64_t)position) % WORDS);
}
#endif
