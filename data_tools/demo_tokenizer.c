/* The demo's tokenizer: byte-level BPE as GPT-2's, with one token for every word of the task.
 *
 * A word is merged from the left, a byte at a time: " red" by ( ,r), ( r,e), ( re,d). As every
 * merge extends a prefix of a word by one byte, no merge can break another word apart, and words
 * with a space in front come first, so that "Human" cannot take its H out of " Horse". Unknown
 * words fall back to their longest known prefix, then to bytes. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "demo.h"
#include "json.h"

enum { WORD_ROOM = 64, MAPPED_ROOM = 4 * WORD_ROOM };

/* GPT-2's alphabet: printable bytes stand for themselves, the others for U+0100 and up, in
 * order. */
static int byte_code(int byte) {
    int other = 0;
    for (int b = 0; b < 256; b++) {
        bool is_plain = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (b == byte) return is_plain ? b : 256 + other;
        other += !is_plain;
    }
    return -1;
}

/* Appends the byte's letter, as UTF-8. */
static void append_letter(char *text, unsigned char byte) {
    int code = byte_code(byte);
    size_t n = strlen(text);
    if (code < 128)
        snprintf(text + n, MAPPED_ROOM - n, "%c", code);
    else
        snprintf(text + n, MAPPED_ROOM - n, "%c%c", 0xC0 | code >> 6, 0x80 | (code & 63));
}

static void add_token(json_t *vocabulary, const char *text) {
    if (!json_object_get(vocabulary, text))
        json_object_set_new(vocabulary, text,
                            json_integer((json_int_t)json_object_size(vocabulary)));
}

static void add_alphabet(json_t *vocabulary) {
    for (int code = 0; code < 512; code++)
        for (int byte = 0; byte < 256; byte++) {
            char text[MAPPED_ROOM] = "";
            if (byte_code(byte) != code) continue;
            append_letter(text, (unsigned char)byte);
            add_token(vocabulary, text);
        }
}

/* The merges of one word; those that an earlier word made are there already. */
static void add_word(json_t *vocabulary, json_t *merges, const char *word, size_t length) {
    char left[MAPPED_ROOM] = "";
    append_letter(left, (unsigned char)word[0]);
    for (size_t i = 1; i < length && i < WORD_ROOM; i++) {
        char letter[MAPPED_ROOM] = "", whole[MAPPED_ROOM];
        append_letter(letter, (unsigned char)word[i]);
        memcpy(whole, left, sizeof whole);
        append_letter(whole, (unsigned char)word[i]);
        if (!json_object_get(vocabulary, whole)) {
            add_token(vocabulary, whole);
            json_array_append_new(merges, json_pack("[s, s]", left, letter));
        }
        memcpy(left, whole, sizeof left);
    }
}

/* Every run of letters or of digits, with the space before it; or only those that have none. */
static void add_words(json_t *vocabulary, json_t *merges, const char *text, bool spaced) {
    while (*text) {
        const char *start = text;
        bool has_space = *text == ' ';
        if (has_space) text++;
        int (*is_kind)(int c) = isdigit((unsigned char)*text) ? isdigit : isalpha;
        while (is_kind((unsigned char)*text)) text++;
        size_t length = (size_t)(text - start);
        if (length > 1 && has_space == spaced) add_word(vocabulary, merges, start, length);
        if (length == 0) text++;
    }
}

/* A tokenizer whose vocabulary is the words of the texts, and single bytes for any other text. */
void demo_tokenizer_write(const char *const *text, int64_t n, struct buffer *out,
                          int64_t *vocabulary_size) {
    json_t *vocabulary = json_object(), *merges = json_array();
    add_alphabet(vocabulary);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n; i++) add_words(vocabulary, merges, text[i], pass == 0);
    json_int_t end = (json_int_t)json_object_size(vocabulary);
    add_token(vocabulary, "<|endoftext|>");
    json_t *byte_level = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                                   0, "trim_offsets", 1, "use_regex", 1);
    json_t *special =
        json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", end, "content", "<|endoftext|>",
                  "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                  "byte_fallback", 0, "ignore_merges", 0, "vocab", vocabulary, "merges", merges);
    json_t *whole =
        json_pack("{s:s, s:n, s:n, s:[o], s:n, s:O, s:O, s:o, s:o}", "version", "1.0", "truncation",
                  "padding", "added_tokens", special, "normalizer", "pre_tokenizer", byte_level,
                  "post_processor", byte_level, "decoder", byte_level, "model", model);
    CHECK(whole, "a tokenizer that JSON cannot hold");
    *vocabulary_size = (int64_t)end + 1;
    char *all = json_text(whole);
    buffer_append_text(out, all);
    mem_free(all);
    json_decref(whole);
}
