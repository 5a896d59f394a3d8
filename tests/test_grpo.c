/* Policies as a whole: model, task and op against TRL's GRPOTrainer._compute_loss with the same
 * model, tokens and rewards (tests/golden/make_grpo.py): loss, gradients and advantages, in one
 * micro-batch and in several. devices: emulated
 *
 *     test_grpo run MODEL CASE.safetensors GRADIENTS MICRO-BATCHES option=value ...
 *
 * prints what it computes of a case, for tests/long/grpo_trl.py: the loss, the advantages, and the
 * names and sizes of the gradients that it writes, fp32, one after another. */
#include <stdlib.h>

#include "advantage.h"
#include "golden.h"
#include "task.h"

enum { G_TOKENS = 4096, G_READS = 2048, G_SEQUENCES = 128 };

static struct device *dev;

/* A model and what it wrote. */
struct grpo_rig {
    struct golden golden; /* the case's tensors alone */
    struct rollouts rollouts;
    struct config config;
    struct task task;
    struct batch batch;
    struct arch arch;
    struct parameters table;
    struct safetensors weights;
    struct placement place;
    struct zero *z;
    struct model *model;
    struct task_item item[G_SEQUENCES];
    double tally[TASK_TALLIES];
};

static int read_files(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    struct grpo_rig *r = self;
    return safetensors_read(&r->weights, p, first, count, out);
}

static void read_rollouts(struct grpo_rig *g, const char *path) {
    struct rollouts *r = &g->rollouts;
    int64_t n, n_tokens;
    GOLDEN_TRY(file_read(path, 1 << 26, &g->golden.bytes));
    GOLDEN_TRY(safetensors_parse(&g->golden.tensors, 0, g->golden.bytes.data,
                                 g->golden.bytes.length, g->golden.bytes.length));
    const float *token = golden_get(&g->golden, "tokens", &n_tokens),
                *length = golden_get(&g->golden, "length", &n),
                *prompt = golden_get(&g->golden, "prompt_length", NULL),
                *truncated = golden_get(&g->golden, "truncated", NULL);
    rollouts_resize(r, n, n_tokens);
    r->samples = (int64_t)golden_get(&g->golden, "samples", NULL)[0];
    for (int64_t i = 0; i < n_tokens; i++) r->token[i] = (int32_t)token[i];
    for (int64_t i = 0; i < n; i++) {
        r->first[i + 1] = r->first[i] + (int64_t)length[i];
        r->prompt_length[i] = (int64_t)prompt[i];
        r->truncated[i] = truncated[i] > 0;
    }
    memcpy(r->reward, golden_get(&g->golden, "reward", NULL), (size_t)n * sizeof *r->reward);
    memcpy(r->old, golden_get(&g->golden, "old", NULL), (size_t)n_tokens * sizeof *r->old);
    memcpy(r->reference, golden_get(&g->golden, "reference", NULL),
           (size_t)n_tokens * sizeof *r->reference);
    r->has_old = r->has_reference = true;
}

static void open_model(struct grpo_rig *g, const char *path) {
    GOLDEN_TRY(arch_read(&g->arch, path));
    GOLDEN_TRY(parameters_build(&g->table, &g->arch, &g->task.parameters));
    GOLDEN_TRY(safetensors_open(&g->weights, path));
    GOLDEN_TRY(safetensors_match(&g->weights, &g->table));
    g->place.data = g->place.zero = g->place.replica = g->place.node = (struct ranks){0, 1, NULL};
    struct zero_options how = {.dtype = DTYPE_F32, .train = true, .first_unit_twice = true};
    g->z = zero_init(dev, &g->place, &g->table, &how);
    GOLDEN_TRY(zero_load(g->z, &(struct parameter_reader){read_files, g}));
    zero_publish(g->z);
    struct model_options options = {.dtype = DTYPE_F32,
                                    .train = true,
                                    .max_tokens = G_TOKENS,
                                    .max_rows = G_READS,
                                    .max_reads = G_READS,
                                    .temperature = g->task.temperature,
                                    .head = g->task.parameters.head};
    g->model = model_init(dev, &g->arch, &g->table, g->z, &options);
}

static void grpo_open(struct grpo_rig *g, const char *model, const char *written,
                      const char *const *options, int n_options) {
    static const struct shard prompts = {.n_prompts = 1, .path = "prompts.h5"};
    struct task_room room = {G_SEQUENCES, G_READS, G_READS};
    memset(g, 0, sizeof *g);
    GOLDEN_TRY(config_load(&g->config, NULL, 0, options, n_options));
    GOLDEN_TRY(task_choose(&g->task, &g->config, &prompts));
    read_rollouts(g, written);
    open_model(g, model);
    task_init(&g->task, dev, room);
    batch_init(&g->batch, G_TOKENS, room.sequences, room.reads);
    g->task.rollouts = &g->rollouts;
}

static void grpo_close(struct grpo_rig *g) {
    model_free(g->model);
    zero_free(g->z);
    safetensors_close(&g->weights);
    parameters_free(&g->table);
    arch_free(&g->arch);
    batch_free(&g->batch);
    task_free(&g->task);
    config_free(&g->config);
    rollouts_free(&g->rollouts);
    safetensors_close(&g->golden.tensors);
    buffer_free(&g->golden.bytes);
}

