#!/usr/bin/env bash
# Where an export is written: beside what others have there, and beside other exports into the same directory.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

# Stops the program when the directory $STOP_AT is to get its name.
cat >"$work/shim.c" <<'EOT'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
int rename(const char *from, const char *to) {
    static int done;
    const char *at = getenv("STOP_AT");
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (at && !done && strcmp(to, at) == 0) {
        done = 1;
        raise(SIGSTOP);
    }
    return real(from, to);
}
EOT
gcc -shared -fPIC -o "$work/shim.so" "$work/shim.c" -ldl || not_ok shim "gcc failed"
for i in 1 2 3 4; do echo "{\"chosen\": \"Q $i? A: gladly\", \"rejected\": \"Q $i? A: never\"}"; done >"$work/pairs.jsonl"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
"$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/pairs.h5" \
    "$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok shard "$(cat "$work/out")"
echo "run = { threads = 1; }; model = { path = \"$work\"; init = \"random\"; }; data = { train = \"$work/pairs.h5\"; };
    optim = { steps = 1; };" >"$work/run.cfg"
"$rankwise" train "$work/run.cfg" run.dir="$work/run" >"$work/out" 2>&1 || not_ok run "$(tail -n 3 "$work/out")"
# shellcheck disable=SC2317 # by its name
export_to() { "$rankwise" export "$work/run" "$@"; }
names() { find "$work" -maxdepth 1 -name "$1" -printf '%f ' | xargs -n 1 | sort | xargs; }

# --- what is not the program's ---
mkdir "$work/own.tmp" "$work/own.former.tmp"
echo precious >"$work/own.tmp/thesis"
expect "an export beside directories with names like its own" 0 'own: exported from' export_to "$work/own"
if grep -qF 'Assistant: Hello, how can I help?"]' "$work/own/README.md"; then ok "the card has a text to score"
else not_ok "the card has a text to score" "$(grep texts "$work/own/README.md")"; fi
expect "and again in its place" 0 'own: exported from' export_to "$work/own" --force
same_names=$(names 'own*')
if [[ $same_names == "own own.former.tmp own.tmp" && $(cat "$work/own.tmp/thesis") == precious ]]; then ok "leaves them alone"
else not_ok "leaves them alone" "$same_names"; fi

# --- two at once ---
stopped() { # options: an export that stops where the directory gets its name
    LD_PRELOAD=$work/shim.so STOP_AT=$work/both "$rankwise" export "$work/run" "$work/both" "$@" >"$work/first" 2>&1 &
    first=$!
    for ((i = 0; i < 1500; i++)); do
        [[ $(cut -d' ' -f3 /proc/$first/stat) != T ]] || return
        sleep 0.02
    done
}
stopped
expect "an export beside another one that is under way" 0 'both: exported from' export_to "$work/both" --dtype bf16
before=$(sha256sum "$work/both/model.safetensors")
kill -CONT $first
wait $first
code=$?
if ((code == 1)) && grep -q 'both: there is a model already; hint: --force' "$work/first"; then ok "is what the other one finds"
else not_ok "is what the other one finds" "exit code $code: $(tail -n 2 "$work/first")"; fi
check "and stays" test "$(sha256sum "$work/both/model.safetensors")" == "$before"
rm -rf "$work/both"
stopped --force
expect "and where both may replace" 0 'both: exported from' export_to "$work/both" --force --dtype bf16
kill -CONT $first
wait $first
code=$?
check "the last one stays" test "$code $(names 'both*')" == "0 both"
check "as whole as alone" cmp "$work/both/model.safetensors" "$work/own/model.safetensors"

# --- what a killed one leaves ---
rm -rf "$work/both"
stopped
kill -9 $first
wait $first 2>/dev/null
check "a killed export leaves its own directory" test "$(names 'both*' | wc -w)" == 1
expect "which the next one removes" 0 'both: exported from' export_to "$work/both"
check "and nothing else is there" test "$(names 'both*')" == both
finish
