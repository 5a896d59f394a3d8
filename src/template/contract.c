/* The score contract: see contract.h.
 *
 * The golden texts are fixed here; they hold no special token, so that a tokenizer with more of
 * them gives the same ids. Under `drop` and `error` one that is too long is cut on the right: a
 * golden vector is needed in any case. */
#include "contract.h"

#include <stdio.h>
#include <string.h>

#include "contract_heads.h"
#include "json.h"
#include "template_state.h"

enum { CONTRACT_FORMAT = 1 };
static const char *const golden_texts[CONTRACT_N_GOLDEN] = {
    "Yes.",
    "\n\nHuman: What is the capital of France?\n\nAssistant: The capital of France is Paris.",
    "\n\nHuman: How do I boil an egg?\n\nAssistant: Put it into boiling water; it'll be done in 7 "
    "to 10 "
    "minutes.\n\nHuman: "
    "And soft?\n\nAssistant: I'd take it out after 5.",
    "User: Sum 12, 345 and 6.75\n\nAssistant: 12 + 345 + 6.75 = 363.75",
    "Wie sp\u00e4t ist es? \u3044\u307e\u4f55\u6642\u3067\u3059\u304b\u3002 "
    "\u041a\u043e\u0442\u043e\u0440\u044b\u0439 "
    "\u0447\u0430\u0441? \U0001F600\u2764\ufe0f",
    "for (int i = 0; i < n; i++) {\n    total += value[i] * 2;\n\t}\n\n\n    return total;   ",
    "  leading, double  and trailing spaces \n",
    "A longer answer, so that the vectors hold more than a few tokens: first one thinks about what "
    "was asked, then "
    "about "
    "what is known and what is not, and then one says what can be said, in an order that the "
    "reader can follow, "
    "without "
    "repeating the question, without flattery, and without pretending to know more than one does. "
    "Where something is "
    "uncertain, one says so. Where the question rests on a mistake, one says that too, kindly."};

/* --- making -------------------------------------------------------------------------- */

static json_t *special_tokens(const struct tokenizer *t) {
    json_t *special = json_object();
    int id;
    const char *content;
    bool is_special;
    for (int i = 0; tokenizer_added(t, i, &id, &content, &is_special); i++)
        json_object_set_new(special, content, json_integer(id));
    const int role[] = {tokenizer_bos(t), tokenizer_eos(t), tokenizer_pad(t)};
    for (int i = 0; i < 3; i++)
        if (role[i] >= 0)
            json_object_set_new(special, tokenizer_token(t, role[i]), json_integer(role[i]));
    return special;
}

static json_t *id_list(const struct ids *ids) {
    json_t *list = json_array();
    for (int64_t i = 0; i < ids->n; i++) json_array_append_new(list, json_integer(ids->id[i]));
    return list;
}

/* The golden vectors of a template that itself decides how a text ends are rendered conversations,
 * those of any other template are texts. A template that refuses the conversation has texts too. */
static json_t *golden_vector(struct template_worker *w, const struct template *t, int k) {
    struct ids ids = {0};
    struct buffer text = {0};
    json_t *messages = NULL, *vector = NULL;
    if (template_eos(t) < 0) {
        messages =
            json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", golden_texts[k],
                      "role", "assistant", "content", golden_texts[(k + 1) % CONTRACT_N_GOLDEN]);
        if (template_render(w, NULL, messages, false, &text) != 0) {
            json_decref(messages);
            messages = NULL;
        }
    }
    if (!messages) buffer_append_text(&text, golden_texts[k]);
    if (template_encode_text(w, text.data, text.length, &ids) == 0) {
        vector = json_pack("{s:s%, s:o, s:n}", "text", text.data, text.length, "ids", id_list(&ids),
                           "score");
        if (vector && messages) json_object_set(vector, "messages", messages);
    }
    json_decref(messages);
    buffer_free(&text);
    ids_free(&ids);
    return vector;
}

static int add_golden(json_t *json, const struct template *t) {
    struct template_worker *w = template_worker_new(t);
    json_t *golden = json_array();
    int status = 0;
    for (int i = 0; i < CONTRACT_N_GOLDEN && status == 0; i++) {
        json_t *vector = golden_vector(w, t, i);
        status = vector ? json_array_append_new(golden, vector) : fail_context("golden text %d", i);
    }
    template_worker_free(w);
    json_object_set_new(json, "golden", golden);
    return status;
}

