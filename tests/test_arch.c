/* config.json -> struct arch, and the parameter table. Numbers of the ropes are transformers' own
 * (see the comment at each); what the fields mean is tested against whole models in
 * test_model.c. */
#include "arch.h"
#include "parameters.h"
#include "test.h"

static int parse(struct arch *arch, const char *json) {
    return arch_parse(arch, json, strlen(json));
}

#define ASSERT_REFUSED(json, part)                  \
    do {                                            \
        struct arch refused_;                       \
        ASSERT_INT(parse(&refused_, json), -1);     \
        ASSERT_CONTAINS(error_text(), part);        \
        ASSERT(refused_.inverse_frequency == NULL); \
    } while (0)

static void test_missing_fields_have_the_class_defaults(void) {
    struct arch a;
    ASSERT_INT(parse(&a, "{\"model_type\":\"llama\"}"), 0);
    ASSERT(a.D == 4096 && a.F == 11008 && a.V == 32000 && a.L == 32 && a.H == 32 && a.K == 32 &&
           a.d == 128);
    ASSERT(!a.qkv_bias && !a.out_bias && !a.mlp_bias && a.norm == NORM_RMS && a.gated &&
           !a.parallel_residual);
    ASSERT(a.bos_token_id == 1 && a.eos_token_id == 2 && a.pad_token_id == -1 &&
           a.max_positions == 2048);
    ASSERT_NEAR(a.norm_eps, 1e-6, 1e-12);
    arch_free(&a);
    ASSERT_INT(parse(&a, "{\"model_type\":\"qwen2\",\"num_attention_heads\":64}"), 0);
    ASSERT(a.V == 151936 && a.F == 22016 && a.K == 32 && a.d == 64 && a.qkv_bias && !a.out_bias &&
           a.eos_token_id == -1);
    arch_free(&a);
    ASSERT_INT(
        parse(&a,
              "{\"model_type\":\"qwen2\",\"num_attention_heads\":64,\"num_key_value_heads\":null}"),
        0);
    ASSERT_INT(a.K, 64);
    arch_free(&a);
    ASSERT_INT(parse(&a, "{\"model_type\":\"qwen3\"}"), 0);
    ASSERT(a.d == 128 && a.qk_norm == QK_NORM_HEADS && !a.qkv_bias && a.K == 32);
    arch_free(&a);
    ASSERT_INT(parse(&a, "{\"model_type\":\"gpt_neox\"}"), 0);
    ASSERT(a.D == 6144 && a.H == 64 && a.K == 64 && a.d == 96 && a.rope_dims == 24 &&
           a.F == 24576 && a.L == 44);
    ASSERT(a.interleaved_qkv && a.qkv_bias && a.out_bias && a.mlp_bias && a.parallel_residual &&
           a.norm == NORM_LAYER);
    ASSERT_NEAR(a.norm_eps, 1e-5, 1e-11);
    arch_free(&a);
    ASSERT_INT(parse(&a, "{\"model_type\":\"mistral\"}"), 0);
    ASSERT(a.F == 14336 && a.K == 8 && a.d == 128 && a.window == 4096 && a.max_positions == 131072);
    ASSERT(!a.qkv_bias && !a.out_bias && !a.mlp_bias && a.gated && a.eos_token_id == 2);
    arch_free(&a);
    ASSERT_INT(parse(&a, "{\"model_type\":\"phi3\"}"), 0);
    ASSERT(a.D == 3072 && a.F == 8192 && a.V == 32064 && a.K == 32 && a.d == 96 && a.window == 0);
    ASSERT(a.rope_dims == 96 && a.pad_token_id == 32000 && a.eos_token_id == 32000);
    ASSERT_NEAR(a.norm_eps, 1e-5, 1e-11);
    arch_free(&a);
    ASSERT_INT(parse(&a, "{\"model_type\":\"olmo2\"}"), 0);
    ASSERT(a.V == 50304 && a.K == 32 && a.qk_norm == QK_NORM_WHOLE && a.post_norm && !a.qkv_bias);
    ASSERT(a.pad_token_id == 1 && a.bos_token_id == -1 && a.eos_token_id == 50279);
    arch_free(&a);
}

