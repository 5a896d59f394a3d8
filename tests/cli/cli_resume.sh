#!/usr/bin/env bash
# Going on: what a run may find when it starts again, and what it must not take for its own. Ranks and directories that
# misbehave are made by a preloaded library.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

# HIDE=name: directories are listed without it. FAIL=ending: listing such a directory gives EIO. MARK=file: made when a
# file is first to be locked. RAISE=ending: SIGUSR1 when a file gets such a name. FROM, TO: what is opened below the first path is opened below the second.
cat >"$work/shim.c" <<'EOT'
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static const char *turned(const char *path, char out[4096]) {
    const char *from = getenv("FROM"), *to = getenv("TO");
    if (!from || !to || strncmp(path, from, strlen(from)) != 0) return path;
    snprintf(out, 4096, "%s%s", to, path + strlen(from));
    return out;
}
int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    const char *at = getenv("RAISE");
    size_t n = strlen(to);
    if (at && n >= strlen(at) && strcmp(to + n - strlen(at), at) == 0) raise(SIGUSR1);
    return real(from, to);
}
#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        char out[4096];                                                         \
        va_list args;                                                           \
        va_start(args, flags);                                                  \
        int mode = va_arg(args, int);                                           \
        va_end(args);                                                           \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);          \
        return real(turned(path, out), flags, mode);                            \
    }
#define FOPEN(name)                                                             \
    FILE *name(const char *path, const char *mode) {                            \
        char out[4096];                                                         \
        FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, #name);    \
        return real(turned(path, out), mode);                                   \
    }
OPEN(open) OPEN(open64) FOPEN(fopen) FOPEN(fopen64)
int flock(int fd, int how) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    const char *mark = getenv("MARK");
    if (mark) {
        FILE *f = fopen(mark, "w");
        if (f) fclose(f);
    }
    return real(fd, how);
}
int scandir(const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
            int (*compare)(const struct dirent **, const struct dirent **)) {
    int (*real)(const char *, struct dirent ***, int (*)(const struct dirent *),
                int (*)(const struct dirent **, const struct dirent **)) = dlsym(RTLD_NEXT, "scandir");
    const char *hide = getenv("HIDE"), *bad = getenv("FAIL");
    size_t n = strlen(path);
    if (bad && n >= strlen(bad) && strcmp(path + n - strlen(bad), bad) == 0) {
        errno = EIO;
        return -1;
    }
    int found = real(path, list, filter, compare), kept = 0;
    for (int i = 0; i < found; i++)
        if (!hide || strcmp((*list)[i]->d_name, hide) != 0) (*list)[kept++] = (*list)[i];
    return found < 0 ? found : kept;
}
EOT
gcc -shared -fPIC -o "$work/shim.so" "$work/shim.c" -ldl || not_ok shim "gcc failed"

# rows NAME: 24 pairs, each with a margin and a weight of its own
rows() {
    awk -v food="$2" 'BEGIN { for (i = 0; i < 24; i++)
        printf "{\"chosen\": \"Q %d: %s? A: gladly, %d times\", \"rejected\": \"Q %d: %s? A: never\", \"m\": %d, \"w\": %d}\n",
            i, food, i * i, i, food, i % 5, i % 3 + 1 }' >"$work/$1.jsonl"
}
rows pairs abab
rows words baba
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
build() { # name, options
    local name=$1
    shift
    "$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/$name.h5" "$@" \
        >"$work/out" 2>&1 || not_ok "shard $name" "$(cat "$work/out")"
}
build pairs "$work/pairs.jsonl"
build words "$work/words.jsonl"
build margins --margin-key m "$work/pairs.jsonl"
build weights --weight-key w "$work/pairs.jsonl"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 4; };
checkpoint = { every_steps = 4; };
optim = { steps = 8; schedule = "constant"; };
EOT
train=("$rankwise" train "$work/run.cfg")
run() { # name, options: must succeed
    local name=$1
    shift
    "${train[@]}" run.dir="$work/$name" "$@" >"$work/$name.log" 2>&1 || not_ok "run $name" "$(tail -n 3 "$work/$name.log")"
}
figures() { sed -E 's/, "train\/(pairs_per_second|tokens_per_second|mfu)": [^,}]*//g' "$work/$1/metrics.jsonl"; }
n_lines() { if [[ -e $work/$1/metrics.jsonl ]]; then wc -l <"$work/$1/metrics.jsonl"; else echo 0; fi; }
names() { find "$work/$1/checkpoints" -name "step*" -printf "%f\n" | sort | tr "\n" " " | sed "s/ $//"; }
wait_lines() { # name, lines of metrics
    for ((i = 0; i < 1500; i++)); do
        (($(n_lines "$1") < $2)) || return
        sleep 0.02
    done
}
begun() { # name: a fresh copy of the run of 8 steps
    rm -rf "${work:?}/$1"
    cp -r "$work/whole" "$work/$1"
}
run whole
run longer optim.steps=12

