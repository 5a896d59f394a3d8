/* What export does to config.json and to the tokenizer's files. That transformers agrees is
 * tests/long's matter (export_transformers.py), the whole command's that of
 * tests/cli/cli_inspect.sh. */
#include "export.h"
#include "file.h"
#include "json.h"
#include "test.h"

static const char plain_config[] =
    "{\"eos_token\": \"<|endoftext|>\", \"bos_token\": \"<|endoftext|>\", \"unk_token\": "
    "\"<|endoftext|>\", \"model_max_length\": 1000000000000000019884624838656}";

/* The small tokenizer of the golden files with other files beside it; config or map NULL: none. */
static struct tokenizer *open_tokenizer(const char *extra_token, const char *config,
                                        const char *map, const char *special) {
    struct buffer text = {0};
    struct tokenizer_file file[3];
    int n = 1;
    ASSERT_INT(file_read("tests/golden/tokenizer_small/tokenizer.json", 1 << 24, &text), 0);
    json_t *json = json_parse(text.data, text.length);
    ASSERT(json);
    if (extra_token)
        json_array_append_new(
            json_object_get(json, "added_tokens"),
            json_pack("{s:i, s:s, s:b}", "id", 512, "content", extra_token, "special", 1));
    char *main = json_text(json);
    file[0] = (struct tokenizer_file){"tokenizer.json", main, strlen(main)};
    if (config)
        file[n++] = (struct tokenizer_file){"tokenizer_config.json", config, strlen(config)};
    if (map) file[n++] = (struct tokenizer_file){"special_tokens_map.json", map, strlen(map)};
    struct tokenizer *t = tokenizer_open(file, n, special);
    if (!t) ASSERT_TEXT(error_text(), "");
    mem_free(main);
    json_decref(json);
    buffer_free(&text);
    return t;
}

/* The tokenizer as a reader of the exported directory gets it. */
static struct tokenizer *export_and_open(const struct tokenizer *t, const struct export_pad *pad) {
    static const char *const name[] = {"tokenizer.json", "tokenizer_config.json",
                                       "special_tokens_map.json"};
    struct buffer text[3] = {{0}};
    struct tokenizer_file file[3];
    int n = 0;
    for (int i = 0; i < 3; i++)
        if (export_tokenizer_file(&text[i], name[i], t, pad, NULL) == 0)
            file[n++] = (struct tokenizer_file){name[i], text[i].data, text[i].length};
    struct tokenizer *again = tokenizer_open(file, n, NULL);
    if (!again) ASSERT_TEXT(error_text(), "");
    for (int i = 0; i < 3; i++) buffer_free(&text[i]);
    return again;
}

/* Whether an exported file is the carried one byte for byte. */
static bool is_unchanged(const struct tokenizer *t, const struct export_pad *pad,
                         const char *name) {
    const struct tokenizer_file *file;
    struct buffer text = {0};
    bool same = false;
    int n = tokenizer_files(t, &file);
    ASSERT_INT(export_tokenizer_file(&text, name, t, pad, NULL), 0);
    for (int i = 0; i < n; i++)
        if (strcmp(file[i].name, name) == 0)
            same =
                file[i].length == text.length && memcmp(file[i].data, text.data, text.length) == 0;
    buffer_free(&text);
    return same;
}

static void assert_same_identity(const struct tokenizer *a, const struct tokenizer *b) {
    char x[65], y[65];
    tokenizer_identity(a, x);
    tokenizer_identity(b, y);
    ASSERT_TEXT(x, y);
    ASSERT_INT(tokenizer_eos(a), tokenizer_eos(b));
    ASSERT_INT(tokenizer_bos(a), tokenizer_bos(b));
}

/* The choice for a tokenizer, checked on what it makes of the files. */
static void assert_added(struct tokenizer *t, int64_t rows, const char *token, int id,
                         int64_t exported_rows) {
    struct export_pad pad;
    ASSERT_INT(export_pad_choose(&pad, t, rows), 0);
    ASSERT(pad.is_added);
    ASSERT_TEXT(pad.token, token);
    ASSERT_INT(pad.id, id);
    ASSERT_INT(pad.rows, exported_rows);
    struct tokenizer *again = export_and_open(t, &pad);
    ASSERT_INT(tokenizer_pad(again), id);
    ASSERT_TEXT(tokenizer_token(again, id), token);
    assert_same_identity(again, t);
    tokenizer_free(again);
    export_pad_free(&pad);
    tokenizer_free(t);
}

