/* The JSON files of an exported model: config.json, the tokenizer's files, and the pad token that
 * ties them together. See export.h. What needs no change is passed on byte for byte. */
#include "export.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"

static const char main_file[] = "tokenizer.json", config_file[] = "tokenizer_config.json",
                  map_file[] = "special_tokens_map.json";

/* --- which pad token --- */

static const struct tokenizer_file *find_file(const struct tokenizer *t, const char *name) {
    const struct tokenizer_file *file;
    int n = tokenizer_files(t, &file);
    for (int i = 0; i < n; i++)
        if (strcmp(file[i].name, name) == 0) return &file[i];
    return NULL;
}

/* A file of the tokenizer as JSON; NULL when there is none (it was parsed when the tokenizer was
 * opened). */
static json_t *read_json(const struct tokenizer *t, const char *name) {
    const struct tokenizer_file *file = find_file(t, name);
    json_t *json = file ? json_parse(file->data, file->length) : NULL;
    CHECK(!file || json_is_object(json), "%s of an open tokenizer", name);
    return json;
}

/* The text of a special token: a string or an object with "content". NULL: none. */
static const char *token_text(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static int unknown_token(const struct tokenizer *t) {
    const char *text = tokenizer_special(t, SPECIAL_UNK);
    return text ? tokenizer_id(t, text) : -1;
}

/* The id that the tokenizers library gives the next added token: behind the last added one if these
 * stand behind the vocabulary, else behind the vocabulary. */
static int64_t next_id(const struct tokenizer *t) {
    json_t *json = read_json(t, main_file);
    const json_t *vocabulary = json_object_get(json_object_get(json, "model"), "vocab");
    int64_t n = (int64_t)(json_is_array(vocabulary) ? json_array_size(vocabulary)
                                                    : json_object_size(vocabulary));
    int64_t next = n;
    int id;
    const char *content;
    bool special;
    for (int i = 0; tokenizer_added(t, i, &id, &content, &special); i++)
        next = MAX(next, (int64_t)id + 1);
    json_decref(json);
    return next;
}

/* A content that no token has yet: "<|pad|>", "<|pad_1|>", ... */
static char *free_content(const struct tokenizer *t) {
    char *content = mem_copy_string("<|pad|>");
    for (int i = 1; tokenizer_id(t, content) >= 0; i++) {
        mem_free(content);
        content = mem_format("<|pad_%d|>", i);
    }
    return content;
}

int export_pad_choose(struct export_pad *pad, const struct tokenizer *tokenizer,
                      int64_t embedding_rows) {
    int id = tokenizer_pad(tokenizer);
    *pad = (struct export_pad){.rows = embedding_rows};
    if (id >= 0 && id < embedding_rows && id != tokenizer_eos(tokenizer) &&
        id != tokenizer_bos(tokenizer) && id != unknown_token(tokenizer)) {
        pad->id = id;
        pad->token = mem_copy_string(tokenizer_token(tokenizer, id));
        return 0;
    }
    int64_t next = next_id(tokenizer);
    if (next > embedding_rows || tokenizer_token(tokenizer, (int)next))
        return fail("the tokenizer has no pad token, and its next free id, %lld, cannot be used "
                    "for one (the embedding has %lld rows); hint: add a pad token to the tokenizer",
                    (long long)next, (long long)embedding_rows);
    pad->id = (int)next;
    pad->token = free_content(tokenizer);
    pad->is_added = true;
    pad->rows = MAX(embedding_rows, next + 1);
    return 0;
}

void export_pad_free(struct export_pad *pad) {
    mem_free(pad->token);
    *pad = (struct export_pad){0};
}

/* --- config.json --- */

/* The scores of a text: transformers assumes two labels where it is not told. */
static void set_labels(json_t *config, const struct contract *contract) {
    int n = contract_n_heads(contract);
    bool is_named = contract_heads_kind(contract) == HEADS_ATTRIBUTES;
    json_t *names = json_object(), *numbers = json_object();
    for (int k = 0; k < n; k++) {
        char *key = mem_format("%d", k);
        char *name =
            is_named ? mem_copy_string(contract_head_name(contract, k)) : mem_format("LABEL_%d", k);
        json_object_set_new(names, key, json_string(name));
        json_object_set_new(numbers, name, json_integer(k));
        mem_free(key);
        mem_free(name);
    }
    json_object_set_new(config, "num_labels", json_integer(n));
    json_object_set_new(config, "id2label", names);
    json_object_set_new(config, "label2id", numbers);
}

/* Mean and standard deviation of the score, where the contract has them: numbers, or lists for
 * attributes. */
static void set_reward(json_t *config, const struct contract *contract) {
    const json_t *reward = json_object_get(contract->json, "reward");
    static const char *const key[2][2] = {{"reward_mean", "mean"}, {"reward_sd", "sd"}};
    for (int i = 0; i < 2; i++) {
        json_object_del(config, key[i][0]);
        if (reward) json_object_set(config, key[i][0], json_object_get(reward, key[i][1]));
    }
}

/* Of a language model that was a classifier before. */
static void delete_scores(json_t *config) {
    static const char *const key[] = {"num_labels", "id2label", "label2id", "reward_mean",
                                      "reward_sd"};
    for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) json_object_del(config, key[i]);
}