# --- the lock comes before the look ---
"${train[@]}" run.dir="$work/race" optim.steps=60 checkpoint.keep=1 >"$work/first.log" 2>&1 &
first=$!
wait_lines race 10
kill -STOP $first
MARK=$work/mark LD_PRELOAD=$work/shim.so "${train[@]}" run.dir="$work/race" optim.steps=60 checkpoint.keep=1 \
    >"$work/second.log" 2>&1 &
second=$!
for ((i = 0; i < 1500; i++)); do
    [[ ! -e $work/mark ]] || break
    sleep 0.02
done
kill -CONT $first
wait $first
same "a run that another one waits for ends" $? 0
wait $second
if grep -qE 'already finished, after step 60|held by another process' "$work/second.log"; then
    ok "who waited for the lock sees what was written meanwhile"
else not_ok "who waited for the lock sees what was written meanwhile" "$(tail -n 3 "$work/second.log")"; fi
same "and its metrics are whole" "$(n_lines race)" 60

begun damaged
part=$work/damaged/checkpoints/step_000008/part_0000.h5
printf '\377\377\377\377' | dd of="$part" bs=1 seek=$(($(stat -c %s "$part") / 2)) conv=notrunc 2>/dev/null
expect "weights that cannot be loaded end the run" 1 'damaged' "${train[@]}" run.dir="$work/damaged" optim.steps=12
same "and leave its metrics" "$(n_lines damaged)" 8

# --- one look for all ranks ---
odd() { # the second of two ranks with a setting
    # shellcheck disable=SC2086,SC2317
    timeout 100 $MPIRUN -np 1 "${train[@]}" "${@:2}" : -np 1 env LD_PRELOAD="$work/shim.so" "FROM=$work/$1" \
        "TO=$work/other/$1" "HIDE=step_000008" "${train[@]}" "${@:2}"
}
mkdir -p "$work/other"
for steps in 8 12; do
    # shellcheck disable=SC2086
    $MPIRUN -np 2 "${train[@]}" run.dir="$work/two_$steps" optim.steps=$steps >"$work/out" 2>&1 ||
        not_ok two "$(tail -n 3 "$work/out")"
done
cp -r "$work/two_8" "$work/ranks"
expect "a rank that sees no newest checkpoint" 0 'going on from .*step_000008' odd nothing run.dir="$work/ranks" optim.steps=12
same "goes on from it with the others" "$(figures ranks)" "$(figures two_12)"
cp "$work/words.h5" "$work/other/pairs.h5"
begun ranks
expect "a rank that sees another shard is named" 1 'rank 1 sees another run than rank 0: "data.train\[0\]: ' \
    odd pairs.h5 run.dir="$work/ranks" optim.steps=12
sed 's/"rope_theta": [0-9.]*/"rope_theta": 77/' "$work/config.json" >"$work/other/config.json"
expect "so is one that sees another model" 1 'rank 1 sees another run than rank 0: "model.path: config.json: ' \
    odd config.json run.dir="$work/ranks" optim.steps=12
run seed run.seed=2
mkdir -p "$work/other/ranks"
cp -r "$work/seed/checkpoints" "$work/other/ranks"
expect "and one that sees another checkpoint" 1 'rank 1 sees another checkpoint than rank 0: ".*step_000008: ' \
    odd ranks/checkpoints/step run.dir="$work/ranks" optim.steps=12
same "none of them has changed anything" "$(n_lines ranks) $(names ranks)" \
    "8 step_000004 step_000008"

