/* Property: any JSON value rendered and encoded by any template gives at most max_length ids, which
 * end in EOS where the template asks for it, or fails with a message. What is learned are spans of
 * them, ascending and apart.
 *
 * Input: a byte of options, a byte of max_length, then, by the options, Jinja and a zero byte, then
 * JSON: a value, or [prompt, value, other value, tools]. */
#include <string.h>

#include "json.h"
#include "template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    /* 2, 4: truncation */
    IS_TEXT = 1,
    HAS_PROMPT = 8,
    HAS_PROMPT_LENGTH = 16,
    HAS_SOURCE = 32,
    IS_LEARNED = 64,
    HAS_VERDICT = 128
};

static void check_encoded(const struct template *t, const struct template_encoded *encoded,
                          enum template_status done) {
    const struct ids *ids = &encoded->ids;
    int eos = template_eos(t);
    CHECK(done != TEMPLATE_OK || ids->n <= template_get_options(t)->max_length, "%lld ids",
          (long long)ids->n);
    CHECK(done != TEMPLATE_OK || eos < 0 || ids->id[ids->n - 1] == eos, "no EOS");
    CHECK(encoded->n_cut >= 0 && encoded->n_prompt >= 0 && encoded->n_prompt <= ids->n, "counts");
    CHECK(done == TEMPLATE_OK || ids->n == 0, "ids of what failed");
    int64_t at = 1;
    for (int i = 0; i < encoded->n_spans; i++) {
        const struct template_span *span = &encoded->span[i];
        CHECK(span->first >= at && span->last > span->first && span->last <= ids->n, "span %d", i);
        at = span->last;
    }
}

static void encode(const struct template *t, json_t *json, int flags) {
    bool has_prompt = flags & HAS_PROMPT;
    struct template_worker *w = template_worker_new(t);
    if (flags & IS_LEARNED)
        template_worker_learn(w, flags & HAS_PROMPT_LENGTH ? LEARN_ALL : LEARN_LAST,
                              flags & HAS_VERDICT ? "a" : NULL);
    const json_t *prompt = has_prompt ? json_array_get(json, 0) : NULL;
    json_t *answer[2] = {has_prompt ? json_array_get(json, 1) : json, json_array_get(json, 2)};
    struct template_encoded encoded[2] = {{{0}}};
    int n = answer[1] && has_prompt ? 2 : 1;
    error_clear();
    const json_t *tools = has_prompt ? json_array_get(json, 3) : NULL;
    enum template_status done =
        answer[0] ? template_encode(w, prompt, answer, n, tools, encoded) : TEMPLATE_OK;
    CHECK(done == TEMPLATE_OK || error_text()[0], "failed without a message");
    for (int i = 0; i < n && answer[0]; i++) {
        check_encoded(t, &encoded[i], done);
        template_encoded_free(&encoded[i]);
    }
    template_worker_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tokenizer *t;
    if (!t) t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    CHECK(t, "%s", error_text());
    if (size < 2) return 0;
    const char *text = (const char *)data + 2, *end = (const char *)data + size;
    struct template_options how = {data[0] & IS_TEXT ? "text" : "simple_chat", "",
                                   (enum truncate)(data[0] >> 1 & 3), 2 + data[1],
                                   data[0] & HAS_PROMPT_LENGTH ? 2 + data[1] / 2 : 0};
    const char *zero = memchr(text, 0, (size_t)(end - text));
    if (data[0] & HAS_SOURCE && zero && zero > text) {
        how.name = "chat_template";
        how.jinja = text;
        text = zero + 1;
    }
    json_t *json = json_parse(text, (size_t)(end - text));
    error_clear();
    struct template *template = json ? template_open(&how, t) : NULL;
    CHECK(template || !json || error_text()[0], "not opened, without a message");
    if (template) encode(template, json, data[0]);
    template_free(template);
    json_decref(json);
    return 0;
}