/* Where the tokenizer's EOS is in what the template writes of a whole conversation: "end", "inside"
 * or "nowhere". */
static const char *eos_place(const json_t *json, int eos) {
    const json_t *ids = json_object_get(json_array_get(json_object_get(json, "golden"), 0), "ids"),
                 *id;
    const char *place = "nowhere";
    size_t i;
    json_array_foreach(ids, i, id) {
        if (json_integer_value(id) == eos) place = i + 1 == json_array_size(ids) ? "end" : "inside";
    }
    return place;
}

static json_t *rule(const struct tokenizer *tokenizer, const char *name, int token) {
    if (token < 0) return json_pack("{s:s, s:n}", "rule", "none", "token");
    return json_pack("{s:s, s:s}", "rule", name, "token", tokenizer_token(tokenizer, token));
}

static json_t *front_rule(const struct template *t) {
    const struct tokenizer *tokenizer = template_tokenizer(t);
    int64_t n;
    const int32_t *id = template_bos(t, &n);
    if (n == 0) return rule(tokenizer, "none", -1);
    struct buffer tokens = {0};
    for (int64_t i = 0; i < n; i++) buffer_append_text(&tokens, tokenizer_token(tokenizer, id[i]));
    json_t *json = json_pack("{s:s, s:s}", "rule", "prepend_unless_there", "token", tokens.data);
    buffer_free(&tokens);
    return json;
}

/* "as_rendered": what the template writes, and "at", where that is. */
static json_t *eos_rule(const struct template *t) {
    const struct tokenizer *tokenizer = template_tokenizer(t);
    if (template_eos(t) >= 0) return rule(tokenizer, "append_unless_there", template_eos(t));
    json_t *json = rule(tokenizer, "as_rendered", tokenizer_eos(tokenizer));
    json_object_set_new(json, "rule", json_string("as_rendered"));
    return json;
}

static json_t *describe(const struct template *t) {
    const struct template_options *options = template_get_options(t);
    const struct tokenizer *tokenizer = template_tokenizer(t);
    json_t *template = json_pack("{s:s, s:s}", "name", options->name, "text", options->jinja);
    if (options->now) json_object_set_new(template, "now", json_string(options->now));
    if (options->tool_use && *options->tool_use)
        json_object_set_new(template, "tool_use", json_string(options->tool_use));
    char identity[65];
    tokenizer_identity(tokenizer, identity);
    json_t *json = json_pack(
        "{s:i, s:s, s:o, s:o, s:o, s:o, s:s, s:I, s:s, s:n}", "format", CONTRACT_FORMAT,
        "tokenizer", identity, "special", special_tokens(tokenizer), "template", template, "bos",
        front_rule(t), "eos", eos_rule(t), "position", "last_token", "max_length",
        (json_int_t)options->max_length, "truncate", truncate_name(options->truncate), "precision");
    CHECK(json, "json_pack of a contract");
    if (options->max_prompt_length)
        json_object_set_new(json, "max_prompt_length", json_integer(options->max_prompt_length));
    int bos = t->chat && chat_mentions(t->chat, "bos_token") ? tokenizer_bos(tokenizer) : -1;
    if (bos >= 0)
        json_object_set_new(json, "bos_token", json_string(tokenizer_token(tokenizer, bos)));
    return json;
}

int contract_make(struct contract *contract, const struct tokenizer *tokenizer,
                  const struct template_options *options) {
    *contract = (struct contract){0};
    if (options->max_length == 0) return fail("a score contract needs a maximum length");
    struct template *template = template_open(options, tokenizer);
    if (!template) return -1;
    contract->json = describe(template);
    int status = add_golden(contract->json, template);
    if (status == 0 && template_eos(template) < 0)
        json_object_set_new(json_object_get(contract->json, "eos"), "at",
                            json_string(eos_place(contract->json, tokenizer_eos(tokenizer))));
    template_free(template);
    if (status != 0) contract_free(contract);
    return status;
}

/* --- reading ------------------------------------------------------------------------- */

static int need_string(const json_t *json, const char *key) {
    const char *text = NULL;
    if (json_get_string(json, key, &text) != 0) return -1;
    return text ? 0 : fail("\"%s\" is missing", key);
}

static int check_rule(const json_t *json, const char *key) {
    const json_t *rule = json_object_get(json, key);
    const char *token = NULL;
    if (!json_is_object(rule)) return fail("\"%s\": expected an object with rule and token", key);
    if (need_string(rule, "rule") != 0 || json_get_string(rule, "token", &token) != 0)
        return fail_context("\"%s\"", key);
    return 0;
}

