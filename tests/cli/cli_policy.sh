#!/usr/bin/env bash
# rankwise train with task = "policy": rollouts and their updates, whatever the ranks, killed in the middle, and what is refused.
. tests/cli/harness.sh
. tests/cli/policy_runs.sh
family never 'regex:0:9:no number at all([0-9])' pointwise '{{ response }}'
family choice preferred pairwise '{{ response_a }} or {{ response_b }}'
"$data" build --tokenizer "$tokenizer" --template simple_chat --max-length 96 --out "$work/pairs.h5" hh="$work/pairs.jsonl" >"$work/out" 2>&1 ||
    not_ok "shard of pairs" "$(cat "$work/out")"

# --- a run: its figures and its texts ---
run 1 whole
expect figures 0 '"rollout/reward": .*"rollout/parse_rate": .*"rollout/pair_accuracy": .*"train/logp_gap": [0-9.]+e-0[78].*"train/entropy": ' \
    head -n 1 "$work/whole/metrics.jsonl"
same texts 24 "$(wc -l <"$work/whole/samples.jsonl")"
expect text 0 '"side":0,.*"completion":"' head -n 1 "$work/whole/samples.jsonl"
expect parse-rate 0 'finds a score in [1-9][0-9]* of the first 32 completions' cat "$work/whole.log"
same steps-an-epoch '6 12' "$("$rankwise" plan "$work/run.cfg" optim.steps=0 optim.epochs=2 2>/dev/null | sed -n 's/.* \([0-9]*\) steps in all/\1/p') \
$("$rankwise" plan "$work/run.cfg" optim.steps=0 policy.minibatches=2 policy.updates=2 2>/dev/null | sed -n 's/.* \([0-9]*\) steps in all/\1/p')"
# A model that has no room at stage 1, and has some at stage 2: 16.8 million parameters a layer, as many as take 8 bytes of it.
mkdir "$work/large"
room=$("$rankwise" plan "$work/run.cfg" 2>/dev/null | sed -n 's/.* of \([0-9]*\) MiB$/\1/p')
sed -E "s/(\"hidden_size\": )48/\11024/; s/(\"intermediate_size\": )96/\14096/; s/(\"num_hidden_layers\": )2/\1$((room / 8 / 14))/" \
    "$work/model/config.json" >"$work/large/config.json"
expect the-setting-that-fits 1 'of which [0-9.]+ are for rollouts, .* MiB are there; hint: parallel.zero_stage=[23] fits' \
    "$rankwise" plan --ranks 8 "$work/run.cfg" model.path="$work/large" parallel.zero_stage=0
expect plan-tells-rollouts 0 'rollouts [0-9.]+;' "$rankwise" plan "$work/run.cfg"

# --- ranks and stages: the same texts and the same update ---
options=(policy.kl=k3 policy.filter_std=0 optim.steps=2)
run 1 alone "${options[@]}"
for ranks in 2 3; do
    for stage in 0 1 2 3; do
        name=r$ranks$stage
        run "$ranks" "$name" "${options[@]}" parallel.zero_stage="$stage"
        same "texts of $ranks ranks at stage $stage" "$(head -n 4 "$work/alone/samples.jsonl")" "$(head -n 4 "$work/$name/samples.jsonl")"
        near "update of $ranks ranks at stage $stage" train/grad_norm alone "$name"
        near "divergence of $ranks ranks at stage $stage" train/entropy alone "$name"
    done
done

# --- going on between two updates of a rollout, and before one ---
options=(policy.updates=2 policy.minibatches=2 policy.kl=k3 policy.reference=copy policy.filter_std=0.1 policy.resample=2 optim.steps=8)
run 1 long "${options[@]}"
expect replaced 0 '"rollout/replaced_pairs": [1-9]' cat "$work/long/metrics.jsonl"
for step in 1 3 4 6; do
    cp -r "$work/long" "$work/again"
    for later in $(seq $((step + 1)) 8); do rm -r "$work/again/checkpoints/step_00000$later"; done
    run 1 again "${options[@]}"
    same "the same from step $step on" "$(figures long)" "$(figures again)"
    same "the same texts from step $step on" "$(cat "$work/long/samples.jsonl")" "$(cat "$work/again/samples.jsonl")"
    rm -r "$work/again"
done
cp -r "$work/long" "$work/wider"
rm -r "$work/wider/checkpoints/step_00000"[4-8]
run 2 wider "${options[@]}" parallel.zero_stage=3
near "more ranks go on within a rollout" train/grad_norm long wider

# --- references: new adapters begin as their base does ---
run 1 base lora.rank=4 policy.kl=k3 policy.reference=base optim.steps=3
run 1 copy lora.rank=4 policy.kl=k3 policy.reference=copy optim.steps=3
same "a copy of new adapters is the base" "$(column base train/kl)" "$(column copy train/kl)"
same "the reference is left behind" 1 "$(column base train/kl | awk '{ x = $1 } END { print (x > 1e-7) }')"

