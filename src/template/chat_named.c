/* The built-in chat templates: those that reward models of open-instruct are trained with, and
 * ChatML. */
#include <string.h>

#include "chat.h"

#define FOR_EACH(body) "{% for message in messages %}" body "{% endfor %}"
#define EOS_AT_END "{% if loop.last and not add_generation_prompt %}{{ eos_token }}{% endif %}"
#define IF_ROLE(role, body) "{% if message['role'] == '" role "' %}" body "{% endif %}"

static const struct chat_named named[] = {
    {"simple_chat",
     FOR_EACH("{{ '\\n\\n' if not loop.first }}{{ message['role'].capitalize() + ': ' + "
              "message['content'] }}" EOS_AT_END),
     true},
    {"simple_concat_with_space",
     FOR_EACH("{{ ' ' if not loop.first }}{{ message['content'] }}" EOS_AT_END), true},
    {"simple_concat_with_new_line",
     FOR_EACH("{{ '\\n' if not loop.first }}{{ message['content'] }}" EOS_AT_END), true},
    {"assistant_message_only", FOR_EACH(IF_ROLE("assistant", "{{ message['content'] }}")), false},
    {"zephyr",
     FOR_EACH("{% if message['role'] in ['system', 'user', 'assistant'] %}"
              "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}{% "
              "endif %}"
              "{{ '<|assistant|>\\n' if loop.last and add_generation_prompt }}"),
     false},
    {"tulu",
     FOR_EACH("{% if message['role'] in ['system', 'user'] %}"
              "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}"
              "{% elif message['role'] == 'assistant' %}"
              "{{ '<|assistant|>\\n' + message['content'] + eos_token }}{{ '\\n' if not loop.last "
              "}}{% endif %}"
              "{{ '<|assistant|>\\n' if loop.last and add_generation_prompt }}"),
     false},
    {"chatml",
     FOR_EACH("{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' "
              "}}") "{{ "
                    "'<|im_start|>"
                    "assistant\\n' if "
                    "add_generation_"
                    "prompt }}",
     false},
};
enum { N_NAMED = sizeof named / sizeof *named };

const struct chat_named *chat_known(int index) {
    return index >= 0 && index < N_NAMED ? &named[index] : NULL;
}

const struct chat_named *chat_find_named(const char *name) {
    for (int i = 0; i < N_NAMED; i++)
        if (strcmp(named[i].name, name) == 0) return &named[i];
    return NULL;
}
