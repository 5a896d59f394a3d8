/* The model card of an exported model: what a reader of transformers needs to give it the ids that
 * training and `score` give it. See export.h. */
#include <string.h>

#include "chat.h"
#include "export.h"

static void describe_training(struct buffer *out, const struct scorer *s) {
    if (!s->is_checkpoint) return;
    const struct run_state *state = &s->checkpoint.state;
    buffer_format(out, "Trained with Rankwise %s: %lld steps, %lld %s, checkpoint of %s.\n\n",
                  s->checkpoint.revision, (long long)state->step, (long long)state->episodes,
                  s->head.kind == HEAD_LM ? "completions" : "pairs", s->checkpoint.written_at);
}

/* What a score is: of one head, an ensemble's, or those of attributes. */
static void describe_scores(struct buffer *out, const struct contract *contract) {
    int n = contract_n_heads(contract);
    switch (contract_heads_kind(contract)) {
    case HEADS_SINGLE:
        buffer_append_text(out, "one label): the higher the score, the better the answer.");
        return;
    case HEADS_ENSEMBLE:
        buffer_format(out,
                      "%d labels, an ensemble): the higher the mean of its scores, the better the "
                      "answer; their deviation tells how sure that is.",
                      n);
        return;
    case HEADS_ATTRIBUTES:
        buffer_format(out, "a label for each attribute): ");
        for (int k = 0; k < n; k++)
            buffer_format(out, "%s%s", k ? ", " : "", contract_head_name(contract, k));
        buffer_append_text(out, ".");
        return;
    }
}

static void describe_length(struct buffer *out, const struct template_options *options) {
    buffer_format(out, "A sequence has at most %lld tokens", (long long)options->max_length);
    if (options->max_prompt_length)
        buffer_format(out, ", its prompt %lld", (long long)options->max_prompt_length);
    buffer_format(out, "; truncation: %s. `score_contract.json` says all this exactly",
                  truncate_name(options->truncate));
}

/* Ids and not texts are given BOS and EOS: a tokenizer may read text otherwise behind a token that
 * is written. */
static void append_ids_function(struct buffer *out, const struct template *t) {
    int64_t n;
    const int32_t *id = template_bos(t, &n);
    int eos = template_eos(t);
    buffer_append_text(out, "def encode(text):\n"
                            "    ids = tokenizer(text, add_special_tokens=False)[\"input_ids\"]\n");
    if (n) {
        buffer_append_text(out, "    front = [");
        for (int64_t i = 0; i < n; i++) buffer_format(out, "%s%d", i ? ", " : "", (int)id[i]);
        buffer_format(out, "]  # BOS\n    ids = ids if ids[:%lld] == front else front + ids\n",
                      (long long)n);
    }
    if (eos >= 0)
        buffer_format(out, "    ids = ids if ids[-1:] == [%d] else ids + [%d]  # EOS\n", eos, eos);
    buffer_append_text(out, "    return ids\n\n");
}

/* The card's example must give transformers the same ids that `score` computes. */
static void append_code(struct buffer *out, const struct template *t, const char *name,
                        bool is_chat, bool is_single) {
    buffer_format(out,
                  "```python\nfrom transformers import AutoModelForSequenceClassification, "
                  "PreTrainedTokenizerFast\n\n"
                  "tokenizer = PreTrainedTokenizerFast.from_pretrained(\"%s\")\n"
                  "model = AutoModelForSequenceClassification.from_pretrained(\"%s\").eval()\n\n",
                  name, name);
    append_ids_function(out, t);
    if (is_chat)
        buffer_append_text(
            out,
            "chats = [[{\"role\": \"user\", \"content\": \"Hello!\"},\n"
            "          {\"role\": \"assistant\", \"content\": \"Hello, how can I help?\"}]]\n"
            "texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]\n");
    else
        buffer_append_text(
            out, "texts = [\"\\n\\nHuman: Hello!\\n\\nAssistant: Hello, how can I help?\"]\n");
    buffer_append_text(out,
                       "batch = tokenizer.pad({\"input_ids\": [encode(text) for text in texts]}, "
                       "padding_side=\"right\", return_tensors=\"pt\")\n"
                       "print(model(**batch).logits");
    buffer_format(out, "%s)\n```\n", is_single ? "[:, 0]" : "");
}

/* The first lines are the metadata that the Hugging Face hub reads. */
char *export_card(const struct scorer *s, const struct export_pad *pad, const char *name,
                  enum dtype dtype) {
    const struct template_options *options = template_get_options(s->template);
    const bool is_chat = *options->jinja || chat_find_named(options->name);
    struct buffer out = {0};
    buffer_format(&out,
                  "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags:\n- "
                  "reward-model\n---\n\n"
                  "# %s\n\nA reward model (`%sForSequenceClassification`, ",
                  name, arch_class_prefix(&s->arch));
    describe_scores(&out, &s->contract);
    buffer_format(&out, " Weights are %s.\n\n", dtype == DTYPE_BF16 ? "bfloat16" : "float32");
    describe_training(&out, s);
    buffer_format(&out, "%s by the template `%s`%s, %s; the score is that of the last token. ",
                  is_chat ? "A conversation is rendered" : "A text is taken", options->name,
                  is_chat ? ", which is the tokenizer's `chat_template`" : "",
                  template_eos(s->template) >= 0 ? "ends with the EOS token"
                                                 : "gets no token at its end");
    describe_length(&out, options);
    buffer_append_text(&out, " and has eight texts with their tokens and scores.\n\n");
    if (pad->is_added)
        buffer_format(&out,
                      "The pad token `%s` (id %d) was added on export: transformers reads the "
                      "score before the first pad token, which must not be a token of the "
                      "text.\n\n",
                      pad->token, pad->id);
    append_code(&out, s->template, name, is_chat, contract_n_heads(&s->contract) == 1);
    return out.data;
}

/* A language model's: how it was trained, and how transformers opens it. */
char *export_lm_card(const struct scorer *s, const char *name, enum dtype dtype) {
    const struct template_options *options = template_get_options(s->template);
    struct buffer out = {0};
    buffer_format(&out,
                  "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n"
                  "# %s\n\nA language model (`%sForCausalLM`). Weights are %s.\n\n",
                  name, arch_class_prefix(&s->arch), dtype == DTYPE_BF16 ? "bfloat16" : "float32");
    describe_training(&out, s);
    buffer_format(&out, "It learned from texts by the template `%s`. ", options->name);
    describe_length(&out, options);
    buffer_format(&out,
                  ".\n\n```python\nfrom transformers import AutoModelForCausalLM, "
                  "PreTrainedTokenizerFast\n\n"
                  "tokenizer = PreTrainedTokenizerFast.from_pretrained(\"%s\")\n"
                  "model = AutoModelForCausalLM.from_pretrained(\"%s\").eval()\n```\n",
                  name, name);
    return out.data;
}
