/* What tells two opened checkpoints apart: see checkpoint.h. */
#include <string.h>

#include "checkpoint_format.h"
#include "hash.h"

static void add_text(struct sha256 *hash, const char *text) {
    sha256_add(hash, text ? text : "", strlen(text ? text : "") + 1);
}

static void add_array(struct sha256 *hash, const void *data, int64_t n, size_t size) {
    sha256_add(hash, &n, sizeof n);
    if (n) sha256_add(hash, data, (size_t)n * size);
}

static void add_rollouts(struct sha256 *hash, const struct rollouts *t) {
#define ADD(type, name) add_array(hash, t->name, COUNT, sizeof *t->name);
    if (t->n == 0) return;
    add_array(hash, t->first, t->n + 1, sizeof *t->first);
#define COUNT t->n_tokens
    ROLLOUT_TOKEN_COLUMNS(ADD)
#undef COUNT
#define COUNT t->n
    ROLLOUT_COLUMNS(ADD)
#undef COUNT
#undef ADD
}

/* Everything that decides what a run goes on with enters the hash; texts end with a zero byte and
 * arrays begin with their length, so that no two contents look alike. */
void checkpoint_digest(const struct checkpoint *c, char out[65]) {
    const struct run_state *s = &c->state;
    const struct parts *parts = c->handle;
    const int64_t state[] = {s->step,         s->updates,     s->skipped,  s->skipped_in_a_row,
                             s->cursor.epoch, s->cursor.next, s->episodes, s->finished,
                             s->rollouts,     s->update};
    const char *const text[] = {s->data,       c->config,       c->data, c->arch_json,  c->revision,
                                c->written_at, c->metrics_line, c->base, c->base_digest};
    struct sha256 hash;
    sha256_start(&hash);
    sha256_add(&hash, state, sizeof state);
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) add_text(&hash, text[i]);
    for (int i = 0; i < c->n_files; i++) {
        add_text(&hash, c->file[i].name);
        add_array(&hash, c->file[i].data, (int64_t)c->file[i].length, 1);
    }
    for (int i = 0; i < c->n_tensors; i++) {
        const int64_t shape[] = {c->tensor[i].n_dims, c->tensor[i].rows, c->tensor[i].cols,
                                 (int64_t)c->tensor[i].place};
        add_text(&hash, c->tensor[i].name);
        sha256_add(&hash, shape, sizeof shape);
    }
    add_rollouts(&hash, &c->rollouts);
    add_array(&hash, c->piece, c->n_pieces, sizeof *c->piece);
    add_array(&hash, parts->sum, parts->n_sums, sizeof *parts->sum);
    add_array(&hash, parts->bytes, parts->n, sizeof *parts->bytes);
    sha256_finish(&hash, out);
}
