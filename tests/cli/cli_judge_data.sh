#!/usr/bin/env bash
# rankwise-data build --judge: pairs of any format to what a judge is asked, as a shard and as JSON lines, and back.
. tests/cli/harness.sh
tokenizer=tests/golden/tokenizer_small
build() { "$data" build --tokenizer "$tokenizer" --template chatml --threads 2 --out "$work/out.h5" "$@"; }
numbers() { # dataset, shard
    h5dump -y -d "$1" "${2:-$work/out.h5}" | sed -n '/DATA {/,/}/p' | grep -oE '^ *-?[0-9na][0-9nae., -]*$' | tr -d ' \n' | tr ',' ' '
}
has() { same "$1" "$(numbers "/prompt/$2")" "$3"; } # name, column, numbers
asked() { # name, options and inputs: must succeed
    rm -f "$work/out.h5" "$work/out.jsonl"
    check "$@"
    cp "$work/check" "$work/said"
}
refuses() { # name, exit code, pattern, arguments
    local name=$1 code=$2 pattern=$3
    shift 3
    rm -f "$work/out.h5"
    expect "$name" "$code" "$pattern" build "$@"
    [[ ! -e $work/out.h5 ]] || not_ok "$name-leaves-nothing" "a shard"
}

# --- conversations, pointwise: a turn that comes twice cuts nothing; what diverges earlier is all of the response ---
cat >"$work/hh.jsonl" <<'EOT'
{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: And now?\n\nAssistant: Yes?", "rejected": "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: And now?\n\nAssistant: No."}
{"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant: a"}
{"chosen": "\n\nHuman: Hi\n\nAssistant: a\n\nHuman: b\n\nAssistant: c", "rejected": "\n\nHuman: Hi\n\nAssistant: d"}
EOT
asked judge-conversations build --judge hh_score100_v2 --jsonl-out "$work/out.jsonl" hh="$work/hh.jsonl"
line() { # context, response, the rest of the line
    printf '{"messages":[{"role":"user","content":"Judge the assistant'"'"'s response to this conversation.\\n\\nCONVERSATION:\\n%s\\n\\nRESPONSE:\\n%s\\n\\nWrite your score in this form: <s>N</s>, where N is a whole number from 0 to 100.\\nThen give one sentence of reasons."}],%s}\n' "$1" "$2" "$3"
}
{
    line 'User: Hi\n\nAssistant: Yes?\n\nUser: And now?' 'Yes?' '"pair_id":0,"side":0,"preferred_side":0'
    line 'User: Hi\n\nAssistant: Yes?\n\nUser: And now?' 'No.' '"pair_id":0,"side":1,"preferred_side":0'
    line 'User: Hi' 'Assistant: a\n\nUser: b\n\nAssistant: c' '"pair_id":1,"side":0,"preferred_side":0'
    line 'User: Hi' 'd' '"pair_id":1,"side":1,"preferred_side":0'
} >"$work/expected.jsonl"
check judge-conversations-lines cmp "$work/expected.jsonl" "$work/out.jsonl"
has judge-pairs pair '0 0 1 1'
has judge-sides side '0 1 0 1'
has judge-preferred preferred '0 0 0 0'
has judge-rows row '1 1 3 3'
expect judge-equal-dropped 0 'dropped, equal: 1$' cat "$work/said"
expect judge-attributes 0 '"hh_score100_v2"' h5dump -a judge "$work/out.h5"
expect judge-parser 0 '"score100_first"' h5dump -a parser "$work/out.h5"
mv "$work/out.h5" "$work/first.h5"
mv "$work/out.jsonl" "$work/first.jsonl"

# --- the lines are read again: the same tokens, the same lines ---
asked judge-lines-in build --judge hh_score100_v2 --jsonl-out "$work/out.jsonl" "$work/first.jsonl"
check judge-lines-again cmp "$work/first.jsonl" "$work/out.jsonl"
for set in token sequence/first prompt/sequence prompt/pair prompt/side prompt/preferred; do
    same "judge-lines-$set" "$(numbers "/$set")" "$(numbers "/$set" "$work/first.h5")"
done
refuses judge-lines-other-family 1 '"prompt_name": expected hh_score100_v2, as --judge says, found other' --judge hh_score100_v2 \
    <(sed 's/}$/,"prompt_name":"other"}/' "$work/first.jsonl")
sed -n '1,3p' "$work/first.jsonl" >"$work/odd.jsonl"
refuses judge-one-side 1 'odd.jsonl:3: pair 1 has side 0 alone; expected the other side in the next row' --judge hh_score100_v2 "$work/odd.jsonl"
asked judge-one-side-skipped build --judge hh_score100_v2 --skip-bad-rows "$work/odd.jsonl"
expect judge-one-side-counted 0 'dropped, one_side: 1$' cat "$work/said"
has judge-one-side-rest pair '0 0'
sed '2s/"preferred_side":0/"preferred_side":1/' "$work/first.jsonl" >"$work/odd.jsonl"
refuses judge-two-opinions 1 'odd.jsonl:2: pair 0: expected another side and the same preferred_side' --judge hh_score100_v2 "$work/odd.jsonl"
refuses judge-lines-not-asked 1 'judge_prompts is one of --judge' --format judge_prompts "$work/first.jsonl"

# --- summaries: the label says the better side; ties; the metadata ---
cat >"$work/tldr.jsonl" <<'EOT'
{"info": {"post": "A long post.", "title": "T", "subreddit": "s"}, "summaries": [{"text": " one"}, {"text": " two"}], "choice": 1}
{"info": {"post": "Another.", "title": "T", "subreddit": "s"}, "summaries": [{"text": " three"}, {"text": " four"}], "choice": 0}
EOT
asked judge-summaries build --judge score100_v1 --add-meta --jsonl-out "$work/out.jsonl" \
    --mapping configs/mappings/summarize_posts.jq "$work/tldr.jsonl"
has judge-summaries-preferred preferred '1 1 0 0'
expect judge-summaries-text 0 'POST:\\nA long post.\\n\\nSUMMARY:\\n one\\n\\n' sed -n 1p "$work/out.jsonl"
expect judge-summaries-meta 0 '"pair_id":1,"side":1,"preferred_side":0,"prompt_name":"score100_v1","parser_name":"score100_first","dataset":"tldr.jsonl","row":2}$' \
    sed -n 4p "$work/out.jsonl"
asked judge-summaries-with-form build --judge score100_v1 --jsonl-out "$work/form.jsonl" "$work/tldr.jsonl"
expect judge-summaries-form 0 'SUBREDDIT: r/s' cat "$work/form.jsonl"
echo '{"prompt": "q", "answers": ["x", "y", "z"], "scores": [1, 1, 5]}' >"$work/ranked.jsonl"
asked judge-several build --judge openjudge_pointwise --ties keep --target score --format canonical "$work/ranked.jsonl"
has judge-several-pairs pair '0 0 1 1 2 2'
has judge-several-preferred preferred '1 1 1 1 -1 -1'
has judge-several-targets target '1 5 1 5 1 1'

# --- an answer alone with a target ---
echo '{"prompt": "q", "response": "r", "helpfulness": 3, "correctness": 1, "coherence": 1, "complexity": 1, "verbosity": 1}' >"$work/rated.jsonl"
asked judge-target build --judge openjudge_pointwise --target helpfulness "$work/rated.jsonl"
has judge-target-number target 3
has judge-target-side side 0
has judge-target-preferred preferred -1
echo '{"input": [{"role": "user", "content": "q"}], "output": [{"answer": {"content": "r", "label": {"helpfulness": 3}}}, {"answer": {"content": "t", "label": {"helpfulness": 0}}}]}' >"$work/open.jsonl"
asked judge-targets build --judge openjudge_pointwise \
    --jq '{messages: .input, answers: [.output[].answer.content], attributes: {helpfulness: [.output[].answer.label.helpfulness]}}' "$work/open.jsonl"
has judge-targets-numbers target '3 0'
has judge-targets-alone pair '0 1'
refuses judge-target-missing 1 'expected a score that is the target \(--target NAME\), found the scores helpfulness, correctness' --judge openjudge_pointwise "$work/rated.jsonl"
refuses judge-target-pairwise 1 'the family openjudge_pairwise compares two answers, found one' --judge openjudge_pairwise "$work/rated.jsonl"

# --- pairwise: one order by the seed, or both ---
for i in $(seq 40); do echo "{\"prompt\": \"Tell $i\", \"chosen_story\": \"good $i\", \"rejected_story\": \"bad $i\"}"; done >"$work/stories.jsonl"
asked judge-orders build --judge litbench_long --both-orders "$work/stories.jsonl"
same judge-both-orders "$(numbers /prompt/side | cut -c 1-11)" '2 3 2 3 2 3'
asked judge-order build --judge litbench_long --jsonl-out "$work/out.jsonl" "$work/stories.jsonl"
orders=$(numbers /prompt/side)
n=$(tr ' ' '\n' <<<"$orders" | grep -c 2)
if ((n >= 10 && n <= 30)); then ok judge-order-drawn; else not_ok judge-order-drawn "$n of 40 with side 0 as A"; fi
same judge-order-shown "$(grep -c 'Story A:\\ngood' "$work/out.jsonl")" "$n"
asked judge-order-seed build --judge litbench_long --seed 1 "$work/stories.jsonl"
if [[ $(numbers /prompt/side) != "$orders" ]]; then ok judge-order-other-seed; else not_ok judge-order-other-seed "the same orders"; fi
asked judge-principles build --judge openjudge_pairwise --principles <(printf 'Be kind.\r\n\nBe brief.') --jsonl-out "$work/out.jsonl" "$work/stories.jsonl"
expect judge-principles-listed 0 '# Principles\\n1. Be kind.\\n2. Be brief.\\n\\n# Query' head -n 1 "$work/out.jsonl"

# --- the same bytes from any number of threads, whole pairs and halves ---
for i in $(seq 3000); do echo "{\"prompt\": \"Tell me $i times\", \"chosen\": \"good $((i * i))\", \"rejected\": \"bad $((7 * i))\"}"; done >"$work/many.jsonl"
asked judge-many build --judge hh_score5_v2 --threads 1 --jsonl-out "$work/out.jsonl" "$work/many.jsonl"
mv "$work/out.h5" "$work/many.h5"
mv "$work/out.jsonl" "$work/lines.jsonl"
asked judge-many-threads build --judge hh_score5_v2 --threads 4 --jsonl-out "$work/out.jsonl" "$work/many.jsonl"
check judge-many-bytes cmp "$work/many.h5" "$work/out.h5"
check judge-many-lines cmp "$work/lines.jsonl" "$work/out.jsonl"
asked judge-halves build --judge hh_score5_v2 --threads 4 "$work/lines.jsonl"
same judge-halves-tokens "$(numbers /token | cksum)" "$(numbers /token "$work/many.h5" | cksum)"
same judge-halves-rows "$(grep -o '[0-9]* rows read' "$work/said")" '6000 rows read'
asked judge-split build --judge hh_score5_v2 --eval-out "$work/eval.h5" --eval-fraction 0.2 "$work/lines.jsonl"
same judge-split-pairs "$(grep -oE '[0-9]+ prompts' "$work/said" | awk '{ n += $1; odd += $1 % 2 } END { print n, odd }')" '6000 0'

# --- too long, raw text, what does not go together ---
read -ra first <<<"$(numbers /sequence/first "$work/first.h5")"
most=$((first[3] - first[2])) # the longer side of the second pair
asked judge-long build --judge hh_score100_v2 --max-length "$most" hh="$work/hh.jsonl"
expect judge-long-counted 0 'dropped, too_long: 1$' cat "$work/said"
has judge-long-rest row '3 3'
asked judge-long-half build --judge hh_score100_v2 --max-length "$most" "$work/first.jsonl"
expect judge-long-half-counted 0 'dropped, too_long: 1$' cat "$work/said"
refuses judge-long-stops 1 'hh.jsonl:1: a prompt of [0-9]* tokens; expected at most ' --judge hh_score100_v2 --max-length "$most" --truncate error hh="$work/hh.jsonl"
refuses judge-cut 2 'truncate left: expected drop or error' --judge hh_score100_v2 --truncate left hh="$work/hh.jsonl"
asked judge-raw build --judge hh_score100_v2 --template none hh="$work/hh.jsonl"
read -ra first <<<"$(numbers /sequence/first)"
read -ra tokens <<<"$(numbers /token)"
ids=$(IFS=,; echo "{\"ids\": [${tokens[*]:0:first[1]}]}")
expect judge-raw-text 0 '^\{"text":"Judge the assistant.*one sentence of reasons\."\}$' "$data" decode --tokenizer "$tokenizer" <(echo "$ids")
refuses judge-no-template 1 'template model: the tokenizer has no chat_template' --judge hh_score100_v2 --template model hh="$work/hh.jsonl"
refuses judge-no-family 1 '--judge: no prompt family "nobody": expected the path of a file or one of score5_v1' --judge nobody hh="$work/hh.jsonl"
printf '{#\nkind: pointwise\nparser: score\n#}Rate {{ context }}' >"$work/mine.jinja"
refuses judge-no-place 1 'expected \{\{ response \}\} in its text, found none' --judge "$work/mine.jinja" hh="$work/hh.jsonl"
printf '{#\nkind: pointwise\nparser: regex:0:9:([0-9])\n#}\nRate {{ response }} from 0 to 9.' >"$work/mine.jinja"
asked judge-own-family build --judge "$work/mine.jinja" hh="$work/hh.jsonl"
expect judge-own-parser 0 'regex:0:9:\(\[0-9\]\)' h5dump -a parser "$work/out.h5"
refuses judge-alone 2 '--principles: is an option of --judge' --principles "$work/mine.jinja" hh="$work/hh.jsonl"
refuses judge-completions 2 '--completions: says nothing of what a judge is asked' --judge score5_v1 --completions hh="$work/hh.jsonl"
refuses judge-no-orders 1 '--both-orders: the family score5_v1 shows one answer at a time' --judge score5_v1 --both-orders hh="$work/hh.jsonl"
refuses judge-no-principles 1 '--principles: the family score5_v1 has no place for them' --judge score5_v1 --principles "$work/mine.jinja" hh="$work/hh.jsonl"
refuses judge-marked 1 'hint: --turns hh' --judge score5_v1 "$work/hh.jsonl"

# --- looking ---
expect judge-stats 0 'judge: hh_score100_v2 .parser score100_first., 4 prompts of 2 pairs; better is side 0 in 2, side 1 in 0, neither in 0' "$data" stats "$work/first.h5"
expect judge-audit 0 '2 pairs of the judge hh_score100_v2' "$data" audit --strict "$work/first.h5"
expect judge-peek 0 'prompt 3 of 4, from .*first.jsonl:3, pair 1, side 1, better is side 0|prompt 3 of 4, from .*hh.jsonl:3, pair 1, side 1, better is side 0' "$data" peek --from 3 "$work/first.h5"
expect judge-inspect 0 'prompts: 4 of the judge hh_score100_v2, parser score100_first' "$inspect" show "$work/first.h5"
{ cat "$work/hh.jsonl"; sed -n '1s/"chosen"/"was"/; 1s/"rejected"/"chosen"/; 1s/"was"/"rejected"/; 1p' "$work/hh.jsonl"; } >"$work/both.jsonl"
asked judge-contradiction build --judge hh_score100_v2 hh="$work/both.jsonl"
expect judge-contradiction-found 0 'problem  pairs that another contradicts: 1 of 3 .*both.jsonl:4' "$data" audit "$work/out.h5"

# --- what warms a judge up: the completion's prompt is what the judge is asked ---
asked judge-prompt build --judge hh_score100_v2 hh="$work/hh.jsonl"
read -ra tokens <<<"$(numbers /token)"
read -ra first <<<"$(numbers /sequence/first)"
n=${first[1]}
sed -n 1p "$work/first.jsonl" | sed 's/}\],"pair_id".*/}, {"role": "assistant", "content": "<s>70<\/s> It is fine."}]}/' >"$work/sft.jsonl"
asked judge-warm-up build --completions "$work/sft.jsonl"
read -ra learned <<<"$(numbers /token)"
same judge-warm-up-prompt "${learned[*]:0:n}" "${tokens[*]:0:n}"
same judge-warm-up-learned "$(numbers /span/first)" "$n"
for how in reasons:litbench_short verdict:litbench_short_direct; do
    echo '{"story_a": "One.", "story_b": "Two.", "rationale": "Because.", "preferred": "B"}' >"$work/rationale.jsonl"
    echo '{"prompt": "p", "chosen_story": "Two.", "rejected_story": "One."}' >"$work/story.jsonl"
    asked "judge-story-${how#*:}" build --judge "${how#*:}" --both-orders "$work/story.jsonl"
    read -ra tokens <<<"$(numbers /token)"
    read -ra first <<<"$(numbers /sequence/first)"
    asked "judge-rationale-${how%:*}" build --completions --rationales "${how%:*}" "$work/rationale.jsonl"
    read -ra learned <<<"$(numbers /token)"
    at=$(numbers /span/first)
    at=${at%% *}
    same "judge-rationale-${how%:*}-prompt" "${learned[*]:0:at}" "${tokens[*]:first[1]:at}"
    same "judge-rationale-${how%:*}-whole" "$at" "$((first[2] - first[1]))"
done
finish
