/* Any bytes as config.json: an error with a text, or an architecture whose numbers keep arch.c's
 * promises, so that the sizes of its tensors neither overflow nor are empty. */
#include "arch.h"
#include "memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arch a;
    if (arch_parse(&a, (const char *)data, size) == 0) {
        CHECK(a.D > 0 && a.F > 0 && a.V > 0 && a.L > 0 && a.H > 0 && a.K > 0 && a.d > 0 &&
                  a.H % a.K == 0,
              "sizes");
        CHECK(a.rope_dims > 0 && a.rope_dims <= a.d && a.norm_eps > 0, "ropes");
        CHECK(arch_block_parameters(&a) > 0 && a.V * a.D > 0, "parameters");
        for (int i = 0; i < a.rope_dims / 2; i++)
            CHECK(a.inverse_frequency[i] >= 0, "frequency %d", i);
        arch_free(&a);
    } else {
        CHECK(error_text()[0], "an error without a text");
    }
    CHECK(mem_balance() == 0, "%zu bytes left", mem_balance());
    return 0;
}
