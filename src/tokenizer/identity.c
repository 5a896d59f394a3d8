/* The identity of a tokenizer: what it does, not how its file is written.
 *
 * SHA-256 over (1) the ordinary tokens with their ids, sorted by id, added tokens left out, and (2)
 * the ids of a fixed corpus of CORPUS strings, encoded without regard to added tokens. So key
 * order, the two ways to write merges, and more added tokens change nothing; another normalizer,
 * pre-tokenizer, merge or id does. The corpus is made by the generator below: changing it changes
 * every identity, so it carries a version. */
#include <string.h>

#include "hash.h"
#include "random.h"
#include "tokenizer_state.h"
#include "unicode.h"

enum { CORPUS = 2000, MAX_PARTS = 12 };
static const char corpus_name[] = "rankwise tokenizer corpus 1";

static const char *const words[] = {"the",
                                    "The",
                                    "THE",
                                    "and",
                                    "answer",
                                    "question",
                                    "Human",
                                    "Assistant",
                                    "internationalization",
                                    "don't",
                                    "they're",
                                    "we'll",
                                    "I'm",
                                    "he'd",
                                    "it's",
                                    "you've",
                                    "Don'T",
                                    "x's",
                                    "antidisestablishmentarianism",
                                    "zyzzyva",
                                    "qwrtpsdf",
                                    "HTTPServer",
                                    "snake_case",
                                    "camelCase",
                                    "main()",
                                    "return",
                                    "0x1F",
                                    "e.g.",
                                    "U.S.A.",
                                    "C++",
                                    "user@example.org",
                                    "https://example.org/a?b=c&d=%20",
                                    "caf\u00e9",
                                    "cafe\u0301",
                                    "stra\u00dfe",
                                    "\u0130stanbul",
                                    "\u017fee",
                                    "na\u00efve",
                                    "\ufb01n"};
static const char *const marks[] = {".",      ",",      "!",      "?",      "...",    "--",
                                    "\"",     "'",      "''",     "(",      ")",      "[]",
                                    "{",      "}",      "*",      "**",     "#",      "//",
                                    "/*",     "==",     "->",     "$",      "%",      "&",
                                    "\\",     "|",      "~",      "`",      "\u2014", "\u201c",
                                    "\u201d", "\u2019", "\u2026", "\u20ac", "\u3002", "\uff0c",
                                    "'s",     "'S",     "'re",    "'LL"};
static const char *const spaces[] = {
    " ",    "  ",  "   ", "        ", "\n",     "\n\n",   "\n\n\n", "\r\n",   "\t",
    "\t\t", " \n", "\n ", "\u00a0",   "\u2003", "\u3000", "\u200b", "\u180e", "\xC2\x85"};
static const char *const others[] = {"\u0441\u043b\u043e\u0432\u043e",
                                     "\u03bb\u03cc\u03b3\u03bf\u03c2",
                                     "\u05e9\u05dc\u05d5\u05dd",
                                     "\u0645\u0631\u062d\u0628\u0627",
                                     "\u0928\u092e\u0938\u094d\u0924\u0947",
                                     "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
                                     "\u4f60\u597d\u4e16\u754c",
                                     "\u65e5\u672c\u8a9e",
                                     "\u3053\u3093\u306b\u3061\u306f",
                                     "\uc548\ub155",
                                     "\u1112\u1161\u11ab",
                                     "\U0001F600",
                                     "\U0001F468\u200d\U0001F469\u200d\U0001F467",
                                     "\U0001F1EB\U0001F1F7",
                                     "\u2764\ufe0f",
                                     "\u0663\u0664",
                                     "\u2167",
                                     "\u00bd",
                                     "\u2460",
                                     "\U0001D400",
                                     "\U00020000",
                                     "\U0001E922",
                                     "\u1E9B\u0323",
                                     "\u212b",
                                     "\ue000"};

static uint64_t draw(uint64_t *counter, uint64_t below) {
    return random_bits(1, random_purpose(corpus_name), (*counter)++) % below;
}

#define PICK(list) buffer_append_text(out, (list)[draw(counter, sizeof(list) / sizeof *(list))])

/* What a text of the corpus is made of: a word, a mark, spaces, digits or any character. */
static void append_part(uint64_t *counter, struct buffer *out) {
    switch (draw(counter, 8)) {
    case 0:
    case 1:
        if (draw(counter, 2)) buffer_append_text(out, " ");
        PICK(words);
        break;
    case 2:
        PICK(marks);
        break;
    case 3:
        PICK(spaces);
        break;
    case 4:
        PICK(others);
        break;
    case 5: /* digits */
        for (uint64_t n = 1 + draw(counter, 7); n > 0; n--)
            buffer_format(out, "%d", (int)draw(counter, 10));
        break;
    case 6: /* a made-up word: its merges are hardly in anybody's mind */
        if (draw(counter, 2)) buffer_append_text(out, " ");
        for (uint64_t n = 2 + draw(counter, 9); n > 0; n--) {
            char letter = (char)('a' + draw(counter, 26));
            buffer_append(out, &letter, 1);
        }
        break;
    default: { /* any character of the first two planes, without surrogates */
        uint32_t point = (uint32_t)draw(counter, 0x20000 - 0x800 - 1) + 1;
        char utf8[4];
        int n = utf8_write(utf8, point < 0xD800 ? point : point + 0x800);
        buffer_append(out, utf8, (size_t)n);
    }
    }
}

static void add_number(struct sha256 *hash, uint64_t number) {
    uint8_t byte[8];
    for (int i = 0; i < 8; i++) byte[i] = (uint8_t)(number >> 8 * i);
    sha256_add(hash, byte, sizeof byte);
}

static void add_vocabulary(struct sha256 *hash, const struct tokenizer *t) {
    for (int64_t id = 0; id < t->bpe.n_ids; id++) {
        size_t length;
        const char *token = bpe_token(&t->bpe, id, &length);
        if (!token || added_by_id(&t->added, id)) continue;
        add_number(hash, (uint64_t)id);
        add_number(hash, length);
        sha256_add(hash, token, length);
    }
}

/* The hash of the vocabulary and of the ids of a fixed corpus: two files that say the same in
 * other ways have the same one. */
void tokenizer_identity(const struct tokenizer *t, char out[65]) {
    struct sha256 hash;
    struct encoder *e = encoder_new(t);
    struct buffer text = {0};
    struct ids ids = {0};
    uint64_t counter = 0;
    sha256_start(&hash);
    sha256_add(&hash, corpus_name, sizeof corpus_name);
    add_vocabulary(&hash, t);
    for (int i = 0; i < CORPUS; i++) {
        buffer_clear(&text);
        ids.n = 0;
        for (uint64_t n = 1 + draw(&counter, MAX_PARTS); n > 0; n--) append_part(&counter, &text);
        int status = encoder_encode_ordinary(e, text.data, text.length, &ids);
        /* A tokenizer whose unk is missing cannot encode every text: that, too, is what it does. */
        if (status != 0) error_clear();
        add_number(&hash, status == 0 ? (uint64_t)ids.n : UINT64_MAX);
        for (int64_t k = 0; k < ids.n && status == 0; k++) add_number(&hash, (uint64_t)ids.id[k]);
    }
    sha256_finish(&hash, out);
    ids_free(&ids);
    buffer_free(&text);
    encoder_free(e);
}
