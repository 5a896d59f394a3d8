#!/usr/bin/env bash
# Ensembles: trained on any ranks, cut off and gone on with, evaluated, exported, scored, started from and starting from others.
# limit: 300
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
# shellcheck source=tests/cli/counting_runs.sh
. tests/cli/counting_runs.sh
counting_pairs 60
shard pairs tests/golden/tokenizer_small
sed 's/"chosen"/"text"/' "$work/pairs.jsonl" | head -n 10 >"$work/texts.jsonl"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; eval = "$work/pairs.h5"; };
batch = { groups = 10; };
optim = { lr = 1e-3; steps = 6; };
checkpoint = { every_steps = 3; };
EOT

train four 1 model.heads=4
train other 3 model.heads=4 parallel.zero_stage=3 batch.tokens_per_microbatch=150
near "three ranks, stage 3" 6 1e-4 <(losses other) <(losses four)
cp -r "$work/four" "$work/cut"
rm -r "$work/cut/checkpoints/step_000006"
train cut 1 model.heads=4
check "goes on with the same bits" cmp <(losses cut) <(losses four)
train one 1
check "its first loss is not that of one head" test "$(losses one | head -n 1)" != "$(losses four | head -n 1)"


# Ranked lists, too.
awk 'BEGIN { for (i = 0; i < 30; i++) printf "{\"prompt\": \"count to %d\", \"responses\": [\"yes, %d\", \"no\", \"%d no\"], \"scores\": [3, 2, 1]}\n", i, i, i }' \
    >"$work/ranked.jsonl"
"$data" build --format ranked --answers only --tokenizer tests/golden/tokenizer_small --template text --max-length 96 \
    --out "$work/ranked.h5" "$work/ranked.jsonl" >"$work/out" 2>&1 || not_ok ranked "$(cat "$work/out")"
lists=(loss.type=plackett_luce data.train="$work/ranked.h5" data.eval="$work/ranked.h5" model.heads=3 batch.groups=6)
train lists 1 "${lists[@]}"
train lists_other 3 "${lists[@]}" parallel.zero_stage=3 batch.tokens_per_microbatch=150
near "ranked lists: three ranks, stage 3" 6 1e-4 <(losses lists_other) <(losses lists)
check "ranked lists: are an ensemble" grep -q '"sd"' <(score "$work/lists")

expect "eval tells how sure it is" 0 'deviation.right *0[.]0' "$rankwise" eval "$work/four" --data "$work/pairs.h5" run.threads=1
expect "inspect names it" 0 'an ensemble of 4' "$inspect" show "$work/four"
expect export 0 'exported from' "$rankwise" export "$work/four" "$work/four_exported" run.threads=1
check "four labels" grep -q '"num_labels": 4' "$work/four_exported/config.json"
check "the card says ensemble" grep -q '4 labels, an ensemble' "$work/four_exported/README.md"
check "the run scores as its export" cmp <(score "$work/four") <(score "$work/four_exported")
same "a line" "$(score "$work/four" | head -n 1 | sed -E 's/-?[0-9][0-9.e+-]*/N/g')" '{"score": N, "sd": N, "scores": [N, N, N, N]}'
check "no two heads are equal" test "$(score "$work/four" | head -n 1 | sed -E 's/.*\[|\].*//g; s/, /\n/g' | sort -u | wc -l)" = 4

# --- mean and standard deviation of the reward: all 60 pairs were learned from ---
sed -E 's/"chosen": (.*), "rejected": (.*)\}/"text": \1}\n{"text": \2}/' "$work/pairs.jsonl" >"$work/answers.jsonl"
moments() { # options of score: mean and standard deviation of the scores of all answers
    "$rankwise" score "$@" run.threads=1 <"$work/answers.jsonl" 2>"$work/err" | sed -E 's/.*"score": ([^,}]*).*/\1/' |
        awk '{ n++; s += $1; q += $1 * $1 } END { if (n == 120) print s / n "\n" sqrt(q / n - s * s / n / n) }'
}
reward() { grep -o '"reward":{[^}]*}' "$1/score_contract.json" | grep -oE '[-0-9.e]+[,}]' | tr -d ',}'; }
near "an ensemble's is that of its mean" 2 1e-4 <(reward "$work/four_exported" | head -n 2) <(moments "$work/four_exported")
near "normalised it is 0 and 1" 2 1e-4 <(moments "$work/four" --normalize | awk '{ print $1 + 1 }') <(printf '1\n2\n')
check "of 120 answers" grep -q '"answers":120' "$work/four_exported/score_contract.json"
told() { sed -nE 's/.*training data: mean ([^,]*), standard deviation (.*)/\1\n\2/p' "$work/$1/log.txt"; }
near "on other ranks alike" 2 1e-3 <(told other) <(told four)
check "a run that ended tells" grep -q 'reward over 120 answers of the training data: mean' "$work/four/log.txt"
check "config.json has it" grep -q '"reward_mean": ' "$work/four_exported/config.json"
expect "no end, no reward" 1 'normalize: expected mean and standard deviation' \
    "$rankwise" score "$work/four/checkpoints/step_000003" --normalize run.threads=1

# --- where an ensemble begins ---
expect export 0 'exported from' "$rankwise" export "$work/one" "$work/one_exported" run.threads=1
from=(model.init=pretrained optim.steps=1)
train again 1 "${from[@]}" model.path="$work/one_exported"
check "one head is kept" grep -q 'the score head is that of .*one_exported' "$work/said"
train wider 1 "${from[@]}" model.path="$work/one_exported" model.heads=3
check "an ensemble begins anew, and says so" grep -q 'the score heads, 3 of them, are new: that of .*, of 1 score, is not kept' "$work/said"
train kept 2 "${from[@]}" model.path="$work/four_exported" parallel.zero_stage=2
check "all heads are kept, and it says so" grep -q 'the score heads, 4 of them, are that of .*four_exported' "$work/said"
check "and written down" grep -q 'heads = 4;' "$work/kept/config.cfg"
expect "another number" 1 'expected a score head of 2 scores, found one of 4; hint: model.heads=4, or model.head_init=random' \
    "$rankwise" train "$work/run.cfg" run.dir="$work/refused" "${from[@]}" model.path="$work/four_exported" model.heads=2
train fresh 1 "${from[@]}" model.path="$work/four_exported" model.heads=2 model.head_init=random
check "unless new ones are asked for" grep -q '2 of them, are new: that of .*, of 4 scores, is not kept' "$work/said"
finish