/* LlamaRotaryEmbedding(LlamaConfig(hidden_size=64, num_attention_heads=4,
 * rope_parameters=...)).inv_freq */
static void test_llama3_frequencies_are_those_of_transformers(void) {
    static const float expected[] = {
        1.0f,           0.316227764f,    0.100000001f,    0.0316227786f,
        0.00308676064f, 0.000395284733f, 0.000125000006f, 3.95284733e-05f};
    static const char *const spelling[] = {
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,\"rope_theta\":"
        "10000.0,\"rope_"
        "scaling\":"
        "{\"type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
        "\"original_max_position_embeddings\":1024},\"torch_dtype\":\"bfloat16\"}",
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,\"rope_"
        "parameters\":"
        "{\"rope_theta\":10000,\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
        "\"high_freq_factor\":"
        "4.0,"
        "\"original_max_position_embeddings\":1024},\"dtype\":\"bfloat16\"}",
    };
    for (int s = 0; s < 2; s++) {
        struct arch a;
        ASSERT_INT(parse(&a, spelling[s]), 0);
        ASSERT_INT(a.rope_dims, 16);
        for (int i = 0; i < 8; i++) ASSERT_NEAR(a.inverse_frequency[i] / expected[i], 1, 3e-7);
        arch_free(&a);
    }
}

static void test_neox_spellings(void) {
    static const char *const spelling[] = {
        "{\"model_type\":\"gpt_neox\",\"hidden_size\":64,\"num_attention_heads\":2,\"rotary_pct\":"
        "0.5,"
        "\"rotary_emb_base\":500,\"use_parallel_residual\":false,\"attention_bias\":false}",
        "{\"model_type\":\"gpt_neox\",\"hidden_size\":64,\"num_attention_heads\":2,\"rope_"
        "parameters\":{\"rope_"
        "theta\":"
        "500,\"rope_type\":\"default\",\"partial_rotary_factor\":0.5},\"use_parallel_residual\":"
        "false,"
        "\"attention_bias\":false}",
        "{\"model_type\":\"gpt_neox\",\"hidden_size\":64,\"num_attention_heads\":2,\"rope_"
        "parameters\":{\"rope_"
        "theta\":"
        "500},\"partial_rotary_factor\":0.5,\"use_parallel_residual\":false,\"attention_bias\":"
        "false}",
    };
    for (int s = 0; s < 3; s++) {
        struct arch a;
        ASSERT_INT(parse(&a, spelling[s]), 0);
        ASSERT_INT(a.rope_dims, 16);
        ASSERT_NEAR(a.inverse_frequency[1], pow(500, -2.0 / 16), 1e-6);
        ASSERT(!a.parallel_residual && !a.qkv_bias && !a.out_bias && a.mlp_bias);
        arch_free(&a);
    }
}

static void test_llama3_original_length_outside_wins(void) {
    struct arch a, b;
    const char *rope =
        "\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
        "\"high_freq_factor\":4,\"original_max_position_embeddings\":";
    char *inside = mem_format("{\"model_type\":\"llama\",%s16}}", rope);
    char *both = mem_format(
        "{\"model_type\":\"llama\",\"original_max_position_embeddings\":16,%s2048}}", rope);
    ASSERT_INT(parse(&a, inside), 0);
    ASSERT_INT(parse(&b, both), 0);
    ASSERT(memcmp(a.inverse_frequency, b.inverse_frequency,
                  (size_t)a.rope_dims / 2 * sizeof(float)) == 0);
    arch_free(&a), arch_free(&b);
    mem_free(inside), mem_free(both);
}