static int check_special(const json_t *json) {
    const char *content;
    json_t *id, *special = json_object_get(json, "special");
    if (!json_is_object(special)) return fail("\"special\": expected an object of token: id");
    json_object_foreach(special, content, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return fail("\"special\": \"%.100s\": expected an id", content);
    }
    return 0;
}

/* The golden vectors are texts with their ids, which a reader encodes again to compare. */
static int check_golden(const json_t *json) {
    const json_t *vector, *id, *golden = json_object_get(json, "golden");
    size_t i, k;
    if (!json_is_array(golden) || json_array_size(golden) != CONTRACT_N_GOLDEN)
        return fail("\"golden\": expected a list of %d", CONTRACT_N_GOLDEN);
    json_array_foreach(golden, i, vector) {
        const json_t *ids = json_object_get(vector, "ids");
        if (!json_is_object(vector)) return fail("\"golden\"[%zu]: expected an object", i);
        if (need_string(vector, "text") != 0) return fail_context("\"golden\"[%zu]", i);
        if (!json_is_array(ids) || json_array_size(ids) == 0)
            return fail("\"golden\"[%zu]: \"ids\": expected a list", i);
        json_array_foreach(
            ids, k,
            id) if (!json_is_integer(id) || json_integer_value(id) < 0 ||
                    json_integer_value(id) >
                        INT32_MAX) return fail("\"golden\"[%zu]: \"ids\"[%zu]: expected an id", i,
                                               k);
    }
    return 0;
}

/* Every field that a reader relies on has its type and lies in its range. */
static int check_contract(const json_t *json) {
    int64_t format = 0, max_length = 0, max_prompt_length = 0;
    const char *precision, *now, *bos, *tool_use;
    if (!json_is_object(json)) return fail("expected an object");
    if (json_get_int(json, "format", 1, INT32_MAX, &format) != 0) return -1;
    if (format != CONTRACT_FORMAT)
        return fail("\"format\": expected %d, found %lld; hint: made by another version",
                    CONTRACT_FORMAT, (long long)format);
    static const char *const texts[] = {"tokenizer", "position", "truncate"};
    for (int i = 0; i < 3; i++)
        if (need_string(json, texts[i]) != 0) return -1;
    const json_t *template = json_object_get(json, "template");
    if (!json_is_object(template)) return fail("\"template\": expected an object");
    if (need_string(template, "name") != 0 || need_string(template, "text") != 0 ||
        json_get_string(template, "now", &now) != 0 ||
        json_get_string(template, "tool_use", &tool_use) != 0)
        return fail_context("\"template\"");
    if (json_get_int(json, "max_length", 1, INT64_MAX, &max_length) != 0) return -1;
    if (max_length == 0) return fail("\"max_length\" is missing");
    if (json_get_int(json, "max_prompt_length", 0, INT64_MAX, &max_prompt_length) != 0) return -1;
    if (json_get_string(json, "precision", &precision) != 0 ||
        json_get_string(json, "bos_token", &bos) != 0 || check_rule(json, "bos") != 0 ||
        check_rule(json, "eos") != 0 || check_special(json) != 0)
        return -1;
    if (check_golden(json) != 0) return -1;
    return contract_check_heads(json);
}

int contract_parse(struct contract *contract, const char *text, size_t length) {
    *contract = (struct contract){0};
    json_t *json = json_parse(text, length);
    if (!json || check_contract(json) != 0) {
        json_decref(json);
        return fail_context("score contract");
    }
    contract->json = json;
    return 0;
}

int contract_options(const struct contract *contract, struct template_options *options) {
    if (!contract->json) return fail("there is no score contract");
    const json_t *json = contract->json, *template = json_object_get(json, "template");
    const char *rule = json_string_value(json_object_get(json_object_get(json, "bos"), "rule"));
    *options = (struct template_options){
        .name = json_string_value(json_object_get(template, "name")),
        .jinja = json_string_value(json_object_get(template, "text")),
        .max_length = json_integer_value(json_object_get(json, "max_length")),
        .max_prompt_length = json_integer_value(json_object_get(json, "max_prompt_length")),
        .now = json_string_value(json_object_get(template, "now")),
        .tool_use = json_string_value(json_object_get(template, "tool_use")),
        .no_bos = strcmp(rule, "none") == 0,
    };
    return truncate_parse(json_string_value(json_object_get(json, "truncate")), &options->truncate);
}

