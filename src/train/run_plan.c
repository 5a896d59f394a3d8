/* `rankwise plan`: what a run would need, on these ranks or on others. */
#include <stdio.h>

#include "run.h"
#include "trainer.h"

/* Ranks in a ZeRO group of a run on n_ranks; -1 with error_text(). */
static int planned_group(const struct run *r, int n_ranks) {
    int size = placement_zero_size(r->config->parallel.zero_group, n_ranks);
    if (size != 0) return size;
    if (n_ranks == comm_world()->size) return r->place.node.size;
    return fail("parallel.zero_group = \"node\": expected the ranks of a node, which --ranks does "
                "not say; hint: parallel.zero_group=8 for 8 ranks on each node");
}

static int print_plan(struct run *r, int size) {
    struct buffer memory = {0};
    int status = run_check_memory(r, size, &memory);
    if (base_rank == 0)
        printf("%s\ndata: %lld groups an epoch, %lld steps an epoch, %lld steps in all\n",
               memory.data, (long long)r->data.plan.epoch_groups,
               (long long)plan_steps_per_epoch(&r->data.plan), (long long)run_steps(r));
    buffer_free(&memory);
    return status;
}

int trainer_plan(struct config *config, int n_ranks) {
    struct run r = {.config = config};
    if (placement_init(&r.place, ZERO_GROUP_ALL) != 0) return -1;
    int size = planned_group(&r, n_ranks), status = size > 0 ? run_start_device(&r) : -1;
    if (status == 0) status = run_prepare(&r);
    if (status == 0) status = run_choose_checkpoint(&r);
    if (status == 0) status = print_plan(&r, size);
    run_finish(&r);
    return status;
}
