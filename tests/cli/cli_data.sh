#!/usr/bin/env bash
# rankwise-data at the command line: build on every form of row, what is dropped and how it is counted, bad input, gzip,
# and the filters. What a shard holds is read with h5dump, not with our reader.
. tests/cli/harness.sh
tokenizer=tests/golden/tokenizer_small
build() { "$data" build --tokenizer "$tokenizer" --max-length 64 --out "$work/out.h5" "$@"; }
numbers() { # dataset: its numbers on one line
    h5dump -y -d "$1" "$work/out.h5" | sed -n '/DATA {/,/}/p' | grep -oE '^ *-?[0-9., -]+$' | tr -d ' \n' | tr ',' ' '
}
rows_attribute() { h5dump -a /rows "$work/out.h5" | sed -n 's/.*(0): "\(.*\)"$/\1/p'; }

# --- the tokens are the texts', EOS at the end, identical sequences once ---
cat >"$work/a.jsonl" <<'EOT'
{"chosen": "\n\nHuman: What is it?\n\nAssistant: A question.", "rejected": "\n\nHuman: What is it?\n\nAssistant: No idea", "id": 1}

{"rejected": "one", "chosen": "two<|endoftext|>"}
{"chosen": "one", "rejected": "\n\nHuman: What is it?\n\nAssistant: A question."}
EOT
expect data-build 0 '3 rows read, 3 pairs kept' build "$work/a.jsonl"
check data-build-is-quiet-on-stdout test ! -s "$work/out"
cat >"$work/texts" <<'EOT'
{"text": "\n\nHuman: What is it?\n\nAssistant: A question.<|endoftext|>"}
{"text": "\n\nHuman: What is it?\n\nAssistant: No idea<|endoftext|>"}
{"text": "two<|endoftext|>"}
{"text": "one<|endoftext|>"}
EOT
"$data" encode --tokenizer "$tokenizer" <"$work/texts" >"$work/ids" 2>"$work/err"
same data-tokens "$(numbers /token)" "$(sed 's/.*\[\(.*\)\].*/\1/' "$work/ids" | paste -sd, | tr ',' ' ')"
same data-chosen "$(numbers /comparison/chosen)" "0 2 3"
same data-rejected "$(numbers /comparison/rejected)" "1 3 0"
same data-rows-are-lines "$(numbers /comparison/row)" "1 3 4"
same data-margin "$(numbers /comparison/margin)" "0 0 0"
same data-weight "$(numbers /comparison/weight)" "1 1 1"
h5dump -b LE -o "$work/tokenizer.json" -d /tokenizer/tokenizer.json "$work/out.h5" >"$work/h5dump"
check data-carries-the-tokenizer cmp "$work/tokenizer.json" "$tokenizer/tokenizer.json"
cp "$work/out.h5" "$work/first.h5"
build "$work/a.jsonl" 2>"$work/err"
check data-same-input-same-bytes cmp "$work/out.h5" "$work/first.h5"

# --- filters ---
"$data" decode --tokenizer "$tokenizer" <"$work/ids" >"$work/back" 2>"$work/err"
same data-decode-encode "$(cat "$work/back")" "$(sed 's/": "/":"/' "$work/texts")"
same data-decode-skips-special "$(echo '{"ids": [511, 32, 511]}' | "$data" decode --tokenizer "$tokenizer" --skip-special)" \
    '{"text":"A"}'
expect data-decode-bad-id 1 'bad:1: "ids"\[1\]: expected an id below 512' \
    bash -c "echo '{\"ids\": [1, 512]}' >'$work/bad'; '$data' decode --tokenizer '$tokenizer' '$work/bad'"
expect data-encode-bad-row 1 'bad:1: expected {"text": "..."}' "$data" encode --tokenizer "$tokenizer" "$work/bad"

# --- a byte order mark and carriage returns, as some editors write them ---
{ printf '\xef\xbb\xbf' && sed 's/$/\r/' "$work/a.jsonl"; } >"$work/marked.jsonl"
expect data-build-byte-order-mark 0 '3 rows read, 3 pairs kept' build "$work/marked.jsonl"
same data-byte-order-mark-rows "$(numbers /comparison/row)" "1 3 4"

