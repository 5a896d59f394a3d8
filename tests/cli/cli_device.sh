#!/usr/bin/env bash
# Which device computes, and what is said when it cannot: plug-ins that are not there, are no plug-ins or of another build;
# and parallel.offload, which must not change a bit on the CPU, checkpoints included.
# shellcheck source=tests/cli/harness.sh
# limit: 900
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
plugin() { # file, digest: one that has no device
    echo "static int count(void) { return 0; }
        struct { char digest[20]; const void *table; int (*count)(void); }
        rankwise_plugin = {\"$2\", 0, count};" | "${CC:-gcc}" -shared -fPIC -x c -o "$1" -
}
plugin "$work/foreign.so" 0123456789abcdef
expect "a plug-in of another build" 1 'expected a plug-in of this build .seam [0-9a-f]{16}.*found 0123456789abcdef; hint: ' \
    "${doctor[@]}" run.plugin="$work/foreign.so"
digest=$(cat "$BUILD/seam")
plugin "$work/empty.so" "$digest"
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

# --- a GPU, emulated ---
gpu=(run.plugin="$PWD/$BUILD/emulated/librankwise_cuda.so")
# name, exit code, pattern, EMU_ setting, ranks, option ...
machine() {
    local name=$1 code=$2 pattern=$3 setting=$4 ranks=$5
    shift 5
    rm -rf "$work/gpu"
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    expect "$name" "$code" "$pattern" env "$setting" $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" \
        run.dir="$work/gpu" "${gpu[@]}" "$@"
}
machine "auto takes the GPU" 0 'computing on GPU 0: ' EMU_DEVICES=1 1
machine "auto without GPUs" 0 'not on a GPU: no GPU is visible' EMU_DEVICES=0 1 optim.steps=1
machine "no driver" 1 'error: .*no GPU driver on this host; hint: ' EMU_DRIVER=0 1 run.device=cuda
machine "an old driver" 1 'expected a driver for CUDA 13\.0, .*found one for 12\.4; hint: ' EMU_DRIVER=12040 1
machine "an old GPU" 1 'expected compute capability 8\.0 or above, found 7\.5 .*hint: ' EMU_CAPABILITY=7.5 1
machine "a GPU of little shared memory" 1 \
    'rank 0 of 1 on .*GPU 0: attention with a head_dim of 24 needs [0-9.]+ KiB of shared .*, this GPU has 40\.0; hint: ' \
    EMU_SHARED=40960 1 model.precision=fp32
sed 's/"head_dim": 24/"head_dim": 264/' "$work/config.json" >"$work/wide.json"
mkdir "$work/wide" && mv "$work/wide.json" "$work/wide/config.json"
machine "heads too wide for a GPU" 1 'GPU 0: expected heads of at most 256, found 264; hint: ' EMU_DEVICES=1 1 \
    model.path="$work/wide"
machine "more ranks than GPUs" 1 '3 ranks on this host, 2 GPUs; hint: ' EMU_DEVICES=2 3
machine "ranks on one GPU" 1 '2 ranks on this host, 1 GPU that they see; hint: ' EMU_DEVICES=1 2
machine "too little memory" 1 "needs [0-9.]+ MiB on this rank's GPU, [0-9.]+ MiB are there; hint: " EMU_MEMORY=$((34000000 + (256 << 20))) 1
check "and nothing was begun" test ! -e "$work/gpu"
machine "memory that went to others" 1 'rank 0 of 1 on .*GPU 0: .* wanted, .*another process' EMU_FAIL=cudaMalloc:6:2 1
machine "no pinned memory" 1 'rank 0 of 1 on .*GPU 0: [0-9.]+ MiB of pinned memory of the host wanted.*out of memory' \
    EMU_FAIL=cudaHostAlloc:1:2 1
machine "a kernel that fails" 1 'rank 0 of 1 on .*cuda/.*GPU 0, after cuda_[a-z_]+: .*illegal' EMU_FAIL=launch:300:700 1
machine "a gather that fails" 1 'rank [01] of 2 on .*GPU [01], after all_gather: ncclAllGather' EMU_FAIL=ncclAllGather:9:2 2
machine "a join that fails" 1 'rank [01] of 2 on .*GPU [01], after group_join: ncclCommInitRank' \
    EMU_FAIL=ncclCommInitRank:1:2 2
machine "a product that fails" 1 'rank 0 of 1 on .*cuda/matmul.cu.*GPU 0, after cuda_gemm: cublasLtMatmul' \
    EMU_FAIL=cublasLtMatmul:40:14 1
# A step of one micro-batch reads the device once and waits for three events, the reading's and those of the two blocks that
# batches are sent from; it waits for no stream and not for the device, and takes no memory: what eight steps more have more
# (behind the first epoch, whose answers are scored at the end).
# (Waits for events: within what the last checkpoint's pieces differ by.)
counts() { # steps
    rm -rf "$work/gpu"
    EMU_COUNT=1 "$rankwise" train "$work/run.cfg" run.dir="$work/gpu" run.device=cuda "${gpu[@]}" checkpoint.every_steps=0 \
        batch.tokens_per_microbatch=1024 optim.steps="$1" 2>&1 | sed -n '/^emulated CUDA: /s/[^0-9]\+/ /gp'
}
read -r -a few < <(counts 6)
read -r -a more < <(counts 14)
for i in 0 1 2 3 4; do more[i]=$((${more[i]:-0} - ${few[i]:-0})); done
check "eight steps read the device (${more[0]}) and wait for events (${more[1]})" \
    test "${more[0]}" = 8 -a "${more[1]}" -ge 20 -a "${more[1]}" -le 28
check "and wait for nothing else, take no memory" test "${more[2]} ${more[3]} ${more[4]}" = "0 0 0"
expect "doctor names the GPU" 0 'rank 0 on .*: GPU 0: .*free for it; products at' "${doctor[@]}" "${gpu[@]}"
for offload in none optimizer; do
    how=(parallel.zero_stage=3 "parallel.offload=$offload" "${gpu[@]}")
    rm -rf "$work/plain" "$work/moved"
    train plain "${how[@]}"
    # what the run took, against the plan: within 3 %
    check "memory of the GPU as planned, offload $offload" \
        awk '/^GPU memory of the run/ { gsub(/[()]/, ""); good = $6 < 1.03 * $9 && $6 > 0.97 * $9 } END { exit !good }' \
        "$work/out"
    EMU_LAZY=1 train moved "${how[@]}"
    same "streams that wait as long as they may, offload $offload" plain moved
done

expect "the plan tells what is offloaded" 0 'optimizer 0\.0.*offloaded [0-9.]+; in all' \
    "$rankwise" plan "$work/run.cfg" parallel.offload=optimizer --ranks 2
finish
