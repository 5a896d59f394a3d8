/* Property: any JSON value rendered and encoded gives at most max_length ids that end in EOS, or fails with a
 * message.
 *
 * Input: a byte of options, a byte of max_length, then JSON: a value, or [prompt, value]. */
#include <string.h>

#include "json.h"
#include "template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tokenizer *t;
    static struct encoder *e;
    if (!t) t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    CHECK(t, "%s", error_text());
    if (!e) e = encoder_new(t);
    if (size < 2) return 0;
    struct template template;
    int status = template_init(&template, data[0] & 1 ? "text" : "simple_chat", t, (enum truncate)(data[0] >> 1 & 3),
                               2 + data[1]);
    CHECK(status == 0, "%s", error_text());
    json_t *json = json_parse((const char *)data + 2, size - 2);
    if (!json) return 0;
    const json_t *prompt = data[0] & 8 ? json_array_get(json, 0) : NULL;
    const json_t *value = data[0] & 8 ? json_array_get(json, 1) : json;
    struct buffer text = {0};
    struct ids ids = {0};
    error_clear();
    if (template_render(&template, prompt, value, &text) != 0) CHECK(error_text()[0], "failed without a message");
    int64_t n_cut = 0;
    CHECK(template_prompt_end(text.data, text.length) <= text.length, "the prompt ends behind the text");
    enum template_status done = template_encode(&template, e, text.data, text.length, &ids, &n_cut);
    CHECK(done != TEMPLATE_OK || (ids.n <= template.max_length && ids.id[ids.n - 1] == template.eos && n_cut >= 0),
          "%lld ids", (long long)ids.n);
    CHECK(done == TEMPLATE_OK || ids.n == 0, "ids of what failed");
    ids_free(&ids);
    buffer_free(&text);
    json_decref(json);
    return 0;
}