# --- gzip, standard input, several files ---
gzip -c "$work/a.jsonl" >"$work/a.jsonl.gz"
for source in "$work/a.jsonl.gz" -; do
    build "$source" <"$work/a.jsonl" 2>"$work/err"
    same "data-source-$(basename "$source")" "$(numbers /token)" "$(h5dump -y -d /token "$work/first.h5" |
        sed -n '/DATA {/,/}/p' | grep -oE '^ *[0-9., ]+$' | tr -d ' \n' | tr ',' ' ')"
done
build - <"$work/a.jsonl.gz" 2>"$work/err"
same data-gzip-on-standard-input "$(numbers /comparison/row)" "1 3 4"
printf '{"chosen": "x", "rejected": "y"}' >"$work/b.jsonl"
expect data-two-files 0 '4 rows read, 4 pairs kept' build "$work/a.jsonl" "$work/b.jsonl"
same data-sources "$(numbers /comparison/source)" "0 0 0 1"
same data-rows-of-each-source "$(numbers /comparison/row)" "1 3 4 1"
h5dump -a /sources "$work/out.h5" >"$work/sources"
check data-source-hash grep -q "$(sha256sum "$work/a.jsonl" | cut -d' ' -f1)" "$work/sources"
expect data-limit 0 '2 rows read, 2 pairs kept' build --limit 2 "$work/a.jsonl" "$work/b.jsonl"