# --- a directory that cannot be read is not an empty one ---
begun unread
expect "checkpoints that cannot be listed end the run" 1 'unread/checkpoints: cannot be listed: Input/output error' \
    env LD_PRELOAD="$work/shim.so" FAIL=/checkpoints "${train[@]}" run.dir="$work/unread" optim.steps=12
same "and nothing is touched" "$(n_lines unread) $(names unread)" "8 step_000004 step_000008"
rm -rf "$work/unread/checkpoints"
expect "a used directory without a checkpoint is told" 0 'was used before, but has no checkpoint' \
    "${train[@]}" run.dir="$work/unread"

# --- another model, other data ---
refused() { # name, expression, options
    begun other_run
    expect "$1" 1 "other_run/checkpoints/step_000008: $2.*hint: .*another run.dir" "${train[@]}" \
        run.dir="$work/other_run" optim.steps=12 "${@:3}"
}
model() { # name, sed expression
    mkdir -p "$work/$1"
    sed -e "$2" "$work/config.json" >"$work/$1/config.json"
    cmp -s "$work/config.json" "$work/$1/config.json" && not_ok "model $1" "is the same"
}
model layers 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 2/'
model theta 's/"rope_theta": [0-9.]*/"rope_theta": 77/'
model eps 's/"rms_norm_eps": [-0-9.e]*/"rms_norm_eps": 0.1/'
refused "fewer layers are refused" 'its model has num_hidden_layers 3, .*layers has 2' model.path="$work/layers"
refused "another rope_theta is refused" "its model's rope_theta or rope scaling" model.path="$work/theta"
refused "another rms_norm_eps is refused" 'its model has norm_eps 1e-0[0-9], .*eps has 0.1' model.path="$work/eps"
refused "other margins are refused" 'was trained on other data: data.train\[0\]: margins are not the same' \
    data.train="$work/margins.h5"
refused "other weights are refused" 'was trained on other data: data.train\[0\]: weights are not the same' \
    data.train="$work/weights.h5"
refused "other tokens of the same length are refused" 'was trained on other data: data.train\[0\]: token ids are not' \
    data.train="$work/words.h5"
refused "another batch.groups is refused" 'was trained on other data: batch.groups was 4 and is 8' batch.groups=8
begun moved_data
cp "$work/pairs.h5" "$work/elsewhere.h5"
expect "the same data under another name are not" 0 'going on from' "${train[@]}" run.dir="$work/moved_data" optim.steps=12 \
    data.train="$work/elsewhere.h5"
same "and give the same" "$(figures moved_data)" "$(figures longer)"

# --- whose checkpoints they are ---
run first checkpoint.dir="$work/shared"
expect "another run's checkpoints are refused" 1 'belongs to the run in .*first; hint: ' \
    "${train[@]}" run.dir="$work/second_run" checkpoint.dir="$work/shared" optim.steps=12
expect "a changed checkpoint.dir is told" 1 'new: has no checkpoint, and those of .*first are in .*shared; hint: checkpoint.dir=' \
    "${train[@]}" run.dir="$work/first" checkpoint.dir="$work/new" optim.steps=12
same "and the metrics are kept" "$(n_lines first)" 8
begun here
mv "$work/here" "$work/there"
"$rankwise" train "$work/run.cfg" run.dir="$work/there" optim.steps=12 >"$work/out" 2>&1
same "a moved run goes on" "$(figures there)" "$(figures longer)"
mv "$work/there" "$work/again"
expect "its configuration alone does not begin it anew in the old place" 1 \
    'again/config.cfg: lies in the directory of a run and says run.dir = .*there; hint: run.dir=' \
    "$rankwise" train "$work/again/config.cfg"
check "nor makes the old place" test ! -e "$work/there"

# --- an evaluation that was not finished ---
evaluated=(data.eval="$work/words.h5" eval.every_steps=4 batch.tokens_per_microbatch=70)
run judged "${evaluated[@]}"
same "a checkpoint is written before the evaluation of its step" \
    "$(grep -oE '^[^ ]* (checkpoint|eval words after step|eval words .*step) *(of step )?[0-9]*' "$work/judged/log.txt" | cut -d' ' -f2 | tr '\n' ' ')" \
    "eval checkpoint eval checkpoint eval "