/* The step of all sequences, in that many micro-batches; its loss. */
static double grpo_step(struct grpo_rig *g, int64_t parts) {
    struct rollouts *r = &g->rollouts;
    struct advantage_options how = {g->config.policy.advantages, g->config.policy.std_eps,
                                    g->config.policy.min_reward_std};
    struct task_totals totals = {0};
    struct task_summary summary;
    void *tally = test_device_copy(dev, g->tally, sizeof g->tally);
    advantage_compute(r->advantage, &how, r->reward, NULL, r->n / r->samples, r->samples);
    for (int64_t i = 0; i < r->n; i++) {
        g->item[i].index = i;
        task_count(&g->task, &g->item[i], &totals);
    }
    task_begin_step(&g->task, &totals);
    for (int64_t k = 0; k < parts; k++) {
        int64_t first = k * r->n / parts, end = (k + 1) * r->n / parts;
        GOLDEN_TRY(task_gather(&g->task, &g->batch, g->item + first, end - first));
        const float *output = model_forward(g->model, &g->batch.forest, task_reads(&g->task));
        task_loss(&g->task, output, model_doutput(g->model), tally);
        model_backward(g->model, k == parts - 1);
    }
    test_device_read(dev, g->tally, tally, sizeof g->tally);
    dev->backend->release(dev, tally);
    task_summarize(&g->task, g->tally, &summary);
    return task_figure(&summary, "loss");
}

/* --- the golden cases --- */

static void check_gradients(struct grpo_rig *g, const char *name) {
    for (int u = 0; u < g->table.n_units; u++) {
        const struct unit *unit = &g->table.unit[u];
        float *all = mem_alloc(unit->count[SEGMENT_TRAINED], sizeof *all);
        zero_copy_gradient(g->z, u, all);
        for (int i = unit->first; i < unit->end; i++) {
            const struct parameter *p = &g->table.item[i];
            char *key = mem_format("%s.%s", name, p->name);
            const float *expected = golden_get(&g->golden, key, NULL), *found = all + p->offset;
            double largest = 0, worst = 0;
            for (int64_t j = 0; j < p->count; j++) {
                largest = fmax(largest, fabs(expected[j]));
                worst = fmax(worst, fabs(expected[j] - found[j]));
            }
            if (!(largest > 0 && worst <= 1e-4 * largest))
                TEST_END(TEST_FAILED, "%s is off by %.3g of its largest", key, worst / largest);
            mem_free(key);
        }
        mem_free(all);
    }
}

static void check_case(const char *name, int64_t parts, const char *const *options, int n_options) {
    static struct grpo_rig g;
    grpo_open(&g, GOLDEN_ROOT "lm_qwen2_tied", "tests/golden/grpo.safetensors", options, n_options);
    char *loss = mem_format("%s.loss", name), *advantage = mem_format("%s.advantage", name);
    double expected = (double)golden_get(&g.golden, loss, NULL)[0];
    ASSERT_NEAR(grpo_step(&g, parts), expected, 1e-5 * fabs(expected));
    for (int64_t i = 0; i < g.rollouts.n; i++)
        ASSERT_NEAR(g.rollouts.advantage[i], golden_get(&g.golden, advantage, NULL)[i], 1e-6);
    check_gradients(&g, name);
    mem_free(loss), mem_free(advantage);
    grpo_close(&g);
}

static void test_steps_are_trls(void) {
    static const char *const grpo[] = {"loss.type=grpo", "policy.kl=k3",
                                       "policy.kl_coefficient=0.1"};
    static const char *const dapo[] = {"loss.type=dapo", "policy.ratio=sequence",
                                       "policy.temperature=0.7", "policy.advantages=batch",
                                       "policy.epsilon_high=0.28"};
    static const char *const dr_grpo[] = {"loss.type=dr_grpo", "policy.advantages=none",
                                          "policy.truncated=mask", "policy.max_new_tokens=11"};
    for (int64_t parts = 1; parts <= 3; parts++) {
        check_case("grpo", parts, grpo, N_TESTS(grpo));
        check_case("dapo", parts, dapo, N_TESTS(dapo));
        check_case("dr_grpo", parts, dr_grpo, N_TESTS(dr_grpo));
    }
}

/* --- one case by hand --- */

static void write_gradients(struct grpo_rig *g, FILE *out) {
    for (int u = 0; u < g->table.n_units; u++) {
        const struct unit *unit = &g->table.unit[u];
        float *all = mem_alloc(unit->count[SEGMENT_TRAINED], sizeof *all);
        zero_copy_gradient(g->z, u, all);
        for (int i = unit->first; i < unit->end; i++) {
            const struct parameter *p = &g->table.item[i];
            printf("gradient %s %lld\n", p->name, (long long)p->count);
            if (fwrite(all + p->offset, sizeof *all, (size_t)p->count, out) != (size_t)p->count)
                die("cannot write the gradients");
        }
        mem_free(all);
    }
}

static int run_case(char **argument, int n) {
    static struct grpo_rig g;
    if (n < 4) die("expected MODEL CASE.safetensors GRADIENTS MICRO-BATCHES, then options");
    grpo_open(&g, argument[0], argument[1], (const char *const *)argument + 4, n - 4);
    printf("loss %.9g\n", grpo_step(&g, strtol(argument[3], NULL, 10)));
    for (int64_t i = 0; i < g.rollouts.n; i++)
        printf("advantage %.9g\n", (double)g.rollouts.advantage[i]);
    FILE *out = fopen(argument[2], "wb");
    if (!out) die("%s: cannot be written", argument[2]);
    write_gradients(&g, out);
    fclose(out);
    grpo_close(&g);
    return 0;
}

int main(int argc, char **argv) {
    static const struct test tests[] = {{"grpo_steps_are_trls", test_steps_are_trls}};
    dev = test_device_open(2);
    bool by_hand = argc > 1 && strcmp(argv[1], "run") == 0;
    int code =
        by_hand ? run_case(argv + 2, argc - 2) : test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return code;
}
