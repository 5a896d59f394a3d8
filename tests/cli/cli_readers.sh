#!/usr/bin/env bash
# Those who read what a run writes: beside a run that goes on, from files that may not be opened, and line by line.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

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
batch = { groups = 4; };
optim = { steps = 2; };
EOT
"$rankwise" train "$work/run.cfg" run.dir="$work/run" >"$work/out" 2>&1 || not_ok train "$(tail -n 3 "$work/out")"

# --- beside a run: its only checkpoint is replaced over and over, as checkpoint.keep = 1 does it ---
list=$work/run/checkpoints
replace() {
    local step=2 next
    while [[ -e $work/going ]]; do
        next=$((step + 1))
        cp -rl "$list/$(printf step_%06d $step)" "$work/next"
        mv "$work/next" "$list/$(printf step_%06d $next)"
        mv "$list/$(printf step_%06d $step)" "$list/old.removed.tmp"
        rm -rf "$list/old.removed.tmp"
        step=$next
    done
}
touch "$work/going"
replace &
replacing=$!
printf '{"text": "please"}\n' >"$work/line"
beside() { # name, then a command that must succeed three times
    local name=$1
    shift
    for _ in 1 2 3; do
        rm -rf "$work/exported"
        "$@" >"$work/out" 2>"$work/err" <"$work/line" && [[ -s $work/out || -d $work/exported ]] && continue
        not_ok "$name beside a run" "$(cat "$work/out" "$work/err" | tail -n 2 | tr '\n' ' ')"
        return
    done
    ok "$name beside a run"
}
beside eval "$rankwise" eval "$work/run" --data "$work/pairs.h5"
beside score "$rankwise" score "$work/run"
beside export "$rankwise" export "$work/run" "$work/exported"
# shellcheck disable=SC2086 # MPIRUN is a command with its options
beside "eval on two ranks" $MPIRUN -np 2 "$rankwise" eval "$work/run" --data "$work/pairs.h5"
beside show "$inspect" show "$work/run"
beside verify "$inspect" verify "$work/run"
beside history "$inspect" history "$work/run"
rm "$work/going"
wait $replacing

# --- a file that is there but may not be opened is not damaged ---
chmod 755 "$work"
one=$(echo "$list"/step_*)
chmod 000 "$one/part_0000.h5"
nobody=()
((EUID != 0)) || nobody=(setpriv --reuid=65534 --clear-groups)
if ! "${nobody[@]}" "$inspect" --version >/dev/null 2>&1; then
    echo "skipped a part that may not be read: another user cannot start $inspect"
else
    expect "a part that may not be read" 1 'part_0000.h5: cannot be opened: Permission denied$' \
        "${nobody[@]}" "$inspect" show "$one"
fi

# --- score: what comes before a bad line, and whoever waits for an answer, get scores ---
chmod 644 "$one/part_0000.h5"
{ for _ in 1 2 3; do cat "$work/line"; done; echo '{"text": 1}'; cat "$work/line"; } >"$work/texts"
"$rankwise" score "$work/run" <"$work/texts" >"$work/found" 2>"$work/said"
expect "lines before a bad one have their scores" 0 '^3$' grep -c score "$work/found"
expect "a bad line ends score" 0 'standard input, line 4: ' cat "$work/said"
printf '{"text": "a"}\n{"text": "b\0"}\n' >"$work/texts"
"$rankwise" score "$work/run" <"$work/texts" >"$work/found" 2>"$work/said"
expect "a zero byte is named with its line" 0 'standard input, line 2: expected JSON, found a zero byte' cat "$work/said"
awk 'BEGIN { for (i = 0; i < 600; i++) printf "{\"text\": \"number %d\"}%s", i, i < 599 ? "\n" : "" }' >"$work/texts"
"$rankwise" score "$work/run" <"$work/texts" >"$work/scores" 2>"$work/said"
expect "a score for every line, also without a last line feed" 0 '^600$' grep -c score "$work/scores"
coproc "$rankwise" score "$work/run" 2>"$work/said"
answers=
for text in a b; do
    printf '{"text": "%s"}\n' $text >&"${COPROC[1]}"
    read -r -t 60 answer <&"${COPROC[0]}" && answers+=$answer
done
eval "exec ${COPROC[1]}>&-"
wait "$COPROC_PID"
expect "a program that waits for each score gets it" 0 '^{"score": .*}{"score": .*}$' echo "$answers"

finish
