/* A judge's prompts in the sink: rows of judge_prompts become pairs, --jsonl-out is written. See
 * build.h.
 *
 *   (1) The two rows of a pair follow each other in one input. A row of which the other one does
 *       not come is an error, or counted with --skip-bad-rows; the two orders of a pairwise judge
 *       may come alone.
 *   (2) Lines have the shard's order and numbers of pairs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "build.h"
#include "file.h"
#include "json.h"

struct prompts {
    const struct build *b;
    struct buffer half;          /* a packed row that waits for the other side; empty: none does */
    struct buffer whole;         /* what prompts_take gives */
    struct shard_prompt *prompt; /* (capacity) */
    int64_t capacity, n_pairs;
    FILE *lines; /* NULL: none are asked for */
    char *temporary;
};

struct prompts *prompts_open(const struct build *b) {
    struct prompts *p = mem_alloc(1, sizeof *p);
    p->b = b;
    if (!b->options.jsonl) return p;
    p->temporary = mem_format("%s.tmp", b->options.jsonl);
    p->lines = fopen(p->temporary, "w");
    if (p->lines) return p;
    fail("--jsonl-out: %s: cannot be written: %s", p->temporary, strerror(errno));
    prompts_close(p);
    return NULL;
}

void prompts_close(struct prompts *p) {
    if (!p) return;
    if (p->lines) {
        fclose(p->lines);
        remove(p->temporary);
    }
    buffer_free(&p->half);
    buffer_free(&p->whole);
    mem_free(p->prompt);
    mem_free(p->temporary);
    mem_free(p);
}

/* --- halves --- */

/* Of a half: its tokens, prompt and names. */
struct half {
    const struct packed_row *row;
    const int32_t *token;
    int32_t length;
    const struct packed_prompt *prompt;
    const char *names;
};

static struct half half_of(const struct packed_row *row) {
    const int32_t *length = (const int32_t *)(row + 1), *token = length + 1;
    const struct packed_prompt *prompt = (const struct packed_prompt *)(token + *length);
    return (struct half){row, token, *length, prompt, (const char *)(prompt + 1)};
}

static const struct packed_row *waiting(const struct prompts *p) {
    return p->half.length ? (const struct packed_row *)p->half.data : NULL;
}

/* A packed row of the halves, by side; where one was too long, of none. */
static struct packed_row *join(struct prompts *p, const struct half *half, int n) {
    struct buffer tables = {0};
    struct template_encoded encoded[2] = {0};
    struct packed_row row = *half[0].row;
    row.is_half = row.n_names = 0;
    row.is_further = 1 - n;
    row.dropped[DROPPED_TOO_LONG] = 0;
    for (int i = 0; i < n; i++) {
        encoded[i].ids = (struct ids){.id = (int32_t *)half[i].token, .n = half[i].length};
        row.dropped[DROPPED_TOO_LONG] |= half[i].row->dropped[DROPPED_TOO_LONG];
        buffer_append(&tables, half[i].prompt, sizeof *half[i].prompt);
    }
    for (int i = 0; i < n; i++) {
        buffer_append(&tables, half[i].names, (size_t)half[i].row->n_names);
        row.n_names += half[i].row->n_names;
    }
    bool is_left_out = row.dropped[DROPPED_TOO_LONG] > 0;
    if (is_left_out) buffer_clear(&tables);
    if (is_left_out) row.n_names = 0;
    const char *names = half[0].names + half[0].row->n_names;
    char *origin = mem_format("%.*s", half[0].row->n_origin, names);
    buffer_clear(&p->whole);
    packed_append(&row, NULL, encoded, is_left_out ? 0 : n, &tables, origin, &p->whole);
    buffer_free(&tables);
    mem_free(origin);
    return (struct packed_row *)p->whole.data;
}

bool prompts_expects(const struct prompts *p, const struct packed_row *row) {
    const struct packed_row *half = waiting(p);
    return half && row->is_half && half->input == row->input && half->half == row->half;
}

