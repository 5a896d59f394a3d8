#!/usr/bin/env bash
# rankwise-inspect and rankwise export: on a small run of two ranks and two writers; what they say is compared with
# h5dump, with cmp and with metrics.jsonl.
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
here=tests/golden/tokenizer_small
# Open MPI keeps memory to the end, which the sanitized programs would report.
over_mpi() { ASAN_OPTIONS=detect_leaks=0 "$@"; }

# --- a run ---
awk 'BEGIN { for (i = 0; i < 40; i++) printf "{\"chosen\": \"\\n\\nHuman: count to %d\\n\\nAssistant: Gladly, %d.\", " \
    "\"rejected\": \"\\n\\nHuman: count to %d\\n\\nAssistant: No.\"}\n", i, i, i }' >"$work/pairs.jsonl"
"$data" build --tokenizer $here --template text --max-length 128 --out "$work/pairs.h5" "$work/pairs.jsonl" >"$work/log" 2>&1
mkdir "$work/model"
sed 's/50304/512/' tests/models/qwen3/config.json >"$work/model/config.json"
cat >"$work/run.cfg" <<EOT
run: { threads = 1; };
model: { path = "$work/model"; init = "random"; };
data: { train = "$work/pairs.h5"; eval = "$work/pairs.h5"; };
batch: { groups = 10; };
optim: { lr = 1e-3; steps = 4; };
checkpoint: { every_steps = 2; keep = 0; writers = 2; };
EOT
run=$work/run last=$work/run/checkpoints/step_000004
check train over_mpi $MPIRUN -np 2 "$rankwise" train "$work/run.cfg" run.dir="$run" parallel.zero_stage=2

# --- show ---
line() { "$inspect" show "$1" | grep "^$2 "; }
numbers() { awk '{ print $(NF - 4), $(NF - 3), $(NF - 2), $(NF - 1), $NF }'; }
# name tensor: min, max, mean and norm of its slices, as h5dump prints them
dumped() {
    local part
    for part in "$last"/part_*.h5; do
        h5dump -n "$part" | awk -v t="/master/$1/" '$1 == "dataset" && index($2, t) == 1 { print $2 }' |
            while read -r set; do h5dump -A 0 -y -w 1 -m "%.9g" -d "$set" "$part"; done
    done | sed -n 's/^ *\(-\{0,1\}[0-9][-+.e0-9]*\),\{0,1\}$/\1/p' | awk '
        NR == 1 { least = most = $1 }
        { if ($1 < least) least = $1; if ($1 > most) most = $1; sum += $1; squares += $1 * $1 }
        END { printf "%.6g %.6g %.6g %.6g 0\n", least, most, sum / NR, sqrt(squares) }'
}
for tensor in score.weight model.embed_tokens.weight model.layers.1.self_attn.k_proj.weight; do
    same "show_$tensor" "$(line "$run" $tensor | numbers)" "$(dumped $tensor)"
done
expect show_step 0 "^step: 4, the run's last" "$inspect" show "$run"
expect show_config 0 "^    *steps = 4;" "$inspect" show "$last/"
expect show_contract 0 "^score contract: template text, cut on the right at 128 tokens, without" "$inspect" show "$run"
expect show_moments 0 "^moment2/score.weight " "$inspect" show "$run" --moments
expect show_json 0 '^\{"kind":"checkpoint".*"step":4,.*"name":"score.weight","dtype":"F32","shape":\[1,64\],' \
    "$inspect" show "$run" --json
expect show_shard 0 "^comparisons: 40 in 40 groups" "$inspect" show "$work/pairs.h5"
"$inspect" show --diffable "$run" >"$work/diffable"
if grep -qF "$run" "$work/diffable"; then not_ok show_diffable "it names a path"; else ok show_diffable; fi
check show_diffable_is_sorted sort -c <(sed -n '/^tensor /,/tensors,/p' "$work/diffable" | sed '1d;$d' | LC_ALL=C cut -d' ' -f1)
if ldd "$inspect" | grep -qE 'libmpi|libconfig'; then not_ok links "MPI or libconfig"; else ok links; fi

# --- history ---
"$inspect" history "$run" >"$work/history"
same history_steps "$(awk '{ print $2 }' "$work/history" | paste -sd' ')" "2 4"
same history_loss "$(sed -n 's/.* train\/loss \([0-9.]\{5\}\).*/\1/p' "$work/history" | paste -sd' ')" \
    "$(sed -n 's/.*"step": *[24],.*"train\/loss": *\([0-9.]\{5\}\).*/\1/p' "$run/metrics.jsonl" | paste -sd' ')"
same history_accuracy "$(grep -c 'eval/pairs/accuracy' "$work/history")" 1
expect history_of_nothing 1 "no whole checkpoint there" "$inspect" history "$work/model"

