/* Property: any bytes as tokenizer.json either fail with a message or give a tokenizer that encodes
 * and decodes any valid text to valid UTF-8, and leaves no memory behind.
 *
 * Input: tokenizer.json, a zero byte, the text. */
#include <string.h>

#include "tokenizer.h"
#include "unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sample[] = "The caf\u00e9's  12 \u65e5\u672c\u8a9e e\u0301\u0323\n\n ok";

static void try_text(const struct tokenizer *t, const char *text, size_t length) {
    struct encoder *e = encoder_new(t);
    struct ids ids = {0};
    struct buffer back = {0};
    bool is_valid = utf8_check(text, length) == length;
    if (encoder_encode(e, text, length, &ids) == 0) {
        CHECK(is_valid, "invalid UTF-8 was encoded");
        CHECK(tokenizer_decode(t, ids.id, ids.n, false, &back) == 0, "own ids: %s", error_text());
        CHECK(utf8_check(back.data, back.length) == back.length, "decoded text is not UTF-8");
    }
    buffer_free(&back);
    ids_free(&ids);
    encoder_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *zero = memchr(data, 0, size);
    size_t length = zero ? (size_t)(zero - data) : size;
    struct tokenizer_file file[] = {{"tokenizer.json", data, length},
                                    {"tokenizer_config.json", "{\"eos_token\":\"a\"}", 17}};
    struct tokenizer *t = tokenizer_open(file, 1 + (int)(size % 2), NULL);
    if (!t) CHECK(error_text()[0], "failed without a message");
    if (t && zero) try_text(t, (const char *)zero + 1, size - length - 1);
    if (t) try_text(t, sample, sizeof sample - 1);
    tokenizer_free(t);
    CHECK(mem_balance() == 0, "%zu bytes are left", mem_balance());
    return 0;
}
