/* Writing an exported model: see export.h for what is written and why. */
#include "export.h"

#include <string.h>

#include "adapters.h"
#include "export_place.h"
#include "file.h"
#include "log.h"

enum { PIECE = 1 << 20 }; /* elements in memory at once */
static const uint64_t split_bytes = 5000000000u;
static const char *const tokenizer_name[] = {"tokenizer.json", "tokenizer_config.json",
                                             "special_tokens_map.json"};

static int write_text(const char *directory, const char *name, const char *text) {
    char *path = file_join(directory, name);
    int status = file_replace(path, text, strlen(text));
    mem_free(path);
    return status;
}

/* --- weights --- */

/* Elements of a parameter of the exported table, whose embedding may have a row more than the
 * model's. */
static int read_piece(const struct parameter_reader *reader, const struct parameter *from,
                      int64_t first, int64_t n, float *out) {
    int64_t known = MIN(n, MAX(0, from->count - first));
    memset(out + known, 0, (size_t)(n - known) * sizeof *out);
    return known ? reader->read(reader->self, from, first, known, out) : 0;
}

static int write_weights(struct scorer *s, const char *directory, const struct parameters *table,
                         enum dtype dtype) {
    struct safetensors_writer *w =
        safetensors_writer_open(directory, "model", table, dtype, split_bytes);
    struct merged merged = {.table = &s->table, .reader = scorer_reader(s)};
    struct parameter_reader reader = {merged_read, &merged};
    float *buffer = mem_alloc(PIECE, sizeof *buffer);
    int status = w ? 0 : -1;
    for (int i = 0; i < table->n && status == 0; i++) {
        const struct parameter *p = &table->item[i], *from = parameters_find(&s->table, p->name);
        for (int64_t first = 0; first < p->count && status == 0; first += PIECE) {
            int64_t n = MIN(PIECE, p->count - first);
            status = read_piece(&reader, from, first, n, buffer);
            if (status == 0) status = safetensors_writer_add(w, p, buffer, n);
        }
    }
    merged_free(&merged);
    mem_free(buffer);
    if (w && status != 0)
        safetensors_writer_abandon(w);
    else if (w)
        status = safetensors_writer_finish(w);
    return status;
}

/* --- the files beside them --- */

static int write_tokenizer(const struct scorer *s, const char *directory,
                           const struct export_pad *pad) {
    struct buffer text = {0};
    char *chat_template = template_export(s->template);
    int status = 0;
    for (int i = 0; i < 3 && status == 0; i++) {
        if (export_tokenizer_file(&text, tokenizer_name[i], s->tokenizer, pad, chat_template) != 0)
            continue;
        char *path = file_join(directory, tokenizer_name[i]);
        status = file_replace(path, text.data, text.length);
        mem_free(path);
    }
    mem_free(chat_template);
    buffer_free(&text);
    return status;
}

static int write_contract(const struct contract *contract, const char *directory) {
    char *text = contract_text(contract);
    int status = write_text(directory, "score_contract.json", text);
    mem_free(text);
    return status;
}

/* A language model's settings for writing, as the model had them that the run began with. */
static int write_generation(const struct scorer *s, const char *directory) {
    static const char name[] = "generation_config.json";
    char *from = file_join(s->config.model.path, name), *to = file_join(directory, name);
    struct buffer text = {0};
    int status = 0;
    if (file_exists(from)) {
        status = file_read(from, 1 << 20, &text);
        if (status == 0) status = file_replace(to, text.data, text.length);
    }
    buffer_free(&text);
    mem_free(from);
    mem_free(to);
    return status;
}

/* The pad token that transformers needs to find the last one of a text. */
static int choose_pad(struct export_pad *pad, const struct scorer *s) {
    if (s->head.kind == HEAD_SCORE) return export_pad_choose(pad, s->tokenizer, s->arch.V);
    *pad = (struct export_pad){.id = -1, .rows = s->arch.V};
    return 0;
}