# --- diff ---
expect diff_same 0 "^0 of 36 tensors differ" "$inspect" diff "$run" "$last"
expect diff_steps 1 "score.weight: 64 of 64 elements differ, by at most 0.00" \
    "$inspect" diff "$run/checkpoints/step_000002" "$last"
expect diff_moments 1 "^moment1/score.weight: 64 of 64" "$inspect" diff --moments "$run/checkpoints/step_000002" "$last"

# --- export ---
expect export 0 'no pad token of its own: "<\|pad\|>" is added as id 512, in a new row' \
    over_mpi "$rankwise" export "$run" "$work/exported/" run.threads=1
expect diff_export 1 "^1 of 36 tensors differ" "$inspect" diff "$run" "$work/exported"
grep -q "embed_tokens.weight: 512 x 64 against 513 x 64" "$work/out" && ok diff_export_row || not_ok diff_export_row "$(cat "$work/out")"
expect export_again 1 "hint: --force replaces it" over_mpi "$rankwise" export "$run" "$work/exported" run.threads=1
cp "$work/exported/model.safetensors" "$work/first"
expect export_force 0 "exported from" over_mpi "$rankwise" export "$run" "$work/exported" --force run.threads=1
check export_same_bytes cmp "$work/exported/model.safetensors" "$work/first"
mkdir "$work/full"
touch "$work/full/thesis.tex"
expect export_spares_others 1 "not empty and not a model" over_mpi "$rankwise" export "$run" "$work/full" --force
[[ -e $work/full/thesis.tex ]] && ok export_spared || not_ok export_spared "it is gone"
expect export_bad_dtype 2 "expected fp32 or bf16" over_mpi "$rankwise" export "$run" "$work/e2" --dtype fp16
expect export_of_export 0 "exported from" over_mpi "$rankwise" export "$work/exported" "$work/twice" run.threads=1
expect diff_twice 0 "^0 of 36 tensors differ" "$inspect" diff "$work/exported" "$work/twice"
same export_pads_once "$(cmp "$work/exported/tokenizer.json" "$work/twice/tokenizer.json" && echo same)" same
expect export_bf16 0 "exported from" over_mpi $MPIRUN -np 2 "$rankwise" export "$run" "$work/half" --dtype bf16 run.threads=1
same export_leaves_nothing "$(find "$work" -maxdepth 2 -name '*.tmp' | wc -l)" 0
expect show_export 0 "^score.weight +F32 +1 x 64 " "$inspect" show "$work/exported"
expect show_export_bf16 0 "^score.weight +BF16 +1 x 64 " "$inspect" show "$work/half"
expect show_export_contract 0 "with golden scores" "$inspect" show "$work/exported"
for model in exported half; do
    echo '{"text": "Hello"}' >"$work/text"
    if over_mpi "$rankwise" score "$work/$model" run.threads=1 <"$work/text" >"$work/out" 2>"$work/err" && grep -q score "$work/out"; then
        ok "score_$model" # its golden scores were checked
    else
        not_ok "score_$model" "$(cat "$work/err")"
    fi
done
sed 's/"score":[0-9.-]*/"score":77.5/' "$work/exported/score_contract.json" >"$work/twice/score_contract.json"
expect golden_scores_are_checked 1 "score contract" over_mpi sh -c "'$rankwise' score '$work/twice' run.threads=1 < '$work/text'"
expect golden_scores_are_checked_by_eval 1 "score contract" over_mpi "$rankwise" eval "$work/twice" --data "$work/pairs.h5" run.threads=1

# --- verify ---
expect verify 0 "^ok .*/step_000002: 108 tensors" "$inspect" verify "$run" "$work/exported" "$work/pairs.h5"
part=$last/part_0001.h5
size=$(stat -c %s "$part")
printf '\377' | dd of="$part" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
expect verify_flipped 1 "^damaged .*/step_000004: .*part_0001.h5.*hint:" "$inspect" verify "$run"
truncate -s $((size - 10)) "$part"
expect verify_cut 1 "part_0001.h5: expected $size bytes, found $((size - 10))" "$inspect" verify "$last"
expect show_cut 1 "error: .*part_0001.h5.*hint: the checkpoint is damaged" "$inspect" show "$run"
mv "$last" "$last.tmp"
expect show_newest_whole 0 "^step: 2$" "$inspect" show "$run"
expect show_unfinished 1 "was not finished" "$inspect" show "$last.tmp"
expect show_nothing 1 "found nothing there" "$inspect" show "$work/nowhere"
expect usage 2 "expected 1 arguments" "$inspect" show
expect help 0 "^usage: rankwise-inspect verify PATH" "$inspect" verify --help
finish
