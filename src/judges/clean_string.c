/* Text of a model as JSON: see clean_string.h. */
#include "clean_string.h"

#include "unicode.h"

json_t *clean_string(const char *text, size_t length) {
    struct buffer clean = {0};
    buffer_append(&clean, "", 0);
    for (size_t at = 0; at < length;) {
        size_t valid = utf8_check(text + at, length - at);
        buffer_append(&clean, text + at, valid);
        at += valid;
        if (at < length) buffer_append_text(&clean, "\xEF\xBF\xBD");
        at += at < length;
    }
    json_t *string = json_stringn(clean.data, clean.length);
    buffer_free(&clean);
    return string;
}
