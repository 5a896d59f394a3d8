/* Tokenizers against Hugging Face tokenizers: the goldens are made by
 * tests/golden/make_tokenizers.py.  limit: 900 */
#include <zlib.h>

#include "file.h"
#include "hash.h"
#include "json.h"
#include "test.h"
#include "tokenizer.h"

static const char small[] = "tests/golden/tokenizer_small",
                  resaved[] = "tests/golden/tokenizer_resaved";
static const char shared[] = "../shared/data";

static struct tokenizer *open_text(const char *json, const char *config) {
    struct tokenizer_file file[] = {{"tokenizer.json", json, strlen(json)},
                                    {"tokenizer_config.json", config, config ? strlen(config) : 0}};
    return tokenizer_open(file, config ? 2 : 1, NULL);
}

static json_t *read_json(const char *directory, const char *name) {
    char *path = file_join(directory, name);
    json_t *json = json_read_file(path);
    mem_free(path);
    if (!json) TEST_END(TEST_FAILED, "%s", error_text());
    return json;
}

/* RFC 7386: null removes a key, objects are merged, all else replaces. */
static void merge_patch(json_t *target, const json_t *patch) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)patch, key, value) {
        if (json_is_null(value)) {
            json_object_del(target, key);
        } else if (json_is_object(value)) {
            if (!json_is_object(json_object_get(target, key)))
                json_object_set_new(target, key, json_object());
            merge_patch(json_object_get(target, key), value);
        } else {
            json_object_set(target, key, value);
        }
    }
}

/* A tokenizer of tests/golden, or the small one, with a patch (a JSON text or value). */
static struct tokenizer *open_patched_of(const char *base, const json_t *patch) {
    char *directory = mem_format("tests/golden/%s", base);
    json_t *json = read_json(directory, "tokenizer.json");
    mem_free(directory);
    merge_patch(json, patch);
    char *text = json_text(json);
    struct tokenizer *t = open_text(text, NULL);
    mem_free(text);
    json_decref(json);
    return t;
}

static struct tokenizer *open_patched(const json_t *patch) {
    return open_patched_of("tokenizer_small", patch);
}

static struct tokenizer *open_patched_text(const char *patch) {
    json_t *json = json_parse(patch, strlen(patch));
    if (!json) TEST_END(TEST_FAILED, "%s", error_text());
    struct tokenizer *t = open_patched(json);
    json_decref(json);
    return t;
}

static void check_ids(const char *name, const json_t *text, const json_t *expected,
                      const struct ids *found) {
    bool same = (size_t)found->n == json_array_size(expected);
    for (int64_t i = 0; same && i < found->n; i++)
        same = found->id[i] == json_integer_value(json_array_get(expected, (size_t)i));
    if (same) return;
    struct buffer list = {0};
    for (int64_t i = 0; i < found->n; i++) buffer_format(&list, "%s%d", i ? "," : "", found->id[i]);
    TEST_END(TEST_FAILED, "%s: %.200s: expected %.300s, found [%.300s]", name, json_text(text),
             json_text(expected), list.data);
}

