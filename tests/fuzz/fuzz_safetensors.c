/* Any bytes as a safetensors file: an error with a text and nothing kept, or entries that lie
 * inside the file. */
#include "memory.h"
#include "safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct safetensors s = {0};
    if (safetensors_parse(&s, 0, (const char *)data, size, size) == 0) {
        for (int i = 0; i < s.n; i++) {
            const struct safetensors_entry *e = &s.entry[i];
            int64_t count = 1, bytes = e->count * (int64_t)dtype_bytes(e->dtype);
            for (int d = 0; d < e->n_dims; d++) count *= e->dim[d];
            CHECK(count == e->count && e->first_byte >= 8 && e->first_byte + bytes <= (int64_t)size,
                  "%s", e->name);
        }
    } else {
        CHECK(error_text()[0] && s.n == 0, "an error without a text");
    }
    safetensors_close(&s);
    CHECK(mem_balance() == 0, "%zu bytes left", mem_balance());
    return 0;
}