static void test_a_missing_pad_is_added(void) {
    assert_added(open_tokenizer(NULL, plain_config, NULL, NULL), 512, "<|pad|>", 512, 513);
    assert_added(open_tokenizer(NULL, plain_config, NULL, NULL), 640, "<|pad|>", 512, 640);
    assert_added(open_tokenizer("<|more|>", plain_config, NULL, NULL), 513, "<|pad|>", 513, 514);
}

static void test_a_pad_that_texts_have_is_not_one(void) {
    static const char *const config[] = {
        "{\"eos_token\": \"<|endoftext|>\", \"pad_token\": \"<|endoftext|>\"}",
        "{\"eos_token\": \"<|endoftext|>\", \"bos_token\": \"a\", \"pad_token\": {\"content\": "
        "\"a\"}}",
        "{\"eos_token\": \"<|endoftext|>\", \"unk_token\": {\"content\": \"b\"}, \"pad_token\": "
        "\"b\"}",
    };
    for (int i = 0; i < N_TESTS(config); i++)
        assert_added(open_tokenizer(NULL, config[i], NULL, NULL), 512, "<|pad|>", 512, 513);
    assert_added(open_tokenizer(
                     NULL, "{}",
                     "{\"eos_token\": \"<|endoftext|>\", \"pad_token\": \"<|endoftext|>\"}", NULL),
                 512, "<|pad|>", 512, 513);
}

static void test_a_taken_name_is_not_taken_again(void) {
    assert_added(open_tokenizer("<|pad|>", plain_config, NULL, NULL), 513, "<|pad_1|>", 513, 514);
}

static void test_a_pad_of_its_own_stays(void) {
    const char *config =
        "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"pad_token\": {\"content\": "
        "\"<pad>\"},\n  \"eos_token\": "
        "\"<|endoftext|>\", \"bos_token\": "
        "\"<|endoftext|>\"}";
    struct tokenizer *t = open_tokenizer("<pad>", config, "{\"pad_token\": \"<pad>\"}", NULL);
    struct export_pad pad;
    ASSERT_INT(export_pad_choose(&pad, t, 600), 0);
    ASSERT(!pad.is_added);
    ASSERT_INT(pad.id, 512);
    ASSERT_INT(pad.rows, 600);
    ASSERT(is_unchanged(t, &pad, "tokenizer.json"));
    ASSERT(is_unchanged(t, &pad, "tokenizer_config.json"));
    ASSERT(is_unchanged(t, &pad, "special_tokens_map.json"));
    export_pad_free(&pad);
    tokenizer_free(t);
}

static const char *class_of_export(const char *config, struct buffer *out) {
    struct tokenizer *t = open_tokenizer("<pad>", config, NULL, NULL);
    struct export_pad pad;
    ASSERT_INT(export_pad_choose(&pad, t, 600), 0);
    ASSERT_INT(export_tokenizer_file(out, "tokenizer_config.json", t, &pad, NULL), 0);
    export_pad_free(&pad);
    tokenizer_free(t);
    return out->data;
}

/* The class that transformers has for a model type, or that is named, may not read tokenizer.json
 * as it stands. */
static void test_a_class_is_named(void) {
    struct buffer out = {0};
    const char *made =
        class_of_export("{\"eos_token\": \"<|endoftext|>\", \"pad_token\": \"<pad>\"}", &out);
    ASSERT_CONTAINS(made, "\"tokenizer_class\": \"PreTrainedTokenizerFast\"");
    ASSERT_CONTAINS(made, "\"model_input_names\"");
    const char *named = class_of_export("{\"tokenizer_class\": \"GPT2TokenizerFast\", "
                                        "\"eos_token\": \"<|endoftext|>\", \"pad_token\": null}",
                                        &out);
    ASSERT_CONTAINS(named, "\"tokenizer_class\": \"PreTrainedTokenizerFast\"");
    buffer_free(&out);
}

/* What the user named on the command line when the shard was built is named by the exported
 * files. */
static void test_named_tokens_are_written_down(void) {
    struct tokenizer *t = open_tokenizer("<pad>", NULL, NULL, "eos=<|endoftext|>,pad=<pad>");
    struct export_pad pad;
    struct buffer text = {0};
    ASSERT_INT(export_pad_choose(&pad, t, 513), 0);
    ASSERT(!pad.is_added);
    ASSERT_INT(export_tokenizer_file(&text, "special_tokens_map.json", t, &pad, NULL), 1);
    ASSERT_INT(export_tokenizer_file(&text, "tokenizer_config.json", t, &pad, NULL), 0);
    ASSERT_CONTAINS(text.data, "\"tokenizer_class\": \"PreTrainedTokenizerFast\"");
    struct tokenizer *again = export_and_open(t, &pad);
    ASSERT_INT(tokenizer_eos(again), 511);
    ASSERT_INT(tokenizer_bos(again), -1);
    ASSERT_INT(tokenizer_pad(again), 512);
    tokenizer_free(again);
    buffer_free(&text);
    export_pad_free(&pad);
    tokenizer_free(t);
}

