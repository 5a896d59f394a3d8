/* Templates: opening one, and asking about it. See template.h; rendering and encoding are in
 * template_encode.c. */
#include "template.h"

#include <string.h>

#include "template_state.h"

enum { MIN_LENGTH = 2 }; /* a token and EOS */
static const char text_name[] = "text", chat_name[] = "chat_template";
static const char *const truncate_names[] = {"right", "left", "drop", "error"};
enum { N_TRUNCATES = 4 };

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
    const struct chat_named *named = chat_known(index - 1);
    return index == 0 ? text_name : named ? named->name : NULL;
}

static int check_length(const char *what, int64_t length) {
    if (length == 0 || length >= MIN_LENGTH) return 0;
    return fail("%s: expected at least %d tokens, found %lld", what, MIN_LENGTH, (long long)length);
}

/* The template that a contract names may have come from anywhere: its text is what counts. */
static int open_chat(struct template *t, const struct template_options *options) {
    struct chat_options chat = {.name = options->name,
                                .jinja = options->jinja,
                                .directory = options->directory,
                                .now = options->now,
                                .tool_use = options->tool_use};
    t->chat = chat_open(&chat, t->tokenizer);
    if (!t->chat) return -1;
    const char *jinja = chat_jinja(t->chat);
    t->options.name = mem_copy_string(*jinja ? chat_name : options->name);
    t->options.jinja = mem_copy_string(jinja);
    t->options.tool_use = mem_copy_string(chat_tool_use(t->chat));
    return 0;
}

static int open_rules(struct template *t) {
    const struct chat_named *named = chat_find_named(t->options.name);
    if (!t->options.no_bos) t->frame = tokenizer_frame(t->tokenizer);
    if (t->chat && !(named && named->ends_in_eos)) return 0;
    t->eos = tokenizer_eos(t->tokenizer);
    if (t->eos >= 0) return 0;
    return fail(
        "template %s: expected an EOS token, found none in the tokenizer's tokenizer_config.json, "
        "special_tokens_map.json or config.json; hint: --special eos=<token>",
        t->options.name);
}

/* The texts of the options are copied as far as they are needed later; the rest is NULL. */
struct template *template_open(const struct template_options *options,
                               const struct tokenizer *tokenizer) {
    if (check_length("maximum length", options->max_length) != 0 ||
        check_length("maximum length of prompts", options->max_prompt_length) != 0)
        return NULL;
    struct template *t = mem_alloc(1, sizeof *t);
    t->options = *options;
    t->options.name = t->options.jinja = t->options.now = t->options.directory =
        t->options.tool_use = NULL;
    t->tokenizer = tokenizer;
    t->eos = -1;
    int status = 0;
    if (strcmp(options->name, text_name) == 0) {
        t->options.name = mem_copy_string(text_name);
        t->options.jinja = mem_copy_string("");
    } else {
        status = open_chat(t, options);
        if (status == 0 && options->now && chat_mentions(t->chat, "strftime_now"))
            t->options.now = mem_copy_string(options->now);
    }
    if (status == 0 && open_rules(t) == 0) return t;
    template_free(t);
    return NULL;
}

void template_free(struct template *t) {
    if (!t) return;
    chat_free(t->chat);
    mem_free((void *)t->options.name);
    mem_free((void *)t->options.jinja);
    mem_free((void *)t->options.now);
    mem_free((void *)t->options.tool_use);
    mem_free(t);
}

const struct template_options *template_get_options(const struct template *t) {
    return &t->options;
}

const struct tokenizer *template_tokenizer(const struct template *t) {
    return t->tokenizer;
}

const int32_t *template_bos(const struct template *t, int64_t *n) {
    *n = t->frame.n_before;
    return t->frame.before;
}

int template_eos(const struct template *t) {
    return t->eos;
}

bool template_shows_tools(const struct template *t) {
    return t->chat && chat_shows_tools(t->chat);
}