static void test_what_changes_the_arithmetic_is_refused(void) {
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"is_causal\":false}",
                   "\"is_causal\": expected true, found false");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"hidden_act\":\"gelu\"}",
                   "\"hidden_act\": expected silu, found \"gelu\"");
    ASSERT_REFUSED("{\"model_type\":\"gpt_neox\",\"hidden_act\":\"gelu_new\"}",
                   "expected gelu, found \"gelu_new\"");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
                   "\"rope_type\": expected default or llama3, found linear");
    ASSERT_REFUSED(
        "{\"model_type\":\"qwen3\",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2}}",
        "found yarn");
    ASSERT_REFUSED(
        "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2}}",
        "llama3");
    ASSERT_REFUSED("{\"model_type\":\"qwen3\",\"rope_parameters\":{\"full_attention\":{}}}",
                   "full_attention");
    ASSERT_REFUSED("{\"model_type\":\"phi3\",\"rope_scaling\":{\"type\":\"su\"}}", "found su");
    ASSERT_REFUSED("{\"model_type\":\"phi3\",\"original_max_position_embeddings\":4096,"
                   "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1],"
                   "\"long_factor\":[1]}}",
                   "\"rope_type\": expected default or llama3, found longrope");
    ASSERT_REFUSED("{\"model_type\":\"mistral\",\"partial_rotary_factor\":0.5}",
                   "partial_rotary_factor");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"partial_rotary_factor\":0.5}",
                   "partial_rotary_factor");
    ASSERT_REFUSED("{\"model_type\":\"qwen3\",\"num_hidden_layers\":2,"
                   "\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
                   "\"layer_types\"");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"quantization_config\":{\"bits\":4}}",
                   "\"quantization_config\"");
    ASSERT_REFUSED("{\"model_type\":\"mamba\"}",
                   "expected llama, qwen2, qwen3, gpt_neox, mistral, phi3 or olmo2, found mamba");
    ASSERT_REFUSED("{}", "found nothing");
}

static void test_what_does_not_change_it_is_accepted(void) {
    static const char *const fine[] = {
        "{\"model_type\":\"qwen2\",\"use_sliding_window\":false,\"sliding_window\":64,\"max_window_"
        "layers\":2}",
        "{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":null}",
        "{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":64,\"max_window_"
        "layers\":32}",
        "{\"model_type\":\"llama\",\"sliding_window\":64}",
        "{\"model_type\":\"qwen3\",\"num_hidden_layers\":1,\"layer_types\":[\"full_attention\"]}",
        "{\"model_type\":\"llama\",\"rope_scaling\":null,\"rope_theta\":5e5,\"attention_dropout\":"
        "0.5}",
        "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"default\"},\"hidden_act\":"
        "\"swish\"}",
        "{\"model_type\":\"gpt_neox\",\"hidden_dropout\":0.1,\"attention_dropout\":0.1,"
        "\"classifier_dropout\":0.1}",
        "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForSequenceClassification\"],"
        "\"id2label\":{\"0\":\"x\"}"
        "}",
        "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"num_labels\":2,\"eos_"
        "token_id\":[5,6]}",
    };
    for (int i = 0; i < N_TESTS(fine); i++) {
        struct arch a;
        if (parse(&a, fine[i])) TEST_END(TEST_FAILED, "%s: %s", fine[i], error_text());
        ASSERT_TEXT(a.json, fine[i]);
        if (strstr(fine[i], "[5,6]")) ASSERT_INT(a.eos_token_id, 5);
        arch_free(&a);
    }
}

static void assert_labels(const char *keys, int n, const char *first, const char *last) {
    struct arch a;
    char *json = mem_format("{\"model_type\":\"llama\",\"architectures\":["
                            "\"LlamaForSequenceClassification\"]%s}",
                            keys);
    if (parse(&a, json)) TEST_END(TEST_FAILED, "%s: %s", json, error_text());
    ASSERT_INT(a.n_labels, n);
    char *a_first = arch_label(&a, 0), *a_last = arch_label(&a, n - 1);
    ASSERT_TEXT(a_first, first);
    ASSERT_TEXT(a_last, last);
    mem_free(a_first);
    mem_free(a_last);
    mem_free(json);
    arch_free(&a);
}

