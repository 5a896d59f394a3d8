# For scripts about policies, behind harness.sh: twelve pairs, what a judge of digits is asked about them in $work/digit.h5, a
# configuration of six steps, and what starts runs and compares their figures.
# shellcheck shell=bash disable=SC2154 # $work, $data, $rankwise: harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
tokenizer=tests/golden/tokenizer_small
for i in $(seq 12); do
    echo "{\"chosen\": \"\\n\\nHuman: Count to $i\\n\\nAssistant: Gladly, $i\", \"rejected\": \"\\n\\nHuman: Count to $i\\n\\nAssistant: no\"}"
done >"$work/pairs.jsonl"
family() { # name, parser, kind, response
    printf '{#\nkind: %s\nparser: %s\nof: conversations\n#}\n{{ context }} %s:\n' "$3" "$2" "$4" >"$work/$1.jinja"
    "$data" build --tokenizer "$tokenizer" --template text --judge "$work/$1.jinja" --max-length 96 --out "$work/$1.h5" \
        hh="$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok "shard $1" "$(cat "$work/out")"
}
family digit 'regex:0:9:([0-9])' pointwise '{{ response }}'
mkdir "$work/model"
sed 's/50304/600/' tests/models/llama/config.json >"$work/model/config.json"
cat >"$work/run.cfg" <<EOT
task = "policy";
run = { threads = 1; };
model = { path = "$work/model"; init = "random"; };
data = { train = "$work/digit.h5"; };
batch = { groups = 4; tokens_per_microbatch = 200; };
policy = { samples = 4; max_new_tokens = 8; };
optim = { steps = 6; lr = 3e-3; schedule = "constant"; };
checkpoint = { every_steps = 1; keep = 0; };
EOT
train() { # ranks, name, options
    local ranks=$1 name=$2
    shift 2
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" run.dir="$work/$name" "$@" >"$work/$name.log" 2>&1
}
run() { train "$@" || not_ok "run $2" "$(tail -n 3 "$work/$2.log")"; }
figures() {
    sed -E 's/, "(train\/(prompts_per_second|tokens_per_second|mfu)|rollout\/tokens_per_second)": [^,}]*//g' "$work/$1/metrics.jsonl"
}
column() { sed -nE "s/.*\"${2//\//\\/}\": ([^,}]*).*/\1/p" "$work/$1/metrics.jsonl"; }
near() { # name, column, run, run: to 2e-5
    local bad
    bad=$(paste -d ' ' <(column "$3" "$2") <(column "$4" "$2") |
        awk '{ e = $1 - $2; s = $2 < 0 ? -$2 : $2; if (e < 0) e = -e; if (!(e <= 2e-5 * s)) print } END { if (!NR) print "nothing" }')
    if [[ -z $bad ]]; then ok "$1"; else not_ok "$1" "$bad"; fi
}