int prompts_end(struct prompts *p, const struct packed_row **whole) {
    const struct packed_row *row = waiting(p);
    *whole = NULL;
    if (!row) return 0;
    struct half half = half_of(row);
    bool is_alone = half.prompt->side < 2;
    if (is_alone && !p->b->options.skip_bad_rows) {
        fail("%s:%lld: pair %lld has side %d alone; expected the other side in the next row",
             p->b->input[row->input].path, (long long)row->line, (long long)row->half,
             half.prompt->side);
        return fail_hint("--skip-bad-rows counts such rows and goes on");
    }
    struct packed_row *one = join(p, &half, 1);
    if (is_alone) one->dropped[DROPPED_ONE_SIDE] = one->n_answers;
    if (is_alone) one->n_answers = 0;
    buffer_clear(&p->half);
    *whole = one;
    return 0;
}

static int check_sides(const struct prompts *p, const struct half *a, const struct half *b) {
    const struct packed_prompt *x = a->prompt, *y = b->prompt;
    if ((x->side ^ y->side) == 1 && x->preferred == y->preferred) return 0;
    return fail("%s:%lld: pair %lld: expected another side and the same preferred_side as in the "
                "row before, found side %d, preferred_side %d after side %d, preferred_side %d",
                p->b->input[b->row->input].path, (long long)b->row->line, (long long)b->row->half,
                y->side, y->preferred, x->side, x->preferred);
}

int prompts_take(struct prompts *p, const struct packed_row *row, const struct packed_row **whole) {
    *whole = row->is_half ? NULL : row;
    if (!row->is_half) return 0;
    if (!waiting(p)) {
        buffer_append(&p->half, row, (size_t)row->n_bytes);
        return 0;
    }
    struct half half[] = {half_of(waiting(p)), half_of(row)}, first = half[0];
    int status = check_sides(p, &half[0], &half[1]);
    if (half[1].prompt->side < first.prompt->side) {
        half[0] = half[1];
        half[1] = first;
    }
    if (status == 0) *whole = join(p, half, 2);
    buffer_clear(&p->half);
    return status;
}

/* --- what the shard and the lines get --- */

/* Adds {messages, pair_id, side, preferred_side} and the metadata as a line. */
static void write_line(struct prompts *p, const struct shard_prompt *prompt, const char *messages) {
    json_t *line = json_object(), *meta = NULL;
    json_object_set_new(line, "messages", json_parse(messages, strlen(messages)));
    json_object_set_new(line, "pair_id", json_integer(p->n_pairs));
    json_object_set_new(line, "side", json_integer(prompt->side));
    json_object_set_new(line, "preferred_side", json_integer(prompt->preferred));
    if (prompt->meta) meta = json_parse(prompt->meta, strlen(prompt->meta));
    if (meta) json_object_update_missing(line, meta);
    char *text = json_text(line);
    fprintf(p->lines, "%s\n", text);
    mem_free(text);
    json_decref(meta);
    json_decref(line);
}

const struct shard_prompt *prompts_read(struct prompts *p, const struct packed_row *row,
                                        const struct packed_prompt *prompt) {
    const char *names = (const char *)(prompt + row->n_answers);
    if (row->n_answers > p->capacity) {
        p->capacity = row->n_answers;
        p->prompt = mem_resize(p->prompt, p->capacity, sizeof *p->prompt);
    }
    for (int32_t i = 0; i < row->n_answers; i++) {
        const char *messages = names + strlen(names) + 1;
        p->prompt[i] = (struct shard_prompt){prompt[i].side, prompt[i].preferred, prompt[i].target,
                                             *names ? names : NULL};
        if (p->lines) write_line(p, &p->prompt[i], messages);
        names = messages + strlen(messages) + 1;
    }
    p->n_pairs++;
    return p->prompt;
}

int prompts_finish(struct prompts *p) {
    if (!p->lines) return 0;
    bool is_bad = ferror(p->lines) | (fclose(p->lines) != 0);
    p->lines = NULL;
    if (!is_bad) return file_publish(p->temporary, p->b->options.jsonl);
    remove(p->temporary);
    return fail("--jsonl-out: %s: could not be written", p->temporary);
}