/* LlamaConfig.from_dict(...).num_labels and .id2label of transformers 5.23. */
static void test_labels(void) {
    assert_labels("", 0, "LABEL_0", "LABEL_-1"); /* transformers: two */
    assert_labels(",\"num_labels\":3", 3, "LABEL_0", "LABEL_2");
    assert_labels(",\"id2label\":{\"0\":\"a\",\"1\":\"b\"}", 2, "a", "b");
    assert_labels(",\"num_labels\":3,\"id2label\":{\"0\":\"a\",\"1\":\"b\"}", 3, "LABEL_0",
                  "LABEL_2");
    assert_labels(",\"num_labels\":1,\"id2label\":{\"0\":\"LABEL_0\"}", 1, "LABEL_0", "LABEL_0");
    struct arch a;
    ASSERT_INT(parse(&a, "{\"model_type\":\"llama\",\"num_labels\":3}"), 0);
    ASSERT_INT(a.n_labels, 0);
    arch_free(&a);
    static const char of_class[] = "{\"model_type\":\"llama\",\"architectures\":["
                                   "\"LlamaForSequenceClassification\"],";
    static const char *const bad[] = {"\"num_labels\":0}", "\"num_labels\":1025}",
                                      "\"num_labels\":\"2\"}", "\"id2label\":{\"0\":7}}"};
    for (int i = 0; i < N_TESTS(bad); i++) {
        char *json = mem_format("%s%s", of_class, bad[i]);
        ASSERT_REFUSED(json, i < 3 ? "\"num_labels\": expected " : "\"id2label\": \"0\": expected");
        mem_free(json);
    }
}

/* A window is remembered where transformers would apply it, and refused when a sequence can be
 * longer. */
static void test_windows(void) {
    static const struct {
        const char *json;
        int64_t window;
    } model[] = {
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":64,"
         "\"max_window_layers\":2}",
         64},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"max_window_layers\":2}", 4096},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":null}", 0},
        {"{\"model_type\":\"qwen2\",\"sliding_window\":64}", 0},
        {"{\"model_type\":\"llama\",\"sliding_window\":64}", 0},
        {"{\"model_type\":\"qwen3\",\"use_sliding_window\":true,\"sliding_window\":64,"
         "\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
         64},
        {"{\"model_type\":\"qwen3\",\"use_sliding_window\":true,\"sliding_window\":64,"
         "\"max_window_layers\":0,\"layer_types\":[\"full_attention\"]}",
         0},
        {"{\"model_type\":\"mistral\",\"sliding_window\":64}", 64},
        {"{\"model_type\":\"mistral\",\"sliding_window\":64,\"layer_types\":[\"full_attention\"]}",
         64},
        {"{\"model_type\":\"mistral\",\"sliding_window\":null}", 0},
        {"{\"model_type\":\"phi3\",\"sliding_window\":2047}", 2047},
        {"{\"model_type\":\"phi3\",\"use_sliding_window\":false,\"sliding_window\":2047}", 2047},
    };
    for (int i = 0; i < N_TESTS(model); i++) {
        struct arch a;
        if (parse(&a, model[i].json)) TEST_END(TEST_FAILED, "%s", error_text());
        ASSERT_INT(a.window, model[i].window);
        int64_t longest = a.window ? a.window : 1 << 20;
        ASSERT_INT(arch_check_length(&a, longest), 0);
        if (a.window) ASSERT_INT(arch_check_length(&a, longest + 1), -1);
        arch_free(&a);
    }
    struct arch a = {.window = 64};
    ASSERT_INT(arch_check_length(&a, 512), -1);
    ASSERT_CONTAINS(error_text(), "\"sliding_window\": expected at least 512");
    ASSERT_CONTAINS(error_text(), "found 64");
    ASSERT_CONTAINS(error_text(), "--max-length 64");
}

