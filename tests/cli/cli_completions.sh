#!/usr/bin/env bash
# rankwise-data build of completions, ties, soft labels, ranks and ratings: which tokens are learned, read back with h5dump
# and decoded, and which rows are refused or counted.
. tests/cli/harness.sh
tokenizer=tests/golden/tokenizer_small
build() { "$data" build --tokenizer "$tokenizer" --max-length 512 --threads 2 --out "$work/out.h5" "$@"; }
numbers() { # dataset
    h5dump -y -d "$1" "$work/out.h5" | sed -n '/DATA {/,/}/p' | grep -oE '^ *-?[0-9na][0-9nae., -]*$' | tr -d ' \n' | tr ',' ' '
}
# What is learned, a line for each sequence: "[...]" around a span, "{...}" around a verdict; line ends as \n.
learned() {
    local -a tokens first sequence start end verdict
    local i at was=
    read -ra tokens <<<"$(numbers /token)"
    read -ra first <<<"$(numbers /sequence/first)"
    read -ra sequence <<<"$(numbers /span/sequence)"
    read -ra start <<<"$(numbers /span/first)"
    read -ra end <<<"$(numbers /span/last)"
    read -ra verdict <<<"$(numbers /span/verdict)"
    for ((i = 0; i < ${#sequence[@]}; i++)); do
        at=$((first[sequence[i]] + start[i]))
        local span=("${tokens[@]:at:end[i]-start[i]}") text
        text=$( (IFS=,; echo "{\"ids\": [${span[*]}]}") | "$data" decode --tokenizer "$tokenizer" | sed 's/^{"text":"\(.*\)"}$/\1/')
        if [[ -n $was && $was != "${sequence[i]}" ]]; then echo; fi
        was=${sequence[i]}
        if ((verdict[i])); then printf '{%s}' "$text"; else printf '[%s]' "$text"; fi
    done
    echo
}
rows() { printf '%s\n' "$@" >"$work/rows.jsonl"; }
# name, expected, then arguments of build.
learns() {
    local name=$1 expected=$2
    shift 2
    rm -f "$work/out.h5"
    if build --completions "$@" "$work/rows.jsonl" >"$work/said" 2>&1; then
        same "$name" "$(learned)" "$expected"
    else
        not_ok "$name" "$(tail -n 2 "$work/said" | tr '\n' ' ')"
    fi
}
refuses() { # name, pattern of the message, arguments
    local name=$1 pattern=$2
    shift 2
    rm -f "$work/out.h5"
    expect "$name" 1 "$pattern" build "$@" "$work/rows.jsonl"
    [[ ! -e $work/out.h5 ]] || not_ok "$name-leaves-nothing" "a shard"
}
# name, dataset, expected numbers.
has() { same "$1" "$(numbers "$2")" "$3"; }

# --- which tokens are learned ---
u() { printf '{"role": "user", "content": "%s"}' "$1"; }
a() { printf '{"role": "assistant", "content": "%s"}' "$1"; }
rows "{\"messages\": [$(u 'Who are you?'), $(a 'The first.'), $(u 'And now?'), $(a 'The second.')]}"
learns completions-last '[The second.<|im_end|>\n]' --template chatml
learns completions-all '[The first.<|im_end|>\n][The second.<|im_end|>\n]' --template chatml --loss all-assistant
has completions-no-comparison /comparison/chosen ''
has completions-one-answer /answer/sequence 0
learns completions-eos '[\n\nAssistant: The first.][\n\nAssistant: The second.<|endoftext|>]' --template simple_chat --loss all-assistant

# A prompt of its own; several completions are one group, an empty one is counted; the same under the template text.
rows '{"prompt": "Say it: ", "completion": "the first"}' '{"prompt": "Say it: ", "completion": "the other one"}' \
    '{"prompt": "Say it: ", "completion": " "}'
learns completions-prompt $'[the first<|im_end|>\\n]\n[the other one<|im_end|>\\n]' --template chatml
has completions-one-group /answer/group '0 0'
expect completions-empty 0 'dropped, empty_completion: 1' cat "$work/said"
# An id on the border of prompt and completion is learned, which the blank is a part of.
learns completions-text $'[ the first<|endoftext|>]\n[ the other one<|endoftext|>]'
rows '{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "r"}]}'
learns completions-message-lists '[r<|im_end|>\n]' --template chatml

# A template that drops an earlier turn's reasoning, one that invites otherwise than it writes, one that writes it twice.
cat >"$work/think.jinja" <<'EOF'
{%- for m in messages %}{{ '<' + m.role + '>' }}{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}{{ '<end>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}
EOF
rows "{\"messages\": [$(u 'One?'), $(a '<think>so</think>First.'), $(u 'Two?'), $(a '<think>no</think>Last.')]}"
learns completions-other-history '[First.<end>][<think>no</think>Last.<end>]' --template "$work/think.jinja" --loss all-assistant
cat >"$work/invites.jinja" <<'EOF'
{%- for m in messages %}{{ '<' + m.role + '>' + m.content + '<end>' }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>?' }}{% endif %}
EOF
rows "{\"messages\": [$(u 'One?'), $(a 'First.')]}"
learns completions-other-invitation '[First.<end>]' --template "$work/invites.jinja"
cat >"$work/twice.jinja" <<'EOF'
{%- for m in messages %}{{ m.content + m.content }}{% endfor %}{% if add_generation_prompt %}{{ '?' }}{% endif %}
EOF
cat >"$work/marked.jinja" <<'EOF'
{%- for m in messages %}{{ '<' + m.role + '>' }}{% if m.role == 'assistant' %}{% generation %}{{ '[' + m.content + ']' }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '<end>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}
EOF
cp "$work/rows.jsonl" "$work/kept.jsonl"
rows "{\"messages\": [$(u 'One?'), $(a 'First.'), $(u 'Two?'), $(a 'Last.')]}"
learns completions-marked '[[First.]][[Last.]]' --template "$work/marked.jinja" --loss all-assistant
learns completions-marked-last '[[Last.]<end>]' --template "$work/marked.jinja"
cp "$work/kept.jsonl" "$work/rows.jsonl"
refuses completions-untold 'rows.jsonl:1: message 2: the template .* does not let the assistant.s turn be told: the whole does not begin' \
    --completions --template "$work/twice.jinja"

# Truncation: on the right the end is lost, and EOS that is put back is not learned; left keeps the completion.
rows '{"prompt": "one two three four five six", "completion": "seven eight nine ten"}'
learns completions-uncut '[seven eight nine ten<|endoftext|>]'
n=$(numbers /sequence/first | cut -d' ' -f2) begin=$(numbers /span/first)
check completions-cuts build --completions --max-length "$((n - 1))" "$work/rows.jsonl"
has completions-cut-right /span/last "$((n - 2))"
has completions-cut-right-eos /sequence/first "0 $((n - 1))"
learns completions-cut-left '[seven eight nine ten<|endoftext|>]' --max-length "$((n - 1))" --truncate left
refuses completions-all-cut-away 'dropped, completion_cut_away: 1' --completions --max-length "$((begin + 1))"

# --- sources ---
rows '{"story_a": "Aa.", "story_b": "Bb.", "rationale": "Story A is short; so is story B.", "preferred": "A"}'
learns rationales-reasons '[Reasoning: Story A is short; so is story B.\nPreferred:]{ A}[<|im_end|>\n]' --template chatml
learns rationales-verdict $'[Preferred:]{ A}[<|im_end|>\\n]\n[Preferred: ]{B}[<|im_end|>\\n]' --template chatml --rationales verdict --both-orders
learns rationales-both $'[Reasoning: Story A is short; so is story B.\\nPreferred:]{ A}[<|im_end|>\\n]\n[Reasoning: Story B is short; so is story A.\\nPreferred: ]{B}[<|im_end|>\\n]' \
    --template chatml --both-orders
rows '{"story_a": "Aa.", "story_b": "Bb.", "rationale": "", "preferred": "C"}'
refuses rationales-label 'rows.jsonl:1: .*expected A or B, found C' --completions --template chatml
rated() { printf '{"prompt": "%s", "response": "%s", "helpfulness": %s, "correctness": %s, "coherence": 4, "complexity": 2, "verbosity": 1}' "$@"; }
rows "$(rated q good 4 4)" "$(rated q bad 1 3)" "$(rated p fine null 5)"
learns rated-filter $'[good<|endoftext|>]\n[fine<|endoftext|>]' --min-score correctness=4
rows '{"q": "x", "best": "y", "n": 2}'
learns completions-mapping '[y<|endoftext|>]' --jq '{prompt: .q, completion: .best, weight: .n}'
has completions-weight /span/weight 2
rows '{"messages": [{"role": "user", "content": "q"}]}'
refuses completions-user-last 'rows.jsonl:1: "messages": expected the last message to be the assistant.s, found the user.s' --completions --template chatml
refuses completions-not-asked 'hint: --completions builds' --template chatml
rows '{"prompt": "q", "chosen": "a", "rejected": "b"}'
refuses completions-pairs 'no format is known' --completions
refuses completions-pairs-named 'found the format pairs; hint: a mapping makes them' --completions --format pairs
rows '{"prompt": "q", "completion": "a", "label": false}'
refuses completions-labelled 'rows.jsonl:1: .*--min-score label=1' --completions

# --- ratings and labels ---
rows "$(rated q good 4 4)" "$(rated q bad 1 3)" "$(rated p fine null 5)"
check rated build "$work/rows.jsonl"
has rated-scores /answer/score '4 4 4 2 1 1 3 4 2 1 nan 5 4 2 1'
has rated-groups /answer/group '0 0 1'
expect rated-names 0 'helpfulness.*correctness.*coherence.*complexity.*verbosity' h5dump -a /scores "$work/out.h5"
rows "$(rated q good '"x"' 4)"
refuses rated-no-number 'rows.jsonl:1: "helpfulness": expected a number, found "x"'
rows '{"prompt": "q", "response": "a", "taste": 3, "size": true}'
check rated-attributes build --attributes taste,size "$work/rows.jsonl"
has rated-attributes-scores /answer/score '3 1'
rows '{"prompt": "q", "completion": "a", "label": true}' '{"prompt": "q", "completion": "b", "label": 0.25}'
check labelled build "$work/rows.jsonl"
has labelled-scores /answer/score '1 0.25'
rows '{"prompt": "q", "completion": "a", "label": 1, "w": 2}'
refuses labelled-weight 'rows.jsonl:1: --weight-key: comparisons and completions have weights' --weight-key w
rows '{"prompt": "q", "completion": "a", "label": 2}'
refuses labelled-range 'rows.jsonl:1: "label": expected true, false, or a probability from 0 to 1, found 2'

# --- ties, soft labels, ranks ---
rows '{"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 3, 3]}'
check ties-dropped build "$work/rows.jsonl"
same ties-no-table "$(h5dump -n "$work/out.h5" | grep -cE '/label|/answer')" 0
check ties-kept build --ties keep "$work/rows.jsonl"
has ties-label /comparison/label '1 1 0.5'
check answers-kept build --answers keep "$work/rows.jsonl"
has answers-ranks /answer/rank '1 0 0'
has answers-scores /answer/score '1 3 3'
has answers-comparisons /comparison/row '1 1'
check answers-only build --answers only "$work/rows.jsonl"
has answers-only-ranks /answer/rank '1 0 0'
has answers-only-comparisons /comparison/row ''
rows '{"prompt": "q", "responses": ["a", "b", "c"], "ranks": [1, 2, 4]}'
refuses ranks-gap 'rows.jsonl:1: "ranks": expected ranks without gaps, found 4 after 2' --answers keep
rows '{"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, "high", 2]}'
refuses scores-no-number 'rows.jsonl:1: "scores"\[1\]: expected a number, found "high"' --answers keep
rows '{"prompt": "q", "answers": ["a", "b", "c"], "better": [[0, 1], [1, 2], [2, 0]]}'
check answers-no-order build --answers keep "$work/rows.jsonl"
has answers-no-order-ranks /answer/rank '-1 -1 -1'
refuses answers-two-orders 'record 2: two records of the row rank answers to one prompt; hint: one record' --answers keep \
    --jq '{prompt, answers: .answers[:2], better: [[0, 1]]}, {prompt, answers: .answers[1:], better: [[0, 1]]}'
check answers-no-order-again build --answers keep "$work/rows.jsonl"
expect answers-no-order-noted 0 'no_order.*: *1' h5dump -a /rows "$work/out.h5"
rows '{"prompt": "q", "chosen": "a", "rejected": "b", "p": 0.75}'
check soft-label build --label-key p "$work/rows.jsonl"
has soft-label-there /comparison/label 0.75
rows '{"prompt": "q", "chosen": "a", "rejected": "b", "p": 1.25}'
refuses soft-label-range 'rows.jsonl:1: "p": expected a probability from 0 to 1, found 1.25' --label-key p
rows '{"prompt": "q", "answers": ["a", "b"], "better": [{"winner": 1, "loser": 0, "label": -0.5}]}'
refuses canonical-label-range 'rows.jsonl:1: .*"label": expected a probability from 0 to 1, found -0.5' --format canonical
rows '{"prompt": "q", "answers": ["a", "b", "c"], "better": [[0, 1], {"tie": [1, 2]}], "attributes": {"x": [1, null, true]}}'
check canonical-all build --ties keep --format canonical "$work/rows.jsonl"
has canonical-labels /comparison/label '1 0.5'
has canonical-scores /answer/score '1 nan 1'

# --- what is shown of them ---
says() { # name pattern: of $work/out
    if grep -qE -e "$2" "$work/out"; then ok "$1"; else not_ok "$1" "expected /$2/, found: $(head -c 900 "$work/out")"; fi
}
rows "$(rated q good 4 4)" "$(rated q bad 1 3)" "$(rated p fine null 5)"
check shown-rated build "$work/rows.jsonl"
expect stats-rated 0 '^  answers: 3$' "$data" stats "$work/out.h5"
says stats-rated-scores '^  helpfulness +1 +1 +2\.5 +4 +4 +4  missing in 1$'
expect stats-rated-json 0 '"correctness":\{"n":3,"missing":0,"least":3.0,"median":4.0,"mean":4.0,' "$data" stats --json "$work/out.h5"
expect audit-rated 1 'problem +answers that all have the same score verbosity: 3 of 3' "$data" audit --strict "$work/out.h5"
says audit-rated-missing 'note +answers without the score helpfulness: 1 of 3 \(.*rows.jsonl:3\)'
expect peek-rated 0 'answer 1 of 3, from .*rows.jsonl:2, helpfulness 1, correctness 3' "$data" peek "$work/out.h5" --from 1 --count 1
expect peek-rated-beyond 1 'expected an answer below 3, found 3' "$data" peek "$work/out.h5" --from 3
expect inspect-rated 0 'answers: 3, 0 of them ranked, scores helpfulness, correctness' "$inspect" show "$work/out.h5"
expect inspect-verify 0 '^ok ' "$inspect" verify "$work/out.h5"
rows '{"prompt": "q", "completion": "the end", "n": 2}'
check shown-completions build --completions --weight-key n "$work/rows.jsonl"
expect stats-learned 0 'learned: [0-9]+ tokens in 1 spans, 0 of them verdicts' "$data" stats "$work/out.h5"
expect peek-learned 0 '^learned: [0-9]+ tokens of weight 2$' "$data" peek "$work/out.h5"
expect inspect-learned 0 '"spans":1,"learned_tokens":[0-9]+' "$inspect" show --json "$work/out.h5"
expect plot-no-comparisons 1 'has no comparisons, whose lengths it draws' "$data" stats "$work/out.h5" --plot "$work/x.png"
cp "$work/out.h5" "$work/one.h5"
rows '{"prompt": "q", "responses": ["the end", "b", "c"], "scores": [1, 3, 3]}'
check shown-ranked build --ties keep --answers keep "$work/rows.jsonl"
expect stats-ranked 0 'labels: 2 of 1, 1 of 0.5 \(ties\), 0 others' "$data" stats "$work/out.h5"
says stats-ranked-answers 'answers: 3, 3 of them ranked in 1 rows of up to 3'
expect peek-tie 0 'label 0.5' "$data" peek "$work/out.h5" --count 3
expect peek-ranked 0 'answer 1 of 3, from .*, rank 0, score 3' "$data" peek --answers "$work/out.h5" --count 3
expect audit-ties 0 'note +comparisons that are ties: 1 of 3' "$data" audit "$work/out.h5" "$work/one.h5"
says audit-shared-prompt 'problem +prompts of the first that the second has too \(leakage\): 1 of 1'
expect options-completions 2 '--ties: completions are not compared' build --completions --ties keep "$work/rows.jsonl"
expect options-weight 2 '--weight-key: answers have none' build --answers only --weight-key n "$work/rows.jsonl"
expect options-loss 2 '--loss: is an option of --completions' build --loss last "$work/rows.jsonl"
expect options-word 2 '--answers: expected drop, keep or only, found "all"' build --answers all "$work/rows.jsonl"
finish
