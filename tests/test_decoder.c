/* The decoder: logits against the training model's log-probabilities for every family, and the same
 * bits in any batch, order, piece, page and piece of memory, at every stage. ranks: 1 2 3;
 * devices: emulated; limit: 600 */
#include "words.h"

#include "completion_loss.h"

enum { SEQUENCES = 3, LONGEST = 150, ROWS = 230, TABLE_PAGES = 3, PAGES = SEQUENCES * TABLE_PAGES };
static const int32_t length_of[SEQUENCES] = {LONGEST, 65, 3};
static struct device *dev;

/* A decoder of a model, and the logits that it gave: of sequence s at position p at s * LONGEST +
 * p. */
struct decoding {
    struct words words;
    struct decoder *decoder;
    bool reversed; /* pages in the opposite order */
    float *logits; /* (SEQUENCES * LONGEST, WORDS) */
};

static const struct decoder_options sizes = {.max_rows = ROWS,
                                             .max_logits = ROWS,
                                             .n_pages = PAGES,
                                             .max_tables = SEQUENCES,
                                             .table_pages = TABLE_PAGES};

static void decoding_open(struct decoding *d, const struct words_kind *kind, void *memory) {
    *d = (struct decoding){.logits = mem_alloc(SEQUENCES * LONGEST * WORDS, sizeof *d->logits)};
    words_open(&d->words, dev, kind);
    struct words *w = &d->words;
    struct decoder_options options = words_options(w, sizes);
    d->decoder = decoder_init(dev, &w->arch, &w->table, w->z, &options, memory);
    decoder_hold(d->decoder);
}

static void decoding_close(struct decoding *d) {
    decoder_let_go(d->decoder);
    decoder_free(d->decoder);
    words_close(&d->words);
    mem_free(d->logits);
}

/* Rows of a batch: positions [first, end) of sequences. */
struct run {
    int sequence;
    int32_t first, end;
};

/* Every row writes its key and value and gives logits. */
static void decode(struct decoding *d, const struct run *run, int n_runs) {
    int32_t token[ROWS], position[ROWS], table[ROWS], row[ROWS], slot[ROWS], at[ROWS],
        page[SEQUENCES * TABLE_PAGES];
    struct decode_batch b = {.token = token,
                             .position = position,
                             .table = table,
                             .write_from = row,
                             .write_slot = slot,
                             .logits_row = row,
                             .n_tables = SEQUENCES,
                             .page = page};
    for (int i = 0; i < PAGES; i++) page[i] = d->reversed ? PAGES - 1 - i : i;
    for (int r = 0; r < n_runs; r++)
        for (int32_t p = run[r].first; p < run[r].end; p++, b.n++) {
            int s = run[r].sequence;
            token[b.n] = words_token((uint64_t)s, p);
            position[b.n] = p;
            table[b.n] = s;
            row[b.n] = (int32_t)b.n;
            slot[b.n] = page[s * TABLE_PAGES + p / PAGE_TOKENS] * PAGE_TOKENS + p % PAGE_TOKENS;
            at[b.n] = s * LONGEST + p;
        }
    b.n_writes = b.n_logits = b.n;
    struct tensor out = decoder_forward(d->decoder, &b);
    float *host = mem_alloc(b.n * WORDS, sizeof *host);
    ASSERT(out.rows == b.n && out.cols == WORDS);
    test_device_read(dev, host, out.data, (size_t)(b.n * WORDS) * sizeof *host);
    for (int64_t i = 0; i < b.n; i++)
        memcpy(d->logits + (int64_t)at[i] * WORDS, host + i * WORDS, WORDS * sizeof *host);
    mem_free(host);
}

static void decode_all(struct decoding *d) {
    struct run run[SEQUENCES];
    for (int s = 0; s < SEQUENCES; s++) run[s] = (struct run){s, 0, length_of[s]};
    decode(d, run, SEQUENCES);
}

/* ---- the model ---- */

