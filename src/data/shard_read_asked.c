/* /prompt, what a judge is asked, which a shard may lack. See shard_file.h. */
#include <math.h>
#include <string.h>

#include "h5.h"
#include "memory.h"
#include "shard.h"
#include "shard_file.h"

static bool is_there(const struct shard_handle *at, const char *name) {
    return H5Lexists(at->file, name, H5P_DEFAULT) > 0;
}

/* Prompt i, whose pair is that of the prompt before it or the next one. */
static int check_prompt(const struct shard *s, int64_t i) {
    int64_t sequence = s->prompt_sequence[i], pair = s->prompt_pair[i],
            next = i ? s->prompt_pair[i - 1] + 1 : 0;
    bool goes_on = i > 0 && pair == next - 1;
    int side = s->prompt_side[i], preferred = s->prompt_preferred[i];
    if (sequence < 0 || sequence >= s->n_sequences)
        return fail("prompt %lld: sequence %lld of %lld; " BUILD_AGAIN, (long long)i,
                    (long long)sequence, (long long)s->n_sequences);
    if ((!goes_on && pair != next) || pair >= s->n_groups)
        return fail("prompt %lld: pair %lld after %lld of %lld; " BUILD_AGAIN, (long long)i,
                    (long long)pair, (long long)next - 1, (long long)s->n_groups);
    if (side < 0 || side > 3 || preferred < -1 || preferred > 1)
        return fail("prompt %lld: side %d, preferred %d; " BUILD_AGAIN, (long long)i, side,
                    preferred);
    if (goes_on && (preferred != s->prompt_preferred[i - 1] || side % 2 == 0 ||
                    s->prompt_side[i - 1] != side - 1))
        return fail("prompt %lld: side %d, preferred %d after side %d, preferred %d of the same "
                    "pair; " BUILD_AGAIN,
                    (long long)i, side, preferred, s->prompt_side[i - 1],
                    s->prompt_preferred[i - 1]);
    if (s->prompt_target && isinf(s->prompt_target[i]))
        return fail("prompt %lld: an infinite target; " BUILD_AGAIN, (long long)i);
    return 0;
}

/* A pair of which a judge sees one side has to say what that one is worth. */
static int check_lonely(const struct shard *s) {
    for (int64_t g = 0; g < s->n_groups; g++) {
        int64_t i = s->prompt_first[g];
        if (s->prompt_first[g + 1] - i != 1 || s->prompt_side[i] >= 2) continue;
        bool has_target = s->prompt_target && !isnan(s->prompt_target[i]);
        if (!has_target || s->prompt_side[i] == 1)
            return fail("pair %lld: has side %d alone; " BUILD_AGAIN, (long long)g,
                        s->prompt_side[i]);
    }
    return 0;
}

static int check_asked(struct shard *s) {
    s->prompt_first = mem_alloc(s->n_groups + 1, sizeof *s->prompt_first);
    for (int64_t i = 0; i < s->n_prompts; i++) {
        if (check_prompt(s, i) != 0) return -1;
        s->prompt_first[s->prompt_pair[i] + 1] = i + 1;
    }
    if (s->prompt_pair[s->n_prompts - 1] != s->n_groups - 1)
        return fail("prompts: expected %lld pairs, found %lld; " BUILD_AGAIN,
                    (long long)s->n_groups, (long long)s->prompt_pair[s->n_prompts - 1] + 1);
    return check_lonely(s);
}

/* first[0] = 0, ascending, first[n] = the number of bytes. */
static int read_meta_index(struct shard *s, const struct shard_handle *at) {
    int64_t n_bytes = 0;
    if (!is_there(at, "prompt/meta")) return 0;
    s->prompt_meta_first = shard_file_read(at, "prompt/meta_first", &shard_int64, s->n_prompts + 1,
                                           NULL, H5T_NATIVE_INT64);
    hid_t set = shard_file_dataset(at, "prompt/meta", &shard_uint8, -1, &n_bytes);
    H5_CLOSE(set);
    if (!s->prompt_meta_first || set < 0) return -1;
    const int64_t *first = s->prompt_meta_first;
    bool is_bad = first[0] != 0 || first[s->n_prompts] != n_bytes;
    for (int64_t i = 0; i < s->n_prompts; i++)
        is_bad |= first[i + 1] < first[i] || first[i + 1] - first[i] > INT32_MAX;
    return is_bad ? fail("prompt/meta_first: expected to ascend from 0 to %lld; " BUILD_AGAIN,
                         (long long)n_bytes)
                  : 0;
}

int shard_read_asked(struct shard *s, const struct shard_handle *at) {
    if (!is_there(at, "prompt")) return 0;
    int64_t n = 0;
    s->prompt_sequence =
        shard_file_read(at, "prompt/sequence", &shard_int64, -1, &n, H5T_NATIVE_INT64);
    if (!s->prompt_sequence) return -1;
    if (n < 1) return fail("prompt/sequence: expected at least 1 element; " BUILD_AGAIN);
    s->n_prompts = n;
    if (!(s->prompt_pair =
              shard_file_read(at, "prompt/pair", &shard_int64, n, NULL, H5T_NATIVE_INT64)) ||
        !(s->prompt_row =
              shard_file_read(at, "prompt/row", &shard_int64, n, NULL, H5T_NATIVE_INT64)) ||
        !(s->prompt_source =
              shard_file_read(at, "prompt/source", &shard_uint16, n, NULL, H5T_NATIVE_UINT16)) ||
        !(s->prompt_side =
              shard_file_read(at, "prompt/side", &shard_int8, n, NULL, H5T_NATIVE_INT8)) ||
        !(s->prompt_preferred =
              shard_file_read(at, "prompt/preferred", &shard_int8, n, NULL, H5T_NATIVE_INT8)) ||
        !(s->judge = shard_file_text(at->file, "judge")) ||
        !(s->parser = shard_file_text(at->file, "parser")))
        return -1;
    if (is_there(at, "prompt/target") &&
        !(s->prompt_target =
              shard_file_read(at, "prompt/target", &shard_float, n, NULL, H5T_NATIVE_FLOAT)))
        return -1;
    return check_asked(s) == 0 ? read_meta_index(s, at) : -1;
}

void shard_free_asked(struct shard *s) {
    mem_free(s->prompt_sequence);
    mem_free(s->prompt_pair);
    mem_free(s->prompt_row);
    mem_free(s->prompt_first);
    mem_free(s->prompt_source);
    mem_free(s->prompt_side);
    mem_free(s->prompt_preferred);
    mem_free(s->prompt_target);
    mem_free(s->prompt_meta_first);
    mem_free(s->judge);
    mem_free(s->parser);
}

char *shard_prompt_meta(struct shard *s, int64_t prompt) {
    CHECK(prompt >= 0 && prompt < s->n_prompts, "prompt %lld of %lld", (long long)prompt,
          (long long)s->n_prompts);
    if (!s->prompt_meta_first) return mem_copy_string("");
    const struct shard_handle *at = s->handle;
    int64_t first = s->prompt_meta_first[prompt], n = s->prompt_meta_first[prompt + 1] - first;
    hid_t set = shard_file_dataset(at, "prompt/meta", &shard_uint8, -1, &(int64_t){0});
    char *text = mem_alloc(n + 1, 1);
    const char *reason = set < 0 ? error_text() : h5_read(set, H5T_NATIVE_UINT8, first, n, text);
    H5_CLOSE(set);
    if (!reason) return text;
    mem_free(text);
    fail("%s: metadata of prompt %lld: %s; " BUILD_AGAIN, s->path, (long long)prompt, reason);
    return NULL;
}