static void test_sizes_are_checked(void) {
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"hidden_size\":0}",
                   "\"hidden_size\": expected 1 to");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"hidden_size\":-64}", "\"hidden_size\"");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"hidden_size\":1e300}", "\"hidden_size\"");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"hidden_size\":\"64\"}",
                   "expected an integer, found a string");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"vocab_size\":4611686018427387904}",
                   "\"vocab_size\"");
    ASSERT_REFUSED(
        "{\"model_type\":\"llama\",\"num_attention_heads\":8,\"num_key_value_heads\":3}",
        "\"num_key_value_heads\": expected a divisor of num_attention_heads (8), found 3");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"hidden_size\":100,\"num_attention_heads\":8}",
                   "expected a multiple");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"hidden_size\":24,\"num_attention_heads\":8}",
                   "rotated dimensions");
    ASSERT_REFUSED("{\"model_type\":\"gpt_neox\",\"rotary_pct\":0}", "partial_rotary_factor");
    ASSERT_REFUSED("{\"model_type\":\"gpt_neox\",\"head_dim\":32}",
                   "expected num_attention_heads * head_dim");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"rms_norm_eps\":0}", "\"rms_norm_eps\"");
    ASSERT_REFUSED("{\"model_type\":\"llama\",\"rope_theta\":-1}", "rope_theta");
    ASSERT_REFUSED("[]", "expected a JSON object");
    ASSERT_REFUSED("{\"model_type\":\"llama\"", "not valid JSON");
}

/* Every cut of a whole configuration is an error, not a crash and not a model. */
static void test_cut_configurations(void) {
    static const char whole[] =
        "{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":1e4}}";
    for (size_t n = 0; n + 1 < sizeof whole - 1; n++) {
        struct arch a;
        ASSERT_INT(arch_parse(&a, whole, n), -1);
    }
    struct arch a;
    ASSERT_INT(arch_read(&a, "tests/golden/nowhere"), -1);
    ASSERT_CONTAINS(error_text(), "tests/golden/nowhere/config.json");
}

/* ---- the parameter table ---- */

static void build(struct arch *a, struct parameters *table, const char *json) {
    if (parse(a, json)) TEST_END(TEST_FAILED, "%s", error_text());
    parameters_build(table, a, &one_score);
}

static void drop(struct arch *a, struct parameters *table) {
    parameters_free(table);
    arch_free(a);
}

static void test_units_are_without_gaps(void) {
    static const char *const models[] = {
        "{\"model_type\":\"llama\",\"attention_bias\":true,\"mlp_bias\":true,\"num_hidden_layers\":"
        "3}",
        "{\"model_type\":\"qwen2\",\"num_hidden_layers\":2}",
        "{\"model_type\":\"qwen3\",\"num_hidden_layers\":1,\"attention_bias\":true}",
        "{\"model_type\":\"gpt_neox\",\"num_hidden_layers\":2}",
        "{\"model_type\":\"phi3\",\"num_hidden_layers\":2}",
        "{\"model_type\":\"olmo2\",\"num_hidden_layers\":2,\"num_key_value_heads\":8,"
        "\"attention_bias\":true}",
    };
    for (int m = 0; m < N_TESTS(models); m++) {
        struct arch a;
        struct parameters table;
        build(&a, &table, models[m]);
        ASSERT_INT(table.n_units, a.L + 2);
        int64_t total = 0;
        for (int u = 0; u < table.n_units; u++) {
            int64_t at = 0;
            for (int i = table.unit[u].first; i < table.unit[u].end; i++) {
                const struct parameter *p = &table.item[i];
                ASSERT(p->unit == u && p->offset == at && p->count == p->rows * p->cols);
                ASSERT(table.unit[u].by_role[p->role] == p &&
                       parameters_find(&table, p->name) == p);
                ASSERT(p->decay == (p->n_dims == 2));
                at += p->count;
            }
            ASSERT_INT(table.unit[u].count[SEGMENT_TRAINED], at);
            ASSERT(table.unit[u].fp32 == (u == table.n_units - 1));
            total += at;
        }
        ASSERT_INT(parameters_count(&table), total);
        ASSERT_INT(parameters_count_in_products(&table),
                   total - table.unit[0].count[SEGMENT_TRAINED]);
        drop(&a, &table);
    }
}

/* sum(p.numel()) of transformers' models from the same configurations, head of one label
 * included. */
static void test_counts_are_those_of_transformers(void) {
    struct arch a;
    struct parameters table;
    build(&a, &table,
          "{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"intermediate_size\":3072,\"num_hidden_"
          "layers\":28,"
          "\"num_attention_heads\":16,\"num_key_value_heads\":8,\"head_dim\":128}");
    ASSERT_INT(parameters_count(&table), 596050944);
    drop(&a, &table);
    build(&a, &table,
          "{\"model_type\":\"gpt_neox\",\"hidden_size\":512,\"intermediate_size\":2048,"
          "\"num_hidden_layers\":6,\"num_attention_heads\":8,\"vocab_size\":50304}");
    ASSERT_INT(parameters_count(&table), 44671488);
    drop(&a, &table);
}

