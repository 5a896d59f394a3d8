/* Any bytes as sequences: the forest is valid, has as many tokens as forest_count says, and each
 * sequence is the path from its root to its read. A byte is a token; zeros end sequences. */
#include "forest.h"
#include "memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SEQUENCES = 512 };

static void check_path(const struct forest *f, const int32_t *sequence, int32_t length,
                       int32_t row) {
    CHECK(f->position[row] == length - 1, "a path of %d tokens, not %d", f->position[row] + 1,
          length);
    for (int32_t j = 0; j <= row; j++)
        if (row < f->reach[j])
            CHECK(f->token[j] == sequence[f->position[j]], "token %d at depth %d", f->token[j],
                  f->position[j]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int32_t *token = mem_alloc((int64_t)size, sizeof *token), length[MAX_SEQUENCES];
    const int32_t *sequence[MAX_SEQUENCES];
    int64_t n = 0;
    size_t start = 0;
    for (size_t i = 0; i <= size; i++) {
        if (i < size) token[i] = data[i];
        if (i < size && data[i] != 0) continue;
        if (i > start && n < MAX_SEQUENCES) {
            sequence[n] = token + start;
            length[n++] = (int32_t)(i - start);
        }
        start = i + 1;
    }
    struct forest f;
    forest_init(&f, (int64_t)size, n, n);
    forest_build(&f, n, sequence, length, 0, NULL);
    CHECK(forest_validate(&f) == 0, "%s", error_text());
    CHECK(forest_count(n, sequence, length) == f.n, "%lld tokens", (long long)f.n);
    for (int64_t s = 0; s < n; s++) check_path(&f, sequence[s], length[s], f.row[f.read[s]]);
    forest_free(&f);
    mem_free(token);
    return 0;
}
