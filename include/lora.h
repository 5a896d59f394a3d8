/* Which adapters are asked for: LoRA (Hu et al., 2022). */
#ifndef RANKWISE_LORA_H
#define RANKWISE_LORA_H
#include "patterns.h"

struct lora {
    int64_t rank; /* 0: none */
    double alpha;
    bool rslora; /* scale alpha / sqrt(rank) (Kalajdzievski, 2023) instead of alpha / rank */
    /* modules by name or the end of it ("q_proj", "mlp.up_proj"), or "all-linear"; globs as well */
    struct patterns targets;
};
#endif
