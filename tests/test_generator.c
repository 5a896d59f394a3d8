/* Generation: the promise that a request's tokens and log-probabilities have the same bits in any
 * company; ends, pages, prompts that share, ranks. ranks: 1 2 3;
 * devices: emulated; limit: 600 */
#include "generator.h"
#include "infer/pages.h"
#include "infer/prefill.h"
#include "words.h"

enum { MAX_PROMPT = 140, REQUESTS = 24, NEW = 20 };
static struct device *dev;
static bool is_slow; /* an emulated device */

/* ---- requests ---- */

/* Prompts that share: three samples of each, of eight prompts, which begin as others do. */
struct requests {
    int32_t token[REQUESTS / 3][MAX_PROMPT];
    struct generate_request of[REQUESTS];
    int n;
};

static void make_requests(struct requests *r) {
    static const int length[REQUESTS / 3] = {1, 5, 63, 64, 65, 128, 131, MAX_PROMPT};
    static const int stem[REQUESTS / 3] = {0, 0, 5, 0, 64, 3, 128, 70}; /* shared with the former */
    r->n = is_slow ? 12 : REQUESTS;
    for (int i = 0; i < REQUESTS / 3; i++)
        for (int p = 0; p < length[i]; p++)
            r->token[i][p] =
                p < stem[i] ? r->token[i - 1][p] : words_token((uint64_t)i, p) % (WORDS - 1) + 1;
    for (int i = 0; i < REQUESTS; i++) {
        int prompt = (is_slow ? 2 : 1) * (i / 3) % (REQUESTS / 3);
        r->of[i] = (struct generate_request){r->token[prompt], length[prompt],
                                             generate_key(9, 0, i / 3, 0, i % 3, 0)};
    }
}

/* ---- a generator and what it gave ---- */

struct writing {
    struct words words;
    struct decoder *decoder;
    struct generator *g;
    struct generate_options options;
};

static struct generate_options greedy_options(void) {
    return (struct generate_options){
        .sampling = {.greedy = true, .temperature = 1, .top_p = 1, .repetition_penalty = 1},
        .max_new_tokens = NEW,
        .max_rows = REQUESTS};
}

static struct generate_options chance_options(void) {
    struct generate_options o = greedy_options();
    o.sampling = (struct sampling){
        .temperature = 0.8, .top_k = 50, .top_p = 0.95, .repetition_penalty = 1.2};
    return o;
}

/* pages 0: as many as all rows need. */
static void writing_open(struct writing *w, const struct words_kind *kind,
                         const struct generate_options *options, int64_t piece, int64_t pages,
                         const struct tokenizer *tokenizer) {
    *w = (struct writing){.options = *options};
    words_open(&w->words, dev, kind);
    struct decoder_options sizes =
        words_options(&w->words, generator_decoder(options, MAX_PROMPT, piece));
    if (pages > 0) sizes.n_pages = pages;
    w->decoder = decoder_init(dev, &w->words.arch, &w->words.table, w->words.z, &sizes, NULL);
    decoder_hold(w->decoder);
    w->g = generator_init(dev, w->decoder, &w->words.arch, tokenizer, options);
    if (!w->g) TEST_END(TEST_FAILED, "%s", error_text());
}

static void writing_close(struct writing *w) {
    generator_free(w->g);
    decoder_let_go(w->decoder);
    decoder_free(w->decoder);
    words_close(&w->words);
}

/* The results of requests, which outlive their generator. */
struct kept {
    int64_t n;
    enum finish finish;
    int32_t token[NEW];
    float log_probability[NEW];
};

static void keep(struct kept *to, const struct generated *from) {
    ASSERT(from->n >= 1 && from->n <= NEW);
    *to = (struct kept){.n = from->n, .finish = from->finish};
    memcpy(to->token, from->token, (size_t)from->n * sizeof *to->token);
    memcpy(to->log_probability, from->log_probability, (size_t)from->n * sizeof(float));
}

static void run(struct writing *w, const struct requests *r, struct kept *out) {
    struct generated all[REQUESTS];
    WORDS_TRY(generate(w->g, r->of, r->n, all));
    for (int i = 0; i < r->n; i++) keep(&out[i], &all[i]);
}

