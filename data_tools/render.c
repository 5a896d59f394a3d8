/* rankwise-data render: conversations to the text that a model sees, as a filter of JSON lines.
 *
 *   {"messages": [...], "tools": [...], ...}  ->  {"text": "..."}
 *
 * What a row has besides messages and add_generation_prompt are more variables of the template. */
#include <stdio.h>
#include <string.h>

#include "chat.h"
#include "command.h"
#include "data_tools.h"
#include "filter.h"
#include "json.h"

static const char usage[] =
    "usage: rankwise-data render --template T [options] [INPUT] < chats.jsonl > texts.jsonl\n"
    "\n"
    "{\"messages\": [{\"role\", \"content\"}, ...]} lines to {\"text\": \"...\"} lines, as "
    "transformers'\n"
    "apply_chat_template renders them. \"tools\", \"documents\", \"add_generation_prompt\" and any "
    "other field of a\n"
    "row are given to the template. INPUT may be packed.\n"
    "\n"
    "  --template T             model (the tokenizer's own), a file of Jinja, simple_chat, "
    "simple_concat_with_space,\n"
    "                           simple_concat_with_new_line, assistant_message_only, zephyr, tulu, "
    "chatml\n"
    "  --tokenizer DIR          whose special tokens and chat template are used\n"
    "  --special LIST           special tokens: bos=<s>,eos=</s>,unk=<unk>,pad=<pad>\n"
    "  --add-generation-prompt  end with what invites the assistant's answer\n"
    "  --now TEXT               what strftime_now returns; without it the template has no such "
    "function\n";

struct renderer {
    struct chat *chat;
    struct jinja_memory *memory;
    struct buffer text;
    bool add_generation_prompt;
};

/* The row's other fields are the template's variables. */
static json_t *render_row(void *self, json_t *row) {
    struct renderer *r = self;
    if (!json_is_object(row)) {
        fail("expected {\"messages\": [...]}");
        return NULL;
    }
    json_t *messages = json_incref(json_object_get(row, "messages"));
    bool add = r->add_generation_prompt;
    bool go_on = false;
    int status = messages ? json_get_bool(row, "add_generation_prompt", &add)
                          : fail("\"messages\" is missing");
    if (status == 0) status = json_get_bool(row, "continue_final_message", &go_on);
    if (status == 0 && go_on)
        status = fail("continue_final_message is not supported; hint: leave it out, and cut the "
                      "text behind the last message's content");
    json_object_del(row, "messages");
    json_object_del(row, "add_generation_prompt");
    json_object_del(row, "continue_final_message");
    buffer_clear(&r->text);
    if (status == 0) status = chat_render(r->chat, r->memory, messages, row, add, false, &r->text);
    json_decref(messages);
    if (status != 0) return NULL;
    return json_pack("{s:o}", "text", json_stringn(r->text.data, r->text.length));
}

enum { O_TEMPLATE, O_TOKENIZER, O_SPECIAL, O_NOW, O_GENERATION, O_HELP, N_OPTIONS };

/* The template may be the tokenizer's own; without --tokenizer it has no special tokens but those
 * of --special. */
static int run(const struct option *o, const char *input) {
    struct tokenizer *tokenizer = NULL;
    struct chat_options options = {.name = o[O_TEMPLATE].value ? o[O_TEMPLATE].value : "model",
                                   .directory = o[O_TOKENIZER].value,
                                   .special = o[O_SPECIAL].value,
                                   .now = o[O_NOW].value};
    struct renderer r = {.add_generation_prompt = o[O_GENERATION].value != NULL};
    int status = 0;
    if (options.directory) {
        tokenizer = tokenizer_open_directory(options.directory, NULL);
        if (!tokenizer) return -1;
    }
    r.chat = chat_open(&options, tokenizer);
    if (!r.chat) status = -1;
    if (status == 0) {
        r.memory = jinja_memory_new();
        status = filter_file(input, render_row, &r);
    }
    jinja_memory_free(r.memory);
    buffer_free(&r.text);
    chat_free(r.chat);
    tokenizer_free(tokenizer);
    return status;
}

/* The command: one input, with a template or with a tokenizer that has one. */
int render_command(int argc, char **argv) {
    struct option o[N_OPTIONS] = {
        [O_TEMPLATE] = {"template", true},
        [O_TOKENIZER] = {"tokenizer", true},
        [O_SPECIAL] = {"special", true},
        [O_NOW] = {"now", true},
        [O_GENERATION] = {"add-generation-prompt", false},
        [O_HELP] = {"help", false},
    };
    struct arguments inputs;
    int code;
    if (command_arguments(&inputs, o, N_OPTIONS, -1, usage, argc, argv, &code)) return code;
    const char *wrong = !o[O_TEMPLATE].value && !o[O_TOKENIZER].value
                            ? "--template or --tokenizer is missing"
                        : inputs.n_positional > 1 ? "expected one input"
                                                  : NULL;
    if (wrong) {
        fail("%s", wrong);
        code = command_misuse(argv[0], usage);
    } else {
        code = command_finish(run(o, inputs.n_positional ? inputs.positional[0] : "-"));
    }
    arguments_free(&inputs);
    return code;
}
