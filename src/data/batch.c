/* Micro-batches: see batch.h. */
#include "batch.h"

#include "memory.h"

void batch_init(struct batch *b, int64_t tokens, int64_t pairs) {
    *b = (struct batch){.capacity_pairs = pairs};
    forest_init(&b->forest, tokens, 2 * pairs);
    b->chosen = mem_alloc(pairs, sizeof *b->chosen);
    b->rejected = mem_alloc(pairs, sizeof *b->rejected);
    b->margin = mem_alloc(pairs, sizeof *b->margin);
    b->weight = mem_alloc(pairs, sizeof *b->weight);
    b->sequence = mem_alloc(2 * pairs, sizeof *b->sequence);
    b->length = mem_alloc(2 * pairs, sizeof *b->length);
}

void batch_free(struct batch *b) {
    forest_free(&b->forest);
    mem_free(b->chosen);
    mem_free(b->rejected);
    mem_free(b->margin);
    mem_free(b->weight);
    mem_free(b->token);
    mem_free(b->sequence);
    mem_free(b->length);
    *b = (struct batch){0};
}

/* Side 2i is the chosen answer of item i, side 2i + 1 the rejected one. */
static int64_t side_sequence(const struct batch_item *item, int64_t side) {
    const struct batch_item *at = &item[side / 2];
    return side % 2 ? at->shard->rejected[at->comparison] : at->shard->chosen[at->comparison];
}

/* Room for all sequences of the items, end to end. */
static void reserve_tokens(struct batch *b, const struct batch_item *item, int64_t n) {
    int64_t total = 0;
    for (int64_t side = 0; side < 2 * n; side++)
        total += shard_length(item[side / 2].shard, side_sequence(item, side));
    if (total <= b->capacity_tokens) return;
    b->capacity_tokens = total + total / 2;
    mem_free(b->token);
    b->token = mem_alloc(b->capacity_tokens, sizeof *b->token);
}

/* The sides lie in the order chosen, rejected, chosen, ...; a pair finds its two scores through the
 * forest. */
int batch_build(struct batch *b, const struct batch_item *item, int64_t n) {
    CHECK(n <= b->capacity_pairs, "%lld pairs in a batch with room for %lld", (long long)n,
          (long long)b->capacity_pairs);
    reserve_tokens(b, item, n);
    int32_t *at = b->token;
    for (int64_t side = 0; side < 2 * n; side++) {
        struct shard *shard = item[side / 2].shard;
        int64_t sequence = side_sequence(item, side);
        if (shard_read(shard, sequence, at) != 0) return fail_context("%s", shard->path);
        b->sequence[side] = at;
        b->length[side] = (int32_t)shard_length(shard, sequence);
        at += b->length[side];
    }
    forest_build(&b->forest, 2 * n, b->sequence, b->length);
    b->n_pairs = n;
    for (int64_t i = 0; i < n; i++) {
        b->chosen[i] = b->forest.read_of_sequence[2 * i];
        b->rejected[i] = b->forest.read_of_sequence[2 * i + 1];
        b->margin[i] = item[i].shard->margin[item[i].comparison];
        b->weight[i] = item[i].shard->weight[item[i].comparison];
    }
    return 0;
}
