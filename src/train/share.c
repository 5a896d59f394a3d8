/* The length index of a shard, held once per node.
 *
 * Every rank reads and checks the index for itself; then one copy in memory that the node's ranks
 * share takes the place of all others: of a shard of a million pairs that is about 70 MB a node
 * instead of 70 MB a rank. */
#include <string.h>

#include "layout.h"
#include "run.h"

struct array {
    void **at; /* the shard's pointer */
    size_t bytes;
};

enum { N_ARRAYS = 34 };

/* Those of tables that the shard lacks are NULL. */
static void list_arrays(struct shard *s, struct array out[N_ARRAYS]) {
    size_t n = (size_t)s->n_comparisons, groups = (size_t)s->n_groups;
    size_t answers = (size_t)s->n_answers, spans = (size_t)s->n_spans;
    size_t prompts = (size_t)s->n_prompts;
    struct array array[N_ARRAYS] = {
        {(void **)&s->first, ((size_t)s->n_sequences + 1) * sizeof *s->first},
        {(void **)&s->chosen, n * sizeof *s->chosen},
        {(void **)&s->rejected, n * sizeof *s->rejected},
        {(void **)&s->row, n * sizeof *s->row},
        {(void **)&s->source, n * sizeof *s->source},
        {(void **)&s->margin, n * sizeof *s->margin},
        {(void **)&s->weight, n * sizeof *s->weight},
        {(void **)&s->forest_tokens, n * sizeof *s->forest_tokens},
        {(void **)&s->group_first, (groups + 1) * sizeof *s->group_first},
        {(void **)&s->group_member, n * sizeof *s->group_member},
        {(void **)&s->group_forest_tokens, groups * sizeof *s->group_forest_tokens},
        {(void **)&s->label, n * sizeof *s->label},
        {(void **)&s->answer_sequence, answers * sizeof *s->answer_sequence},
        {(void **)&s->answer_group, answers * sizeof *s->answer_group},
        {(void **)&s->answer_row, answers * sizeof *s->answer_row},
        {(void **)&s->answer_first, (groups + 1) * sizeof *s->answer_first},
        {(void **)&s->answer_source, answers * sizeof *s->answer_source},
        {(void **)&s->answer_prompt_tokens, answers * sizeof *s->answer_prompt_tokens},
        {(void **)&s->answer_rank, answers * sizeof *s->answer_rank},
        {(void **)&s->answer_score, answers * (size_t)s->n_scores * sizeof *s->answer_score},
        {(void **)&s->span_sequence, spans * sizeof *s->span_sequence},
        {(void **)&s->span_first, spans * sizeof *s->span_first},
        {(void **)&s->span_last, spans * sizeof *s->span_last},
        {(void **)&s->span_weight, spans * sizeof *s->span_weight},
        {(void **)&s->span_verdict, spans * sizeof *s->span_verdict},
        {(void **)&s->prompt_sequence, prompts * sizeof *s->prompt_sequence},
        {(void **)&s->prompt_pair, prompts * sizeof *s->prompt_pair},
        {(void **)&s->prompt_row, prompts * sizeof *s->prompt_row},
        {(void **)&s->prompt_first, (groups + 1) * sizeof *s->prompt_first},
        {(void **)&s->prompt_source, prompts * sizeof *s->prompt_source},
        {(void **)&s->prompt_side, prompts * sizeof *s->prompt_side},
        {(void **)&s->prompt_preferred, prompts * sizeof *s->prompt_preferred},
        {(void **)&s->prompt_target, prompts * sizeof *s->prompt_target},
        {(void **)&s->prompt_meta_first, (prompts + 1) * sizeof *s->prompt_meta_first},
    };
    memcpy(out, array, sizeof array);
}

/* Gives each array its place, or only counts the bytes where base is NULL. A rank that fills copies
 * its own arrays there. */
static size_t lay_out_arrays(struct array array[N_ARRAYS], void *base, bool fill) {
    struct layout memory = {base, 64, 0};
    for (int i = 0; i < N_ARRAYS; i++) {
        if (!*array[i].at) continue;
        void *at = layout_take(&memory, (int64_t)array[i].bytes, 1);
        if (!base) continue;
        if (fill) memcpy(at, *array[i].at, array[i].bytes);
        mem_free(*array[i].at);
        *array[i].at = at;
    }
    return memory.used;
}

void share_index(struct shared_memory *memory, struct shard *shard, const struct ranks *node) {
    *memory = (struct shared_memory){0};
    if (node->size == 1) return;
    struct array array[N_ARRAYS];
    list_arrays(shard, array);
    *memory = comm_shared_alloc(node, lay_out_arrays(array, NULL, false));
    lay_out_arrays(array, memory->data, memory->fill);
    comm_shared_ready(node, memory);
}

void unshare_index(struct shared_memory *memory, struct shard *shard) {
    if (!memory->handle) return;
    struct array array[N_ARRAYS];
    list_arrays(shard, array);
    for (int i = 0; i < N_ARRAYS; i++) *array[i].at = NULL;
    comm_shared_free(memory);
}
