#!/usr/bin/env bash
# A run that begins with another run's weights: its directory, one of its checkpoints, its export; what is kept of the head,
# and what is refused.
# limit: 300
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
# shellcheck source=tests/cli/counting_runs.sh
. tests/cli/counting_runs.sh
counting_pairs 40
shard pairs tests/golden/tokenizer_small
sed 's/"chosen"/"text"/' "$work/pairs.jsonl" | head -n 10 >"$work/texts.jsonl"
mkdir "$work/model"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/model/config.json"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 10; };
optim = { lr = 1e-3; steps = 4; };
checkpoint = { every_steps = 2; };
EOT
says() { # name, what the last training said
    if grep -qE "$2" "$work/said"; then ok "$1"; else not_ok "$1" "$(grep -E 'head|weights' "$work/said" | tr '\n' ' ')"; fi
}
refuse() { # name, pattern, option ...
    local name=$1 pattern=$2
    shift 2
    expect "$name" 1 "$pattern" "$rankwise" train "$work/run.cfg" run.dir="$work/refused" "$@"
}
still=(optim.lr=1e-30 optim.weight_decay=0 optim.steps=1) # changes no weight

train first 1 model.path="$work/model" model.init=random
train from_run 2 model.path="$work/first" "${still[@]}" parallel.zero_stage=3
says "a run: its newest checkpoint" 'the weights are those of .*first/checkpoints/step_000004'
says "a run: its head is kept" 'the score head is that of .*first'
check "a run: the same scores" cmp <(score "$work/from_run") <(score "$work/first")
train from_step 1 model.path="$work/first/checkpoints/step_000002" "${still[@]}"
says "a checkpoint" 'the weights are those of .*step_000002'
check "a checkpoint: the same scores" cmp <(score "$work/from_step") <(score "$work/first/checkpoints/step_000002")
expect export 0 'exported from' "$rankwise" export "$work/from_step" "$work/exported" run.threads=1
train from_export 1 model.path="$work/exported" "${still[@]}"
check "an export: the same scores" cmp <(score "$work/from_export") <(score "$work/from_step")
train wider 1 model.path="$work/first" model.heads=3
says "an ensemble from one score" 'the score heads, 3 of them, are new: that of .*first, of 1 score, is not kept'
train kept 1 model.path="$work/wider" "${still[@]}"
says "an ensemble from an ensemble" 'the score heads, 3 of them, are that of .*wider'
check "an ensemble: the same scores" cmp <(score "$work/kept") <(score "$work/wider")
refuse "another number of heads" 'expected a score head of 2 scores, found one of 3; hint: model.heads=3' \
    model.path="$work/wider" model.heads=2

# --- from comparisons to completions and back; llama's head is a tensor of its own, qwen3's the embedding ---
awk 'BEGIN { for (i = 0; i < 40; i++) printf "{\"prompt\": \"count to %d\", \"completion\": \" gladly, %d\"}\n", i, i }' \
    >"$work/answers.jsonl"
"$data" build --completions --tokenizer tests/golden/tokenizer_small --template text --max-length 96 --out "$work/answers.h5" \
    "$work/answers.jsonl" >"$work/out" 2>&1 || not_ok completions "$(tail -n 2 "$work/out")"
sft=(loss.type=completion data.train="$work/answers.h5")
mkdir "$work/llama"
sed 's/50304/600/' tests/models/llama/config.json >"$work/llama/config.json"
train words 1 model.path="$work/first" "${sft[@]}"
says "completions: a tied head is the embedding" "the language model's head is the embedding of .*first"
train back 1 model.path="$work/words"
says "comparisons after completions: a new score head" 'the score head is new: .*words has none'
train pairs 1 model.path="$work/llama" model.init=random
train llama_words 2 model.path="$work/pairs" "${sft[@]}" parallel.zero_stage=3
says "completions: a head of its own is new" "the language model's head is new: .*pairs has none"
expect export 0 'exported from' "$rankwise" export "$work/pairs" "$work/pairs_exported" run.threads=1
train exported_words 1 model.path="$work/pairs_exported" "${sft[@]}"
says "completions after an export" "the language model's head is new: .*pairs_exported has none"
check "the export is the run" test "$(losses llama_words | head -n 1 | cut -c 1-6)" = "$(losses exported_words | head -n 1 | cut -c 1-6)"
train more_words 1 model.path="$work/llama_words" "${sft[@]}" optim.steps=1
says "completions after completions" "the language model's head is that of .*llama_words"
check "which are learned" awk -v "a=$(losses llama_words | head -n 1)" -v "b=$(losses more_words | head -n 1)" 'BEGIN { exit !(b < a - 0.1) }'
train llama_back 1 model.path="$work/llama_words"
says "and back" 'the score head is new: .*llama_words has none'

expect "export of a language model" 0 'exported from' "$rankwise" export "$work/llama_words" "$work/words_exported" run.threads=1
check "is a causal one" grep -q LlamaForCausalLM "$work/words_exported/config.json"
train words_again 1 model.path="$work/words_exported" "${sft[@]}" optim.steps=1
says "completions after its export" "the language model's head is that of .*words_exported"
check "with what it learned" test "$(losses words_again | cut -c 1-6)" = "$(losses more_words | cut -c 1-6)"
train export_back 1 model.path="$work/words_exported"
says "comparisons after its export" 'the score head is new: .*words_exported has none'
check "as after its run" test "$(losses export_back | head -n 1 | cut -c 1-6)" = "$(losses llama_back | head -n 1 | cut -c 1-6)"

