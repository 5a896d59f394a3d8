#!/usr/bin/env bash
# Which device computes, and what is said when it cannot: plug-ins that are not there, are no plug-ins or of another build;
# and parallel.offload, which must not change a bit on the CPU, checkpoints included.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
doctor=("$rankwise" doctor)

# --- plug-ins ---
expect "a plug-in that is not there" 1 'nowhere\.so: no such plug-in; hint: ' "${doctor[@]}" run.plugin="$work/nowhere.so"
echo hello >"$work/text.so"
expect "a plug-in that is text" 1 'text\.so: cannot be loaded.*; hint: ' "${doctor[@]}" run.plugin="$work/text.so"
echo 'int nothing;' | "${CC:-gcc}" -shared -fPIC -x c -o "$work/other.so" -
expect "a library that is no plug-in" 1 'other\.so: not a plug-in of Rankwise.*; hint: ' \
    "${doctor[@]}" run.plugin="$work/other.so"
plugin() { # file, version, digest: one that has no device
    echo "static int count(void) { return 0; }
        struct { int version; char digest[20]; const void *table; int (*count)(void); }
        rankwise_plugin = {$2, \"$3\", 0, count};" | "${CC:-gcc}" -shared -fPIC -x c -o "$1" -
}
plugin "$work/foreign.so" 2 0123456789abcdef
expect "a plug-in of another build" 1 'expected a plug-in of this build.*2-[0-9a-f]{16}.*found 2-0123456789abcdef; hint: ' \
    "${doctor[@]}" run.plugin="$work/foreign.so"
plugin "$work/version.so" 1 x
expect "a plug-in of another version" 1 'found 1-x; hint: ' "${doctor[@]}" run.plugin="$work/version.so"
digest=$(cat "$BUILD/seam")
plugin "$work/empty.so" 2 "$digest"
expect "a plug-in without devices, by auto" 0 'computing on .*; not on a GPU: ' "${doctor[@]}" run.plugin="$work/empty.so"
expect "the same, by cuda" 1 'run.device = "cuda"' "${doctor[@]}" run.device=cuda run.plugin="$work/empty.so"
expect "the CPU looks for no plug-in" 0 'GFLOP/s' "${doctor[@]}" run.device=cpu run.plugin="$work/nowhere.so"
check "the program links no CUDA" sh -c "! ldd '$rankwise' | grep -iE 'cuda|cublas|nccl'"

# --- offloading ---
awk 'BEGIN {
    for (i = 0; i < 24; i++)
        printf "{\"chosen\": \"Q %d: please? A: gladly, %d times\", \"rejected\": \"Q %d: please? A: never\"}\n", i, i * i, i
}' >"$work/pairs.jsonl"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
"$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/pairs.h5" \
    "$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok shards "$(cat "$work/out")"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 4; tokens_per_microbatch = 64; };
checkpoint = { every_steps = 3; };
optim = { steps = 6; lr = 1e-3; };
EOT
figures() { sed -E 's/, "train\/(pairs_per_second|tokens_per_second|mfu)": [^,}]*//g' "$work/$1/metrics.jsonl"; }
train() { # name, option ...
    local name=$1
    shift
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    $MPIRUN -np 2 "$rankwise" train "$work/run.cfg" run.dir="$work/$name" "$@" >"$work/out" 2>&1 ||
        not_ok "train $name" "$(tail -n 3 "$work/out" | tr '\n' ' ')"
}
same() { # what, run, run
    if diff <(figures "$2") <(figures "$3") >"$work/diff"; then ok "$1"; else not_ok "$1" "$(head -c 300 "$work/diff")"; fi
}
for stage in 0 1 2 3; do
    for precision in fp32 bf16; do
        rm -rf "$work/plain" "$work/moved"
        how=("parallel.zero_stage=$stage" "model.precision=$precision")
        train plain "${how[@]}"
        train moved "${how[@]}" parallel.offload=optimizer
        same "stage $stage, $precision: offloaded or not" plain moved
    done
    rm -r "$work/moved/checkpoints/step_000006"
    train moved "${how[@]}"
    same "stage $stage: a run that was offloaded goes on without" plain moved
    rm -r "$work/plain/checkpoints/step_000006"
    train plain "${how[@]}" parallel.offload=optimizer
    same "stage $stage: and the other way round" plain moved
done
expect "the plan tells what is offloaded" 0 'optimizer 0\.0.*offloaded [0-9.]+; in all' \
    "$rankwise" plan "$work/run.cfg" parallel.offload=optimizer --ranks 2
finish
