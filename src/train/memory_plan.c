/* What a run takes on each rank, told before it is taken: see run.h.
 *
 * On a GPU two memories are planned, its own and, with offloading, the host's. What the GPU's
 * context and libraries hold is measured when the device is opened and its channels are joined, and
 * stands in the plan as "libraries". */
#include <string.h>

#include "device.h"
#include "rollout.h"
#include "policy_writer.h"

struct memory_plan {
    struct zero_bytes zero;
    struct model_bytes model;
    size_t loss, rollout, libraries, device,
        host; /* device: all of its memory but the libraries' */
};

bool run_offloads(const struct config *config) {
    CONFIG_TWO_WORDS(OFFLOADS);
    return config->parallel.offload == OFFLOAD_OPTIMIZER;
}

static bool recomputes(const struct config *config) {
    CONFIG_TWO_WORDS(RECOMPUTES);
    return config->parallel.recompute == RECOMPUTE_BLOCK;
}

struct zero_options run_zero_options(const struct run *r) {
    const struct config *c = r->config;
    return (struct zero_options){.stage = (int)c->parallel.zero_stage,
                                 .dtype = device_precision(c),
                                 .train = true,
                                 .prefetch = c->parallel.prefetch,
                                 .first_unit_twice = r->model.task.parameters.head.kind == HEAD_LM,
                                 .host = run_offloads(c) ? r->host : NULL};
}

struct model_options run_model_options(const struct run *r) {
    return (struct model_options){.dtype = device_precision(r->config),
                                  .recompute = recomputes(r->config),
                                  .train = true,
                                  .max_tokens = r->step.max_tokens,
                                  .max_rows = r->step.max_rows,
                                  .max_reads = r->step.max_reads,
                                  .temperature = r->model.task.temperature,
                                  .head = r->model.task.parameters.head,
                                  .quantised = parameters_largest_quantised(&r->model.table),
                                  .adapters = r->model.table.adapters,
                                  .frozen_blocks = parameters_frozen_blocks(&r->model.table)};
}

static struct memory_plan plan(const struct run *r, int size) {
    struct zero_options zero = run_zero_options(r);
    struct model_options model = run_model_options(r);
    struct memory_plan p = {.zero = zero_plan(&r->model.table, &zero, size),
                            .model = model_plan(r->dev, &r->model.arch, &model),
                            .loss = task_bytes(&r->model.task, r->step.room),
                            .rollout = run_is_policy(r) ? policy_writer_bytes(r, size) +
                                                              rollout_reference_bytes(r, size)
                                                        : 0,
                            .libraries = r->dev->backend->memory_taken(r->dev)};
    p.device = p.zero.weights + p.zero.gradients + p.zero.optimizer + p.zero.gathered +
               p.model.activations + p.model.scratch + p.loss + p.rollout;
    p.host = p.zero.host;
    return p;
}

static double mib(size_t bytes) {
    return (double)bytes / (1 << 20);
}

static int refuse(const char *where, size_t needed, size_t available) {
    return fail("the run needs %.1f MiB on this rank%s, %.1f MiB are there; hint: a smaller "
                "batch.tokens_per_microbatch, parallel.recompute = \"block\", a higher "
                "parallel.zero_stage, or more nodes",
                mib(needed), where, mib(available));
}

/* --- what would do, where a policy does not fit --- */

static void fewer_rows(struct config *c) {
    c->policy.max_rows = MIN(c->policy.max_rows, 16);
}
static void recompute(struct config *c) {
    c->parallel.recompute = RECOMPUTE_BLOCK;
}
static void divide_gradients(struct config *c) {
    c->parallel.zero_stage = MAX(c->parallel.zero_stage, 2);
}
static void divide_weights(struct config *c) {
    c->parallel.zero_stage = 3;
}
static void offload(struct config *c) {
    c->parallel.offload = OFFLOAD_OPTIMIZER;
}

/* The first of these that needs no more than `available`, the cheapest first; "" where none does.
 * Stage 3 holds whole weights while a rollout is written, and divides the rest. */
static const char *find_setting(const struct run *r, int size, size_t available, bool is_apart) {
    static const struct {
        const char *option;
        void (*set)(struct config *c);
    } settings[] = {{"policy.max_rows=16", fewer_rows},
                    {"parallel.recompute=block", recompute},
                    {"parallel.zero_stage=2", divide_gradients},
                    {"parallel.zero_stage=3", divide_weights},
                    {"parallel.offload=optimizer", offload}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct config changed = *r->config;
        struct run other = *r;
        other.config = &changed;
        settings[i].set(&changed);
        if (settings[i].set == offload && !is_apart) continue;
        if (plan(&other, size).device <= available) return settings[i].option;
    }
    return "";
}

static int refuse_policy(const struct run *r, int size, size_t needed, size_t available,
                         bool is_apart) {
    const char *option = find_setting(r, size, available, is_apart);
    if (!*option) return refuse(is_apart ? "'s GPU" : "", needed, available);
    return fail("the run needs %.1f MiB on this rank%s, of which %.1f are for rollouts, %.1f MiB "
                "are there; hint: %s fits",
                mib(needed), is_apart ? "'s GPU" : "", mib(plan(r, size).rollout), mib(available),
                option);
}

/* On a CPU the host's share is part of the same memory; on a GPU the two are checked apart. */
int run_check_memory(struct run *r, int size, struct buffer *text) {
    struct memory_plan p = plan(r, size);
    bool is_apart = r->dev->backend->memory_free(r->dev) != SIZE_MAX;
    size_t available = device_memory_available(r->dev, &r->place),
           host = device_host_memory_available(&r->place);
    if (!is_apart) p.device += p.host;
    r->planned = p.device;
    r->free_before = available;
    buffer_format(
        text, "memory per rank (ZeRO stage %lld over %d, micro-batches of up to %lld tokens):\n",
        (long long)r->config->parallel.zero_stage, size, (long long)r->step.max_tokens);
    buffer_format(text,
                  "  weights %.1f MiB, gradients %.1f, optimizer %.1f, gathered %.1f, activations "
                  "%.1f, scratch %.1f",
                  mib(p.zero.weights), mib(p.zero.gradients), mib(p.zero.optimizer),
                  mib(p.zero.gathered), mib(p.model.activations + p.loss), mib(p.model.scratch));
    if (p.rollout) buffer_format(text, ", rollouts %.1f", mib(p.rollout));
    if (p.host) buffer_format(text, ", offloaded %.1f", mib(p.host));
    if (p.libraries) buffer_format(text, ", libraries %.1f", mib(p.libraries));
    buffer_format(text, "; in all %.1f of %.0f MiB", mib(p.device + p.libraries),
                  mib(available + p.libraries));
    if (is_apart && p.host)
        buffer_format(text, ", and %.1f of %.0f of the host's", mib(p.host), mib(host));
    if (p.device > available && run_is_policy(r))
        return refuse_policy(r, size, p.device, available, is_apart);
    if (p.device > available) return refuse(is_apart ? "'s GPU" : "", p.device, available);
    if (is_apart && p.host > host) return refuse("'s host, for parallel.offload,", p.host, host);
    return 0;
}
