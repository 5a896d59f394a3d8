/* rankwise-data encode and decode: a tokenizer as a filter of JSON lines.
 *
 *   {"text": "..."}  ->  {"ids": [...]}          {"ids": [...]}  ->  {"text": "..."}
 *
 * No template; special tokens are added when asked. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "data_tools.h"
#include "filter.h"
#include "tokenizer.h"

static const char encode_usage[] =
    "usage: rankwise-data encode --tokenizer DIR [--add-special-tokens]\n"
    "                            [--special SPEC] [INPUT] < texts.jsonl > ids.jsonl\n"
    "\n"
    "{\"text\": \"...\"} lines to {\"ids\": [...]} lines. DIR may also be a tokenizer.json.\n"
    "Special tokens in a text are recognised; --add-special-tokens also puts those\n"
    "around it that the tokenizer's post-processor puts there. INPUT may be packed.\n"
    "--special bos=<s>,eos=</s>,pad=<pad>,unk=<unk> names tokens that no file names.\n";
static const char decode_usage[] =
    "usage: rankwise-data decode --tokenizer DIR [--skip-special]\n"
    "                            [--special SPEC] [INPUT] < ids.jsonl\n"
    "\n"
    "{\"ids\": [...]} lines to {\"text\": \"...\"} lines. DIR may also be a tokenizer.json.\n"
    "Bytes that are not UTF-8 become U+FFFD. --skip-special leaves special tokens out.\n";

/* What both directions need. */
struct codec {
    struct tokenizer *tokenizer;
    struct encoder *encoder;
    bool is_special; /* encode: adds special tokens; decode: leaves them out */
    struct ids ids;
    struct buffer text;
};

static void append_ids(json_t *list, const int32_t *id, int64_t n) {
    for (int64_t i = 0; i < n; i++) json_array_append_new(list, json_integer(id[i]));
}

static json_t *encode_row(void *self, json_t *row) {
    struct codec *c = self;
    const json_t *text = json_object_get(row, "text");
    if (!json_is_string(text)) {
        fail("expected {\"text\": \"...\"}");
        return NULL;
    }
    c->ids.n = 0;
    if (encoder_encode(c->encoder, json_string_value(text), json_string_length(text), &c->ids) != 0)
        return NULL;
    json_t *list = json_array();
    struct frame frame = {0};
    if (c->is_special) frame = tokenizer_frame(c->tokenizer);
    append_ids(list, frame.before, frame.n_before);
    append_ids(list, c->ids.id, c->ids.n);
    append_ids(list, frame.after, frame.n_after);
    return json_pack("{s:o}", "ids", list);
}

/* {"ids": [...]} to {"text": ...}; every id must be one of the tokenizer's. */
static json_t *decode_row(void *self, json_t *row) {
    struct codec *c = self;
    const json_t *list = json_object_get(row, "ids"), *item;
    size_t i;
    if (!json_is_array(list)) {
        fail("expected {\"ids\": [...]}");
        return NULL;
    }
    c->ids.n = 0;
    json_array_foreach(list, i, item) {
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id >= tokenizer_size(c->tokenizer)) {
            fail("\"ids\"[%zu]: expected an id below %lld", i,
                 (long long)tokenizer_size(c->tokenizer));
            return NULL;
        }
        ARRAY_RESERVE(c->ids.id, c->ids.n, c->ids.capacity);
        c->ids.id[c->ids.n++] = (int32_t)id;
    }
    buffer_clear(&c->text);
    buffer_append(&c->text, "", 0);
    if (tokenizer_decode(c->tokenizer, c->ids.id, c->ids.n, c->is_special, &c->text) != 0)
        return NULL;
    json_t *text = json_stringn(c->text.data, c->text.length);
    return json_pack("{s:o}", "text", text);
}

enum { TOKENIZER, SPECIAL, DIRECTION, HELP, N_OPTIONS };

/* direction: the option that only this direction has. */
static int codec_command(const char *usage, const char *direction, filter_convert *convert,
                         int argc, char **argv) {
    struct option option[N_OPTIONS] = {
        {"tokenizer", true}, {"special", true}, {direction, false}, {"help", false}};
    struct arguments inputs;
    int code;
    if (command_arguments(&inputs, option, N_OPTIONS, -1, usage, argc, argv, &code)) return code;
    if (!option[TOKENIZER].value || inputs.n_positional > 1) {
        if (!option[TOKENIZER].value)
            fail("--tokenizer is missing");
        else
            fail("expected one input, found %d", inputs.n_positional);
        arguments_free(&inputs);
        return command_misuse(argv[0], usage);
    }
    struct codec c = {.is_special = option[DIRECTION].value != NULL};
    c.tokenizer = tokenizer_open_directory(option[TOKENIZER].value, option[SPECIAL].value);
    int status = c.tokenizer ? 0 : -1;
    if (status == 0) {
        c.encoder = encoder_new(c.tokenizer);
        status = filter_file(inputs.n_positional ? inputs.positional[0] : "-", convert, &c);
    }
    code = command_finish(status);
    encoder_free(c.encoder);
    tokenizer_free(c.tokenizer);
    ids_free(&c.ids);
    buffer_free(&c.text);
    arguments_free(&inputs);
    return code;
}

int encode_command(int argc, char **argv) {
    return codec_command(encode_usage, "add-special-tokens", encode_row, argc, argv);
}

int decode_command(int argc, char **argv) {
    return codec_command(decode_usage, "skip-special", decode_row, argc, argv);
}
