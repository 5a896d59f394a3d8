/* A BPE model from tokenizer.json, its vocabulary and its tables: see bpe.h. Merging is in
 * bpe.c. */
#include <stdio.h>
#include <string.h>

#include "bpe.h"
#include "json.h"
#include "unicode.h"

enum { MAX_IDS = 1 << 22, MAX_MERGES = 1 << 23, MAX_TOKEN_BYTES = 1 << 20, MAX_AFFIX = 64 };

/* --- the byte alphabet --------------------------------------------------------------- */

/* GPT-2's: printable Latin-1 bytes stand for themselves, the others for U+0100 and up, in their
 * order. */
static uint32_t letter_of_byte(int byte) {
    bool is_itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    if (is_itself) return (uint32_t)byte;
    int before = byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67;
    return 0x100 + (uint32_t)before;
}

/* -1 for a letter outside the alphabet. */
static int byte_of_letter(uint32_t letter) {
    if (letter < 0x100) return letter_of_byte((int)letter) == letter ? (int)letter : -1;
    if (letter >= 0x100 + 68) return -1;
    int before = (int)letter - 0x100;
    return before <= 32 ? before : before < 67 ? before - 33 + 127 : 173;
}

void bpe_append_bytes(const char *token, size_t length, struct buffer *out) {
    size_t start = out->length;
    for (size_t at = 0; at < length;) {
        int byte = byte_of_letter(utf8_next(token, &at));
        char c = (char)byte;
        if (byte < 0) {
            out->length = start;
            buffer_append(out, token, length);
            return;
        }
        buffer_append(out, &c, 1);
    }
}

void bpe_append_letters(const char *bytes, size_t length, struct buffer *out) {
    for (size_t i = 0; i < length; i++) {
        char utf8[4];
        buffer_append(out, utf8, (size_t)utf8_write(utf8, letter_of_byte((unsigned char)bytes[i])));
    }
}

/* --- hash tables --------------------------------------------------------------------- */

static uint64_t hash_bytes(const char *data, size_t length) {
    uint64_t h = length, part;
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(&part, data, 8);
        h = bpe_mix(h ^ part);
    }
    part = 0;
    memcpy(&part, data, length);
    return bpe_mix(h ^ part);
}

/* The slot of the token, or the free one where it belongs. */
static int64_t find_slot(const struct bpe *b, const char *token, size_t length) {
    int64_t at = (int64_t)(hash_bytes(token, length) & (uint64_t)b->slot_mask);
    for (;; at = (at + 1) & b->slot_mask) {
        int32_t id = b->slot[at];
        if (id < 0) return at;
        if ((size_t)b->length[id] == length &&
            memcmp(b->text.data + b->first[id], token, length) == 0)
            return at;
    }
}

int bpe_id(const struct bpe *b, const char *token, size_t length) {
    return b->slot[find_slot(b, token, length)];
}

const char *bpe_token(const struct bpe *b, int64_t id, size_t *length) {
    if (id < 0 || id >= b->n_ids || b->first[id] < 0) return NULL;
    *length = (size_t)b->length[id];
    return b->text.data + b->first[id];
}

/* --- reading ------------------------------------------------------------------------- */

static int64_t power_above(int64_t n) {
    int64_t power = 16;
    while (power < n) power *= 2;
    return power;
}

/* The first pass checks the entries and counts ids, the second one fills tables of that size. */
static int read_vocabulary(struct bpe *b, json_t *vocab) {
    if (!json_is_object(vocab)) return fail("vocab: expected an object");
    const char *token;
    json_t *value;
    b->n_tokens = (int64_t)json_object_size(vocab);
    if (b->n_tokens == 0) return fail("vocab: is empty");
    json_object_foreach(vocab, token, value) {
        if (!json_is_integer(value)) return fail("vocab[\"%.100s\"]: expected an integer", token);
        int64_t id = json_integer_value(value);
        if (id < 0 || id >= MAX_IDS)
            return fail("vocab[\"%.100s\"]: expected an id from 0 to %d, found %lld", token,
                        MAX_IDS - 1, (long long)id);
        if (strlen(token) > MAX_TOKEN_BYTES)
            return fail("vocab[\"%.100s...\"]: longer than %d bytes", token, MAX_TOKEN_BYTES);
        b->n_ids = MAX(b->n_ids, id + 1);
    }
    b->first = mem_alloc(b->n_ids, sizeof *b->first);
    b->length = mem_alloc(b->n_ids, sizeof *b->length);
    memset(b->first, 0xFF, (size_t)b->n_ids * sizeof *b->first);
    int64_t n_slots = power_above(2 * b->n_tokens);
    b->slot = mem_alloc(n_slots, sizeof *b->slot);
    b->slot_mask = n_slots - 1;
    memset(b->slot, 0xFF, (size_t)n_slots * sizeof *b->slot);
    json_object_foreach(vocab, token, value) {
        int64_t id = json_integer_value(value);
        size_t length = strlen(token);
        if (b->first[id] >= 0)
            return fail("vocab: \"%.100s\" and \"%.100s\" have the same id %lld",
                        b->text.data + b->first[id], token, (long long)id);
        b->first[id] = (int64_t)b->text.length;
        b->length[id] = (int32_t)length;
        buffer_append(&b->text, token, length + 1);
        b->slot[find_slot(b, token, length)] = (int32_t)id;
    }
    return 0;
}

