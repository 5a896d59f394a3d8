#!/usr/bin/env bash
# rankwise-data build on every source and container: the same comparisons whatever holds them, broken ones refused by file
# and line. The pairs are read back with h5dump and decoded, and compared as texts.
. tests/cli/harness.sh
tokenizer=tests/golden/tokenizer_small
build() { "$data" build --tokenizer "$tokenizer" --max-length 512 --threads 2 --out "$work/out.h5" "$@"; }
numbers() { # dataset
    h5dump -y -d "$1" "$work/out.h5" | sed -n '/DATA {/,/}/p' | grep -oE '^ *-?[0-9., -]+$' | tr -d ' \n' | tr ',' ' '
}
# All comparisons of the shard: "<chosen> > <rejected>", line ends as \n.
pairs() {
    local -a tokens first chosen rejected
    local i s
    read -ra tokens <<<"$(numbers /token)"
    read -ra first <<<"$(numbers /sequence/first)"
    read -ra chosen <<<"$(numbers /comparison/chosen)"
    read -ra rejected <<<"$(numbers /comparison/rejected)"
    for ((i = 0; i < ${#chosen[@]}; i++)); do
        for s in "${chosen[i]}" "${rejected[i]}"; do
            local span=("${tokens[@]:first[s]:first[s + 1]-first[s]}")
            (IFS=,; echo "{\"ids\": [${span[*]}]}")
        done
    done | "$data" decode --tokenizer "$tokenizer" --skip-special | sed 's/^{"text":"\(.*\)"}$/\1/' | paste -d'>' - - | sed 's/>/ > /'
}
# name, expected pairs, then arguments of build.
gives() {
    local name=$1 expected=$2
    shift 2
    rm -f "$work/out.h5"
    if build "$@" >"$work/stdout" 2>"$work/err" <"${stdin:-/dev/null}"; then
        same "$name" "$(pairs)" "$expected"
    else
        not_ok "$name" "$(tail -n 2 "$work/err" | tr '\n' ' ')"
    fi
}
refuses() { # name, pattern of the message, arguments
    local name=$1 pattern=$2
    shift 2
    rm -f "$work/out.h5"
    expect "$name" 1 "$pattern" build "$@"
    [[ ! -e $work/out.h5 ]] || not_ok "$name-leaves-nothing" "a shard"
}
kept() { # name, what the log says, arguments
    local name=$1 pattern=$2
    shift 2
    rm -f "$work/out.h5"
    expect "$name" 0 "$pattern" build "$@"
}

# --- containers: the same two rows ---
two='p a > p b
q, \"c\" > q\nd'
printf '{"prompt": "p ", "chosen": "a", "rejected": "b"}\n{"prompt": "q", "chosen": ", \\"c\\"", "rejected": "\\nd"}\n' >"$work/rows.jsonl"
{ echo '['; paste -sd, "$work/rows.jsonl"; echo ']'; } >"$work/rows.json"
{ printf '{"version": 2, "data": '; cat "$work/rows.json"; echo '}'; } >"$work/object.json"
sed 's/, /,\n  /g; s/,\n  \\"c/, \\"c/' "$work/rows.jsonl" >"$work/printed.json"
printf 'id,prompt,chosen,rejected\n1,p ,a,b\n2,q,", ""c""","\nd"\n' >"$work/rows.csv"
{ printf '\xEF\xBB\xBF'; printf 'id;prompt;chosen;rejected\r\n1;p ;a;b\r\n2;q;, "c";"\nd"\r\n'; } >"$work/windows.csv"
{ printf '\xEF\xBB\xBF'; sed 's/$/\r/' "$work/rows.jsonl"; } >"$work/windows.jsonl"
for file in rows.jsonl rows.json object.json printed.json rows.csv windows.csv windows.jsonl; do
    gives "sources-$file" "$two" "$work/$file"
    stdin=$work/$file gives "sources-$file-stdin" "$two" -
    gzip -c "$work/$file" >"$work/$file.gz"
    gives "sources-$file-gz" "$two" "$work/$file.gz"
done
mv "$work/rows.csv.gz" "$work/misnamed.json"
gives sources-the-bytes-tell "$two" "$work/misnamed.json"
if command -v zstd >/dev/null; then
    zstd -q "$work/rows.json" -o "$work/rows.json.zst"
    gives sources-zst "$two" "$work/rows.json.zst"
    head -c 40 "$work/rows.json.zst" >"$work/cut.zst"
    refuses sources-cut-zst 'cut.zst.*cut zstd file' "$work/cut.zst"
else
    echo "skipped sources-zst: no zstd program (tests/test_reader.c packs by itself)"
fi

# --- parquet ---
python=
for candidate in ${RANKWISE_PYTHON:-} python3; do
    if "$candidate" -c 'import pyarrow.parquet' 2>/dev/null; then python=$candidate; fi
done
if [[ -n $python ]]; then
    "$python" - "$work/rows.jsonl" "$work/rows.parquet" <<'EOT'
import json, sys
import pyarrow, pyarrow.parquet
pyarrow.parquet.write_table(pyarrow.Table.from_pylist([json.loads(line) for line in open(sys.argv[1])]), sys.argv[2])
EOT
    export RANKWISE_PYTHON=$python
    gives sources-parquet "$two" "$work/rows.parquet"
    stdin=$work/rows.parquet gives sources-parquet-stdin "$two" -
    head -c 300 "$work/rows.parquet" >"$work/cut.parquet"
    refuses sources-cut-parquet 'cut.parquet.*not readable as parquet' "$work/cut.parquet"
    unset RANKWISE_PYTHON
else
    echo "skipped sources-parquet: no python3 with pyarrow"
fi
printf 'PAR1........PAR1' >"$work/x.parquet"
printf '#!/bin/sh\nexit 3\n' >"$work/python"
chmod +x "$work/python"
export RANKWISE_PYTHON=$work/python
refuses sources-parquet-says-what-is-missing 'x.parquet.*hint: .*pip install pyarrow' "$work/x.parquet"
unset RANKWISE_PYTHON

# --- formats ---
row() { printf '%s\n' "$@" >"$work/row.json"; }
row '{"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"}'
gives sources-hh-texts-as-they-are '\n\nHuman: hi\n\nAssistant: yes > \n\nHuman: hi\n\nAssistant: no' "$work/row.json"
gives sources-hh 'User: hi\n\nAssistant: yes > User: hi\n\nAssistant: no' --template simple_chat "hh=$work/row.json"
row '{"winner": "a", "loser": "b", "meta": {"q": "p "}}'
gives sources-keys 'p a > p b' --chosen-key winner --rejected-key loser --prompt-key meta.q "$work/row.json"
refuses sources-unknown-names 'row.json:1: .*winner, loser, meta.*--chosen-key' "$work/row.json"
row '{"prompt": "p ", "response_1": "a", "response_2": "b", "preference_strength": 2}' \
    '{"prompt": "p ", "response_1": "c", "response_2": "d", "preference_strength": -1}' \
    '{"prompt": "p ", "response_1": "e", "response_2": "f", "preference_strength": 0}'
gives sources-helpsteer2 $'p b > p a\np c > p d' "$work/row.json"
gives sources-helpsteer2-strength 'p b > p a' --min-strength 2 "$work/row.json"
row '{"input": [{"role": "user", "content": "q"}], "output": [{"answer": {"content": "a", "label": {"is_preferred": false}}}, {"answer": {"content": "b"}, "label": {"is_preferred": true}}]}' \
    '{"context": [{"role": "user", "content": "q"}], "response1": "c", "response2": "d", "overall_preference": -3}'
gives sources-helpsteer3 'User: q\n\nAssistant: b > User: q\n\nAssistant: a
User: q\n\nAssistant: c > User: q\n\nAssistant: d' \
    --template simple_chat "$work/row.json"
row '{"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}'
gives sources-sharegpt 'User: q\n\nAssistant: a > User: q\n\nAssistant: b' --template simple_chat "$work/row.json"
row '{"tools": [{"name": "f"}], "prompt": "q", "chosen": "a", "rejected": "b"}'
echo '{% for t in tools or [] %}[{{ t.name }}]{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}' >"$work/tools.jinja"
gives sources-tools '[f]qa > [f]qb' --template "$work/tools.jinja" "$work/row.json"
check sources-tools-shown bash -c '! grep tools "$1"' - "$work/err"
gives sources-tools-unread 'User: q\n\nAssistant: a > User: q\n\nAssistant: b' --template simple_chat "$work/row.json"
check sources-tools-told grep -q 'row.json:1: "tools" is not read by the template simple_chat' "$work/err"
row '{"info": {"post": "long", "title": "t", "subreddit": "s"}, "summaries": [{"text": " a"}, {"text": " b"}], "choice": 1}'
gives sources-summarize 'SUBREDDIT: r/s\n\nTITLE: t\n\nPOST: long\n\nTL;DR: b > SUBREDDIT: r/s\n\nTITLE: t\n\nPOST: long\n\nTL;DR: a' "$work/row.json"
row '{"instruction": "q ", "completions": [{"response": "a", "overall_score": 1}, {"response": "b", "overall_score": 3}, {"response": "c", "overall_score": 3}]}'
gives sources-ultrafeedback $'q b > q a\nq c > q a' "$work/row.json"
row '{"prompt": "p ", "responses": ["a", "b"], "ranks": [2, 1]}'
gives sources-ranked 'p b > p a' "$work/row.json"
row '{"prompt": "p ", "chosen": ["a"], "rejected": ["b", "c"], "subset": "x", "total_completions": 3}'
gives sources-reward-bench $'p a > p b\np a > p c' "$work/row.json"
printf 'prompt,chosen_story,rejected_story\np ,a,b\np ,[deleted],b\np ,a,\n' >"$work/stories.csv"
gives sources-litbench 'p a > p b' "$work/stories.csv"
check sources-litbench-counts grep -q 'deleted: 2' "$work/err"
row '{"question": "q", "passages": [["T", "one", "two"]], "prediction 1": "a", "prediction 2": "b", "prediction 3": "c", "prediction 4": "d", "preference": [1, 0, 0, 0, 0, 2]}'
start='question: q context: wikipage: T text: one two answer: '
gives sources-mapping "${start}a > ${start}b
${start}d > ${start}c" --mapping configs/mappings/finegrained_qa.jq "$work/row.json"

# --- mappings ---
mapped() { # name, expected pairs; the rows are in row.json
    gives "sources-mapping-$1" "$2" --template simple_chat --mapping "configs/mappings/$1.jq" "$work/row.json"
}
row '{"input": "q", "output_1": "a", "output_2": "b", "label": 2}' '{"input": "q", "output_1": "c", "output_2": "d", "label": "1"}'
mapped llmbar 'User: q\n\nAssistant: b > User: q\n\nAssistant: a
User: q\n\nAssistant: c > User: q\n\nAssistant: d'
row '{"instruction": "q", "input": "r", "system": "s", "chosen": "a", "rejected": "b"}' '{"instruction": "q", "input": "", "chosen": "a", "rejected": "b"}'
mapped alpaca 'System: s\n\nUser: q\nr\n\nAssistant: a > System: s\n\nUser: q\nr\n\nAssistant: b
User: q\n\nAssistant: a > User: q\n\nAssistant: b'
row '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected_response": "b"}'
mapped swift 'User: q\n\nAssistant: a > User: q\n\nAssistant: b'
talk() { printf '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "%s"}]' "$1"; }
for winner in model_b tie; do
    printf '{"conversation_a": %s, "conversation_b": %s, "language": "English", "turn": 1, "judge": "j", "winner": "%s"}\n' "$(talk a)" "$(talk b)" "$winner"
done >"$work/row.json"
mapped arena 'User: q\n\nAssistant: b > User: q\n\nAssistant: a'
check sources-mapping-arena-tie grep -q 'dropped, tie: 1' "$work/err"
row '{"task": {"system": "s", "turns": [{"role": "user", "content": "q"}], "lang": "en"}, "candidates": [{"id": "x", "output": {"text": "a"}}, {"id": "k", "output": {"text": "b"}}], "votes": "[{\"a\": \"x\", \"b\": \"k\", \"pick\": \"B\"}, {\"a\": \"x\", \"b\": \"k\", \"pick\": \"skip\"}]", "weight": 0.5}' \
    '{"task": {"turns": [], "lang": "fr"}}'
mapped nested 'System: s\n\nUser: q\n\nAssistant: b > System: s\n\nUser: q\n\nAssistant: a'
check sources-mapping-nested-filter grep -q 'dropped, filtered: 1' "$work/err"
row '{"x": 1}' # no mapping is for this row: each can be read, and none makes something of it
for mapping in configs/mappings/*.jq; do
    refuses "sources-$(basename "$mapping")" 'row.json:1: .*hint: the row has x|filtered: 1|deleted: 1' --mapping "$mapping" "$work/row.json"
done

row '{"prompt": "p ", "answers": ["a", "b"], "better": [[1, 0]]}'
gives sources-canonical 'p b > p a' "$work/row.json"
pair='{prompt: .q, answers: [.a, .b], better: [[0, 1]]}'
printf 'q,a,b\np ,x,y\nr ,z,w\n' >"$work/rows.csv"
gives sources-jq-csv $'p x > p y\nr z > r w' --jq "$pair" "$work/rows.csv"
gives sources-jq-several $'p x > p y\np y > p x' --limit 1 --jq "$pair, ($pair | .better = [[1, 0]])" "$work/rows.csv"
check sources-jq-counts-rows-of-the-file grep -q ': 1 rows read, 2 pairs kept' "$work/err"
gives sources-jq-filter 'r z > r w' --jq "select(.a != \"x\") | $pair" "$work/rows.csv"
check sources-jq-filtered grep -q 'dropped, filtered: 1' "$work/err"
gives sources-jq-all-or-none 'p x > p y' --skip-bad-rows --jq "$pair, (select(.a == \"z\") | {drop: 3})" "$work/rows.csv"
check sources-jq-bad-rows grep -q 'dropped, invalid_fields: 1' "$work/err"
refuses sources-jq-misspelled 'rows.csv:2: "prompt" is null.*hint: the row has q, a, b' --jq '{prompt: .p, answers: [.a, .b], better: [[0, 1]]}' "$work/rows.csv"
refuses sources-jq-no-program 'not a jq program: syntax error' --skip-bad-rows --jq '{' "$work/rows.csv"
expect sources-jq-or-format 2 'format pairs and --jq' build --format pairs --jq . "$work/rows.csv"
expect sources-old-name 2 'build: --source is called --format now' build --source pairs "$work/rows.csv"
expect sources-old-key 2 'build: --source-key is called --origin-key now' build --source-key q "$work/rows.csv"
printf 'prompt = "q";\nanswers = ( "a", "b" );\npreference = { always = "first"; };\n' >"$work/old.cfg"
refuses sources-old-mapping 'old.cfg:1: .*hint: mappings were files of settings once and are jq programs now; docs/sources.md' --mapping "$work/old.cfg" "$work/rows.csv"
echo 'def select(f): .; def test(f): true;' >"$work/.jq"
HOME=$work gives sources-jq-reads-no-home 'r z > r w' --jq "select(.a | test(\"z\")) | $pair" "$work/rows.csv"
# the bytes of tools that a program passes on: what a template writes of them is what it writes without a program
row '{"prompt": "q", "chosen": "a", "rejected": "b", "tools": [{"z": 1.0, "a": [12345678901234567, 1e5, 0.1, "\u00e4\n"], "m": {}}]}'
echo '{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}' >"$work/tools.jinja"
build --template "$work/tools.jinja" "$work/row.json" >/dev/null 2>&1
gives sources-jq-tools "$(pairs)" --template "$work/tools.jinja" --jq '{prompt, answers: [.chosen, .rejected], better: [[0, 1]], tools: [.tools[0]]}' "$work/row.json"
# a program is part of what names a build
echo "$pair" >"$work/map.jq"
gives sources-mapping-file $'p x > p y\nr z > r w' --mapping "$work/map.jq" "$work/rows.csv"
expect sources-mapping-up-to-date 0 'up to date' build --mapping "$work/map.jq" "$work/rows.csv"
echo "$pair | .better = [[1, 0]]" >"$work/map.jq"
check sources-mapping-changed build --mapping "$work/map.jq" "$work/rows.csv"
same sources-mapping-changed-bytes "$(pairs)" $'p y > p x\nr w > r z'
check sources-mapping-stands-in-the-shard bash -c 'h5dump -a options "$1" | grep -q "better = "' - "$work/out.h5"
# --- what one row cannot say: the first rows of a file together, those behind each for itself ---
row '{"prompt": "x ", "chosen": null, "rejected": "b"}' '{"prompt": "p ", "chosen": "a", "rejected": "b"}'
gives sources-bad-first-row 'p a > p b' --skip-bad-rows "$work/row.json"
gives sources-bad-first-row-chat 'User: p \n\nAssistant: a > User: p \n\nAssistant: b' --template simple_chat --skip-bad-rows "$work/row.json"
row '{"chosen": "a", "rejected": "b"}' '{"prompt": "p ", "chosen": "x", "rejected": "y"}'
refuses sources-later-prompt 'row.json:1: expected a prompt, as other rows have' "$work/row.json"
gives sources-later-prompt-skips 'p x > p y' --skip-bad-rows "$work/row.json"
gives sources-later-prompt-chat-skips 'User: p \n\nAssistant: x > User: p \n\nAssistant: y' --template simple_chat --skip-bad-rows "$work/row.json"
row '{"user_prompt": "Q", "chosen": "a", "rejected": "b"}'
refuses sources-unknown-prompt 'row.json:1: no column is known to be the prompt, and user_prompt would not be read; hint: --prompt-key' "$work/row.json"
gives sources-unknown-prompt-none 'a > b' --prompt-key none "$work/row.json"
row '{"prompt": "p ", "context": "c d", "chosen": "a", "rejected": "b"}'
kept sources-columns-not-read 'row.json: pairs: prompt, chosen, rejected; columns not read: context$' "$work/row.json"
row '{"conversations": [{"from": "human", "value": "q"}], "history": [["h", "i"]], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}'
kept sources-columns-not-read-sharegpt 'row.json: sharegpt; columns not read: history$' --template simple_chat "$work/row.json"
row '{"prompt": "Write JSON: ", "chosen": "a", "rejected": "b"}' '{"prompt": "Write JSON: ", "chosen": "c", "rejected": "d"}' \
    '{"prompt": "Write JSON: ", "chosen": "{\"role\": \"assistant\", \"content\": \"hello\"}", "rejected": "{}"}'
gives sources-answers-that-are-json 'Write JSON: a > Write JSON: b
Write JSON: c > Write JSON: d
Write JSON: {\"role\": \"assistant\", \"content\": \"hello\"} > Write JSON: {}' "$work/row.json"
row '{"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}'
refuses sources-dialogue-chat 'row.json:1: expected messages, found a dialogue.*hint: --turns hh' --template simple_chat "$work/row.json"
gives sources-dialogue-chat-turns 'User: q\n\nAssistant: a > User: q\n\nAssistant: b' --template simple_chat --turns hh "$work/row.json"
row '{"prompt": "\n\nHuman: q\n\nAssistant:", "responses": ["a", "b"], "ranks": [2, 1]}'
refuses sources-ranked-dialogue 'in the prompt.*hint: --turns hh' --template simple_chat "$work/row.json"
gives sources-ranked-dialogue-turns 'User: q\n\nAssistant: b > User: q\n\nAssistant: a' --template simple_chat --turns hh "$work/row.json"

# --- kept, and odd: told by build and by audit ---
row '{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]}' \
    '{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}'
kept sources-different-prompts '  kept, but different_prompts: 1' --template simple_chat "$work/row.json"
check sources-user-last grep -q '  kept, but user_last: 1' "$work/err"
expect sources-different-prompts-audit 0 'note     comparisons whose sides ask different questions: 1 of 2' "$data" audit "$work/out.h5"
check sources-user-last-audit grep -q "note     comparisons with a side that ends in the user's turn: 1 of 2" "$work/out"

# --- sides of no tokens: dropped and counted, the others of their row kept ---
row '{"prompt": "p", "chosen": "", "rejected": "a"}' '{"prompt": "p", "chosen": "c", "rejected": "a"}'
kept sources-no-tokens '  dropped, no_tokens: 1' --template assistant_message_only "$work/row.json"
check sources-no-tokens-keeps-others grep -q '2 rows read, 1 pairs kept' "$work/err"
row '{"prompt": "p", "responses": ["", "a", "b"], "scores": [3, 2, 1]}'
kept sources-no-tokens-of-three '  dropped, no_tokens: 2' --template assistant_message_only "$work/row.json"
check sources-no-tokens-of-three-keeps-a-pair grep -q '1 rows read, 1 pairs kept' "$work/err"

# --- broken ---
printf '{"chosen": "a", "rejected": "b"}\n{"chosen": "\\ud800", "rejected": "b"}\n' >"$work/bad.jsonl"
refuses sources-lone-surrogate 'bad.jsonl:2: not valid JSON.*--skip-bad-rows' "$work/bad.jsonl"
kept sources-skip 'invalid_json: 1' --skip-bad-rows "$work/bad.jsonl"
row '{"chosen": "a\u0000", "rejected": "b"}' # a character like any other
kept sources-zero-character '1 pairs kept' "$work/row.json"
printf '{"chosen": "a", "rejected": "b"}\n{"chosen": "x\0y", "rejected": "b"}\n' >"$work/nul.jsonl"
refuses sources-zero-byte 'nul.jsonl:2: not valid JSON' "$work/nul.jsonl"
printf 'chosen,rejected\na,b\na,b,c\nd,e\n' >"$work/ragged.csv"
refuses sources-ragged 'ragged.csv:3: expected 2 fields, as the header has, found 3' "$work/ragged.csv"
gives sources-ragged-skipped $'a > b\nd > e' --skip-bad-rows "$work/ragged.csv"
printf '1\tp \ta\tb\n2\tq \tc\td\n' >"$work/bare.tsv"
gives sources-header $'p a > p b\nq c > q d' --header id,prompt,chosen,rejected "$work/bare.tsv"
printf '\350\252\236%.0s' {1..20} >"$work/wide.tsv"
printf '\tx\n1\t2\n' >>"$work/wide.tsv"
refuses sources-no-header 'no format is known.*--header names the columns' "$work/wide.tsv"
check sources-no-header-is-utf8 iconv -f UTF-8 -t UTF-8 "$work/err"
printf 'chosen,rejected\na,"b\n' >"$work/open.csv"
refuses sources-open-quote 'open.csv.*opened in line 2 never closes' --skip-bad-rows "$work/open.csv"
iconv -f UTF-8 -t UTF-16 "$work/rows.jsonl" >"$work/wide.jsonl"
refuses sources-utf16 'wide.jsonl.*UTF-16.*iconv' "$work/wide.jsonl"
: >"$work/empty.jsonl"
refuses sources-empty 'no pair is left' "$work/empty.jsonl"
refuses sources-directory 'is a directory' "$work"
refuses sources-missing 'no-such.jsonl.*No such file' "$work/no-such.jsonl"
head -c 60 "$work/rows.jsonl.gz" >"$work/cut.jsonl.gz"
refuses sources-cut-gz 'cut.jsonl.gz.*cut gzip' "$work/cut.jsonl.gz"
head -c 100 "$work/rows.json" >"$work/cut.json"
refuses sources-cut-array 'cut.json.*the file ends in' "$work/cut.json"
row '{"chosen": "a", "rejected": "b", "m": "much"}'
refuses sources-bad-margin '"m": expected a number, found "much"' --margin-key m "$work/row.json"
row '{"messages": [1], "label": true}'
refuses sources-labelled-messages '"messages": .*expected' "$work/row.json"
refuses sources-max-row 'a row of more than 10 bytes; hint: --max-row' --max-row 10 "$work/rows.jsonl"

# --- long ones ---
{ printf '{"chosen": "'; head -c 3000000 /dev/zero | tr '\0' a; printf ' b", "rejected": "c"}\n'; } >"$work/long.jsonl"
kept sources-long-line '1 pairs kept' "$work/long.jsonl"
{
    printf '{"chosen": ['
    for ((i = 0; i < 2000; i++)); do printf '{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, '; done
    printf '{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "y"}]}\n'
} >"$work/turns.jsonl"
kept sources-many-turns '1 pairs kept' --template simple_chat "$work/turns.jsonl"
expect sources-help 0 'summarize_from_feedback' "$data" help build
finish
