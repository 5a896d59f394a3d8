#!/usr/bin/env bash
# Each recipe of configs/judge loads and runs three steps on a tiny model and a few pairs; what is overridden are paths and sizes
# alone.
# limit: 900
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
tokenizer=tests/golden/tokenizer_small

mkdir "$work/model"
sed 's/50304/600/' tests/models/qwen2/config.json >"$work/model/config.json"
cp "$tokenizer"/*.json "$work/model"
for i in $(seq 12); do
    echo "{\"prompt\": \"Say $i\", \"chosen\": \"$i, gladly\", \"rejected\": \"never $i\"}"
done >"$work/pairs.jsonl"
for i in $(seq 12); do
    echo "{\"messages\": [{\"role\": \"user\", \"content\": \"Rate $i\"}, {\"role\": \"assistant\", \"content\": \"<s>$i</s> fine\"}]}"
done >"$work/sft.jsonl"
shard() { # name, options of build
    "$data" build --tokenizer "$tokenizer" --threads 1 --out "$work/$1.h5" "${@:2}" >"$work/said" 2>&1 ||
        not_ok "$1" "$(tail -n 2 "$work/said" | tr '\n' ' ')"
}
judged() { # family, options of build
    [[ -e $work/$1.h5 ]] || shard "$1" --judge "$1" --template chatml "${@:2}"
}
shard pairs --template chatml "$work/pairs.jsonl"
shard sft --template chatml --completions "$work/sft.jsonl"

# What the command line on top of a recipe says that its shard is.
family_of() { sed -n 's/.* --judge \([a-z0-9_]*\).*/\1/p' "$1" | head -n 1; }
run() { # recipe, then what train takes
    local name=$1
    shift
    if ! "$rankwise" train "$@" run.name="$name" run.dir="$work/run_$name" run.threads=1 run.device=cpu model.path="$work/model" \
        model.init=random optim.steps=3 >"$work/log" 2>&1; then
        not_ok "$name" "$(tail -n 3 "$work/log" | tr '\n' ' ')"
    else
        same "$name" "$(grep -c '"train/loss": -\{0,1\}[0-9]' "$work/run_$name/metrics.jsonl")" 3
        same "$name-effect" "$(grep -c 'without effect' "$work/log")" 0
    fi
    rm -rf "$work/run_$name"
}
n=0
for recipe in configs/judge/*.cfg; do
    name=$(basename "$recipe" .cfg)
    family=$(family_of "$recipe")
    n=$((n + 1))
    case $name in
    grpo) continue ;; # comes with each preset
    sft | litbench_genrm_*) run "$name" "$recipe" data.train="$work/sft.h5" data.eval= batch.groups=4 ;;
    bt_rm) run "$name" "$recipe" data.train="$work/pairs.h5" data.eval= batch.groups=4 ;;
    openjudge_*)
        # The rating of the first answer is 1, of the second one 0.
        judged "$family" --jq '{prompt, answers: [.chosen, .rejected], scores: [1, 0]}' --target score "$work/pairs.jsonl"
        run "$name" "$recipe" data.train="$work/$family.h5" batch.groups=4 policy.max_new_tokens=4 policy.min_parse_rate=0
        ;;
    *)
        judged "$family" "$work/pairs.jsonl"
        run "$name" configs/judge/grpo.cfg "$recipe" data.train="$work/$family.h5" batch.groups=3 policy.max_new_tokens=4 \
            policy.min_parse_rate=0
        ;;
    esac
done
same recipes "$n" 28
finish