char *export_config(const struct arch *arch, const struct contract *contract,
                    const struct export_pad *pad, enum dtype dtype) {
    json_t *config = json_parse(arch->json, strlen(arch->json));
    if (!config) return NULL;
    char *name = mem_format(contract ? "%sForSequenceClassification" : "%sForCausalLM",
                            arch_class_prefix(arch));
    const char *type = dtype == DTYPE_BF16 ? "bfloat16" : "float32";
    json_object_set_new(config, "architectures", json_pack("[s]", name));
    if (contract) {
        set_labels(config, contract);
        set_reward(config, contract);
        json_object_set_new(config, "pad_token_id", json_integer(pad->id));
    } else {
        delete_scores(config);
    }
    json_object_set_new(config, "vocab_size", json_integer(pad->rows));
    json_object_set_new(config, "torch_dtype", json_string(type)); /* transformers 4 */
    json_object_set_new(config, "dtype", json_string(type));       /* transformers 5 */
    json_object_del(config, "problem_type");
    char *text = json_text_pretty(config);
    json_decref(config);
    mem_free(name);
    return text;
}

/* --- the tokenizer's files --- */

static json_t *make_added_token(const struct export_pad *pad) {
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", pad->token, "single_word", 0,
                     "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

/* tokenizer.json: one more added token, last. */
static bool edit_main(json_t *json, const struct export_pad *pad) {
    if (!pad->is_added) return false;
    json_t *token = json_pack("{s:i}", "id", pad->id), *rest = make_added_token(pad);
    json_object_update(token, rest);
    json_decref(rest);
    json_t *list = json_object_get(json, "added_tokens");
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(json, "added_tokens", list);
    }
    json_array_append_new(list, token);
    return true;
}

static bool set_token(json_t *json, const char *key, const char *token) {
    const char *present = token_text(json, key);
    if (!token || (present && strcmp(present, token) == 0)) return false;
    json_object_set_new(json, key, json_string(token));
    return true;
}

/* The class that reads tokenizer.json as it stands: others (LlamaTokenizer of transformers 5, and
 * what it takes for a model type without a class) bring a pre-tokenizer of their own. In
 * transformers 4 this class also makes token_type_ids unless told. */
static bool set_class(json_t *json) {
    static const char key[] = "tokenizer_class", class[] = "PreTrainedTokenizerFast";
    const char *present = json_string_value(json_object_get(json, key));
    if (present && (strcmp(present, class) == 0 || strcmp(present, "TokenizersBackend") == 0))
        return false;
    json_object_set_new(json, key, json_string(class));
    if (!json_object_get(json, "model_input_names"))
        json_object_set_new(json, "model_input_names",
                            json_pack("[s, s]", "input_ids", "attention_mask"));
    return true;
}

/* tokenizer_config.json: the pad token, BOS and EOS where only config.json or the user named them,
 * the chat template that the contract states, and a class. */
static bool edit_config(json_t *json, const struct tokenizer *t, const struct export_pad *pad,
                        const char *chat_template) {
    bool changed = set_token(json, "pad_token", pad->token);
    changed |= set_token(json, "chat_template", chat_template);
    json_t *map = read_json(t, map_file);
    const char *bos = tokenizer_bos(t) >= 0 ? tokenizer_token(t, tokenizer_bos(t)) : NULL;
    const char *eos = tokenizer_eos(t) >= 0 ? tokenizer_token(t, tokenizer_eos(t)) : NULL;
    if (!token_text(json, "bos_token") && !token_text(map, "bos_token"))
        changed |= set_token(json, "bos_token", bos);
    if (!token_text(json, "eos_token") && !token_text(map, "eos_token"))
        changed |= set_token(json, "eos_token", eos);
    json_decref(map);
    changed |= set_class(json);
    json_t *decoder = json_object_get(json, "added_tokens_decoder");
    if (pad->is_added && json_is_object(decoder)) {
        char *id = mem_format("%d", pad->id);
        json_object_set_new(decoder, id, make_added_token(pad));
        mem_free(id);
    }
    return changed;
}

int export_tokenizer_file(struct buffer *out, const char *name, const struct tokenizer *tokenizer,
                          const struct export_pad *pad, const char *chat_template) {
    const struct tokenizer_file *file = find_file(tokenizer, name);
    bool is_config = strcmp(name, config_file) == 0, changed = false;
    if (!file && !is_config) return 1;
    json_t *json = file ? read_json(tokenizer, name) : json_object();
    if (strcmp(name, main_file) == 0) changed = edit_main(json, pad);
    if (is_config) changed = edit_config(json, tokenizer, pad, chat_template);
    if (strcmp(name, map_file) == 0) changed = set_token(json, "pad_token", pad->token);
    buffer_clear(out);
    if (file && !changed) {
        buffer_append(out, file->data, file->length);
    } else {
        char *text = json_text_pretty(json);
        buffer_append_text(out, text);
        mem_free(text);
    }
    json_decref(json);
    return 0;
}