/* The two sides of a merge: "a b" or ["a", "b"]. */
static int merge_sides(const json_t *merge, const char *side[2], size_t length[2]) {
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *space = strchr(text, ' ');
        size_t whole = json_string_length(merge);
        if (!space || strchr(space + 1, ' ') || strlen(text) != whole)
            return fail("expected two tokens with one space between, found \"%.100s\"", text);
        side[0] = text;
        length[0] = (size_t)(space - text);
        side[1] = space + 1;
        length[1] = whole - length[0] - 1;
        return 0;
    }
    if (!json_is_array(merge) || json_array_size(merge) != 2)
        return fail("expected \"a b\" or [\"a\", \"b\"]");
    for (size_t i = 0; i < 2; i++) {
        const json_t *part = json_array_get(merge, i);
        if (!json_is_string(part)) return fail("expected two strings");
        side[i] = json_string_value(part);
        length[i] = json_string_length(part);
    }
    return 0;
}

static int read_merge(struct bpe *b, const json_t *merge, int32_t rank, struct buffer *joined) {
    const char *side[2];
    size_t length[2];
    if (merge_sides(merge, side, length) != 0) return -1;
    int id[3];
    buffer_clear(joined);
    for (int i = 0; i < 2; i++) {
        id[i] = bpe_id(b, side[i], length[i]);
        if (id[i] < 0)
            return fail("\"%.*s\" is not in the vocabulary", (int)MIN(length[i], 100), side[i]);
        size_t cut = i == 1 ? b->prefix.length : 0;
        if (cut > length[i])
            return fail("\"%.100s\" is shorter than continuing_subword_prefix", side[i]);
        buffer_append(joined, side[i] + cut, length[i] - cut);
    }
    id[2] = bpe_id(b, joined->data, joined->length);
    if (id[2] < 0) return fail("its result \"%.100s\" is not in the vocabulary", joined->data);
    struct merge *m = bpe_find_merge(b, id[0], id[1]);
    *m = (struct merge){(uint64_t)(uint32_t)id[0] << 32 | (uint32_t)id[1], rank, id[2]};
    return 0;
}

/* A merge has the rank of its place in the list; the last of equal ones counts. */
static int read_merges(struct bpe *b, const json_t *merges) {
    if (!json_is_array(merges)) return fail("merges: expected a list");
    if (json_array_size(merges) > MAX_MERGES) return fail("merges: more than %d", MAX_MERGES);
    int64_t n = power_above(2 * (int64_t)json_array_size(merges));
    b->merge = mem_alloc(n, sizeof *b->merge);
    b->merge_mask = (uint64_t)n - 1;
    for (int64_t i = 0; i < n; i++) b->merge[i].rank = -1;
    struct buffer joined = {0};
    const json_t *merge;
    size_t i;
    int status = 0;
    int32_t rank = 0;
    json_array_foreach(merges, i, merge) {
        bool is_header =
            json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0;
        if (!is_header) status = read_merge(b, merge, rank++, &joined);
        if (status != 0) {
            fail_context("merges[%zu]", i);
            break;
        }
    }
    buffer_free(&joined);
    return status;
}

/* --- options and tables -------------------------------------------------------------- */

static int read_affix(const json_t *json, const char *key, struct buffer *out) {
    const char *text = "";
    if (json_get_string(json, key, &text) != 0) return -1;
    if (strlen(text) > MAX_AFFIX) return fail("\"%s\": longer than %d bytes", key, MAX_AFFIX);
    buffer_append_text(out, text);
    return 0;
}

static int read_options(struct bpe *b, const json_t *json) {
    const char *type = "BPE";
    double dropout = 0;
    if (json_get_string(json, "type", &type) != 0) return -1;
    if (strcmp(type, "BPE") != 0) return fail("\"type\": %s is not implemented (BPE is)", type);
    if (json_get_number(json, "dropout", &dropout) != 0 ||
        json_get_bool(json, "byte_fallback", &b->byte_fallback) != 0 ||
        json_get_bool(json, "fuse_unk", &b->fuse_unk) != 0 ||
        json_get_bool(json, "ignore_merges", &b->ignore_merges) != 0 ||
        read_affix(json, "continuing_subword_prefix", &b->prefix) != 0 ||
        read_affix(json, "end_of_word_suffix", &b->suffix) != 0)
        return -1;
    return dropout != 0 ? fail("dropout %g is not implemented: expected null", dropout) : 0;
}