char *contract_text(const struct contract *contract) {
    return contract->json ? json_text(contract->json) : NULL;
}

char *contract_special(const struct contract *contract) {
    const char *eos =
        json_string_value(json_object_get(json_object_get(contract->json, "eos"), "token"));
    const char *bos = json_string_value(json_object_get(contract->json, "bos_token"));
    if (bos) return mem_format("bos=%s%s%s", bos, eos ? ",eos=" : "", eos ? eos : "");
    return eos ? mem_format("eos=%s", eos) : NULL;
}

void contract_copy(struct contract *to, const struct contract *from) {
    to->json = from->json ? json_deep_copy(from->json) : NULL;
    CHECK(to->json || !from->json, "json_deep_copy");
}

void contract_free(struct contract *contract) {
    json_decref(contract->json);
    contract->json = NULL;
}

/* --- comparing ----------------------------------------------------------------------- */

static int differ(const char *part, const json_t *a, const char *a_name, const json_t *b,
                  const char *b_name) {
    char *expected = a ? json_text(a) : mem_copy_string("nothing"),
         *found = b ? json_text(b) : mem_copy_string("nothing");
    fail("score contracts differ in %s: expected %.300s (%s), found %.300s (%s)", part, expected,
         a_name, found, b_name);
    mem_free(expected);
    mem_free(found);
    return -1;
}

/* The same content must have the same id; either side may have more. */
static int compare_special(const json_t *a, const char *a_name, const json_t *b,
                           const char *b_name) {
    const char *content;
    json_t *id, *special = json_object_get(a, "special");
    json_object_foreach(special, content, id) {
        const json_t *other = json_object_get(json_object_get(b, "special"), content);
        if (!other || json_equal(id, other)) continue;
        char part[160];
        snprintf(part, sizeof part, "the special token \"%.100s\"", content);
        return differ(part, id, a_name, other, b_name);
    }
    return 0;
}

/* Golden conversations that both have must be the same text, and golden texts the same ids. */
static int compare_golden(const json_t *a, const char *a_name, const json_t *b,
                          const char *b_name) {
    for (size_t i = 0; i < CONTRACT_N_GOLDEN; i++) {
        const json_t *x = json_array_get(json_object_get(a, "golden"), i);
        const json_t *y = json_array_get(json_object_get(b, "golden"), i);
        const json_t *x_chat = json_object_get(x, "messages"),
                     *y_chat = json_object_get(y, "messages");
        const json_t *x_text = json_object_get(x, "text"), *y_text = json_object_get(y, "text");
        char part[64];
        snprintf(part, sizeof part, "the text of golden conversation %zu", i);
        if (x_chat && y_chat && json_equal(x_chat, y_chat) && !json_equal(x_text, y_text))
            return differ(part, x_text, a_name, y_text, b_name);
        if (!json_equal(x_text, y_text)) continue;
        const json_t *x_ids = json_object_get(x, "ids"), *y_ids = json_object_get(y, "ids");
        snprintf(part, sizeof part, "the ids of golden text %zu", i);
        if (!json_equal(x_ids, y_ids)) return differ(part, x_ids, a_name, y_ids, b_name);
    }
    return 0;
}

static int compare_part(const char *part, const struct contract *a, const char *a_name,
                        const struct contract *b, const char *b_name) {
    const json_t *x = json_object_get(a->json, part), *y = json_object_get(b->json, part);
    return (x || y) && !json_equal(x, y) ? differ(part, x, a_name, y, b_name) : 0;
}

int contract_compare_tokenizers(const struct contract *a, const char *a_name,
                                const struct contract *b, const char *b_name) {
    if (!a->json || !b->json) return fail("%s has no score contract", a->json ? b_name : a_name);
    if (compare_part("tokenizer", a, a_name, b, b_name) != 0) return -1;
    return compare_special(a->json, a_name, b->json, b_name);
}

int contract_compare(const struct contract *a, const char *a_name, const struct contract *b,
                     const char *b_name) {
    if (!a->json || !b->json) return fail("%s has no score contract", a->json ? b_name : a_name);
    static const char *const parts[] = {
        "tokenizer",  "template",          "bos",     "eos", "position",
        "max_length", "max_prompt_length", "truncate"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (compare_part(parts[i], a, a_name, b, b_name) != 0) return -1;
    if (compare_special(a->json, a_name, b->json, b_name) != 0) return -1;
    return compare_golden(a->json, a_name, b->json, b_name);
}