static int64_t check_case(const json_t *one) {
    const char *name = json_string_value(json_object_get(one, "name"));
    const json_t *row;
    size_t i, k;
    struct tokenizer *t = open_patched_of(json_string_value(json_object_get(one, "base")),
                                          json_object_get(one, "patch"));
    if (!t) TEST_END(TEST_FAILED, "%s: %s", name, error_text());
    struct encoder *e = encoder_new(t);
    struct ids ids = {0};
    struct buffer text = {0};
    /* Twice: the second time words come from the cache. */
    for (int round = 0; round < 2; round++)
        json_array_foreach(json_object_get(one, "encoded"), i, row) {
            const json_t *string = json_array_get(row, 0);
            ids.n = 0;
            int status =
                encoder_encode(e, json_string_value(string), json_string_length(string), &ids);
            if (status != 0) TEST_END(TEST_FAILED, "%s: %s", name, error_text());
            check_ids(name, string, json_array_get(row, 1), &ids);
        }
    json_array_foreach(json_object_get(one, "decoded"), i, row) {
        const json_t *list = json_array_get(row, 0), *id;
        ids.n = 0;
        json_array_foreach(list, k, id) {
            ARRAY_RESERVE(ids.id, ids.n, ids.capacity);
            ids.id[ids.n++] = (int32_t)json_integer_value(id);
        }
        for (size_t skip = 0; skip < 2; skip++) {
            const json_t *expected = json_array_get(row, 1 + skip);
            buffer_clear(&text);
            ASSERT_INT(tokenizer_decode(t, ids.id, ids.n, skip, &text), 0);
            ASSERT_INT(text.length, json_string_length(expected));
            ASSERT(memcmp(text.data, json_string_value(expected), text.length) == 0);
        }
    }
    int64_t n = (int64_t)(json_array_size(json_object_get(one, "encoded")));
    buffer_free(&text);
    ids_free(&ids);
    encoder_free(e);
    tokenizer_free(t);
    return n;
}

static void test_ids_and_texts_equal_the_library(void) {
    json_t *cases = read_json("tests/golden", "tokenizer_cases.json");
    const json_t *one;
    size_t i;
    int64_t n = 0;
    json_array_foreach(cases, i, one) n += check_case(one);
    ASSERT(json_array_size(cases) > 100 && n > 4000);
    json_decref(cases);
}

/* --- real data, where it is there ---------------------------------------------------- */

static void encode_side(struct encoder *e, const json_t *row, const char *side, struct ids *ids,
                        struct sha256 *hash) {
    const json_t *text = json_object_get(row, side);
    ids->n = 0;
    ASSERT_INT(encoder_encode(e, json_string_value(text), json_string_length(text), ids), 0);
    sha256_add(hash, ids->id, (size_t)ids->n * sizeof *ids->id);
}

static void check_real(const json_t *golden) {
    const char *name = json_string_value(json_object_get(golden, "tokenizer"));
    char *directory = mem_format("%s/tokenizers/%s", shared, name);
    char *path =
        mem_format("%s/prefs/%s", shared, json_string_value(json_object_get(golden, "file")));
    struct tokenizer *t = tokenizer_open_directory(directory, NULL);
    if (!t) TEST_END(TEST_FAILED, "%s", error_text());
    struct encoder *e = encoder_new(t);
    struct ids ids = {0};
    struct sha256 hash;
    static char line[1 << 20];
    int64_t n_strings = 0, n_ids = 0;
    gzFile file = gzopen(path, "rb");
    ASSERT(file);
    sha256_start(&hash);
    while (gzgets(file, line, sizeof line)) {
        json_t *row = json_parse(line, strlen(line));
        ASSERT(row);
        encode_side(e, row, "chosen", &ids, &hash);
        n_ids += ids.n;
        encode_side(e, row, "rejected", &ids, &hash);
        n_ids += ids.n;
        n_strings += 2;
        json_decref(row);
    }
    gzclose(file);
    char found[65];
    sha256_finish(&hash, found);
    ASSERT_INT(n_strings, json_integer_value(json_object_get(golden, "strings")));
    ASSERT_INT(n_ids, json_integer_value(json_object_get(golden, "ids")));
    ASSERT_TEXT(found, json_string_value(json_object_get(golden, "sha256")));
    ids_free(&ids);
    encoder_free(e);
    tokenizer_free(t);
    mem_free(directory);
    mem_free(path);
}

static void test_all_shared_text_equals_the_library(void) {
    if (!file_is_directory(shared)) TEST_SKIP("%s is not there", shared);
    json_t *goldens = read_json("tests/golden", "tokenizer_hh.json");
    const json_t *golden;
    size_t i;
    json_array_foreach(goldens, i, golden) check_real(golden);
    json_decref(goldens);
}

/* --- identity ------------------------------------------------------------------------ */

static void identity_of(struct tokenizer *t, char out[65]) {
    if (!t) TEST_END(TEST_FAILED, "%s", error_text());
    tokenizer_identity(t, out);
    tokenizer_free(t);
}

