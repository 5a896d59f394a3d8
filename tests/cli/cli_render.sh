#!/usr/bin/env bash
# rankwise-data render: templates by name, by file and the tokenizer's own; variables; what fails names file and line.
. tests/cli/harness.sh
render() { "$data" render --special 'bos=<s>,eos=</s>' "$@"; }
gives() { # name, expected line, arguments
    local name=$1 expected=$2 found
    shift 2
    found=$("$data" render "$@" "$work/chat.jsonl" 2>&1 | head -n 1)
    if [[ $found == "$expected" ]]; then ok "$name"; else not_ok "$name" "found '$found', expected '$expected'"; fi
}
cat >"$work/chat.jsonl" <<'EOT'
{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
EOT
special=(--special 'bos=<s>,eos=</s>')
gives render-simple-chat '{"text":"System: Be kind.\n\nUser: Hi\n\nAssistant: Hello</s>"}' --template simple_chat "${special[@]}"
gives render-space '{"text":"Be kind. Hi Hello</s>"}' --template simple_concat_with_space "${special[@]}"
gives render-new-line '{"text":"Be kind.\nHi\nHello</s>"}' --template simple_concat_with_new_line "${special[@]}"
gives render-assistant '{"text":"Hello"}' --template assistant_message_only "${special[@]}"
gives render-zephyr '{"text":"<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n"}' --template zephyr "${special[@]}"
gives render-tulu '{"text":"<|system|>\nBe kind.\n<|user|>\nHi\n<|assistant|>\nHello</s>"}' --template tulu "${special[@]}"
gives render-chatml '{"text":"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"}' --template chatml
gives render-generation-space '{"text":"Be kind. Hi Hello"}' --template simple_concat_with_space --add-generation-prompt "${special[@]}"
gives render-generation-tulu '{"text":"<|system|>\nBe kind.\n<|user|>\nHi\n<|assistant|>\nHello</s><|assistant|>\n"}' --template tulu --add-generation-prompt "${special[@]}"

printf '%s' '{{ bos_token }}{{ tools is defined }}{{ x }}{{ strftime_now("%Y") if strftime_now is defined }}{{ add_generation_prompt }}' >"$work/t.jinja"
gives render-file '{"text":"<s>FalseFalse"}' --template "$work/t.jinja" "${special[@]}"
gives render-now '{"text":"<s>False1 MayFalse"}' --template "$work/t.jinja" --now '1 May' "${special[@]}"
echo '{"messages": [{"role": "user", "content": "Hi"}], "tools": null, "x": [1], "add_generation_prompt": true, "bos_token": "!"}' >"$work/chat.jsonl"
gives render-row-variables '{"text":"!True[1]True"}' --template "$work/t.jinja" "${special[@]}"

mkdir -p "$work/model/additional_chat_templates"
cp tests/golden/tokenizer_small/tokenizer.json "$work/model"
echo '{"eos_token": {"content": "<|endoftext|>"}, "chat_template": [{"name": "default", "template": "d{{ eos_token }}"}, {"name": "tool_use", "template": "t"}]}' >"$work/model/tokenizer_config.json"
gives render-model '{"text":"d<|endoftext|>"}' --tokenizer "$work/model"
echo '{"messages": [{"role": "user", "content": "Hi"}], "tools": [{}]}' >"$work/chat.jsonl"
gives render-tool-use '{"text":"t"}' --tokenizer "$work/model" --template model
printf 'file{{ messages[0].content }}' >"$work/model/chat_template.jinja"
printf 'more' >"$work/model/additional_chat_templates/tool_use.jinja"
gives render-model-more '{"text":"more"}' --tokenizer "$work/model" --template model
echo '{"messages": [{"role": "user", "content": "Hi"}]}' >"$work/chat.jsonl"
gives render-model-file '{"text":"fileHi"}' --tokenizer "$work/model" --template model

printf 'a\n{{ raise_exception("Roles must alternate") }}' >"$work/bad.jinja"
expect render-raise 1 'chat.jsonl:1: line 2: Roles must alternate' render --template "$work/bad.jinja" "$work/chat.jsonl"
printf '{%% for %%}' >"$work/bad.jinja"
expect render-syntax 1 'bad.jinja: line 1: expected an expression' render --template "$work/bad.jinja" "$work/chat.jsonl"
printf '{{ strftime_now("x") }}' >"$work/bad.jinja"
expect render-no-now 1 'hint: the template asks for the date: --now' render --template "$work/bad.jinja" "$work/chat.jsonl"
expect render-unknown 1 'expected text, simple_chat, .*found "chatlm"' render --template chatlm "$work/chat.jsonl"
expect render-no-template 2 'template or --tokenizer is missing' render "$work/chat.jsonl"
while IFS='|' read -r name pattern row; do
    printf '{"messages": [{"role": "user", "content": "Hi"}]}\n\n%s\n' "$row" >"$work/rows.jsonl"
    expect "render-$name" 1 "rows.jsonl:3: $pattern" render --template simple_chat "$work/rows.jsonl"
done <<'EOT'
not-json|not valid JSON|{"messages":
no-messages|"messages" is missing|{"text": "x"}
not-a-list|expected a list of messages|{"messages": "x"}
empty|expected at least one message|{"messages": []}
no-object|message 0: expected an object|{"messages": [3]}
no-role|line 1: 'dict object' has no attribute 'role'|{"messages": [{"content": "x"}]}
continued|continue_final_message is not supported; hint: leave it out|{"messages": [{"role": "user", "content": "x"}], "continue_final_message": true}
image|line 1: can only concatenate str .not "list".|{"messages": [{"role": "user", "content": [{"type": "image"}]}]}
EOT
finish