/* out (length - 1, N_LM_OUTPUTS): of the sequence's reads, each of the token that follows. */
static void run_model(struct words *w, struct model *m, int s, float *out) {
    int32_t token[LONGEST], row[LONGEST], n = length_of[s] - 1;
    const int32_t *sequence = token;
    struct forest_read read[LONGEST];
    for (int32_t p = 0; p <= n; p++) {
        token[p] = words_token((uint64_t)s, p);
        row[p] = p;
        read[p] = (struct forest_read){0, p};
    }
    struct forest forest;
    forest_init(&forest, LONGEST, 1, LONGEST);
    forest_build(&forest, 1, &sequence, &n, n, read);
    struct reads reads = {n, row, token + 1};
    const float *found = model_forward(m, &forest, &reads);
    test_device_read(w->dev, out, found, (size_t)(n * N_LM_OUTPUTS) * sizeof *out);
    forest_free(&forest);
}

static void outputs_of(const float *logits, int32_t target, double out[LM_CORRECT]) {
    double max = logits[0], sum = 0, total = 0;
    for (int v = 0; v < WORDS; v++) max = fmax(max, logits[v]);
    for (int v = 0; v < WORDS; v++) sum += exp(logits[v] - max), total += logits[v];
    out[LM_LOG_SUM] = max + log(sum);
    out[LM_LOG_PROBABILITY] = logits[target] - out[LM_LOG_SUM];
    out[LM_MEAN] = total / WORDS;
}

static double worst; /* of the present test, for those who want the number */

static void check_model(const struct words_kind *kind, double bound) {
    struct decoding d;
    decoding_open(&d, kind, NULL);
    decode_all(&d);
    struct words *w = &d.words;
    struct model_options options = {.dtype = w->dtype,
                                    .max_tokens = LONGEST,
                                    .max_rows = LONGEST,
                                    .max_reads = LONGEST,
                                    .head = language_model.head,
                                    .quantised = parameters_largest_quantised(&w->table),
                                    .adapters = w->table.adapters};
    struct model *m = model_init(dev, &w->arch, &w->table, w->z, &options);
    float expected[LONGEST * N_LM_OUTPUTS];
    for (int s = 0; s < SEQUENCES; s++) {
        run_model(w, m, s, expected);
        for (int32_t p = 0; p + 1 < length_of[s]; p++) {
            double found[LM_CORRECT];
            outputs_of(d.logits + ((int64_t)s * LONGEST + p) * WORDS,
                       words_token((uint64_t)s, p + 1), found);
            for (int k = 0; k < LM_CORRECT; k++) {
                double error = fabs(found[k] - expected[p * N_LM_OUTPUTS + k]);
                worst = fmax(worst, error);
                if (!(error <= bound))
                    TEST_END(TEST_FAILED, "%s: output %d of sequence %d at %d is off by %.3g",
                             kind->family, k, s, p, error);
            }
        }
    }
    model_free(m);
    decoding_close(&d);
}

static void say_worst(const char *what) {
    if (base_rank == 0) printf("# log-probabilities from the model's, %s: %.2g\n", what, worst);
    worst = 0;
}

static void test_logits_are_the_models(void) {
    for (int f = 0; f < N_WORD_FAMILIES; f++)
        check_model(&(struct words_kind){word_families[f], DTYPE_F32, 3}, 1e-4);
    check_model(&(struct words_kind){"neox", DTYPE_F32, .parallel = true}, 1e-4);
    for (int f = 0; f < N_WORD_FAMILIES; f++)
        check_model(&(struct words_kind){word_families[f], DTYPE_F32, 3, .adapters = true}, 1e-4);
    check_model(&(struct words_kind){"qwen3", DTYPE_F32, 3, .quantised = true}, 1e-4);
    check_model(&(struct words_kind){"neox", DTYPE_F32, 3, .quantised = true}, 1e-4);
    say_worst("fp32");
    for (int f = 0; f < N_WORD_FAMILIES; f++)
        check_model(&(struct words_kind){word_families[f], DTYPE_BF16, 3, .adapters = f % 2}, 0.1);
    check_model(&(struct words_kind){"phi3", DTYPE_BF16, 3, .quantised = true}, 0.1);
    say_worst("bf16");
}

/* ---- the same bits ---- */

static void check_bits(const char *family, const char *what, const struct decoding *d,
                       const float *expected) {
    for (int s = 0; s < SEQUENCES; s++)
        for (int32_t p = 0; p < length_of[s]; p++) {
            int64_t at = ((int64_t)s * LONGEST + p) * WORDS;
            if (memcmp(d->logits + at, expected + at, WORDS * sizeof *expected) != 0)
                TEST_END(TEST_FAILED, "%s, %s: other bits of sequence %d at %d", family, what, s,
                         p);
        }
    memset(d->logits, 0, SEQUENCES * LONGEST * WORDS * sizeof *d->logits);
}