/* The object's keys in reverse order. */
static json_t *reversed(const json_t *object) {
    json_t *out = json_object();
    const char *name, *key[1000];
    size_t n = 0;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) key[n++] = name;
    while (n-- > 0) json_object_set(out, key[n], json_object_get(object, key[n]));
    return out;
}

static void test_identity_is_what_it_does(void) {
    char a[65], b[65];
    identity_of(tokenizer_open_directory(small, NULL), a);
    /* Saved again by transformers, with a pad token more. */
    struct tokenizer *padded = tokenizer_open_directory(resaved, NULL);
    ASSERT(padded);
    ASSERT_INT(tokenizer_pad(padded), 512);
    ASSERT_INT(tokenizer_size(padded), 513);
    identity_of(padded, b);
    ASSERT_TEXT(b, a);
    /* Another key order, merges as strings, EOS only among the added tokens. */
    json_t *json = read_json(small, "tokenizer.json"), *model = json_object_get(json, "model");
    json_t *vocab = reversed(json_object_get(model, "vocab")), *merge;
    json_object_del(vocab, "<|endoftext|>");
    json_object_set_new(model, "vocab", vocab);
    size_t i;
    json_t *merges = json_array();
    json_array_foreach(json_object_get(model, "merges"), i, merge) json_array_append_new(
        merges, json_sprintf("%s %s", json_string_value(json_array_get(merge, 0)),
                             json_string_value(json_array_get(merge, 1))));
    json_object_set_new(model, "merges", merges);
    json_t *other = reversed(json);
    char *text = json_text(other);
    identity_of(open_text(text, NULL), b);
    ASSERT_TEXT(b, a);
    mem_free(text);
    json_decref(other);
    json_decref(json);
}

