# For scripts about heads and chains, behind harness.sh: pairs that count in $work/pairs.jsonl, and what starts runs of
# $work/run.cfg, which the script writes, and compares their numbers.
# shellcheck shell=bash disable=SC2154 # $work, $data, $rankwise: harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
counting_pairs() { # how many; the label of every second one
    awk -v n="$1" -v label="${2:-}" 'BEGIN { for (i = 0; i < n; i++)
        printf "{\"chosen\": \"\\n\\nHuman: count to %d\\n\\nAssistant: Gladly, %d.\", " \
            "\"rejected\": \"\\n\\nHuman: count to %d\\n\\nAssistant: No.\"%s}\n", i, i, i,
            label ? ", \"p\": " (i % 2 ? label : 1) : "" }' >"$work/pairs.jsonl"
}
shard() { # name, tokenizer, options: of the pairs
    "$data" build --tokenizer "$2" --template text --max-length 96 --out "$work/$1.h5" "${@:3}" "$work/pairs.jsonl" \
        >"$work/out" 2>&1 || not_ok shard "$(cat "$work/out")"
}
train() { # name, ranks, option ...: $work/said has what it says
    local name=$1 ranks=$2
    shift 2
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" run.dir="$work/$name" "$@" >"$work/said" 2>&1 ||
        not_ok "train $name" "$(tail -n 3 "$work/said" | tr '\n' ' ')"
}
losses() { sed -nE 's/.*"train\/loss": ([^,]*),.*/\1/p' "$work/$1/metrics.jsonl"; }
score() { "$rankwise" score "$@" run.threads=1 <"$work/texts.jsonl" 2>"$work/err"; }
near() { # name, count, bound relative to the second, numbers, numbers
    local bad
    bad=$(paste -d ' ' "$4" "$5" | awk -v most="$3" -v n="$2" '
        { e = $1 - $2; s = $2; if (e < 0) e = -e; if (s < 0) s = -s; if (!(e <= most * s)) bad = bad " " $1 " for " $2 }
        END { if (NR != n) bad = NR " numbers"; print bad }')
    if [[ -z $bad ]]; then ok "$1"; else not_ok "$1" "$bad"; fi
}