static void test_added_tokens_decoder_gets_the_pad(void) {
    struct tokenizer *t =
        open_tokenizer(NULL,
                       "{\"eos_token\": \"<|endoftext|>\", \"added_tokens_decoder\": {\"511\": "
                       "{\"content\": \"<|endoftext|>\"}}}",
                       NULL, NULL);
    struct export_pad pad;
    struct buffer text = {0};
    ASSERT_INT(export_pad_choose(&pad, t, 512), 0);
    ASSERT_INT(export_tokenizer_file(&text, "tokenizer_config.json", t, &pad, NULL), 0);
    json_t *json = json_parse(text.data, text.length);
    const json_t *decoder = json_object_get(json, "added_tokens_decoder");
    ASSERT_INT(json_object_size(decoder), 2);
    ASSERT_TEXT(json_string_value(json_object_get(json_object_get(decoder, "512"), "content")),
                "<|pad|>");
    json_decref(json);
    buffer_free(&text);
    export_pad_free(&pad);
    tokenizer_free(t);
}

/* Opens the template, and another of what is exported for it: the text of a conversation by the
 * latter. */
static const char *exported_text(const struct template_options *how, const char *answer) {
    static char result[400];
    struct tokenizer *t = open_tokenizer(NULL, plain_config, NULL, NULL);
    struct template *template = template_open(how, t);
    if (!template) ASSERT_TEXT(error_text(), "");
    char *source = template_export(template);
    ASSERT(source);
    struct template_options again = {"chat_template", source, TRUNCATE_RIGHT, 0};
    struct template *exported = template_open(&again, t);
    if (!exported) ASSERT_TEXT(error_text(), "");
    struct template_worker *w = template_worker_new(exported);
    struct buffer out = {0};
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", "a", "role",
                                 "assistant", "content", answer);
    ASSERT_INT(template_render(w, NULL, messages, false, &out), 0);
    snprintf(result, sizeof result, "%s", out.data);
    json_decref(messages);
    buffer_free(&out);
    template_worker_free(w);
    template_free(exported);
    mem_free(source);
    template_free(template);
    tokenizer_free(t);
    return result;
}

/* transformers has neither our built-in templates nor --now, and puts EOS where it is already. */
static void test_the_template_goes_along(void) {
    struct template_options named = {"simple_chat", "", TRUNCATE_RIGHT, 0};
    ASSERT_TEXT(exported_text(&named, "b"), "User: a\n\nAssistant: b<|endoftext|>");
    ASSERT_TEXT(exported_text(&named, "b<|endoftext|>"), "User: a\n\nAssistant: b<|endoftext|>");
    struct template_options dated = {"chat_template",
                                     "\n  {% if true %}{{ strftime_now('%Y') }}{% endif %}!",
                                     TRUNCATE_RIGHT,
                                     0,
                                     0,
                                     "it's \\ today"};
    ASSERT_TEXT(exported_text(&dated, "b"), "\nit's \\ today!");
    struct template_options text = {"text", "", TRUNCATE_RIGHT, 0};
    struct tokenizer *t = open_tokenizer(NULL, plain_config, NULL, NULL);
    struct template *template = template_open(&text, t);
    ASSERT(!template_export(template));
    template_free(template);
    tokenizer_free(t);
}

static void test_no_free_id_is_an_error(void) {
    struct tokenizer *t = open_tokenizer(NULL, plain_config, NULL, NULL);
    struct export_pad pad;
    ASSERT_INT(export_pad_choose(&pad, t, 500), -1); /* fewer rows than the tokenizer has ids */
    ASSERT_CONTAINS(error_text(), "hint: add a pad token");
    tokenizer_free(t);
}