/* GPT-2's pattern by hand and by PCRE2, over the corpus of the identity. */
static void test_scanner_equals_its_pattern(void) {
    static const char pattern[] =
        "(?:'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+)";
    char a[65], b[65];
    identity_of(tokenizer_open_directory(small, NULL), a);
    json_t *patch =
        json_pack("{s:{s:s, s:[{s:s, s:s, s:{s:s}}, {s:s, s:b, s:b}]}}", "pre_tokenizer", "type",
                  "Sequence", "pretokenizers", "type", "Split", "behavior", "Isolated", "pattern",
                  "Regex", pattern, "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
    ASSERT(patch);
    identity_of(open_patched(patch), b);
    json_decref(patch);
    ASSERT_TEXT(b, a);
}

static void test_identity_sees_what_changes_ids(void) {
    static const char *const patches[] = {"{\"pre_tokenizer\":{\"add_prefix_space\":true}}",
                                          "{\"pre_tokenizer\":{\"use_regex\":false}}",
                                          "{\"normalizer\":{\"type\":\"NFC\"}}",
                                          "{\"model\":{\"ignore_merges\":true,\"merges\":[]}}",
                                          "{\"model\":{\"vocab\":{\"zz\":600}}}",
                                          "{\"model\":{\"vocab\":{\"a\":65,\"b\":64}}}"};
    char a[65], b[65];
    identity_of(tokenizer_open_directory(small, NULL), a);
    for (int i = 0; i < N_TESTS(patches); i++) {
        identity_of(open_patched_text(patches[i]), b);
        if (strcmp(a, b) == 0) TEST_END(TEST_FAILED, "%s does not change the identity", patches[i]);
    }
}

/* --- special tokens ------------------------------------------------------------------ */

static void test_special_tokens_and_where_they_come_from(void) {
    static const struct {
        const char *config, *map, *model, *option;
        int bos, eos, pad;
        const char *message;
    } cases[] = {
        {"{\"eos_token\":\"<|endoftext|>\"}", NULL, NULL, NULL, -1, 511, -1, NULL},
        {"{\"eos_token\":{\"content\":\"<|endoftext|>\"},\"pad_token\":null}", NULL, NULL, NULL, -1,
         511, -1, NULL},
        {NULL, "{\"bos_token\":\"a\",\"pad_token\":{\"content\":\"b\"}}", NULL, NULL, 64, -1, 65,
         NULL},
        {"{\"eos_token\":\"a\"}", "{\"eos_token\":\"b\",\"pad_token\":\"c\"}", NULL, NULL, -1, 64,
         66, NULL},
        {"{}", NULL, NULL, "eos=a,pad=,", -1, 64, 11, NULL},
        {"{\"eos_token\":\"a\"}", NULL, NULL, "pad=b,bos=c", 66, 64, 65, NULL},
        {"{\"eos_token\":\"a\"}", NULL, NULL, "eos=a", -1, 64, -1, NULL},
        {"{\"eos_token\":\"a\"}", NULL, NULL, "eos=b", 0, 0, 0, "tokenizer_config.json says \"a\""},
        /* config.json's ids only when nothing else names any */
        {NULL, NULL, "{\"eos_token_id\":7,\"bos_token_id\":[8,9]}", NULL, 8, 7, -1, NULL},
        {NULL, NULL, "{\"eos_token_id\":7}", "eos=a", -1, 64, -1, NULL},
        {"{\"model_max_length\":7}", NULL, "{\"eos_token_id\":7}", NULL, -1, 7, -1, NULL},
        {"{\"bos_token\":null}", NULL, "{\"bos_token_id\":7,\"eos_token_id\":7}", NULL, -1, -1, -1,
         NULL},
        {NULL, NULL, "{\"eos_token_id\":512}", NULL, 0, 0, 0,
         "config.json: \"eos_token_id\": expected the id"},
        {NULL, NULL, NULL, NULL, -1, -1, -1, NULL},
        {"{\"eos_token\":\"</s>\"}", NULL, NULL, NULL, 0, 0, 0,
         "tokenizer_config.json: the eos token \"</s>\" is not in"},
        {NULL, NULL, NULL, "pad=<pad>", 0, 0, 0, "the pad token \"<pad>\" is not in"},
        {NULL, NULL, NULL, "end=a", 0, 0, 0, "cls=... or mask=..., found \"end=a\""},
        {"{\"eos_token\":3}", NULL, NULL, NULL, 0, 0, 0, "\"eos_token\": expected a string"},
        {"[]", NULL, NULL, NULL, 0, 0, 0, "tokenizer_config.json: expected an object"},
        {"{", NULL, NULL, NULL, 0, 0, 0, "tokenizer_config.json: not valid JSON"},
    };
    char *path = file_join(small, "tokenizer.json");
    struct buffer json = {0};
    ASSERT_INT(file_read(path, 1 << 20, &json), 0);
    mem_free(path);
    for (int i = 0; i < N_TESTS(cases); i++) {
        struct tokenizer_file file[4] = {{"tokenizer.json", json.data, json.length}};
        const char *name[] = {"tokenizer_config.json", "special_tokens_map.json", "config.json"};
        const char *text[] = {cases[i].config, cases[i].map, cases[i].model};
        int n = 1;
        for (int k = 0; k < 3; k++)
            if (text[k]) file[n++] = (struct tokenizer_file){name[k], text[k], strlen(text[k])};
        struct tokenizer *t = tokenizer_open(file, n, cases[i].option);
        if (cases[i].message) {
            ASSERT(t == NULL);
            ASSERT_CONTAINS(error_text(), cases[i].message);
            continue;
        }
        if (!t) TEST_END(TEST_FAILED, "case %d: %s", i, error_text());
        if (tokenizer_bos(t) != cases[i].bos || tokenizer_eos(t) != cases[i].eos ||
            tokenizer_pad(t) != cases[i].pad)
            TEST_END(TEST_FAILED, "case %d: found %d %d %d", i, tokenizer_bos(t), tokenizer_eos(t),
                     tokenizer_pad(t));
        tokenizer_free(t);
    }
    buffer_free(&json);
}

/* What stands around one text: the post-processor says it, tokenizer_config.json does not. */
static void test_frame(void) {
    static const char template[] =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\","
        "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":"
        "{\"id\":\"b\",\"type_id\":0}}],\"special_tokens\":{\"a\":{\"id\":\"a\",\"ids\":[64],"
        "\"tokens\":[\"a\"]},\"b\":{\"id\":\"b\",\"ids\":[65,66],\"tokens\":[\"b\",\"c\"]}}}";
    static const struct {
        const char *processor, *config;
        int n_before, n_after, before, after;
    } cases[] = {
        {"null", NULL, 0, 0, 0, 0},
        {"{\"type\":\"ByteLevel\"}", NULL, 0, 0, 0, 0},
        {template, NULL, 1, 2, 64, 65},
        {"{\"type\":\"RobertaProcessing\",\"sep\":[\"b\",65],\"cls\":[\"a\",64]}", NULL, 1, 1, 64,
         65},
        {template, "{\"add_bos_token\":false}", 1, 2, 64, 65},
        {"null", "{\"add_bos_token\":true,\"bos_token\":\"c\",\"eos_token\":\"d\"}", 0, 0, 0, 0},
    };
    for (int i = 0; i < N_TESTS(cases); i++) {
        json_t *json = read_json(small, "tokenizer.json");
        json_object_set_new(json, "post_processor",
                            json_loads(cases[i].processor, JSON_DECODE_ANY, &(json_error_t){0}));
        char *text = json_text(json);
        struct tokenizer *t = open_text(text, cases[i].config);
        if (!t) TEST_END(TEST_FAILED, "case %d: %s", i, error_text());
        struct frame frame = tokenizer_frame(t);
        ASSERT_INT(frame.n_before, cases[i].n_before);
        ASSERT_INT(frame.n_after, cases[i].n_after);
        if (frame.n_before) ASSERT_INT(frame.before[0], cases[i].before);
        if (frame.n_after) ASSERT_INT(frame.after[0], cases[i].after);
        tokenizer_free(t);
        mem_free(text);
        json_decref(json);
    }
}

static void test_questions(void) {
    struct tokenizer *t = tokenizer_open_directory(small, NULL);
    ASSERT(t);
    ASSERT_INT(tokenizer_size(t), 512);
    ASSERT_INT(tokenizer_id(t, "<|endoftext|>"), 511);
    ASSERT_INT(tokenizer_id(t, "\u0120the"),
               tokenizer_id(t, tokenizer_token(t, tokenizer_id(t, "\u0120the"))));
    ASSERT_INT(tokenizer_id(t, "no such token"), -1);
    ASSERT(tokenizer_token(t, -1) == NULL && tokenizer_token(t, 512) == NULL);
    int id;
    const char *content;
    bool is_special;
    ASSERT(tokenizer_added(t, 0, &id, &content, &is_special));
    ASSERT_INT(id, 511);
    ASSERT_TEXT(content, "<|endoftext|>");
    ASSERT(is_special && !tokenizer_added(t, 1, &id, &content, &is_special));
    /* The files it carries are those it was opened from. */
    const struct tokenizer_file *file;
    ASSERT_INT(tokenizer_files(t, &file), 2);
    struct buffer original = {0};
    char *path = file_join(small, file[0].name);
    ASSERT_INT(file_read(path, 1 << 20, &original), 0);
    ASSERT_INT(file[0].length, original.length);
    ASSERT(memcmp(file[0].data, original.data, original.length) == 0);
    mem_free(path);
    buffer_free(&original);
    /* What cannot be encoded or decoded. */
    struct encoder *e = encoder_new(t);
    struct ids ids = {0};
    static const char *const bad[] = {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\x80",
                                      "ab\xf4\x90\x80\x80"};
    for (int i = 0; i < N_TESTS(bad); i++) {
        ASSERT_INT(encoder_encode(e, bad[i], strlen(bad[i]), &ids), -1);
        ASSERT_CONTAINS(error_text(), "invalid UTF-8 at byte 2");
    }
    ASSERT_INT(tokenizer_decode(t, &(int32_t){512}, 1, false, &original), -1);
    ASSERT_CONTAINS(error_text(), "id 512");
    buffer_free(&original);
    ids_free(&ids);
    encoder_free(e);
    tokenizer_free(t);
}

/* --- bad files ----------------------------------------------------------------------- */

static void test_what_is_not_built_is_named(void) {
    static const struct {
        const char *patch, *message;
    } cases[] = {
        {"{\"normalizer\":{\"type\":\"Precompiled\"}}",
         "tokenizer.json: normalizer: Precompiled is not implemented"},
        {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"BertNormalizer\"}]}}",
         "normalizer: [0]: BertNormalizer is not implemented"},
        {"{\"normalizer\":{\"type\":\"Prepend\"}}", "Prepend: \"prepend\": expected a string"},
        {"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}",
         "pre_tokenizer: UnicodeScripts is not implemented"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}}",
         "expected one character"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":"
         "false}}",
         "contradicts"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Between\",\"pattern\":{\"Regex\":"
         "\"x\"}}}",
         "found \"Between\""},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Removed\"}}",
         "\"pattern\": expected"},
        {"{\"decoder\":{\"type\":\"CTC\"}}", "decoder: CTC is not implemented"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "model: \"type\": Unigram is not implemented"},
        {"{\"model\":{\"dropout\":0.1}}", "model: dropout 0.1 is not implemented"},
        {"{\"model\":{\"vocab\":{\"x\":4}}}", "have the same id 4"},
        {"{\"model\":{\"vocab\":{\"x\":-1}}}", "vocab[\"x\"]: expected an id from 0"},
        {"{\"model\":{\"vocab\":{\"x\":99999999}}}", "vocab[\"x\"]: expected an id from 0"},
        {"{\"model\":{\"vocab\":{\"x\":\"y\"}}}", "vocab[\"x\"]: expected an integer"},
        {"{\"model\":{\"vocab\":[]}}", "vocab: expected an object"},
        {"{\"model\":{\"merges\":[\"a b c\"]}}", "model: merges[0]: expected two tokens"},
        {"{\"model\":{\"merges\":[[\"t\",\"h\"],[\"t\"]]}}",
         "model: merges[1]: expected \"a b\" or"},
        {"{\"model\":{\"merges\":[[\"t\",\"qqq\"]]}}",
         "merges[0]: \"qqq\" is not in the vocabulary"},
        {"{\"model\":{\"merges\":[[\"q\",\"q\"]]}}", "its result \"qq\" is not in the vocabulary"},
        {"{\"model\":{\"merges\":{}}}", "merges: expected a list"},
        {"{\"added_tokens\":[{\"id\":512,\"content\":3}]}",
         "added_tokens: [0]: \"content\": expected a string"},
        {"{\"post_processor\":{\"type\":\"Nothing\"}}",
         "post_processor: Nothing is not implemented"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}",
         "sequence A is missing"},
        {"{\"added_tokens\":3}", "added_tokens: expected a list"},
    };
    for (int i = 0; i < N_TESTS(cases); i++) {
        struct tokenizer *t = open_patched_text(cases[i].patch);
        if (t) TEST_END(TEST_FAILED, "%s was accepted", cases[i].patch);
        ASSERT_CONTAINS(error_text(), cases[i].message);
    }
    ASSERT(tokenizer_open_directory("tests", NULL) == NULL);
    ASSERT_CONTAINS(error_text(), "tokenizer.json is missing; hint:");
}

