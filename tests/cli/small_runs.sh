# For scripts about parts of a model, behind harness.sh: twelve pairs in $work/pairs.h5, a few texts, a configuration of six
# steps, and what starts runs and reads their figures.
# shellcheck shell=bash disable=SC2154 # $work, $data, $rankwise: harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
for i in $(seq 12); do
    echo "{\"chosen\": \"Q $i? A: gladly, $i times\", \"rejected\": \"Q $i? A: never\"}"
done >"$work/pairs.jsonl"
sed 's/"rejected.*/"/; s/, "$/}/; s/"chosen"/"text"/' "$work/pairs.jsonl" | head -n 4 >"$work/texts.jsonl"
"$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/pairs.h5" \
    "$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok shard "$(cat "$work/out")"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 4; };
optim = { steps = 6; lr = 1e-3; schedule = "constant"; };
checkpoint = { every_steps = 3; keep = 0; };
EOT
train() { # ranks, name, options
    local ranks=$1 name=$2
    shift 2
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    OMP_NUM_THREADS=1 $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" run.dir="$work/$name" "$@"
}
run() { # ranks, name, options: must succeed
    train "$@" >"$work/$2.log" 2>&1 || not_ok "run $2" "$(tail -n 3 "$work/$2.log")"
}
base_of() { # model of tests/models, name, options: one step from random weights, exported as $work/name
    mkdir "$work/empty_$2"
    sed 's/50304/600/' "tests/models/$1/config.json" >"$work/empty_$2/config.json"
    run 1 "first_$2" model.path="$work/empty_$2" model.init=random optim.steps=1 "${@:3}"
    "$rankwise" export "$work/first_$2" "$work/$2" >"$work/out" 2>&1 || not_ok base "$(tail -n 3 "$work/out")"
}
figures() { sed -E 's/, "train\/(pairs_per_second|tokens_per_second|mfu)": [^,}]*//g' "$work/$1/metrics.jsonl"; }
losses() { sed -n 's/.*"train\/loss": \([^,}]*\).*/\1/p' "$work/$1/metrics.jsonl"; }
worst() { # the largest relative difference of a loss of two runs
    paste <(losses "$1") <(losses "$2") | awk 'NF != 2 { worst = 9 }
        { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > worst) worst = d } END { print NR ? worst + 0 : 9 }'
}
near() { # name, run, run
    local found
    found=$(worst "$2" "$3")
    if awk "BEGIN { exit !($found <= 2e-5) }"; then ok "$1"; else not_ok "$1" "a loss differs by $found"; fi
}
layouts() { # run of one rank, its options: all stages on two and three ranks; the same bits offloaded and recomputed
    local whole=$1 ranks stage
    shift
    for ranks in 2 3; do
        for stage in 0 1 2 3; do
            run "$ranks" "l$ranks$stage" "$@" parallel.zero_stage="$stage" batch.tokens_per_microbatch=40
            near "$ranks ranks at stage $stage agree with one" "$whole" "l$ranks$stage"
        done
    done
    run 2 l_offload "$@" parallel.zero_stage=2 parallel.offload=optimizer parallel.recompute=block
    run 2 l_plain "$@" parallel.zero_stage=2
    same "offloaded and recomputed: the same bits" "$(losses l_offload)" "$(losses l_plain)"
}