# --- evaluation: greedy ---
run 1 evaluated data.eval="$work/digit.h5" optim.steps=1
expect evaluation 0 '"eval/digit/accuracy": .*"eval/digit/parse_rate": ' cat "$work/evaluated/metrics.jsonl"
run 2 evaluated2 data.eval="$work/digit.h5" optim.steps=1
same "evaluation of two ranks" "$(column evaluated eval/digit/parse_rate)" "$(column evaluated2 eval/digit/parse_rate)"

# --- judges that compare ---
run 1 compares data.train="$work/choice.h5" policy.reward=openjudge_pairwise policy.min_parse_rate=0 optim.steps=1

# --- rewards by a command ---
run 2 told policy.reward=command 'reward.command=while read -r line; do echo "{\"reward\": ${#line}}"; done' optim.steps=2
expect "a command rewards" 0 '"rollout/reward": 1[0-9][0-9]\.' head -n 1 "$work/told/metrics.jsonl"

# --- rewards by a model ---
run 1 scorer task=reward data.train="$work/pairs.h5" optim.steps=1
run 1 scored policy.reward=model reward.model="$work/scorer" optim.steps=2
run 2 scored2 policy.reward=model reward.model="$work/scorer" optim.steps=2 parallel.zero_stage=3
near "a model rewards on two ranks as on one" rollout/reward scored scored2
same "a model tells completions apart" 1 "$(column scored rollout/reward_std | awk '{ x = $1 } END { print (x > 1e-4) }')"

# --- what is refused, and what is told ---
refuses() { # name, pattern, options
    local name=$1 pattern=$2
    shift 2
    rm -rf "$work/refused"
    if train 1 refused "$@"; then not_ok "$name" "exit code 0"
    elif grep -qE -e "$pattern" "$work/refused.log"; then ok "$name"
    else not_ok "$name" "$(tail -n 2 "$work/refused.log" | tr '\n' ' ')"; fi
}
refuses one-sample 'policy.samples' policy.samples=1
refuses one-sample-filtered 'policy.filter_std: expected policy.samples of at least 2' policy.samples=1 policy.advantages=none policy.filter_std=0
refuses base-without-adapters 'policy.reference = "base": expected adapters, .*found lora.rank = 0; hint: policy.reference=copy' policy.kl=k3 policy.reference=base
refuses adapter-from-nothing 'policy.reference = "adapter": expected adapters to begin with' policy.kl=k3 policy.reference=adapter lora.rank=4
refuses low-delta 'policy.delta: expected a bound above 1 \+ policy.epsilon_high = 1.2, or 0 for none, found 1.1' policy.delta=1.1
refuses no-score 'expected a score in at least 0.05 of the first 32 completions, found 0 of them; hint: .*policy.min_parse_rate=0' \
    data.train="$work/never.h5"
refuses model-without-one 'policy.reward = "model": expected reward.model, .*, found none' policy.reward=model
refuses a-model-that-is-none 'reward.model: .*no-such' policy.reward=model reward.model="$work/no-such"
refuses command-without-one 'policy.reward = "command": expected reward.command, what the shell runs, found none' policy.reward=command
refuses command-that-dies 'reward.command "exit 3".* ended with exit code 3' policy.reward=command "reward.command=exit 3"
refuses command-that-hangs 'reward.command "sleep 99".* silent for 0.2 s after 0 of' policy.reward=command "reward.command=sleep 99" \
    reward.timeout=0.2
refuses reward-that-writes 'reward.model = .*: expected a model that scores, found a language model; hint: train a score head' \
    policy.reward=model "reward.model=$work/told"
refuses no-position-left 'policy.max_new_tokens: expected less than max_position_embeddings of .*found 100000' \
    policy.max_new_tokens=100000
refuses other-parser 'policy.reward = "openjudge_pairwise": expected a parser of preferences, found "regex' policy.reward=openjudge_pairwise
refuses parser-of-scores 'choice.h5: its prompts ask for preferences: expected a parser of such, found "score"; hint: the family.s own is "preferred"' \
    data.train="$work/choice.h5" reward.parser=score
refuses parser-of-preferences 'digit.h5: its prompts ask for scores: expected a parser of such, found "better"' \
    policy.reward=openjudge_pairwise reward.parser=better
refuses evaluation-of-another-judge 'choice.h5: expected the parser "regex.*", as of .*digit.h5, found "preferred"; hint: reward.parser' \
    data.eval="$work/choice.h5"
refuses no-targets 'digit.h5: expected prompts with the score that they should get, for policy.reward = "rm_gallery", found none' policy.reward=rm_gallery
refuses pairs-of-answers 'pairs.h5: expected the table /prompt of what a policy is asked, found' data.train="$work/pairs.h5"
refuses other-task 'task = "policy": expected a loss.type of this task, found "bce"' loss.type=bce
refuses a-gap 'log-probabilities that differ by .* on average from those in training: expected at most 10 x policy.max_gap' policy.max_gap=1e-12
run 1 unused policy.kl_coefficient=0.1 policy.resample=5 optim.steps=1
expect unused 0 'set without effect, as other options have it so: policy.kl_coefficient, policy.resample;' cat "$work/unused.log"
finish