/* Sequences one after another, each in pieces of one row around the borders of pages, and
 * larger ones elsewhere. */
static void decode_alone(struct decoding *d) {
    for (int s = SEQUENCES - 1; s >= 0; s--)
        for (int32_t p = 0; p < length_of[s];) {
            int32_t place = p % PAGE_TOKENS, more = place < 2 || place > 60 ? 1 : 59;
            int32_t end = MIN(length_of[s], p + more);
            decode(d, &(struct run){s, p, end}, 1);
            p = end;
        }
}

/* All sequences at once, in pieces of that many rows of each, the last sequence first. */
static void decode_together(struct decoding *d, int32_t piece) {
    for (int32_t p = 0; p < LONGEST; p += piece) {
        struct run run[SEQUENCES];
        for (int s = 0; s < SEQUENCES; s++) {
            int from = SEQUENCES - 1 - s;
            run[s] = (struct run){from, MIN(p, length_of[from]), MIN(p + piece, length_of[from])};
        }
        decode(d, run, SEQUENCES);
    }
}

/* The logits of one batch of everything, on memory of its own; mem_free. */
static float *expected_bits(const struct words_kind *kind) {
    struct decoding d;
    decoding_open(&d, kind, NULL);
    decode_all(&d);
    float *logits = d.logits;
    d.logits = NULL;
    decoding_close(&d);
    return logits;
}

/* The memory is given and full of NaN; what lies behind it stays. */
static void check_schedules(const struct words_kind *kind) {
    float *expected = expected_bits(kind);
    struct words w;
    words_open(&w, dev, kind);
    struct decoder_options options = words_options(&w, sizes);
    size_t bytes = decoder_plan(dev, &w.arch, &w.table, &options).memory;
    words_close(&w);
    unsigned char *fill = mem_alloc((int64_t)bytes + 256, 1);
    memset(fill, 0xff, bytes + 256);
    void *memory = test_device_copy(dev, fill, bytes + 256);
    struct decoding d;
    decoding_open(&d, kind, memory);
    decode_all(&d);
    check_bits(kind->family, "in given memory", &d, expected);
    d.reversed = true;
    decode_alone(&d);
    check_bits(kind->family, "alone", &d, expected);
    d.reversed = false;
    decode_together(&d, 37);
    check_bits(kind->family, "in pieces", &d, expected);
    decoding_close(&d);
    test_device_read(dev, fill, memory, bytes + 256);
    for (size_t i = bytes; i < bytes + 256; i++) ASSERT_INT(fill[i], 0xff);
    dev->backend->release(dev, memory);
    mem_free(fill);
    mem_free(expected);
}

static void test_company_changes_no_bit(void) {
    for (int f = 0; f < N_WORD_FAMILIES; f++)
        for (int t = 0; t < 2; t++) {
            enum dtype dtype = t ? DTYPE_BF16 : DTYPE_F32;
            bool adapters = (f + t) % 2 == 0;
            check_schedules(
                &(struct words_kind){word_families[f], dtype, f % 4, .adapters = adapters});
        }
    check_schedules(&(struct words_kind){"qwen2", DTYPE_BF16, 3, .quantised = true});
    check_schedules(&(struct words_kind){"neox", DTYPE_F32, 3, .parallel = true});
}

static void test_stages_change_no_bit(void) {
    for (int t = 0; t < 2; t++) {
        struct words_kind kind = {"qwen3", t ? DTYPE_BF16 : DTYPE_F32, 0, .adapters = true};
        float *expected = expected_bits(&kind);
        for (kind.stage = 1; kind.stage <= 3; kind.stage++) {
            struct decoding d;
            decoding_open(&d, &kind, NULL);
            decode_all(&d);
            check_bits(kind.family, "at another stage", &d, expected);
            decoding_close(&d);
        }
        mem_free(expected);
    }
}

static void test_threads_change_no_bit(void) {
    struct words_kind kind = {"llama", DTYPE_F32};
    float *expected = expected_bits(&kind);
    struct device *usual = dev;
    dev = test_device_open(1);
    struct decoding d;
    decoding_open(&d, &kind, NULL);
    decode_together(&d, 50);
    check_bits(kind.family, "with one thread", &d, expected);
    decoding_close(&d);
    test_device_close(dev);
    dev = usual;
    mem_free(expected);
}

