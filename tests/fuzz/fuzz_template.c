/* Property: any JSON value rendered and encoded gives at most max_length ids that end in EOS, or fails with a
 * message.
 *
 * Input: a byte of options, a byte of max_length, then JSON: a value, or [prompt, value, other value]. */
#include <string.h>

#include "json.h"
#include "template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tokenizer *t;
    if (!t) t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    CHECK(t, "%s", error_text());
    if (size < 2) return 0;
    struct template_options how = {data[0] & 1 ? "text" : "simple_chat", "", (enum truncate)(data[0] >> 1 & 3),
                                   2 + data[1], data[0] & 16 ? 2 + data[1] / 2 : 0};
    json_t *json = json_parse((const char *)data + 2, size - 2);
    if (!json) return 0;
    struct template *template = template_open(&how, t);
    CHECK(template, "%s", error_text());
    struct template_worker *w = template_worker_new(template);
    const json_t *prompt = data[0] & 8 ? json_array_get(json, 0) : NULL;
    json_t *answer[2] = {data[0] & 8 ? json_array_get(json, 1) : json, json_array_get(json, 2)};
    struct template_side side[2] = {{{0}}};
    int n = answer[1] && data[0] & 8 ? 2 : 1;
    error_clear();
    enum template_status done =
        answer[0] ? template_encode(w, prompt, answer, n, json_array_get(json, 3), side) : TEMPLATE_OK;
    CHECK(done == TEMPLATE_OK || error_text()[0], "failed without a message");
    for (int i = 0; i < n && answer[0]; i++) {
        const struct ids *ids = &side[i].ids;
        CHECK(done != TEMPLATE_OK || (ids->n <= how.max_length && ids->id[ids->n - 1] == template_eos(template)),
              "%lld ids", (long long)ids->n);
        CHECK(side[i].n_cut >= 0 && side[i].n_prompt >= 0 && side[i].n_prompt <= ids->n, "counts");
        CHECK(done == TEMPLATE_OK || ids->n == 0, "ids of what failed");
        template_side_free(&side[i]);
    }
    template_worker_free(w);
    template_free(template);
    json_decref(json);
    return 0;
}