static void test_initial_values(void) {
    struct arch a;
    struct parameters table;
    build(&a, &table,
          "{\"model_type\":\"gpt_neox\",\"hidden_size\":64,\"num_attention_heads\":2,\"vocab_"
          "size\":500,"
          "\"num_hidden_layers\":1,\"intermediate_size\":96,\"initializer_range\":0.05}");
    static float whole[500 * 64], part[100];
    const struct parameter *p = parameters_find(&table, "gpt_neox.embed_in.weight");
    double sum = 0, squares = 0;
    parameters_init(p, 7, 0, p->count, whole);
    parameters_init(p, 7, 1234, 100, part);
    ASSERT(memcmp(part, whole + 1234, sizeof part) == 0);
    for (int64_t i = 0; i < p->count; i++) {
        sum += whole[i];
        squares += (double)whole[i] * whole[i];
    }
    ASSERT_NEAR(sum / (double)p->count, 0, 0.002);
    ASSERT_NEAR(sqrt(squares / (double)p->count), 0.05, 0.001);
    parameters_init(p, 8, 0, 100, part);
    ASSERT(part[0] != whole[0]);

    parameters_init(parameters_find(&table, "gpt_neox.final_layer_norm.weight"), 7, 0, 64, part);
    ASSERT(part[0] == 1 && part[63] == 1);
    parameters_init(parameters_find(&table, "gpt_neox.layers.0.attention.dense.bias"), 7, 0, 64,
                    part);
    ASSERT(part[0] == 0 && part[63] == 0);
    ASSERT_NEAR(parameters_find(&table, "score.weight")->init_std, 1 / sqrt(65), 1e-7);
    ASSERT(parameters_find(&table, "lm_head.weight") == NULL);
    drop(&a, &table);
}

/* Globs over the names of parameters: what they match, and what a pattern that matches nothing is
 * told. */
static void test_patterns_choose_parameters(void) {
    struct arch a;
    struct parameters table;
    build(&a, &table, "{\"model_type\":\"llama\",\"num_hidden_layers\":12}");
    char *chosen[] = {"*embed_tokens*", "model.layers.[02].*_proj.weight", "score.weight"};
    struct patterns patterns = {chosen, 3};
    ASSERT_INT(parameters_drop_decay(&table, &patterns, "optim.no_decay"), 0);
    for (int i = 0; i < table.n; i++) {
        const struct parameter *p = &table.item[i];
        bool dropped = p->unit == 0 || p->unit == 1 || p->unit == 3 || p->role == ROLE_SCORE;
        ASSERT(p->decay == (p->n_dims == 2 && !dropped));
    }
    ASSERT(!patterns_match(&patterns, "score.weights") && !patterns_match(&patterns, "score"));

    char *wrong[] = {"score.weight", "*.q_prj.*"};
    patterns = (struct patterns){wrong, 2};
    ASSERT_INT(parameters_drop_decay(&table, &patterns, "optim.no_decay"), -1);
    ASSERT_CONTAINS(error_text(), "optim.no_decay: expected patterns that match a name, found "
                                  "\"*.q_prj.*\", which matches none of 111; hint: the nearest "
                                  "are model.layers.0.self_attn.q_proj.weight, ");
    ASSERT(!strstr(error_text(), "layers.1."));
    ASSERT(parameters_find(&table, "model.layers.1.self_attn.q_proj.weight")->decay);
    drop(&a, &table);
}

static void expect_freeze_fails(struct parameters *table, char *pattern, const char *message) {
    struct patterns patterns = {&pattern, 1};
    ASSERT_INT(parameters_freeze(table, &patterns, "model.freeze"), -1);
    ASSERT_CONTAINS(error_text(), message);
}

