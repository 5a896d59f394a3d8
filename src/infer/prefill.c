/* Waves of prompts to batches: see prefill.h. */
#include "prefill.h"

#include "memory.h"
#include "pages.h"

void prefill_init(struct prefill *p, const struct decoder_options *sizes) {
    int64_t writes = sizes->max_rows + (PAGE_TOKENS - 1) * sizes->max_tables;
    *p = (struct prefill){.sizes = *sizes};
    /* every row is in some page */
    forest_init(&p->forest, sizes->n_pages * PAGE_TOKENS, sizes->max_tables, sizes->max_tables);
    p->order = mem_alloc(sizes->max_tables, sizeof *p->order);
    p->end = mem_alloc(sizes->max_tables, sizeof *p->end);
    p->table = mem_alloc(sizes->max_rows, sizeof *p->table);
    p->write_from = mem_alloc(writes, sizeof *p->write_from);
    p->write_slot = mem_alloc(writes, sizeof *p->write_slot);
    p->logits_row = mem_alloc(sizes->max_logits, sizeof *p->logits_row);
}

void prefill_free(struct prefill *p) {
    forest_free(&p->forest);
    mem_free(p->order);
    mem_free(p->end);
    mem_free(p->table);
    mem_free(p->write_from);
    mem_free(p->write_slot);
    mem_free(p->logits_row);
    *p = (struct prefill){0};
}

/* A counting sort by the rows that the prompts end in; p->end counts until it has the rows. */
void prefill_build(struct prefill *p, int64_t n, const int32_t *const *prompt,
                   const int32_t *length) {
    const struct forest *f = &p->forest;
    forest_build(&p->forest, n, prompt, length, 0, NULL);
    p->n = n;
    for (int64_t k = 0; k < n; k++) p->end[k] = 0;
    for (int64_t i = 0; i < n; i++)
        if (f->read[i] + 1 < n) p->end[f->read[i] + 1]++;
    for (int64_t k = 1; k < n; k++) p->end[k] += p->end[k - 1]; /* the first prompt of row k */
    for (int64_t i = 0; i < n; i++) p->order[p->end[f->read[i]]++] = (int32_t)i;
    for (int64_t k = 0; k < n; k++) p->end[k] = f->row[f->read[p->order[k]]];
}

/* The first prompt that ends at this row or behind it. */
static int64_t first_ending(const struct prefill *p, int64_t row) {
    int64_t low = 0, high = p->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (p->end[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds row `row`'s writes, by (2), for the batch that begins at `first`. */
static void add_writes(struct prefill *p, struct decode_batch *b, int64_t first, int64_t row,
                       const int32_t *page) {
    int64_t stride = p->sizes.table_pages, position = p->forest.position[row];
    const int32_t *at = page + position / PAGE_TOKENS; /* of prompt 0 */
    int64_t begin = p->table[row - first], end = first_ending(p, p->forest.reach[row]);
    for (int64_t k = begin; k < end; k++) {
        if (k > begin && at[k * stride] == at[(k - 1) * stride]) continue;
        p->write_from[b->n_writes] = (int32_t)(row - first);
        p->write_slot[b->n_writes++] =
            (int32_t)(at[k * stride] * PAGE_TOKENS + position % PAGE_TOKENS);
    }
}

struct decode_batch prefill_batch(struct prefill *p, int64_t first, const int32_t *page,
                                  int64_t *first_prompt) {
    const struct forest *f = &p->forest;
    struct decode_batch b = {.n = MIN(f->n - first, p->sizes.max_rows),
                             .token = f->token + first,
                             .position = f->position + first,
                             .table = p->table,
                             .write_from = p->write_from,
                             .write_slot = p->write_slot,
                             .logits_row = p->logits_row,
                             .n_tables = p->n,
                             .page = page};
    for (int64_t row = first; row < first + b.n; row++) {
        p->table[row - first] = (int32_t)first_ending(p, row);
        add_writes(p, &b, first, row, page);
    }
    *first_prompt = first_ending(p, first);
    for (int64_t k = *first_prompt; k < p->n && p->end[k] < first + b.n; k++)
        p->logits_row[b.n_logits++] = (int32_t)(p->end[k] - first);
    return b;
}