/* As in the library, an unk_token that is no token matters where it is needed, and not before. */
static void test_a_missing_unk_is_an_error_when_needed(void) {
    struct tokenizer *t = open_patched_text(
        "{\"model\":{\"unk_token\":\"<u>\",\"vocab\":{\"!\":null},\"merges\":[]}}");
    if (!t) TEST_END(TEST_FAILED, "%s", error_text());
    char identity[65];
    tokenizer_identity(t, identity);
    struct encoder *e = encoder_new(t);
    struct ids ids = {0};
    ASSERT_INT(encoder_encode(e, "fine", 4, &ids), 0);
    ASSERT_INT(encoder_encode(e, "not!", 4, &ids), -1);
    ASSERT_CONTAINS(error_text(), "unk_token \"<u>\" is not in the vocabulary");
    ids_free(&ids);
    encoder_free(e);
    tokenizer_free(t);
}

/* A hint stands where it helps: what is read is told where something else was found. */
static void test_hints_are_about_their_error(void) {
    ASSERT(!tokenizer_open_directory("tests/golden/tokenizer_small", "foo"));
    ASSERT_CONTAINS(error_text(), "found \"foo\"; hint: --special");
    ASSERT(!strstr(error_text(), "byte-level"));
    ASSERT(!tokenizer_open_directory("tests", NULL));
    ASSERT(!strstr(error_text(), "byte-level"));
    ASSERT(!open_patched_text("{\"model\":{\"type\":\"Unigram\"}}"));
    ASSERT_CONTAINS(error_text(), "hint: byte-level BPE");
}