/* ---- pages and logits ---- */

/* A batch without logits writes its pages all the same; a row's logits may be asked for twice, and
 * its tokens may lie on the device. */
static void test_batches_of_other_kinds(void) {
    struct words_kind kind = {"qwen3", DTYPE_F32};
    float *expected = expected_bits(&kind);
    struct decoding d;
    decoding_open(&d, &kind, NULL);
    int32_t token[2] = {words_token(2, 0), words_token(2, 1)}, position[2] = {0, 1},
            table[2] = {0, 0}, from[2] = {0, 1}, slot[2] = {0, 1}, twice[2] = {1, 1},
            page[TABLE_PAGES] = {0, -1, -1};
    struct decode_batch b = {.n = 2,
                             .token = token,
                             .position = position,
                             .table = table,
                             .n_writes = 2,
                             .write_from = from,
                             .write_slot = slot,
                             .n_tables = 1,
                             .page = page};
    ASSERT_INT(decoder_forward(d.decoder, &b).rows, 0);
    int32_t third = words_token(2, 2), *on_device = test_device_copy(dev, &third, sizeof third);
    position[0] = 2;
    slot[0] = 2;
    b.n = b.n_writes = 1;
    b.token = NULL;
    b.device_token = on_device;
    b.n_logits = 2;
    twice[0] = twice[1] = 0;
    b.logits_row = twice;
    float logits[2 * WORDS];
    test_device_read(dev, logits, decoder_forward(d.decoder, &b).data, sizeof logits);
    for (int i = 0; i < 2; i++)
        ASSERT(memcmp(logits + (size_t)i * WORDS, expected + ((int64_t)2 * LONGEST + 2) * WORDS,
                      sizeof logits / 2) == 0);
    dev->backend->release(dev, on_device);
    b.n = b.n_writes = b.n_logits = 0;
    ASSERT_INT(decoder_forward(d.decoder, &b).rows, 0);
    decoding_close(&d);
    mem_free(expected);
}

/* The model's activations serve as the decoder's memory, between two equal forwards. */
static void test_a_model_lends_its_memory(void) {
    struct words_kind kind = {"llama", DTYPE_F32};
    struct words w;
    words_open(&w, dev, &kind);
    struct model_options options = {.dtype = w.dtype,
                                    .max_tokens = 2048,
                                    .max_rows = LONGEST,
                                    .max_reads = LONGEST,
                                    .head = language_model.head};
    struct model *m = model_init(dev, &w.arch, &w.table, w.z, &options);
    struct decoder_options small = words_options(&w, sizes);
    float before[LONGEST * N_LM_OUTPUTS], after[LONGEST * N_LM_OUTPUTS];
    size_t bytes, needed = decoder_plan(dev, &w.arch, &w.table, &small).memory;
    run_model(&w, m, 0, before);
    void *memory = model_arena(m, &bytes);
    ASSERT(bytes >= needed);
    unsigned char *fill = mem_alloc((int64_t)bytes, 1);
    memset(fill, 0xff, bytes);
    dev->backend->copy_in(dev, memory, fill, bytes, STREAM_COMPUTE);
    struct decoder *d = decoder_init(dev, &w.arch, &w.table, w.z, &small, memory);
    decoder_hold(d);
    decoder_let_go(d);
    decoder_free(d);
    run_model(&w, m, 0, after);
    ASSERT(memcmp(before, after, (size_t)(LONGEST - 1) * N_LM_OUTPUTS * sizeof *before) == 0);
    mem_free(fill);
    model_free(m);
    words_close(&w);
}

static void test_nothing_is_left(void) {
    size_t before = mem_balance();
    struct words_kind kind = {"olmo2", DTYPE_BF16, 3, .adapters = true};
    mem_free(expected_bits(&kind));
    ASSERT_INT(mem_balance(), before);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"logits_are_the_models", test_logits_are_the_models},
        {"company_changes_no_bit", test_company_changes_no_bit},
        {"stages_change_no_bit", test_stages_change_no_bit},
        {"threads_change_no_bit", test_threads_change_no_bit},
        {"batches_of_other_kinds", test_batches_of_other_kinds},
        {"a_model_lends_its_memory", test_a_model_lends_its_memory},
        {"nothing_is_left", test_nothing_is_left},
    };
    comm_start(&argc, &argv);
    dev = test_device_open(2);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    comm_stop();
    return code;
}
