#!/usr/bin/env bash
# Data and options that are allowed but doubtful: each is told where it is first seen, before it costs time.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

rows() { # awk's expression for what every row has beside its texts, of i
    awk "BEGIN {
        for (i = 0; i < 12; i++)
            printf \"{\\\"chosen\\\": \\\"Q %d: please? A: gladly, %d times\\\", \\\"rejected\\\": \\\"Q %d: please? A: never\\\"%s}\\n\", \
                i, i * i, i, $1
    }"
}
shard() { # name, awk's expression, options
    local name=$1 expression=$2
    shift 2
    rows "$expression" >"$work/$name.jsonl"
    "$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/$name.h5" "$@" \
        "$work/$name.jsonl" >"$work/out" 2>&1 || not_ok "shard $name" "$(cat "$work/out")"
}
shard plain '""'
shard weightless '", \"w\": 0"' --weight-key w
shard weighted 'i % 2 ? ", \"w\": 0" : ", \"w\": 2"' --weight-key w
shard absurd 'i == 3 ? ", \"m\": 1e38" : ", \"m\": 1"' --margin-key m
cp "$work/plain.h5" "$work/copy.h5"

# --- audit ---
expect "audit: all weights 0" 1 'problem  comparisons of weight 0: 12 of 12' "$data" audit --strict "$work/weightless.h5"
expect "audit: some weights 0" 0 'note     comparisons of weight 0: 6 of 12' "$data" audit --strict "$work/weighted.h5"
expect "audit: a margin that no score reaches" 1 'problem  comparisons with a margin beyond 1000: 1 of 12 \(.*:4\)' \
    "$data" audit --strict "$work/absurd.h5"

# --- train ---
sed 's/50304/600/; s/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 16/' tests/models/qwen3/config.json >"$work/config.json"
mkdir "$work/long"
sed 's/50304/600/; s/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 64/' tests/models/qwen3/config.json \
    >"$work/long/config.json"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; dir = "$work/run"; };
model = { path = "$work/long"; init = "random"; };
data = { train = "$work/plain.h5"; };
batch = { groups = 4; };
optim = { steps = 1; };
EOT
run=("$rankwise" train "$work/run.cfg")
expect "nothing doubtful, no warning" 1 '^$' sh -c '"$@" 2>&1 | grep warning' - "${run[@]}" run.dir="$work/usual"
expect "all weights of the training data 0" 1 'error: all weights of the training data are 0' \
    "${run[@]}" data.train="$work/weightless.h5"
expect "evaluated on what is trained on" 0 'warning: data.eval: .*copy.h5 holds the comparisons that .*plain.h5 is trained on' \
    "${run[@]}" data.eval="$work/copy.h5" run.dir="$work/eval"
expect "one shard twice" 0 'warning: data.train: .*plain.h5 and .*copy.h5 hold the same comparisons; hint: ' \
    "${run[@]}" "data.train=(\"$work/plain.h5\", \"$work/copy.h5\")" run.dir="$work/twice"
expect "longer than the model's positions" 0 'warning: .*plain.h5: sequences of up to [2-6][0-9] tokens, .* is 16; hint: ' \
    "${run[@]}" model.path="$work" run.dir="$work/positions"
expect "a step larger than an epoch" 0 'warning: batch.groups = 1000000000: an epoch has 12' \
    "${run[@]}" batch.groups=1000000000 run.dir="$work/groups"
expect "more threads than processors" 0 'warning: run.threads = 64, but this rank may use [0-9]+ processor' \
    taskset -c "$(taskset -cp $$ | sed 's/.*: *//; s/[-,].*//')" "${run[@]}" run.threads=64 run.dir="$work/threads"
finish
