/* An adapter's directory as a model: see adapters.h. */
#include "adapters.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "log.h"

enum { PIECE = 1 << 20 }; /* elements in memory at once */

/* ---- opening ---- */

const char *adapters_base(const struct scorer *s) {
    if (s->config.model.path[0]) return s->config.model.path;
    return s->peft.base ? s->peft.base : "";
}

static int check_digest(struct scorer *s) {
    const char **name = mem_alloc(s->table.n, sizeof *name);
    char digest[65];
    int n = 0;
    for (int i = 0; i < s->table.n; i++)
        if (s->table.item[i].segment != SEGMENT_TRAINED) name[n++] = s->table.item[i].name;
    int status = safetensors_digest(&s->tensors, name, n, digest);
    mem_free(name);
    if (status == 0 && strcmp(digest, s->peft.base_digest) != 0)
        status = fail("%s: is an adapter of other weights than those of %s: expected digest %s, "
                      "found %s; hint: model.path=DIRECTORY names its base",
                      s->path, adapters_base(s), s->peft.base_digest, digest);
    return status;
}

/* Scores of the adapter's own head; 0: it has none. */
static int own_scores(const struct peft *p) {
    for (int i = 0; i < p->tensors.n; i++)
        if (strcmp(p->tensors.entry[i].name, "base_model.model.score.weight") == 0)
            return (int)MAX(1, MIN(p->tensors.entry[i].dim[0], MODEL_MAX_HEADS));
    return 0;
}

static int open_base(struct scorer *s) {
    const char *base = adapters_base(s);
    if (!file_is_directory(base))
        return fail("%s: expected its base in the directory \"%s\", found nothing there; hint: "
                    "model.path=DIRECTORY names it",
                    s->path, base);
    if (arch_read(&s->arch, base) != 0) return -1;
    int n = own_scores(&s->peft);
    struct head head = {HEAD_SCORE, n ? n : MAX(1, s->arch.n_labels)};
    if (s->writes && n == 0) head = language_model.head;
    struct parameters_options options = {.head = head, .lora = s->config.lora};
    s->head = head;
    if (parameters_build(&s->table, &s->arch, &options) != 0) return -1;
    if (safetensors_open(&s->tensors, base) != 0) return -1;
    return safetensors_match(&s->tensors, &s->table) == 0 ? 0 : fail_context("%s", base);
}

int adapters_open(struct scorer *s) {
    if (peft_open(&s->peft, s->path) != 0) return -1;
    patterns_free(&s->config.lora.targets);
    s->config.lora = s->peft.lora;
    s->peft.lora.targets = (struct patterns){0};
    if (open_base(s) != 0) return -1;
    if (peft_match(&s->peft, &s->table) != 0) return fail_context("%s", s->path);
    if (s->peft.is_quantised) s->config.model.quantise = QUANTISE_NF4;
    if (s->head.kind == HEAD_SCORE && !s->peft.has_score && !s->tensors.has_score)
        return fail("%s: neither the adapter nor its base has a score head; hint: train one with "
                    "model.adapter = \"%s\"",
                    s->path, s->path);
    return s->peft.base_digest && base_rank == 0 ? check_digest(s) : 0;
}

/* ---- writing ---- */

static int write_text(const char *directory, const char *name, const char *text) {
    char *path = file_join(directory, name);
    int status = file_replace(path, text, strlen(text));
    mem_free(path);
    return status;
}

/* What an adapter's file has: the adapters and the score head, by PEFT's names. Freed with
 * parameters_free; from (n): where each is read. */
static struct parameters make_table(const struct parameters *whole, const struct parameter **from) {
    struct parameters table = {.item = mem_alloc(whole->n, sizeof *table.item)};
    for (int i = 0; i < whole->n; i++) {
        const struct parameter *p = &whole->item[i];
        bool is_score = p->role == ROLE_SCORE;
        if (!is_score && !parameter_is_adapter(p)) continue;
        from[table.n] = p;
        table.item[table.n] = *p;
        table.item[table.n++].name =
            mem_format("%s%s", is_score ? "base_model.model." : "", p->name);
    }
    return table;
}

