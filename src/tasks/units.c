/* Units of a shard: see units.h. */
#include "units.h"

#include "memory.h"

/* An answer alone: a forest of one sequence. */
static int32_t *answer_tokens(const struct shard *shard) {
    int32_t *tokens = mem_alloc(shard->n_answers, sizeof *tokens);
    for (int64_t i = 0; i < shard->n_answers; i++)
        tokens[i] = (int32_t)shard_length(shard, shard->answer_sequence[i]);
    return tokens;
}

void units_init(struct units *units, const struct shard *shard, enum unit_kind kind,
                bool by_prompt) {
    *units = (struct units){.kind = kind};
    if (kind == UNIT_PAIRS) {
        units->n = shard->n_prompts ? shard->n_groups : 0;
        units->tokens = shard->group_forest_tokens;
        units->first = shard->prompt_first;
    } else if (by_prompt) {
        units->n = shard->n_groups;
        units->tokens = shard->group_forest_tokens;
        units->first = kind == UNIT_COMPARISONS ? shard->group_first : shard->answer_first;
        units->member = kind == UNIT_COMPARISONS ? shard->group_member : NULL;
    } else if (kind == UNIT_COMPARISONS) {
        units->n = shard->n_comparisons;
        units->tokens = shard->forest_tokens;
    } else {
        units->n = shard->n_answers;
        units->tokens = units->own = answer_tokens(shard);
    }
}

void units_free(struct units *units) {
    mem_free(units->own);
    *units = (struct units){0};
}