/* Everything but the golden scores, into the temporary directory. Rank 0. */
static int write_files(struct scorer *s, const char *temporary, const char *name,
                       enum dtype dtype) {
    struct export_pad pad = {0};
    struct parameters table = {0};
    struct parameters_options options = {.head = s->head};
    options.head.tie_threshold = false; /* which only training needs */
    struct arch arch = s->arch;         /* the JSON and the tables in it stay s's */
    char *config = NULL, *card = NULL;
    bool is_lm = s->head.kind == HEAD_LM;
    const struct contract *of_scores = is_lm ? NULL : &s->contract;
    int status = choose_pad(&pad, s);
    if (status == 0 && !(config = export_config(&s->arch, of_scores, &pad, dtype))) status = -1;
    arch.V = pad.rows;
    if (status == 0) status = parameters_build(&table, &arch, &options);
    if (status == 0) {
        card = is_lm ? export_lm_card(s, name, dtype) : export_card(s, &pad, name, dtype);
        if (pad.is_added)
            log_info("the tokenizer has no pad token of its own: \"%s\" is added as id %d, %s",
                     pad.token, pad.id,
                     pad.rows > s->arch.V ? "in a new row of the embedding"
                                          : "in a spare row of the embedding");
        status = write_text(temporary, "config.json", config);
    }
    if (status == 0) status = write_tokenizer(s, temporary, &pad);
    if (status == 0) status = write_contract(&s->contract, temporary);
    if (status == 0 && is_lm) status = write_generation(s, temporary);
    if (status == 0) status = write_text(temporary, "README.md", card);
    if (status == 0) status = write_weights(s, temporary, &table, dtype);
    parameters_free(&table);
    mem_free(card);
    mem_free(config);
    export_pad_free(&pad);
    return status;
}

/* --- golden scores: computed in fp32 from what was written --- */

/* Opens what was written as `rankwise score` will, and completes its contract. By (1), the
 * tokenizer's files are compared with the contract here; scores that came along must be met by
 * weights that were not rounded. Collective.
 */
static int complete_contract(const struct scorer *s, const char *temporary, enum dtype dtype) {
    struct scorer again;
    int status = scorer_reopen(&again, temporary, &s->config);
    if (status != 0) return status;
    double *score = mem_alloc(scorer_n_golden(&again), sizeof *score);
    status = scorer_start(&again, scorer_golden_tokens(&again), CONTRACT_N_GOLDEN);
    if (status == 0) status = scorer_score_golden(&again, score);
    if (status == 0 && dtype == DTYPE_F32 && contract_has_scores(&s->contract))
        status = contract_check_scores(&s->contract, "F32", score);
    if (status == 0) status = contract_set_scores(&again.contract, "F32", score);
    if (status == 0 && base_rank == 0) status = write_contract(&again.contract, temporary);
    status = comm_agree(comm_world(), status);
    mem_free(score);
    scorer_close(&again);
    return status;
}

/* An adapter is always in fp32: it is small. */
static int check_options(const struct scorer *s, const struct export_options *options) {
    bool has_adapters = s->table.adapters.rank > 0;
    bool has_base = s->checkpoint.base || file_has(adapters_base(s), "config.json");
    if (has_adapters && !options->merge && !has_base)
        return fail("%s: its adapters stand beside a checkpoint's weights, which PEFT cannot open; "
                    "hint: --merge writes the whole model",
                    s->path);
    if (options->merge && !has_adapters)
        return fail("--merge: %s has no adapters to merge", s->path);
    if (has_adapters && !options->merge && options->dtype != DTYPE_F32)
        return fail("--dtype: an adapter is written in fp32; hint: --merge writes the whole model");
    return 0;
}

int export_model(struct scorer *s, const char *directory, const struct export_options *options) {
    const struct ranks *world = comm_world();
    struct export_place place;
    enum dtype dtype = options->dtype;
    bool force = options->force, is_adapter = s->table.adapters.rank > 0 && !options->merge;
    if (check_options(s, options) != 0) return -1;
    if (export_place_open(&place, world, directory, force) != 0) return -1;
    const char *slash = strrchr(place.target, '/');
    const char *name = slash && slash[1] ? slash + 1 : place.target;
    int status = 0;
    if (world->rank == 0)
        status = is_adapter ? adapters_write(s, place.temporary, name)
                            : write_files(s, place.temporary, name, dtype);
    status = comm_agree(world, status);
    if (status == 0 && s->head.kind == HEAD_SCORE)
        status = complete_contract(s, place.temporary, dtype);
    return export_place_close(&place, world, status);
}