static void test_what_patterns_lack_is_named(void) {
    static const char *const cases[][2] = {
        {"(x", "\"(x\" has no end"},
        {"x)", "\")\" has no beginning"},
        {"[x", "has no end"},
        {"[]x]", "is an empty class"},
        {"+x", "has nothing to repeat"},
        {"x{3,2}", "\"{3,2}\" is not implemented"},
        {"(x)\\1", "\"\\1\" is not implemented"},
        {"(?<name>x)", "\"(?<name>x)\" is not implemented"},
        {"a(?i)b", "\"(?i)b\" is not implemented"},
        {"(?i:'s|miss)", "\"s)\" without case is not implemented"},
        {"(?i:\u00df)", "without case is not implemented"},
        {"(?i:[\\p{L}])", "without case is not implemented"},
        {"\\X", "\"\\X\" is not implemented"},
        {"\\p{Klingon}",
         "\"\\p{Klingon}\" is not implemented (general categories and scripts are)"},
        {"[z-a]", "is no range"},
        {"[[:alien:]]", "\"[:alien:]]\" is not implemented"},
        {"x\\", "\"\\\" ends the pattern"},
        {"(?<=x+)y", "lookbehind assertion is not fixed length"},
    };
    for (int i = 0; i < N_TESTS(cases); i++) {
        json_t *patch = json_pack("{s:{s:s, s:s, s:{s:s}}}", "pre_tokenizer", "type", "Split",
                                  "behavior", "Isolated", "pattern", "Regex", cases[i][0]);
        ASSERT(patch);
        if (open_patched(patch)) TEST_END(TEST_FAILED, "%s was accepted", cases[i][0]);
        ASSERT_CONTAINS(error_text(), "pre_tokenizer: Split: regular expression \"");
        ASSERT_CONTAINS(error_text(), cases[i][1]);
        json_decref(patch);
    }
}