/* One request after another: nothing is shared. */
static void run_alone(const struct words_kind *kind, const struct generate_options *options,
                      const struct requests *r, struct kept *out) {
    struct generate_options one = *options;
    struct writing w;
    one.max_rows = 1;
    writing_open(&w, kind, &one, MAX_PROMPT, 0, NULL);
    for (int i = 0; i < r->n; i++) {
        struct generated result;
        WORDS_TRY(generate(w.g, &r->of[i], 1, &result));
        keep(&out[i], &result);
    }
    writing_close(&w);
}

static void compare(const char *what, const struct kept *a, const struct kept *b, int n) {
    for (int i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            TEST_END(TEST_FAILED, "%s: request %d is not what it is alone (%lld and %lld tokens)",
                     what, i, (long long)a[i].n, (long long)b[i].n);
}

/* ---- tokens ---- */

/* The logits of every position of prompt and continuation in one batch. */
static void teacher_force(struct words *words, const struct generate_request *q,
                          const struct kept *written, float *logits) {
    enum { LENGTH = MAX_PROMPT + NEW };
    int32_t token[LENGTH], position[LENGTH], table[LENGTH] = {0}, index[LENGTH],
                                             page[(LENGTH + PAGE_TOKENS - 1) / PAGE_TOKENS];
    int64_t n = q->length + written->n - 1;
    for (int32_t p = 0; p < n; p++) {
        token[p] = p < q->length ? q->prompt[p] : written->token[p - q->length];
        position[p] = index[p] = p;
    }
    for (size_t i = 0; i < sizeof page / sizeof *page; i++) page[i] = (int32_t)i;
    struct decoder_options sizes = {.max_rows = LENGTH,
                                    .max_logits = LENGTH,
                                    .n_pages = sizeof page / sizeof *page,
                                    .max_tables = 1,
                                    .table_pages = sizeof page / sizeof *page};
    sizes = words_options(words, sizes);
    struct decoder *d = decoder_init(dev, &words->arch, &words->table, words->z, &sizes, NULL);
    decoder_hold(d);
    struct decode_batch b = {.n = n,
                             .token = token,
                             .position = position,
                             .table = table,
                             .n_writes = n,
                             .write_from = index,
                             .write_slot = index,
                             .n_logits = written->n,
                             .logits_row = index + q->length - 1,
                             .n_tables = 1,
                             .page = page};
    test_device_read(dev, logits, decoder_forward(d, &b).data,
                     (size_t)(written->n * WORDS) * sizeof *logits);
    decoder_let_go(d);
    decoder_free(d);
}

static void check_greedy(struct words *words, const struct generate_request *q,
                         const struct kept *written) {
    static float logits[NEW * WORDS];
    teacher_force(words, q, written, logits);
    for (int64_t i = 0; i < written->n; i++) {
        const float *x = logits + i * WORDS;
        int best = 0;
        double sum = 0;
        for (int v = 1; v < WORDS; v++) best = x[v] > x[best] ? v : best;
        for (int v = 0; v < WORDS; v++) sum += exp((double)x[v] - x[best]);
        ASSERT_INT(written->token[i], best);
        ASSERT_NEAR(written->log_probability[i], -log(sum), 1e-5);
    }
}

static void test_greedy_takes_the_largest_logit(void) {
    static struct requests r;
    static struct kept written[REQUESTS];
    struct generate_options greedy = greedy_options();
    make_requests(&r);
    for (int f = 0; f < N_WORD_FAMILIES; f += is_slow ? 3 : 1) {
        struct writing w;
        struct words_kind kind = {word_families[f], f % 2 ? DTYPE_BF16 : DTYPE_F32,
                                  .adapters = true};
        writing_open(&w, &kind, &greedy, 100, 0, NULL);
        run(&w, &r, written);
        for (int i = 0; i < r.n; i += 3) {
            ASSERT_INT(written[i].n, NEW);
            ASSERT_INT(written[i].finish, FINISH_LENGTH);
            ASSERT(memcmp(&written[i], &written[i + 1], sizeof *written) == 0);
            check_greedy(&w.words, &r.of[i], &written[i]);
        }
        writing_close(&w);
    }
}

/* ---- the promise ---- */

static void shuffle(struct requests *r, int *from) {
    struct generate_request old[REQUESTS];
    memcpy(old, r->of, sizeof old);
    for (int i = 0; i < r->n; i++) {
        from[i] = (int)random_permute(3, 4, i, r->n);
        r->of[i] = old[from[i]];
    }
}

static void check_promise(const struct words_kind *kind, const struct generate_options *options) {
    static struct requests r;
    static struct kept alone[REQUESTS], found[REQUESTS], moved[REQUESTS];
    struct writing w;
    int from[REQUESTS];
    make_requests(&r);
    run_alone(kind, options, &r, alone);
    writing_open(&w, kind, options, 1000, 0, NULL);
    for (int i = 0; i < 2; i++) {
        run(&w, &r, found);
        compare("all at once", found, alone, r.n);
    }
    writing_close(&w);
    struct generate_options few = *options;
    few.max_rows = 5;
    writing_open(&w, kind, &few, 23, 0, NULL);
    run(&w, &r, found);
    compare("five at a time, in pieces", found, alone, r.n);
    writing_close(&w);
    writing_open(&w, kind, options, 64, 7, NULL);
    shuffle(&r, from);
    run(&w, &r, moved);
    for (int i = 0; i < r.n; i++) found[from[i]] = moved[i];
    compare("in few pages, in another order", found, alone, r.n);
    writing_close(&w);
}

static void test_company_changes_nothing(void) {
    struct generate_options greedy = greedy_options(), chance = chance_options(),
                            plain = chance_options();
    plain.sampling.repetition_penalty = 1;
    check_promise(&(struct words_kind){"qwen3", DTYPE_F32}, &chance);
    check_promise(&(struct words_kind){"llama", DTYPE_BF16, 3, .adapters = true}, &chance);
    check_promise(&(struct words_kind){"neox", DTYPE_BF16}, &plain);
    if (is_slow) return;
    check_promise(&(struct words_kind){"olmo2", DTYPE_F32, 2}, &plain);
    check_promise(&(struct words_kind){"phi3", DTYPE_F32, 1}, &chance);
    check_promise(&(struct words_kind){"qwen2", DTYPE_BF16, 3}, &greedy);
    check_promise(&(struct words_kind){"mistral", DTYPE_BF16, 3, .quantised = true}, &chance);
}

/* Samples of a prompt differ, and so do seeds; the same key gives the same. */
static void test_keys_decide(void) {
    static struct requests r;
    static struct kept first[REQUESTS], second[REQUESTS];
    struct words_kind kind = {"qwen3", DTYPE_F32};
    struct generate_options chance = chance_options();
    struct writing w;
    make_requests(&r);
    writing_open(&w, &kind, &chance, 200, 0, NULL);
    run(&w, &r, first);
    int same = 0;
    for (int i = 0; i < r.n; i += 3)
        same += memcmp(first[i].token, first[i + 1].token, sizeof first[i].token) == 0;
    ASSERT_INT(same, 0);
    r.of[0].key++;
    run(&w, &r, second);
    ASSERT(memcmp(&first[0], &second[0], sizeof first[0]) != 0);
    compare("beside another key", second + 1, first + 1, r.n - 1);
    writing_close(&w);
    uint64_t key = generate_key(1, 2, 3, 0, 1, 0);
    ASSERT(key == generate_key(1, 2, 3, 0, 1, 0));
    ASSERT(key != generate_key(2, 2, 3, 0, 1, 0) && key != generate_key(1, 3, 3, 0, 1, 0) &&
           key != generate_key(1, 2, 4, 0, 1, 0) && key != generate_key(1, 2, 3, 1, 1, 0) &&
           key != generate_key(1, 2, 3, 0, 2, 0) && key != generate_key(1, 2, 3, 0, 1, 1));
}

/* ---- ends ---- */

/* With some words as ends each continuation is what it was, up to the first of them. */
static void test_ends(void) {
    static struct requests r;
    static struct kept whole[REQUESTS], cut[REQUESTS];
    int32_t eos[WORDS / 10];
    struct words_kind kind = {"llama", DTYPE_F32};
    struct generate_options chance = chance_options();
    struct writing w;
    make_requests(&r);
    writing_open(&w, &kind, &chance, 200, 0, NULL);
    run(&w, &r, whole);
    writing_close(&w);
    for (int i = 0; i < WORDS / 10; i++) eos[i] = 10 * i;
    chance.eos = eos;
    chance.n_eos = WORDS / 10;
    chance.max_rows = 6;
    writing_open(&w, &kind, &chance, 200, 0, NULL);
    run(&w, &r, cut);
    writing_close(&w);
    int n_ended = 0;
    for (int i = 0; i < r.n; i++) {
        int64_t n = 0;
        while (n < NEW && whole[i].token[n] % 10 != 0) n++;
        bool ended = n < NEW;
        ASSERT_INT(cut[i].n, ended ? n + 1 : NEW);
        ASSERT_INT(cut[i].finish, ended ? FINISH_EOS : FINISH_LENGTH);
        ASSERT(memcmp(cut[i].token, whole[i].token, (size_t)cut[i].n * sizeof(int32_t)) == 0);
        n_ended += ended;
    }
    ASSERT(n_ended > 2 && n_ended <= r.n);
}

static bool has_text(const struct tokenizer *t, const int32_t *token, int64_t n,
                     const char *wanted) {
    struct buffer text = {0};
    WORDS_TRY(tokenizer_decode(t, token, n, true, &text));
    bool has = text.data && strstr(text.data, wanted);
    buffer_free(&text);
    return has;
}

static void test_stop_texts(void) {
    static struct requests r;
    static struct kept whole[REQUESTS], cut[REQUESTS];
    const char *stop[] = {"e", "qu"};
    struct tokenizer *t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    ASSERT(t && tokenizer_size(t) >= WORDS);
    struct words_kind kind = {"llama", DTYPE_F32};
    struct generate_options chance = chance_options();
    struct writing w;
    make_requests(&r);
    writing_open(&w, &kind, &chance, 200, 0, NULL);
    run(&w, &r, whole);
    writing_close(&w);
    chance.stop = stop;
    chance.n_stop = 2;
    writing_open(&w, &kind, &chance, 200, 0, t);
    run(&w, &r, cut);
    writing_close(&w);
    int n_ended = 0;
    for (int i = 0; i < r.n; i++) {
        int64_t n = 1;
        while (n <= NEW && !has_text(t, whole[i].token, n, "e") &&
               !has_text(t, whole[i].token, n, "qu"))
            n++;
        ASSERT_INT(cut[i].n, MIN(n, (int64_t)NEW));
        ASSERT_INT(cut[i].finish, n <= NEW ? FINISH_STOP : FINISH_LENGTH);
        n_ended += n <= NEW;
    }
    ASSERT(n_ended > 2);
    tokenizer_free(t);
}

/* ---- bad input ---- */

static void check_refused(struct writing *w, struct generate_request request, const char *message) {
    struct generated out[2];
    static const int32_t good[1] = {1};
    struct generate_request both[2] = {{good, 1, 1}, request};
    ASSERT_INT(generate(w->g, both, 2, out), -1);
    ASSERT_CONTAINS(error_text(), message);
}

static void test_what_does_not_fit_is_refused(void) {
    struct words_kind kind = {"phi3", DTYPE_F32};
    struct generate_options greedy = greedy_options();
    struct writing w;
    static int32_t zeros[4000];
    int32_t strange[1] = {WORDS};
    greedy.max_rows = 2;
    writing_open(&w, &kind, &greedy, 200, 3, NULL);
    check_refused(&w, (struct generate_request){zeros, 0, 1},
                  "prompt 1: expected tokens, found none");
    check_refused(&w, (struct generate_request){strange, 1, 1},
                  "prompt 1: expected tokens below 300, found 300");
    check_refused(&w, (struct generate_request){zeros, 174, 1},
                  "prompt 1: expected at most 193 tokens, of which 20 are new, found a prompt of "
                  "174; hint");
    struct generated out;
    WORDS_TRY(generate(w.g, &(struct generate_request){zeros, 173, 1}, 1, &out));
    ASSERT_INT(out.n, NEW);
    ASSERT_INT(generate(w.g, NULL, 0, NULL), 0);
    w.words.arch.window = 100;
    check_refused(&w, (struct generate_request){zeros, 81, 1},
                  "prompt 1: \"sliding_window\": expected at least 101");
    writing_close(&w);
}

/* ---- pages and prompts ---- */

static void test_pages_are_counted(void) {
    struct page_pool pool;
    int32_t a[4], b[4], c[3];
    page_pool_init(&pool, 8);
    pages_take(&pool, a, 4, NULL, 0);
    pages_take(&pool, b, 4, a, 2);
    ASSERT(a[0] == b[0] && a[1] == b[1] && a[2] != b[2]);
    pages_take(&pool, c, 3, b, 1);
    ASSERT_INT(pool.n_free, 0);
    pages_drop(&pool, a, 4);
    ASSERT_INT(pool.n_free, 2);
    pages_drop(&pool, c, 3);
    ASSERT_INT(pool.n_free, 4);
    pages_drop(&pool, b, 4);
    ASSERT_INT(pool.n_free, 8);
    page_pool_free(&pool);
}

/* What stands in pages after batches: the number of the forest's row, which must be that of every
 * prompt that has its table there. */
struct shelf {
    int32_t row[64 * PAGE_TOKENS];
};

static void check_row(const struct forest *f, int64_t row, const int32_t *prompt, int64_t position,
                      int64_t end) {
    ASSERT(row >= 0 && f->token[row] == prompt[position] && f->position[row] == position);
    ASSERT(row <= end && end < f->reach[row]); /* an ancestor of the prompt's last row */
}

static void check_batches(const struct requests *r, struct prefill *p, const int32_t *page,
                          struct shelf *shelf) {
    int64_t stride = p->sizes.table_pages, n_ends = 0, first_prompt;
    for (int64_t at = 0; at < p->forest.n;) {
        struct decode_batch b = prefill_batch(p, at, page, &first_prompt);
        ASSERT(b.n > 0 && b.n <= p->sizes.max_rows && first_prompt == n_ends);
        for (int64_t i = 0; i < b.n_writes; i++) {
            ASSERT_INT(shelf->row[b.write_slot[i]], -1); /* written once */
            shelf->row[b.write_slot[i]] = (int32_t)(at + b.write_from[i]);
        }
        for (int64_t i = 0; i < b.n; i++)
            for (int32_t q = 0; q <= b.position[i]; q++) { /* it sees its ancestors */
                int32_t slot =
                    page[b.table[i] * stride + q / PAGE_TOKENS] * PAGE_TOKENS + q % PAGE_TOKENS;
                ASSERT(shelf->row[slot] >= 0 && p->forest.position[shelf->row[slot]] == q);
                ASSERT(at + i < p->forest.reach[shelf->row[slot]]);
            }
        for (int64_t i = 0; i < b.n_logits; i++, n_ends++)
            ASSERT_INT(at + b.logits_row[i], p->end[n_ends]);
        at += b.n;
    }
    ASSERT_INT(n_ends, p->n);
    for (int64_t k = 0; k < p->n; k++) {
        const struct generate_request *q = &r->of[p->order[k]];
        for (int64_t t = 0; t < q->length; t++)
            check_row(
                &p->forest,
                shelf->row[page[k * stride + t / PAGE_TOKENS] * PAGE_TOKENS + t % PAGE_TOKENS],
                q->prompt, t, p->end[k]);
    }
}

static void check_prefill(int64_t piece) {
    static struct requests r;
    static struct shelf shelf;
    const int32_t *prompt[REQUESTS];
    int32_t length[REQUESTS], page[REQUESTS * 3];
    struct decoder_options sizes = {.max_rows = piece,
                                    .max_logits = REQUESTS,
                                    .n_pages = 64,
                                    .max_tables = REQUESTS,
                                    .table_pages = 3};
    struct page_pool pool;
    struct prefill p;
    make_requests(&r);
    for (int i = 0; i < r.n; i++) {
        prompt[i] = r.of[i].prompt;
        length[i] = (int32_t)r.of[i].length;
    }
    memset(&shelf, -1, sizeof shelf);
    page_pool_init(&pool, sizes.n_pages);
    prefill_init(&p, &sizes);
    prefill_build(&p, r.n, prompt, length);
    ASSERT_INT(p.forest.n, forest_count(r.n, prompt, length));
    for (int64_t k = 0; k < r.n; k++) {
        const struct generate_request *q = &r.of[p.order[k]], *former = NULL;
        int64_t shared = 0;
        if (k > 0) former = &r.of[p.order[k - 1]];
        while (former && shared < MIN(q->length, former->length) &&
               q->prompt[shared] == former->prompt[shared])
            shared++;
        pages_take(&pool, page + 3 * k, pages_for(q->length + 1), page + 3 * (k - 1),
                   shared / PAGE_TOKENS);
    }
    check_batches(&r, &p, page, &shelf);
    prefill_free(&p);
    page_pool_free(&pool);
}

static void test_prompts_stand_in_their_pages(void) {
    static const int64_t pieces[] = {1, 7, 64, 100, 10000};
    for (int i = 0; i < 5; i++) check_prefill(pieces[i]);
}

/* ---- ranks ---- */

static void test_ranks_change_nothing(void) {
    static struct requests r;
    static struct kept alone[REQUESTS], found[REQUESTS];
    struct generated all[REQUESTS];
    struct generate_options chance = chance_options();
    make_requests(&r);
    for (int t = 0; t < 2; t++) {
        struct words_kind kind = {"qwen2", t ? DTYPE_BF16 : DTYPE_F32, 3 * t};
        struct writing w;
        writing_open(&w, &kind, &chance, 100, 0, NULL);
        run(&w, &r, alone);
        for (int n = r.n; n > 0; n /= 3) { /* also fewer than ranks */
            const struct ranks *data = &w.words.place.data;
            WORDS_TRY(generate_shared(w.g, data, r.of, n, all));
            for (int i = 0; i < n; i++) keep(&found[i], &all[i]);
            compare("dealt to ranks", found, alone, n);
        }
        r.of[1].length = 0;
        ASSERT_INT(generate_shared(w.g, &w.words.place.data, r.of, r.n, all), -1);
        ASSERT_CONTAINS(error_text(), "prompt 1: ");
        make_requests(&r);
        writing_close(&w);
    }
}

/* The host's memory is the CPU's device: what is held is what was planned. */
static void test_memory_is_planned(void) {
    if (test_has_plugin()) TEST_SKIP("the host's memory is counted");
    struct generate_options chance = chance_options();
    for (int stage = 0; stage <= 3; stage += 3) {
        struct words w;
        words_open(&w, dev, &(struct words_kind){"qwen3", DTYPE_F32, stage});
        struct decoder_options sizes =
            words_options(&w, generator_decoder(&chance, MAX_PROMPT, 512));
        sizes.n_pages = 1000;
        struct decoder_bytes plan = decoder_plan(dev, &w.arch, &w.table, &sizes);
        size_t planned = plan.memory + plan.others + generator_bytes(&w.arch, &chance);
        size_t before = mem_balance();
        struct decoder *d = decoder_init(dev, &w.arch, &w.table, w.z, &sizes, NULL);
        struct generator *g = generator_init(dev, d, &w.arch, NULL, &chance);
        double held = (double)(mem_balance() - before);
        generator_free(g);
        decoder_free(d);
        words_close(&w);
        if (base_rank == 0)
            printf("# decoder and generator, stage %d: %.2f MiB planned, %.2f held\n", stage,
                   (double)planned / (1 << 20), held / (1 << 20));
        ASSERT(fabs(held - (double)planned) <= 0.03 * (double)planned);
    }
}

static void test_nothing_is_left(void) {
    static struct requests r;
    static struct kept found[REQUESTS];
    struct words_kind kind = {"qwen2", DTYPE_F32};
    struct generate_options chance = chance_options();
    struct writing w;
    size_t before = mem_balance();
    make_requests(&r);
    writing_open(&w, &kind, &chance, 100, 0, NULL);
    run(&w, &r, found);
    writing_close(&w);
    generator_free(NULL);
    ASSERT_INT(mem_balance(), before);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"pages_are_counted", test_pages_are_counted},
        {"prompts_stand_in_their_pages", test_prompts_stand_in_their_pages},
        {"greedy_takes_the_largest_logit", test_greedy_takes_the_largest_logit},
        {"company_changes_nothing", test_company_changes_nothing},
        {"keys_decide", test_keys_decide},
        {"ends", test_ends},
        {"stop_texts", test_stop_texts},
        {"what_does_not_fit_is_refused", test_what_does_not_fit_is_refused},
        {"ranks_change_nothing", test_ranks_change_nothing},
        {"memory_is_planned", test_memory_is_planned},
        {"nothing_is_left", test_nothing_is_left},
    };
    comm_start(&argc, &argv);
    dev = test_device_open(2);
    is_slow = test_has_plugin();
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    comm_stop();
    return code;
}
