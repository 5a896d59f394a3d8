/* Property: what is encoded decodes to the same text, for any text and each kind of pre-tokenizer;
 * with NFC, to the text's composed form, which does not change when it is composed again.
 *
 * Input: a byte that chooses the tokenizer, then the text. */
#include <string.h>

#include "json.h"
#include "tokenizer.h"
#include "unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SPLIT(pattern)                                                             \
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\"," \
    "\"pretokenizers\":[{\"type\":"                                                \
    "\"Split\","                                                                   \
    "\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"" pattern                  \
    "\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}"
enum { KINDS = 3 };
static const char *const patches[KINDS] = {
    "{}", "{\"pre_tokenizer\":{\"use_regex\":false}}",
    SPLIT("(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
          "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
          "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")};

static struct tokenizer *open_kind(const char *patch) {
    json_t *json = json_read_file("tests/golden/tokenizer_small/tokenizer.json");
    json_t *change = json_parse(patch, strlen(patch));
    CHECK(json && change && json_object_update_recursive(json, change) == 0, "%s", error_text());
    json_object_set_new(json, "added_tokens", json_array());
    char *text = json_text(json);
    struct tokenizer_file file = {"tokenizer.json", text, strlen(text)};
    struct tokenizer *t = tokenizer_open(&file, 1, NULL);
    CHECK(t, "%s", error_text());
    mem_free(text);
    json_decref(json);
    json_decref(change);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tokenizer *t[KINDS];
    static struct encoder *e[KINDS];
    if (size == 0) return 0;
    int kind = data[0] % KINDS;
    if (!t[kind]) t[kind] = open_kind(patches[kind]);
    if (!e[kind]) e[kind] = encoder_new(t[kind]);
    const char *text = (const char *)data + 1;
    size_t length = size - 1;
    struct ids ids = {0};
    struct buffer expected = {0}, back = {0};
    bool is_valid = utf8_check(text, length) == length;
    int status = encoder_encode(e[kind], text, length, &ids);
    CHECK((status == 0) == is_valid, "status %d of %s UTF-8", status,
          is_valid ? "valid" : "invalid");
    if (status == 0) {
        if (kind == 2)
            unicode_normalize(UNICODE_NFC, text, length, &expected);
        else
            buffer_append(&expected, text, length);
        CHECK(tokenizer_decode(t[kind], ids.id, ids.n, false, &back) == 0, "%s", error_text());
        CHECK(back.length == expected.length && memcmp(back.data, expected.data, back.length) == 0,
              "another text");
        if (kind == 2) {
            buffer_clear(&back);
            unicode_normalize(UNICODE_NFC, expected.data, expected.length, &back);
            CHECK(back.length == expected.length &&
                      memcmp(back.data, expected.data, back.length) == 0,
                  "composed twice");
        }
    }
    buffer_free(&back);
    buffer_free(&expected);
    ids_free(&ids);
    return 0;
}