static void test_freezing_parts_units(void) {
    struct arch a;
    struct parameters table;
    build(&a, &table,
          "{\"model_type\":\"qwen2\",\"num_hidden_layers\":3,\"num_attention_heads\":32}");
    char *chosen[] = {"model.embed_tokens*", "model.layers.0.*", "*.mlp.*"};
    struct patterns patterns = {chosen, 3};
    int64_t all = parameters_count(&table);
    ASSERT_NEAR(parameters_count_in_step(&table, 1),
                3 * (double)parameters_count_in_products(&table), 0);
    ASSERT_INT(parameters_freeze(&table, &patterns, "model.freeze"), 0);
    ASSERT_INT(parameters_lowest_trained(&table), 2);
    ASSERT_INT(parameters_count(&table), all);
    int64_t trained = 0;
    for (int u = 0; u < table.n_units; u++) {
        int64_t at[N_SEGMENTS] = {0};
        for (int i = table.unit[u].first; i < table.unit[u].end; i++) {
            const struct parameter *p = &table.item[i];
            ASSERT_INT(p->segment,
                       patterns_match(&patterns, p->name) ? SEGMENT_FROZEN : SEGMENT_TRAINED);
            ASSERT_INT(p->offset, at[p->segment]);
            at[p->segment] += p->count;
        }
        for (int s = 0; s < N_SEGMENTS; s++) ASSERT_INT(table.unit[u].count[s], at[s]);
        trained += at[SEGMENT_TRAINED];
    }
    ASSERT_INT(parameters_count_trained(&table), trained);
    /* the first block is multiplied with once, of the others what is frozen twice */
    int64_t in_step = 0;
    for (int u = 1; u < table.n_units; u++)
        in_step += u == 1 ? table.unit[u].count[SEGMENT_FROZEN]
                          : 2 * table.unit[u].count[SEGMENT_FROZEN] +
                                3 * table.unit[u].count[SEGMENT_TRAINED];
    ASSERT_NEAR(parameters_count_in_step(&table, 1), (double)in_step, 0);
    drop(&a, &table);
}

static void test_what_cannot_be_frozen(void) {
    static const struct {
        char *pattern;
        const char *message;
    } bad[] = {
        {"*q_proj*", "found a pattern for model.layers.0.self_attn.q_proj.weight and none for "
                     "model.layers.0.self_attn.k_proj.weight; hint: freeze both, or neither"},
        {"*1*v_proj.bias", "found a pattern for model.layers.1.self_attn.v_proj.bias and none for "
                           "model.layers.1.self_attn.q_proj.bias"},
        {"*mlp.up_proj*", "found a pattern for model.layers.0.mlp.up_proj.weight and none for "},
        {"*", "a pattern matches score.weight, which is always trained; hint: \"model.*\""},
        {"model.embed_token", "hint: the nearest are model.embed_tokens.weight"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct arch a;
        struct parameters table;
        build(&a, &table, "{\"model_type\":\"qwen2\",\"num_hidden_layers\":3}");
        expect_freeze_fails(&table, bad[i].pattern, bad[i].message);
        drop(&a, &table);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"missing_fields_have_the_class_defaults", test_missing_fields_have_the_class_defaults},
        {"llama3_frequencies_are_those_of_transformers",
         test_llama3_frequencies_are_those_of_transformers},
        {"neox_spellings", test_neox_spellings},
        {"llama3_original_length_outside_wins", test_llama3_original_length_outside_wins},
        {"what_changes_the_arithmetic_is_refused", test_what_changes_the_arithmetic_is_refused},
        {"what_does_not_change_it_is_accepted", test_what_does_not_change_it_is_accepted},
        {"labels", test_labels},
        {"windows", test_windows},
        {"sizes_are_checked", test_sizes_are_checked},
        {"cut_configurations", test_cut_configurations},
        {"units_are_without_gaps", test_units_are_without_gaps},
        {"counts_are_those_of_transformers", test_counts_are_those_of_transformers},
        {"initial_values", test_initial_values},
        {"patterns_choose_parameters", test_patterns_choose_parameters},
        {"freezing_parts_units", test_freezing_parts_units},
        {"what_cannot_be_frozen", test_what_cannot_be_frozen},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