static int write_tensors(struct scorer *s, const char *directory) {
    const struct parameter **from = mem_alloc(s->table.n, sizeof *from);
    struct parameters table = make_table(&s->table, from);
    struct parameter_reader reader = scorer_reader(s);
    struct safetensors_writer *w =
        safetensors_writer_open(directory, "adapter_model", &table, DTYPE_F32, UINT64_MAX);
    float *buffer = mem_alloc(PIECE, sizeof *buffer);
    int status = 0;
    for (int i = 0; i < table.n && status == 0; i++)
        for (int64_t first = 0; first < table.item[i].count && status == 0; first += PIECE) {
            int64_t n = MIN(PIECE, table.item[i].count - first);
            status = reader.read(reader.self, from[i], first, n, buffer);
            if (status == 0) status = safetensors_writer_add(w, &table.item[i], buffer, n);
        }
    if (status != 0)
        safetensors_writer_abandon(w);
    else
        status = safetensors_writer_finish(w);
    mem_free(buffer);
    parameters_free(&table);
    mem_free(from);
    return status;
}

static int write_tokenizer(const struct scorer *s, const char *directory) {
    const struct tokenizer_file *file;
    int n = tokenizer_files(s->tokenizer, &file), status = 0;
    for (int i = 0; i < n && status == 0; i++) {
        char *path = file_join(directory, file[i].name);
        status = file_replace(path, file[i].data, file[i].length);
        mem_free(path);
    }
    return status;
}

/* Of a base in 4 bits. */
static const char quantised_note[] =
    "The linear layers of the base are in 4 bits for them: `quantization_config=BitsAndBytesConfig("
    "load_in_4bit=True, bnb_4bit_quant_type=\"nf4\", bnb_4bit_use_double_quant=True)`. ";

static char *make_lm_card(const struct scorer *s, const char *name, const char *base) {
    return mem_format(
        "---\nlibrary_name: peft\nbase_model: %s\n---\n# %s\n\nA language model: an adapter (LoRA, "
        "rank %lld) for `%s`. %sIn Python\n\n"
        "    from peft import PeftModel\n"
        "    from transformers import AutoModelForCausalLM\n\n"
        "    base = AutoModelForCausalLM.from_pretrained(\"%s\")\n"
        "    model = PeftModel.from_pretrained(base, \"%s\").eval()\n",
        base, name, (long long)s->config.lora.rank, base,
        parameters_largest_quantised(&s->table) > 0 ? quantised_note : "", base, name);
}

static char *make_card(const struct scorer *s, const char *name, const char *base) {
    if (s->head.kind == HEAD_LM) return make_lm_card(s, name, base);
    return mem_format(
        "---\nlibrary_name: peft\nbase_model: %s\n---\n# %s\n\nA reward model: an adapter (LoRA, "
        "rank %lld) and a score head for `%s`. `rankwise score` opens this directory; in Python\n\n"
        "    from peft import PeftModel\n"
        "    from transformers import AutoModelForSequenceClassification\n\n"
        "    base = AutoModelForSequenceClassification.from_pretrained(\"%s\", num_labels=%d)\n"
        "    model = PeftModel.from_pretrained(base, \"%s\").eval()\n\n"
        "gives the same scores, one text at a time or with base.config.pad_token_id set to a token "
        "that no text has. %s`score_contract.json` says how texts become tokens, and has eight "
        "texts with their tokens and scores.\n",
        base, name, (long long)s->config.lora.rank, base, base, s->head.n_scores, name,
        parameters_largest_quantised(&s->table) > 0 ? quantised_note : "");
}

/* The base as others find it: an absolute path. The digest is that of the checkpoint or of the
 * adapter that s has open; NULL: neither tells. */
int adapters_write(struct scorer *s, const char *directory, const char *name) {
    const char *base = s->checkpoint.base ? s->checkpoint.base : adapters_base(s);
    const char *digest = s->is_checkpoint ? s->checkpoint.base_digest : s->peft.base_digest;
    char absolute[PATH_MAX];
    if (realpath(base, absolute)) base = absolute;
    bool is_quantised = parameters_largest_quantised(&s->table) > 0;
    char *text[] = {peft_config(&s->config.lora, &s->table, base),
                    peft_base(base, digest, is_quantised), contract_text(&s->contract),
                    make_card(s, name, base)};
    static const char *const file[] = {"adapter_config.json", "adapter_base.json",
                                       "score_contract.json", "README.md"};
    int status = 0;
    for (int i = 0; i < 4; i++) {
        if (status == 0) status = write_text(directory, file[i], text[i]);
        mem_free(text[i]);
    }
    if (status == 0) status = write_tokenizer(s, directory);
    return status == 0 ? write_tensors(s, directory) : -1;
}
