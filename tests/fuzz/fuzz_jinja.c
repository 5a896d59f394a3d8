/* Property: any template with any JSON as its variables ends, in a text of valid UTF-8 or in an
 * error with a message; and the same again.
 *
 * Input: a template, a zero byte, JSON (an object: the variables; anything else: messages). */
#include <string.h>

#include "jinja.h"
#include "json.h"
#include "unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int render(const struct jinja *j, struct jinja_memory *m, const json_t *json,
                  struct buffer *out) {
    struct jinja_variable variable[32];
    int n = 0;
    const char *key;
    json_t *value;
    if (!json_is_object(json)) variable[n++] = (struct jinja_variable){"messages", json};
    json_object_foreach((json_t *)json, key, value) {
        if (n < 32) variable[n++] = (struct jinja_variable){key, value};
    }
    error_clear();
    return jinja_render(j, m, variable, n, "today", out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct jinja_memory *m;
    if (!m) m = jinja_memory_new();
    const uint8_t *zero = memchr(data, 0, size);
    size_t length = zero ? (size_t)(zero - data) : size;
    error_clear();
    struct jinja *j = jinja_parse((const char *)data, length);
    CHECK(j || error_text()[0], "not parsed, without a message");
    if (!j) return 0;
    json_t *json = zero ? json_parse((const char *)zero + 1, size - length - 1) : NULL;
    if (!json) json = json_pack("[{s:s, s:s}]", "role", "user", "content", "Hi");
    struct buffer text[2] = {{0}};
    int status[2];
    for (int i = 0; i < 2; i++) {
        buffer_append_text(&text[i], "before");
        status[i] = render(j, m, json, &text[i]);
        CHECK(status[i] == 0 || error_text()[0], "failed without a message");
        CHECK(status[i] == 0 || text[i].length == 6, "output of what failed");
        CHECK(utf8_check(text[i].data, text[i].length) == text[i].length, "invalid UTF-8");
    }
    CHECK(status[0] == status[1] && text[0].length == text[1].length &&
              memcmp(text[0].data, text[1].data, text[0].length) == 0,
          "another text the second time");
    for (int i = 0; i < 2; i++) buffer_free(&text[i]);
    json_decref(json);
    jinja_free(j);
    return 0;
}