/* Five steps that each make a hundred letters of one would make 10 GB of one letter. */
static void test_chains_of_replacements_end(void) {
    static const char step[] =
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"";
    struct buffer steps = {0};
    for (int i = 0; i < 5; i++) {
        buffer_append_text(&steps, i ? "," : "");
        buffer_append_text(&steps, step);
        for (int k = 0; k < 100; k++) buffer_append_text(&steps, "a");
        buffer_append_text(&steps, "\"}");
    }
    char *patch = mem_format("{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s]},"
                             "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[%s]}}",
                             steps.data, steps.data);
    struct tokenizer *t = open_patched_text(patch);
    struct encoder *e = encoder_new(t);
    struct ids ids = {0};
    struct buffer text = {0};
    ASSERT_INT(encoder_encode(e, "xxxx", 4, &ids), 0);
    ASSERT_INT(encoder_encode(e, "xaxx", 4, &ids), -1);
    ASSERT_CONTAINS(error_text(), "normalizer: Replace: the replacements make a text of more than");
    ASSERT_INT(tokenizer_decode(t, (int32_t[]){tokenizer_id(t, "a")}, 1, false, &text), -1);
    ASSERT_CONTAINS(error_text(), "decoder: Replace: the replacements make a text of more than");
    buffer_free(&text);
    ids_free(&ids);
    encoder_free(e);
    tokenizer_free(t);
    mem_free(patch);
    buffer_free(&steps);
}