# --- messages: lists, lists in strings, and what the template makes of them; all three are the same text ---
cat >"$work/chat.jsonl" <<'EOT'
{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Go away"}]}
{"chosen": "[{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Hello\"}]", "rejected": "[{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Go away\"}]"}
EOT
echo '{"chosen": "User: Hi\n\nAssistant: Hello", "rejected": "User: Hi\n\nAssistant: Go away"}' >"$work/rendered.jsonl"
expect data-texts-and-a-chat-template 1 'rendered.jsonl:1: expected messages or a prompt.*hint: --prompt-key' \
    build --template simple_chat "$work/rendered.jsonl"
expect data-chat 0 '3 pairs kept' build --template simple_chat --prompt-key none "$work/chat.jsonl" "$work/rendered.jsonl"
same data-chat-forms-agree "$(numbers /comparison/chosen);$(numbers /comparison/rejected)" "0 0 0;1 1 1"
same data-one-prompt-one-group "$(numbers /group/first)" "0 3"
expect data-chat-needs-its-template 1 'chat.jsonl:1: .*hint: --template simple_chat' build "$work/chat.jsonl"
cat >"$work/prompt.jsonl" <<'EOT'
{"prompt": "Say ", "chosen": "yes", "rejected": "no"}
{"prompt": "Say ", "chosen": "yes!", "rejected": "no"}
{"prompt": "Sing ", "chosen": "la", "rejected": "lo"}
EOT
expect data-prompt-is-found 0 'prompt.jsonl: pairs: prompt, chosen, rejected' build "$work/prompt.jsonl"
cp "$work/out.h5" "$work/found.h5"
expect data-prompt 0 '3 pairs kept' build --prompt-key prompt "$work/prompt.jsonl"
check data-prompt-is-found-alike h5diff "$work/found.h5" "$work/out.h5" /token /token
same data-groups-by-prompt "$(numbers /group/first)" "0 2 3"
"$data" encode --tokenizer "$tokenizer" <<<'{"text": "Say yes<|endoftext|>"}' | sed 's/.*\[\(.*\)\].*/\1/' >"$work/ids"
same data-prompt-is-in-front "$(numbers /token | cut -d' ' -f1-"$(tr ',' '\n' <"$work/ids" | wc -l)")" "$(tr ',' ' ' <"$work/ids")"
echo '{"good": "a", "bad": "b", "by": 2.5, "w": 3}' >"$work/keys.jsonl"
expect data-keys 0 '1 pairs kept' build --chosen-key good --rejected-key bad --margin-key by --weight-key w "$work/keys.jsonl"
same data-margin-key "$(numbers /comparison/margin) $(numbers /comparison/weight)" "2.5 3"
expect data-bad-weight 1 'keys.jsonl:1: "good": expected a number' \
    build --chosen-key good --rejected-key bad --weight-key good "$work/keys.jsonl"

# --- what is dropped is counted ---
long=$(printf 'word %.0s' {1..40})
cat >"$work/drop.jsonl" <<EOT
{"chosen": "same", "rejected": "same"}
{"chosen": "$long end", "rejected": "$long other"}
{"chosen": "kept", "rejected": "$long"}
{"chosen": "same", "rejected": "same<|endoftext|>"}
{"chosen": "a", "rejected": "b"}
EOT
expect data-dropped 0 'dropped, equal_after_truncation: 1' build --max-length 20 "$work/drop.jsonl"
for line in '5 rows read, 2 pairs kept' 'dropped, equal: 1' 'dropped, equal_tokens: 1' 'cut to 20 tokens: 1 sides'; do
    check "data-says-${line//[^a-z0-9]/-}" grep -q "$line" "$work/err"
done
check data-counts-are-in-the-shard grep -q '"read":5,"kept":2,"dropped":{"equal":1,"equal_tokens":1,"equal_after_truncation":1' \
    <(rows_attribute)
same data-cut-sides-end-with-eos "$(numbers /token | cut -d' ' -f1-50 | tr ' ' '\n' | grep -c '^511$')" 4
expect data-truncate-drop 0 'dropped, too_long: 2' build --max-length 20 --truncate drop "$work/drop.jsonl"
expect data-truncate-error 1 'drop.jsonl:2: expected at most 20 tokens' build --max-length 20 --truncate error "$work/drop.jsonl"
expect data-truncate-left 0 '2 sides|3 sides' build --max-length 20 --truncate left "$work/drop.jsonl"
expect data-nothing-left 1 'no pair is left' build --limit 1 "$work/drop.jsonl"
check data-failure-leaves-the-former-shard cmp <(build --max-length 20 --truncate left "$work/drop.jsonl" 2>/dev/null && cat "$work/out.h5") \
    <(build --limit 1 "$work/drop.jsonl" 2>/dev/null; cat "$work/out.h5")
check data-leaves-no-temporary-file bash -c "! ls $work/out.h5.tmp-* 2>/dev/null"

# --- bad rows: the file and the line are named; or counted and passed over ---
i=0
while IFS='|' read -r pattern row; do
    i=$((i + 1))
    printf '{"chosen": "a", "rejected": "b"}\n\n%b\n' "$row" >"$work/bad.jsonl"
    expect "data-bad-row-$i" 1 "bad.jsonl:3: $pattern" build "$work/bad.jsonl"
    expect "data-bad-row-$i-skipped" 0 'dropped, invalid_(json|fields): 1' build --skip-bad-rows "$work/bad.jsonl"
done <<'EOT'
not valid JSON|{"chosen": "a", "rejected":
not valid JSON.*hint: JSON is UTF-8|{"chosen": "\xff", "rejected": "b"}
not valid JSON|{"chosen": "a", "rejected": "b"} x
not valid JSON|{"chosen": "\\ud800", "rejected": "b"}
not valid JSON|nonsense
expected a row that is a JSON object|["a", "b"]
"rejected" is missing|{"chosen": "a"}
"chosen": expected a string|{"chosen": 3, "rejected": "b"}
"chosen" is null|{"chosen": null, "rejected": "b"}
one of "chosen" and "rejected" is a whole conversation|{"chosen": "a", "rejected": [{"role": "user", "content": "b"}]}
EOT

# --- bad files and misuse ---
: >"$work/empty.jsonl"
expect data-empty-file 1 'no pair is left' build "$work/empty.jsonl"
expect data-missing-file 1 'nowhere.jsonl: cannot be opened' build "$work/nowhere.jsonl"
expect data-directory 1 'is a directory' build "$work"
size=$(stat -c %s "$work/a.jsonl.gz")
for cut in 1 5 12 30 $((size / 2)) $((size - 9)) $((size - 1)); do
    head -c "$cut" "$work/a.jsonl.gz" >"$work/cut.jsonl.gz"
    expect "data-gzip-cut-at-$cut" 1 'cut.jsonl.gz' build "$work/cut.jsonl.gz"
done
{ head -c 40 "$work/a.jsonl.gz"; printf 'XXXX'; tail -c +45 "$work/a.jsonl.gz"; } >"$work/damaged.jsonl.gz"
expect data-gzip-damaged 1 'damaged.jsonl.gz: a (cut or )?damaged gzip file' build "$work/damaged.jsonl.gz"
expect data-no-tokenizer 1 'nowhere' "$data" build --tokenizer "$work/nowhere" --out "$work/out.h5" "$work/a.jsonl"
expect data-no-such-template 1 'expected text, simple_chat' build --template jinja "$work/a.jsonl"
expect data-out-cannot-be-written 1 'nowhere/x.h5: cannot be written' \
    "$data" build --tokenizer "$tokenizer" --out "$work/nowhere/x.h5" "$work/a.jsonl"
expect data-no-input 2 'expected an input file' build
expect data-no-out 2 '--out is missing' "$data" build --tokenizer "$tokenizer" "$work/a.jsonl"
expect data-bad-number 2 '--max-length: expected a size' build --max-length many "$work/a.jsonl"
expect data-bad-truncate 2 'expected right, left, drop or error' build --truncate middle "$work/a.jsonl"
expect data-nearest-option 2 'did you mean --truncate' build --trunkate left "$work/a.jsonl"

# --- a folder that names no EOS: asked for once, the shard's contract carries it on to checkpoint, export and score ---
mkdir "$work/bare" "$work/model"
cp "$tokenizer/tokenizer.json" "$work/bare"
expect special-is-needed 1 'hint: --special eos=' \
    "$data" build --tokenizer "$work/bare" --out "$work/bare.h5" "$work/a.jsonl"
expect special-is-taken 0 '3 pairs kept' \
    "$data" build --tokenizer "$work/bare" --special 'eos=<|endoftext|>' --out "$work/bare.h5" "$work/a.jsonl"
expect special-must-exist 1 'no-such-token' \
    "$data" build --tokenizer "$work/bare" --special 'eos=no-such-token' --out "$work/bare.h5" "$work/a.jsonl"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/model/config.json"
: >"$work/empty.cfg"
expect special-train 0 'done' "$rankwise" train "$work/empty.cfg" model.path="$work/model" model.init=random \
    data.train="$work/bare.h5" optim.steps=1 run.dir="$work/run"
expect special-export 0 'exported' "$rankwise" export "$work/run" "$work/exported"
for model in run exported; do
    "$rankwise" score "$work/$model" <<<'{"text": "one"}' >"$work/score.$model" 2>"$work/err"
done
check special-score cmp "$work/score.run" "$work/score.exported"
check special-score-is-one grep -q score "$work/score.run"

# --- the demo: twice the same bytes; no held-out prompt is trained on ---
expect demo 0 'held_out.h5: 500 rows read, 500 pairs kept' "$data" demo --out "$work/demo"
expect demo-again 0 'train.h5: 12000 rows read, 12000 pairs kept' "$data" demo --out "$work/demo2"
check demo-is-deterministic diff -r --exclude='*.h5' "$work/demo" "$work/demo2"
prompts() { sed 's/.*"rejected":"\(.*Assistant:\).*/\1/' "$work/demo/$1.jsonl" | sort -u; }
same demo-prompts-are-disjoint "$(comm -12 <(prompts train) <(prompts held_out) | wc -l)" 0
same demo-answers-to-score "$(wc -l <"$work/demo/texts.jsonl")" 2
# Neither side of a pair is longer as a rule: a model that counts tokens would be right about half of the time.
longer=$(sed 's/{"chosen":"\(.*\)","rejected":"\(.*\)"}/\1\t\2/' "$work/demo/held_out.jsonl" |
    awk -F'\t' '{ a = split($1, x, " "); b = split($2, y, " "); n += a > b ? 1 : a == b ? 0.5 : 0 } END { print int(100 * n / NR) }')
check demo-length-tells-little test "$longer" -ge 35 -a "$longer" -le 65

# --- the toy judge's: no held-out prompt is trained on, and the warm-up's scores tell nothing of the answers ---
expect demo-judge 0 '8000 completions kept' "$data" demo --judge --out "$work/judge"
expect demo-judge-again 0 '2000 prompts of 1000 pairs kept' "$data" demo --judge --out "$work/judge2"
check demo-judge-is-deterministic diff -r --exclude='*.h5' "$work/judge" "$work/judge2"
judge_prompts() { sed 's/.*CONVERSATION:\(.*\)RESPONSE:.*/\1/' "$work/judge/$1.jsonl" | sort -u; }
same demo-judge-prompts-are-disjoint "$(comm -12 <(judge_prompts prompts) <(judge_prompts held_out_prompts) | wc -l)" 0
higher=$(sed 's/.*<s>\([0-9]*\)<\/s>.*/\1/' "$work/judge/warm_up.jsonl" |
    awk 'NR % 2 { first = $1; next } first != $1 { n++; if (first > $1) higher++ } END { printf "%d", 100 * higher / n }')
check demo-judge-scores-are-blind test "$higher" -ge 46 -a "$higher" -le 54
expect demo-no-out 2 '--out is missing' "$data" demo
finish