# --- adapters ---
train lora 1 model.path="$work/exported" lora.rank=2
train lora_more 2 model.path="$work/lora" lora.rank=2 "${still[@]}" parallel.zero_stage=3
check "adapters go on" cmp <(score "$work/lora_more") <(score "$work/lora")
refuse "adapters that the new model has not" 'has the tensor .*lora_.*hint: what .rankwise export. makes of it' model.path="$work/lora"
expect "export of adapters" 0 'exported from' "$rankwise" export "$work/lora" "$work/merged" --merge run.threads=1
train from_merged 1 model.path="$work/merged" "${still[@]}"
says "merged they are a model" 'the score head is that of .*merged'
expect "export of adapters alone" 0 'exported from' "$rankwise" export "$work/lora" "$work/adapter" run.threads=1
refuse "an adapter on a checkpoint" 'adapter: expected the base that it names.*as model.path, found the checkpoint' \
    model.path="$work/first" model.adapter="$work/adapter"

# --- attributes: by name ---
awk 'BEGIN { for (i = 0; i < 30; i++) printf "{\"prompt\": \"say %d\", \"response\": \"it is %d\", \"help\": %d, \"tone\": %d}\n", i, i, i % 5, i % 3 }' \
    >"$work/rated.jsonl"
"$data" build --format rated --attributes help,tone --tokenizer tests/golden/tokenizer_small --template text --max-length 96 \
    --out "$work/rated.h5" "$work/rated.jsonl" >"$work/out" 2>&1 || not_ok rated "$(tail -n 2 "$work/out")"
rated=(loss.type=regression data.train="$work/rated.h5")
train rated 1 model.path="$work/first" "${rated[@]}"
says "attributes from one score" 'the score heads, 2 of them, are new: that of .*first, of 1 score, is not kept'
same "are scored by name" "$(score "$work/rated" | head -n 1 | sed -E 's/: -?[0-9.e+-]+/: N/g')" '{"scores": {"help": N, "tone": N}}'
score "$work/rated" --normalize >"$work/normal"
check "each with its mean and deviation" grep -q '{"scores": {"help": ' "$work/normal"
says "which the run tells" 'reward tone over 30 answers of the training data'
expect export 0 'exported from' "$rankwise" export "$work/rated" "$work/rated_exported" run.threads=1
check "are labels of the export" grep -q '"1": "tone"' "$work/rated_exported/config.json"
train rated_again 1 model.path="$work/rated_exported" "${rated[@]}"
says "attributes from the same" 'the score heads, 2 of them, are that of .*rated_exported'
for from in rated rated_exported; do
    refuse "attributes in another order: $from" 'expected "tone" as score 0, as the data have it, found "help"; hint: loss.attributes' \
        model.path="$work/$from" "${rated[@]}" 'loss.attributes=("tone", "help")'
done
refuse "another number of heads than attributes" 'model.heads: expected 2, a score for each attribute' \
    model.path="$work/first" "${rated[@]}" model.heads=3
sed -E 's/"help": ([0-9]), "tone": ([0-9])/"tone": \2, "help": \1/' "$work/rated.jsonl" >"$work/turned.jsonl"
"$data" build --format rated --attributes tone,help --tokenizer tests/golden/tokenizer_small --template text --max-length 96 \
    --out "$work/turned.h5" "$work/turned.jsonl" >"$work/out" 2>&1 || not_ok turned "$(tail -n 2 "$work/out")"
figures() { "$rankwise" eval "$work/rated" --data "$work/$1.h5" --json run.threads=1 2>"$work/err"; }
check "eval finds attributes by name" cmp <(figures turned) <(figures rated)
check "and has figures" grep -q loss <(figures turned)
expect "attributes do not compare" 1 'expected one score or an ensemble.*found attributes' \
    "$rankwise" eval "$work/rated" --data "$work/pairs.h5" loss.type=bradley_terry run.threads=1

# --- goes on, also where the run that it began with has gone on ---
cp -r "$work/wider" "$work/cut"
rm -r "$work/cut/checkpoints/step_000004"
"$rankwise" train "$work/run.cfg" run.dir="$work/first" optim.steps=6 model.path="$work/model" model.init=random \
    >"$work/said" 2>&1 || not_ok longer "$(tail -n 2 "$work/said")"
train cut 1 model.path="$work/first" model.heads=3
check "goes on with the same bits" cmp <(losses cut) <(losses wider)

# --- what is refused ---
cp -r tests/golden/tokenizer_small "$work/other_tokenizer"
sed -i 's/"eos_token": *"[^"]*"/"eos_token": "!"/' "$work"/other_tokenizer/*.json
shard other "$work/other_tokenizer"
refuse "another tokenizer" 'eos="!" was asked for, but tokenizer_config.json says' model.path="$work/first" data.train="$work/other.h5"
mkdir -p "$work/empty/checkpoints"
refuse "a run without a checkpoint" 'a run directory without a whole checkpoint; hint: train it first' model.path="$work/empty"
refuse "nothing there" 'nowhere/config.json' model.path="$work/nowhere"
check "plan reads it too" "$rankwise" plan "$work/run.cfg" model.path="$work/first"
finish
