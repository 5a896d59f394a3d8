/* Greedy texts against transformers' (tests/golden/make_greedy.py): the same tokens in fp32, of
 * four families and beside an adapter of PEFT's, and their log-probabilities.
 * devices: emulated */
#include "generator.h"
#include "peft.h"
#include "safetensors.h"
#include "words.h"

#define MODELS "tests/golden/models/"
#define GREEDY "tests/golden/greedy/"
enum { MOST_PROMPTS = 16, MOST_NEW = 64 };
static struct device *dev;

/* A golden model, perhaps with an adapter, and what transformers wrote with it. */
struct greedy_case {
    struct words words;
    struct safetensors files, expected;
    struct peft peft;
    struct buffer bytes;
};

static int read_case(void *self, const struct parameter *p, int64_t first, int64_t count,
                     float *out) {
    struct greedy_case *c = self;
    return safetensors_read(peft_has(&c->peft, p) ? &c->peft.tensors : &c->files, p, first, count,
                            out);
}

static const float *numbers_of(const struct greedy_case *c, const char *name, int64_t *n) {
    for (int i = 0; i < c->expected.n; i++) {
        const struct safetensors_entry *e = &c->expected.entry[i];
        if (strcmp(e->name, name) != 0) continue;
        *n = e->count;
        return (const float *)(const void *)(c->bytes.data + e->first_byte);
    }
    TEST_END(TEST_FAILED, "no %s", name);
}

static void case_open(struct greedy_case *c, const char *model, const char *name, bool adapted) {
    char *directory = mem_format(MODELS "%s", model), *adapter = mem_format(GREEDY "%s", name),
         *file = mem_format(GREEDY "%s.safetensors", name);
    struct parameters_options build = language_model;
    *c = (struct greedy_case){0};
    if (adapted) WORDS_TRY(peft_open(&c->peft, adapter));
    build.lora = c->peft.lora;
    WORDS_TRY(file_read(file, 1 << 20, &c->bytes));
    WORDS_TRY(safetensors_parse(&c->expected, 0, c->bytes.data, c->bytes.length, c->bytes.length));
    WORDS_TRY(arch_read(&c->words.arch, directory));
    /* a table of its own, for the names that the files are matched with */
    struct parameters names;
    WORDS_TRY(parameters_build(&names, &c->words.arch, &build));
    WORDS_TRY(safetensors_open(&c->files, directory));
    WORDS_TRY(safetensors_match(&c->files, &names));
    if (adapted) WORDS_TRY(peft_match(&c->peft, &names));
    parameters_free(&names);
    words_start(&c->words, dev, &build, &(struct words_kind){.dtype = DTYPE_F32},
                &(struct parameter_reader){read_case, c});
    mem_free(directory), mem_free(adapter), mem_free(file);
}

static void case_close(struct greedy_case *c) {
    words_close(&c->words);
    safetensors_close(&c->files);
    safetensors_close(&c->expected);
    peft_close(&c->peft);
    buffer_free(&c->bytes);
}

/* All prompts, five at a time and in pieces; out is valid until the caller gives the rest back. */
static struct generator *write_texts(struct greedy_case *c, struct decoder **decoder,
                                     struct generated *out) {
    static int32_t token[4096];
    struct generate_request request[MOST_PROMPTS];
    int64_t n, n_tokens, n_eos, longest = 1, at = 0;
    const float *length = numbers_of(c, "prompt_length", &n),
                *prompt = numbers_of(c, "prompts", &n_tokens), *eos = numbers_of(c, "eos", &n_eos);
    ASSERT(n <= MOST_PROMPTS && n_tokens <= 4096);
    for (int64_t i = 0; i < n_tokens; i++) token[i] = (int32_t)prompt[i];
    for (int64_t i = 0; i < n; i++) {
        request[i] = (struct generate_request){token + at, (int64_t)length[i], 0};
        longest = MAX(longest, (int64_t)length[i]);
        at += (int64_t)length[i];
    }
    int32_t end = (int32_t)eos[0];
    struct words *w = &c->words;
    struct generate_options options = {
        .sampling = {.greedy = true, .temperature = 1, .top_p = 1, .repetition_penalty = 1},
        .max_new_tokens = 60,
        .eos = &end,
        .n_eos = end >= 0,
        .max_rows = 5};
    struct decoder_options sizes = words_options(w, generator_decoder(&options, longest, 30));
    *decoder = decoder_init(dev, &w->arch, &w->table, w->z, &sizes, NULL);
    decoder_hold(*decoder);
    struct generator *g = generator_init(dev, *decoder, &w->arch, NULL, &options);
    WORDS_TRY(generate(g, request, n, out));
    return g;
}

static void check_case(const char *model, const char *name, bool adapted) {
    struct greedy_case c;
    struct decoder *decoder;
    struct generated out[MOST_PROMPTS];
    case_open(&c, model, name, adapted);
    struct generator *g = write_texts(&c, &decoder, out);
    int64_t n, at = 0, ignored;
    const float *length = numbers_of(&c, "length", &n), *token = numbers_of(&c, "tokens", &ignored),
                *whole = numbers_of(&c, "whole", &ignored),
                *log_probability = numbers_of(&c, "log_probability", &ignored);
    for (int64_t i = 0; i < n; i++) {
        if (whole[i] > 0) ASSERT_INT(out[i].n, length[i]);
        ASSERT(out[i].n >= (int64_t)length[i]);
        for (int64_t t = 0; t < (int64_t)length[i]; t++, at++) {
            if (out[i].token[t] != (int32_t)token[at])
                TEST_END(TEST_FAILED, "%s: token %lld of text %lld is %d, expected %d", name,
                         (long long)t, (long long)i, out[i].token[t], (int32_t)token[at]);
            ASSERT_NEAR(out[i].log_probability[t], log_probability[at], 1e-4);
        }
    }
    generator_free(g);
    decoder_let_go(decoder);
    decoder_free(decoder);
    case_close(&c);
}

static void test_texts_are_those_of_transformers(void) {
    check_case("lm_llama", "lm_llama", false);
    check_case("lm_qwen2_tied", "lm_qwen2_tied", false);
    check_case("lm_neox", "lm_neox", false);
    check_case("qwen3", "qwen3", false);
}

static void test_texts_beside_an_adapter(void) {
    check_case("lm_llama", "lm_llama_adapter", true);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"texts_are_those_of_transformers", test_texts_are_those_of_transformers},
        {"texts_beside_an_adapter", test_texts_beside_an_adapter},
    };
    dev = test_device_open(2);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return code;
}
