/* Templates: opening one, and asking about it. See template.h; rendering and encoding are in template_encode.c. */
#include "template.h"

#include <string.h>

#include "template_state.h"

enum { LEAST_LENGTH = 2 }; /* a token and EOS */
static const char *const template_names[] = {"text", "simple_chat"};
static const char *const truncate_names[] = {"right", "left", "drop", "error"};
enum { N_TEMPLATES = 2, N_TRUNCATES = 4 };

int truncate_parse(const char *name, enum truncate *out) {
    for (int i = 0; i < N_TRUNCATES; i++) {
        if (strcmp(name, truncate_names[i]) != 0) continue;
        *out = (enum truncate)i;
        return 0;
    }
    return fail("truncation: expected right, left, drop or error, found \"%.100s\"", name);
}

const char *truncate_name(enum truncate truncate) {
    return truncate_names[truncate];
}

const char *template_known(int index) {
    return index >= 0 && index < N_TEMPLATES ? template_names[index] : NULL;
}

static int check_length(const char *what, int64_t length) {
    if (length == 0 || length >= LEAST_LENGTH) return 0;
    return fail("%s: expected at least %d tokens, found %lld", what, LEAST_LENGTH, (long long)length);
}

static int open_named(struct template *t) {
    int i = 0;
    while (i < N_TEMPLATES && strcmp(t->how.name, template_names[i]) != 0) i++;
    if (i == N_TEMPLATES)
        return fail(
            "template: expected text or simple_chat, found \"%.100s\"; hint: text takes the strings as they are",
            t->how.name);
    t->is_text = i == 0;
    t->eos = tokenizer_eos(t->tokenizer);
    if (t->eos < 0)
        return fail("template %s: expected an EOS token, found none in the tokenizer's tokenizer_config.json, "
                    "special_tokens_map.json or config.json; hint: --special eos=<token>",
                    t->how.name);
    return 0;
}

struct template *template_open(const struct template_options *how, const struct tokenizer *tokenizer) {
    if (check_length("maximum length", how->max_length) != 0 ||
        check_length("maximum length of prompts", how->max_prompt_length) != 0)
        return NULL;
    struct template *t = mem_alloc(1, sizeof *t);
    t->how = *how;
    t->how.name = mem_copy_string(how->name);
    t->how.source = mem_copy_string(how->source ? how->source : "");
    t->how.now = how->now ? mem_copy_string(how->now) : NULL;
    t->tokenizer = tokenizer;
    t->bos = t->eos = -1;
    if (open_named(t) == 0) return t;
    template_free(t);
    return NULL;
}

void template_free(struct template *t) {
    if (!t) return;
    mem_free((void *)t->how.name);
    mem_free((void *)t->how.source);
    mem_free((void *)t->how.now);
    mem_free(t);
}

const struct template_options *template_how(const struct template *t) {
    return &t->how;
}

const struct tokenizer *template_tokenizer(const struct template *t) {
    return t->tokenizer;
}

int template_bos(const struct template *t) {
    return t->bos;
}

int template_eos(const struct template *t) {
    return t->eos;
}

size_t template_prompt_end(const char *text, size_t length) {
    static const char mark[] = "\n\nAssistant:";
    const size_t n = sizeof mark - 1;
    for (size_t end = length; end >= n; end--)
        if (text[end - 1] == ':' && memcmp(text + end - n, mark, n) == 0) return end;
    return 0;
}