static void test_long_patterns_are_refused(void) {
    struct buffer patch = {0};
    buffer_append_text(&patch, "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
                               "\"pattern\":{\"Regex\":\"");
    for (int i = 0; i < 70000; i++) buffer_append_text(&patch, "x");
    buffer_append_text(&patch, "\"}}}");
    ASSERT(open_patched_text(patch.data) == NULL);
    ASSERT_CONTAINS(error_text(), "longer than 65536 bytes");
    buffer_free(&patch);
}

static void test_cut_files_are_errors(void) {
    char *path = file_join(small, "tokenizer.json");
    struct buffer json = {0};
    ASSERT_INT(file_read(path, 1 << 20, &json), 0);
    for (size_t cut = 0; cut + 2 < json.length; cut += 53) {
        struct tokenizer_file file = {"tokenizer.json", json.data, cut};
        ASSERT(tokenizer_open(&file, 1, NULL) == NULL);
        ASSERT_CONTAINS(error_text(), "tokenizer.json: not valid JSON");
    }
    mem_free(path);
    buffer_free(&json);
}

/* A "word" of a megabyte takes n log n steps, not n squared; so does a text of combining marks
 * under NFC. */
static void test_long_words_are_fast(void) {
    struct tokenizer *t = open_patched_text("{\"normalizer\":{\"type\":\"NFC\"}}");
    ASSERT(t);
    struct encoder *e = encoder_new(t);
    enum { N = 1 << 20 };
    char *text = mem_alloc(N, 1);
    struct ids ids = {0};
    struct buffer back = {0};
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < N; i++)
            text[i] = kind == 0   ? "the question"[i % 3]
                      : kind == 1 ? ' '
                      : i % 2     ? (char)(0x80 + i / 2 * 7 % 64)
                                  : '\xcc';
        ids.n = 0;
        ASSERT_INT(encoder_encode(e, text, N, &ids), 0);
        buffer_clear(&back);
        ASSERT_INT(tokenizer_decode(t, ids.id, ids.n, false, &back), 0);
        ASSERT_INT(back.length, N);
        if (kind < 2) ASSERT(memcmp(back.data, text, N) == 0);
    }
    buffer_free(&back);
    ids_free(&ids);
    mem_free(text);
    encoder_free(e);
    tokenizer_free(t);
}

static void test_nothing_is_left(void) {
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"ids_and_texts_equal_the_library", test_ids_and_texts_equal_the_library},
        {"all_shared_text_equals_the_library", test_all_shared_text_equals_the_library},
        {"identity_is_what_it_does", test_identity_is_what_it_does},
        {"scanner_equals_its_pattern", test_scanner_equals_its_pattern},
        {"identity_sees_what_changes_ids", test_identity_sees_what_changes_ids},
        {"special_tokens_and_where_they_come_from", test_special_tokens_and_where_they_come_from},
        {"frame", test_frame},
        {"questions", test_questions},
        {"what_is_not_built_is_named", test_what_is_not_built_is_named},
        {"a_missing_unk_is_an_error_when_needed", test_a_missing_unk_is_an_error_when_needed},
        {"hints_are_about_their_error", test_hints_are_about_their_error},
        {"what_patterns_lack_is_named", test_what_patterns_lack_is_named},
        {"chains_of_replacements_end", test_chains_of_replacements_end},
        {"long_patterns_are_refused", test_long_patterns_are_refused},
        {"cut_files_are_errors", test_cut_files_are_errors},
        {"long_words_are_fast", test_long_words_are_fast},
        {"nothing_is_left", test_nothing_is_left},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
