/* rankwise-data demo --judge: what a judge that writes its scores is taught on, by
 * configs/demo_judge_warm_up.cfg and then configs/demo_judge.cfg.
 *
 *   model/           as of the other demo
 *   train.jsonl      pairs of a polite and a rude answer, train.h5: what a judge is asked of them
 *   held_out.jsonl   pairs of other prompts, and held_out.h5
 *   warm_up.jsonl    prompts of the training pairs, each with a score that was drawn blindly: who
 *                    learns them knows the form of an answer, and no more; warm_up.h5
 *
 * The prompts are those of the family hh_score100_scoreonly. */
#include <string.h>

#include "command.h"
#include "data_tools.h"
#include "demo.h"
#include "file.h"
#include "json.h"
#include "prompt_family.h"
#include "random.h"

#define FAMILY "hh_score100_scoreonly"
enum { N_TRAIN = 8000, N_HELD_OUT = 1000, N_WARM_UP = 8000 };
enum { N_SCORES = 9, STEP = 10 }; /* 10, 20, .. 90 */

/* Words that stand in prompts beside those of the family and the pairs. */
static const char others[] = "Human: User: Assistant: 10 20 30 40 50 60 70 80 90<s>10 20</s>";

static int write_model(const char *directory, const struct demo_pair *pair) {
    enum { N_PAIRS = N_TRAIN + N_HELD_OUT, N_TEXTS = 2 * N_PAIRS + 2 };
    struct prompt_family *family = prompt_family_open(FAMILY);
    if (!family) return -1;
    char *model = file_join(directory, "model");
    const char **text = mem_alloc(N_TEXTS, sizeof *text);
    for (int i = 0; i < 2 * N_PAIRS; i++)
        text[i] = i % 2 ? pair[i / 2].rejected : pair[i / 2].chosen;
    text[2 * N_PAIRS] = prompt_family_text(family);
    text[2 * N_PAIRS + 1] = others;
    int status = demo_write_model(model, text, N_TEXTS, 512);
    prompt_family_close(family);
    mem_free(text);
    mem_free(model);
    return status;
}

/* Runs `build` with these further arguments, NULL at the end, on <directory>/<rows>.jsonl. */
static int build(const char *directory, const char *rows, const char *const *further) {
    enum { MOST = 24 };
    char *word[MOST];
    int n = 0;
    word[n++] = mem_copy_string("build");
    word[n++] = mem_copy_string("--tokenizer");
    word[n++] = file_join(directory, "model");
    word[n++] = mem_copy_string("--out");
    word[n++] = mem_format("%s/%s.h5", directory, rows);
    for (; *further; further++) word[n++] = mem_copy_string(*further);
    word[n++] = mem_format("%s/%s.jsonl", directory, rows);
    CHECK(n < MOST, "%d words", n);
    word[n] = NULL;
    int code = build_command(n, word);
    while (n > 0) mem_free(word[--n]);
    return code;
}

static int build_prompts(const char *directory, const char *rows, const char *jsonl) {
    const char *const further[] = {"--judge", FAMILY,        "--template", "none", "--turns",
                                   "hh",      "--jsonl-out", jsonl,        NULL};
    return build(directory, rows, further);
}

/* The prompt of a row that `build --jsonl-out` wrote, with a blind score. */
static int append_warm_up(struct buffer *out, const char *line, size_t length, int64_t index) {
    json_t *row = json_loadb(line, length, 0, NULL);
    const char *prompt = json_string_value(
        json_object_get(json_array_get(json_object_get(row, "messages"), 0), "content"));
    if (!prompt) {
        json_decref(row);
        return fail("row %lld of the prompts: expected messages, found none", (long long)index);
    }
    int score =
        STEP * (1 + (int)(random_bits(1, random_purpose("warm up"), (uint64_t)index) % N_SCORES));
    char *completion = mem_format("<s>%d</s>", score);
    demo_append_row(out, json_pack("{s:s, s:s}", "prompt", prompt, "completion", completion));
    mem_free(completion);
    json_decref(row);
    return 0;
}

static int write_warm_up(const char *directory, const char *jsonl) {
    struct buffer prompts = {0}, out = {0};
    int status = file_read(jsonl, (size_t)1 << 30, &prompts);
    const char *at = prompts.data;
    for (int64_t i = 0; i < N_WARM_UP && status == 0; i++) {
        const char *end = strchr(at, '\n');
        if (!end)
            status = fail("%s: expected %d prompts, found %lld", jsonl, N_WARM_UP, (long long)i);
        else
            status = append_warm_up(&out, at, (size_t)(end - at), i);
        at = end + 1;
    }
    if (status == 0) status = demo_write_file(directory, "warm_up.jsonl", out.data, out.length);
    buffer_free(&prompts);
    buffer_free(&out);
    return status;
}

int demo_judge(const char *directory) {
    static const char *const warm_up[] = {"--completions", NULL};
    struct demo_pair *pair = demo_pairs_make(demo_manners_make, N_TRAIN, N_HELD_OUT);
    char *prompts = file_join(directory, "prompts.jsonl"),
         *held_out = file_join(directory, "held_out_prompts.jsonl");
    int code = command_finish(write_model(directory, pair));
    if (code == EXIT_DONE)
        code = command_finish(demo_write_pairs(directory, "train", pair, N_TRAIN));
    if (code == EXIT_DONE)
        code = command_finish(demo_write_pairs(directory, "held_out", pair + N_TRAIN, N_HELD_OUT));
    if (code == EXIT_DONE) code = build_prompts(directory, "train", prompts);
    if (code == EXIT_DONE) code = build_prompts(directory, "held_out", held_out);
    if (code == EXIT_DONE) code = command_finish(write_warm_up(directory, prompts));
    if (code == EXIT_DONE) code = build(directory, "warm_up", warm_up);
    demo_pairs_free(pair, N_TRAIN + N_HELD_OUT);
    mem_free(prompts);
    mem_free(held_out);
    return code;
}