static void fill_characters(struct bpe *b) {
    for (int64_t id = 0; id < b->n_ids; id++) {
        size_t length, at = 0;
        const char *token = bpe_token(b, id, &length);
        if (!token || length == 0) continue;
        uint32_t point = utf8_next(token, &at);
        if (at != length) continue;
        int32_t **page = &b->character[point / BPE_PAGE];
        if (!*page) {
            *page = mem_alloc(BPE_PAGE, sizeof **page);
            memset(*page, 0xFF, BPE_PAGE * sizeof **page);
        }
        (*page)[point % BPE_PAGE] = (int32_t)id;
    }
}

static void fill_bytes(struct bpe *b) {
    for (int i = 0; i < 256; i++) {
        char text[8];
        b->byte_id[i] = bpe_id(b, text, (size_t)utf8_write(text, letter_of_byte(i)));
        b->fallback_id[i] = bpe_id(b, text, (size_t)snprintf(text, sizeof text, "<0x%02X>", i));
    }
}

static bool has_all(const int32_t id[256]) {
    for (int i = 0; i < 256; i++)
        if (id[i] < 0) return false;
    return true;
}

bool bpe_take_bytes(struct bpe *b) {
    if (b->prefix.length || b->suffix.length || (b->byte_fallback && !has_all(b->byte_id)))
        return false;
    return b->in_bytes = true;
}

/* --- cuts ---------------------------------------------------------------------------- */

static uint64_t *find_pair(const struct bpe_cuts *cuts, uint64_t pair) {
    uint64_t at = bpe_mix(pair) & cuts->mask;
    while (cuts->pair[at] != UINT64_MAX && cuts->pair[at] != pair) at = (at + 1) & cuts->mask;
    return &cuts->pair[at];
}

/* A symbol ends with its token's last character, whatever it was merged from, and begins with its
 * first. So if no merge has a left side that ends with a and a right side that begins with b, none
 * ever joins a and b. */
static void build_cuts(struct bpe *b) {
    struct bpe_cuts *cuts = &b->cuts;
    if (b->prefix.length || b->suffix.length || b->ignore_merges) return;
    int64_t n = power_above((int64_t)b->merge_mask + 1);
    cuts->pair = mem_alloc(n, sizeof *cuts->pair);
    memset(cuts->pair, 0xFF, (size_t)n * sizeof *cuts->pair);
    cuts->mask = (uint64_t)n - 1;
    for (uint64_t i = 0; i <= b->merge_mask; i++) {
        if (b->merge[i].rank < 0) continue;
        size_t length = 0, at = 0;
        const char *left = bpe_token(b, (int64_t)(b->merge[i].pair >> 32), &length);
        if (length == 0) return; /* an empty token: nothing is sure */
        uint32_t former = utf8_former(left, &length);
        const char *right = bpe_token(b, (int64_t)(b->merge[i].pair & 0xFFFFFFFF), &length);
        if (length == 0) return;
        uint64_t pair = (uint64_t)former << 32 | utf8_next(right, &at);
        *find_pair(cuts, pair) = pair;
    }
    for (uint32_t former = 0; former < 128; former++)
        for (uint32_t next = 0; next < 128; next++)
            cuts->ascii[former][next] =
                b->character[0] && b->character[0][former] >= 0 && b->character[0][next] >= 0 &&
                *find_pair(cuts, (uint64_t)former << 32 | next) == UINT64_MAX;
    cuts->are_built = true;
}

bool bpe_may_cut(const struct bpe *b, uint32_t former, uint32_t next) {
    if ((former | next) < 128) return b->cuts.ascii[former][next];
    return bpe_character(b, former) >= 0 && bpe_character(b, next) >= 0 &&
           *find_pair(&b->cuts, (uint64_t)former << 32 | next) == UINT64_MAX;
}

/* --- all of it ----------------------------------------------------------------------- */

static int read_all(struct bpe *b, const json_t *json) {
    const char *unk = NULL;
    if (!json_is_object(json)) return fail("expected an object");
    if (read_options(b, json) != 0 || json_get_string(json, "unk_token", &unk) != 0 ||
        read_vocabulary(b, json_object_get(json, "vocab")) != 0 ||
        read_merges(b, json_object_get(json, "merges")) != 0)
        return -1;
    b->unk = unk ? bpe_id(b, unk, strlen(unk)) : -1;
    fill_characters(b);
    fill_bytes(b);
    if (unk && b->unk < 0) b->missing_unk = mem_copy_string(unk);
    build_cuts(b);
    return 0;
}

int bpe_parse(struct bpe *b, const json_t *json) {
    *b = (struct bpe){0};
    if (read_all(b, json) == 0) return 0;
    bpe_free(b);
    return fail_context("model");
}

void bpe_free(struct bpe *b) {
    buffer_free(&b->text);
    mem_free(b->first);
    mem_free(b->length);
    mem_free(b->slot);
    mem_free(b->merge);
    mem_free(b->missing_unk);
    mem_free(b->cuts.pair);
    for (int i = 0; i < BPE_PAGES; i++) mem_free(b->character[i]);
    buffer_free(&b->prefix);
    buffer_free(&b->suffix);
    *b = (struct bpe){0};
}
