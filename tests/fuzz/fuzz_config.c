/* Any bytes as a configuration: an error, or a configuration whose text gives the same text
 * again. */
#include <string.h>

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = mem_format("%.*s", (int)size, (const char *)data);
    struct config config, again;
    if (config_parse(&config, text, NULL, 0) == 0) {
        char *first = config_text(&config);
        CHECK(config_parse(&again, first, NULL, 0) == 0, "%s", error_text());
        char *second = config_text(&again);
        CHECK(strcmp(first, second) == 0, "%s", second);
        mem_free(first);
        mem_free(second);
        config_free(&again);
        config_free(&config);
    } else {
        CHECK(error_text()[0], "an error without a text");
    }
    mem_free(text);
    CHECK(mem_balance() == 0, "%zu bytes left", mem_balance());
    return 0;
}