for end in 4 8; do # as a kill in it leaves the directory
    rm -rf "${work:?}/unjudged"
    cp -r "$work/judged" "$work/unjudged"
    [[ $end == 8 ]] || rm -rf "$work/unjudged/checkpoints/step_000008"
    head -n "$end" "$work/judged/metrics.jsonl" >"$work/unjudged/metrics.jsonl"
    expect "a run killed in the evaluation of step $end goes on" 0 "going on from .*step_00000$end" \
        "${train[@]}" run.dir="$work/unjudged" "${evaluated[@]}"
    same "and makes up for it, $end" "$(figures unjudged)" "$(figures judged)"
done
for ranks in 1 2; do
    rm -rf "${work:?}/signalled" "${work:?}/unsignalled"
    # shellcheck disable=SC2206
    alone=($MPIRUN -np $ranks)
    "${alone[@]}" "${train[@]}" run.dir="$work/unsignalled" "${evaluated[@]}" >"$work/out" 2>&1
    expect "a signal stops the evaluation, $ranks ranks" 3 'stopped by a signal after step 4' \
        "${alone[@]}" env LD_PRELOAD="$work/shim.so" RAISE=step_000004 "${train[@]}" run.dir="$work/signalled" "${evaluated[@]}"
    same "and leaves its line out, $ranks ranks" "$(tail -n 1 "$work/signalled/metrics.jsonl" | cut -c 1-11)" '{"step": 3,'
    expect "which is made up for, $ranks ranks" 0 'done: ' "${alone[@]}" "${train[@]}" run.dir="$work/signalled" "${evaluated[@]}"
    same "to the same figures, $ranks ranks" "$(figures signalled)" "$(figures unsignalled)"
done
expect "a finished run does not evaluate again" 0 'already finished, after step 8' \
    "${train[@]}" run.dir="$work/judged" "${evaluated[@]}"

# --- updates that are skipped: rows whose weights are too small to divide by, in the order of the file ---
sed -E 's/"w": [0-9]+/"w": 1/; 13,16s/"w": 1/"w": 1e-45/' "$work/pairs.jsonl" >"$work/one.jsonl"
sed -E 's/"w": [0-9]+/"w": 1/; 9,24s/"w": 1/"w": 1e-45/' "$work/pairs.jsonl" >"$work/most.jsonl"
build one --weight-key w "$work/one.jsonl"
build most --weight-key w "$work/most.jsonl"
in_order=(data.shuffle=false checkpoint.every_steps=2 checkpoint.keep=0)
run one data.train="$work/one.h5" "${in_order[@]}"
same "a checkpoint that is due while updates are skipped waits" "$(names one)" "step_000002 step_000005 step_000006 step_000008"
expect "after ten skipped updates" 1 'in 10 steps in a row; hint: .*goes on from .*/most/checkpoints/step_000008, and .* go back to step_000006' \
    "${train[@]}" run.dir="$work/most" data.train="$work/most.h5" "${in_order[@]}" checkpoint.keep=2 batch.groups=1 optim.steps=24 \
    checkpoint.every_steps=2
same "the checkpoints from before are there" "$(tail -n 1 "$work/most/metrics.jsonl" | cut -c 1-11) $(names most)" \
    '{"step": 18 step_000006 step_000008'

# --- a directory that goes away, a lock of another directory ---
for what in removed renamed; do
    "${train[@]}" run.dir="$work/$what" optim.steps=1000000 checkpoint.dir="$work/apart_$what" >"$work/log" 2>&1 &
    started=$!
    wait_lines $what 3
    if [[ $what == removed ]]; then
        expect "checkpoint.dir is locked too" 1 'apart_removed/.lock: held by another process.*holder: process' \
            "${train[@]}" run.dir="$work/beside" checkpoint.dir="$work/apart_removed"
        rm -rf "${work:?}/$what"
    else mv "$work/$what" "$work/$what.new"; fi
    wait $started
    same "a run whose directory is $what ends" $? 1
    if grep -q "$what/lock: no longer there" "$work/log"; then ok "and says that it is $what"
    else not_ok "and says that it is $what" "$(tail -n 2 "$work/log")"; fi
    check "and does not make it again when $what" test ! -e "$work/$what"
done
finish