static void test_config_of_the_exported_model(void) {
    static const char neox[] =
        "{\"architectures\": [\"GPTNeoXForCausalLM\"], \"model_type\": \"gpt_neox\", "
        "\"hidden_size\": 32, "
        "\"intermediate_size\": 64, \"vocab_size\": 512, \"num_hidden_layers\": 1, "
        "\"num_attention_heads\": 2, "
        "\"hidden_act\": \"gelu\", \"rotary_pct\": 0.25, \"rotary_emb_base\": 10000, "
        "\"layer_norm_eps\": 1e-5, "
        "\"max_position_embeddings\": 64, \"torch_dtype\": \"float16\", \"problem_type\": "
        "\"single_label_classification\", \"id2label\": {\"0\": \"A\", \"1\": \"B\"}, "
        "\"unheard_of\": [1, 2.5]}";
    struct arch arch;
    struct export_pad pad = {"<|pad|>", 512, true, 513};
    if (arch_parse(&arch, neox, strlen(neox)) != 0) ASSERT_TEXT(error_text(), "");
    char *text = export_config(&arch, &(struct contract){0}, &pad, DTYPE_BF16);
    ASSERT(text);
    struct arch again;
    ASSERT_INT(arch_parse(&again, text, strlen(text)), 0);
    ASSERT_INT(again.V, 513);
    ASSERT_INT(again.pad_token_id, 512);
    json_t *json = json_parse(text, strlen(text));
    ASSERT_TEXT(json_string_value(json_array_get(json_object_get(json, "architectures"), 0)),
                "GPTNeoXForSequenceClassification");
    ASSERT_INT(json_integer_value(json_object_get(json, "num_labels")), 1);
    ASSERT_INT(json_object_size(json_object_get(json, "id2label")), 1);
    ASSERT_INT(json_object_size(json_object_get(json, "label2id")), 1);
    ASSERT_TEXT(json_string_value(json_object_get(json, "torch_dtype")), "bfloat16");
    ASSERT(!json_object_get(json, "problem_type"));
    ASSERT_CONTAINS(text, "\"layer_norm_eps\": 1e-5,");
    ASSERT_NEAR(json_real_value(json_object_get(json, "rotary_pct")), 0.25, 0);
    ASSERT_INT(json_array_size(json_object_get(json, "unheard_of")), 2);
    json_decref(json);
    mem_free(text);
    arch_free(&again);
    arch_free(&arch);
}

/* A language model's has no labels, and the tokens and words that it had. */
static void test_config_of_a_language_model(void) {
    static const char before[] =
        "{\"architectures\": [\"Qwen2ForSequenceClassification\"], \"model_type\": \"qwen2\", "
        "\"hidden_size\": 32, \"intermediate_size\": 64, \"vocab_size\": 512, "
        "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 2, "
        "\"tie_word_embeddings\": true, \"pad_token_id\": 7, \"num_labels\": 1, "
        "\"id2label\": {\"0\": \"A\"}, \"reward_mean\": 1.5}";
    struct arch arch;
    struct export_pad pad = {.id = -1, .rows = 512};
    if (arch_parse(&arch, before, strlen(before)) != 0) ASSERT_TEXT(error_text(), "");
    ASSERT(arch.tied_head);
    char *text = export_config(&arch, NULL, &pad, DTYPE_F32);
    ASSERT(text);
    json_t *json = json_parse(text, strlen(text));
    ASSERT_TEXT(json_string_value(json_array_get(json_object_get(json, "architectures"), 0)),
                "Qwen2ForCausalLM");
    ASSERT(!json_object_get(json, "num_labels") && !json_object_get(json, "id2label"));
    ASSERT(!json_object_get(json, "reward_mean"));
    ASSERT(json_is_true(json_object_get(json, "tie_word_embeddings")));
    ASSERT_INT(json_integer_value(json_object_get(json, "vocab_size")), 512);
    ASSERT_INT(json_integer_value(json_object_get(json, "pad_token_id")), 7);
    json_decref(json);
    mem_free(text);
    arch_free(&arch);
}

static void test_nothing_is_left_in_memory(void) {
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"a_missing_pad_is_added", test_a_missing_pad_is_added},
        {"a_pad_that_texts_have_is_not_one", test_a_pad_that_texts_have_is_not_one},
        {"a_taken_name_is_not_taken_again", test_a_taken_name_is_not_taken_again},
        {"a_pad_of_its_own_stays", test_a_pad_of_its_own_stays},
        {"a_class_is_named", test_a_class_is_named},
        {"named_tokens_are_written_down", test_named_tokens_are_written_down},
        {"added_tokens_decoder_gets_the_pad", test_added_tokens_decoder_gets_the_pad},
        {"the_template_goes_along", test_the_template_goes_along},
        {"no_free_id_is_an_error", test_no_free_id_is_an_error},
        {"config_of_the_exported_model", test_config_of_the_exported_model},
        {"config_of_a_language_model", test_config_of_a_language_model},
        {"nothing_is_left_in_memory", test_nothing_is_left_in_memory},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
