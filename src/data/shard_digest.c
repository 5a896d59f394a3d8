/* What tells two shards' tokens apart: see shard.h. */
#include <string.h>

#include "hash.h"
#include "shard.h"

bool shard_noted_tokens(struct shard *shard, char out[65]) {
    char *text = shard_text(shard, "token_digest");
    bool is_noted = text && strlen(text) == 64;
    memcpy(out, is_noted ? text : "", is_noted ? 65 : 1);
    mem_free(text);
    return is_noted;
}

int shard_digest_tokens(struct shard *shard, char out[65]) {
    int64_t max = 0;
    for (int64_t s = 0; s < shard->n_sequences; s++) max = MAX(max, shard_length(shard, s));
    int32_t *token = mem_alloc(max, sizeof *token);
    struct sha256 all;
    int status = 0;
    sha256_start(&all);
    for (int64_t s = 0; s < shard->n_sequences && status == 0; s++) {
        status = shard_read(shard, s, token);
        if (status != 0) break;
        struct hash128 hash = hash128(token, (size_t)shard_length(shard, s) * sizeof *token, 0);
        sha256_add(&all, &hash, sizeof hash);
    }
    sha256_finish(&all, out);
    mem_free(token);
    return status == 0 ? 0 : fail_context("%s", shard->path);
}
