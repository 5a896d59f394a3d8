/* Any bytes as config.json: an error with a text, or an architecture whose numbers keep arch.c's
 * promises, so that the sizes of its tensors neither overflow nor are empty. */
#include "arch.h"
#include "memory.h"
#include "parameters.h"

enum { MAX_LAYERS_BUILT = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_table(const struct arch *a) {
    struct parameters table;
    parameters_build(&table, a, &one_score);
    for (int i = 0; i < table.n; i++) CHECK(table.item[i].count > 0, "%s", table.item[i].name);
    CHECK(parameters_count(&table) > a->V * a->D, "parameters");
    parameters_free(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arch a;
    if (arch_parse(&a, (const char *)data, size) == 0) {
        CHECK(a.D > 0 && a.F > 0 && a.V > 0 && a.L > 0 && a.H > 0 && a.K > 0 && a.d > 0 &&
                  a.H % a.K == 0,
              "sizes");
        CHECK(a.rope_dims > 0 && a.rope_dims <= a.d && a.norm_eps > 0, "ropes");
        if (a.L <= MAX_LAYERS_BUILT) check_table(&a);
        for (int i = 0; i < a.rope_dims / 2; i++)
            CHECK(a.inverse_frequency[i] >= 0, "frequency %d", i);
        arch_free(&a);
    } else {
        CHECK(error_text()[0], "an error without a text");
    }
    CHECK(mem_balance() == 0, "%zu bytes left", mem_balance());
    return 0;
}
