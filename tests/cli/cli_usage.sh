#!/usr/bin/env bash
# Help, misuse and configuration errors, as a user at the command line meets them.
. tests/cli/harness.sh

for program in "$rankwise" "$data" "$inspect"; do
    name=$(basename "$program")
    expect "$name-help" 0 "usage: $name" "$program" help
    check "$name-help-is-on-stdout" test -s "$work/out"
    check "$name-help-says-nothing-else" test ! -s "$work/err"
    expect "$name-version" 0 "^$name [0-9a-z]" "$program" --version
    expect "$name-alone-is-misuse" 2 "usage: $name" "$program"
    check "$name-misuse-is-on-stderr" test ! -s "$work/out"
    expect "$name-unknown-command" 2 'unknown command "wxyz".*hint:' "$program" wxyz
    for command in $("$program" help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
        [[ $command != help ]] || continue
        expect "$name-$command-help" 0 "usage: $name $command" "$program" "$command" --help
        most=20
        [[ $name-$command != rankwise-data-build ]] || most=95 # it lists the sources and their rows, and prompt families
        check "$name-$command-help-is-short" test "$(wc -l <"$work/out")" -le "$most"
        expect "$name-$command-unknown-option" 2 'unknown option --no-such.*hint:' "$program" "$command" --no-such
    done
    [[ ! -w /dev/full ]] || expect "$name-full-disk" 1 'could not be written' bash -c "'$program' help >/dev/full"
done

expect nearest-command 2 'did you mean "train"' "$rankwise" trian
expect help-train 0 'optim.lr = 1e-5' "$rankwise" help train

cfg=$work/bad.cfg
printf 'optim = {\n    lerning_rate = 1.0;\n};\n' >"$cfg"
expect unknown-key 1 'bad.cfg:2: unknown option optim.lerning_rate; hint: ' "$rankwise" train "$cfg"
check unknown-key-says-one-line test "$(wc -l <"$work/err")" -eq 1
printf 'run = {\n    seed = 3000000000;\n};\n' >"$cfg"
expect integer-that-wraps 1 'bad.cfg:2: .*found 3000000000; hint: write 3000000000L' "$rankwise" train "$cfg"
printf 'run = {\n};\n' >"$cfg"
expect unknown-override 1 'unknown option optim.lrr; hint: did you mean optim.lr' "$rankwise" train "$cfg" optim.lrr=1
expect value-out-of-bounds 1 'optim.lr: expected a number, above 0' "$rankwise" train "$cfg" optim.lr=-1
expect missing-file 1 'nowhere.cfg: cannot be opened.*hint: ' "$rankwise" train "$work/nowhere.cfg"

# Whatever is given wrong, one line says what was expected and found, and a hint what to do.
one_line() { # name, command
    local name=$1
    shift
    expect "$name" 1 '^rankwise: error: .*; hint: ' "$@"
    check "$name-says-one-line" test "$(grep -cvE '^(rank 0: cores|computing on) ' "$work/err")" -eq 1
}
tokenizer=tests/golden/tokenizer_small
echo '{"chosen": 3}' >"$work/rows.jsonl"
mkdir "$work/bare"
cp tests/models/qwen3/config.json "$work/bare"
one_line no-model "$rankwise" train "$cfg" model.path="$work/nowhere"
one_line no-weights "$rankwise" train "$cfg" model.path="$work/bare"
one_line no-model-set "$rankwise" train "$cfg"
one_line no-data-set "$rankwise" train "$cfg" model.path="$work/bare" model.init=random
one_line eval-nothing-there "$rankwise" eval "$work/nowhere" --data x.h5
one_line eval-no-model "$rankwise" eval "$work" --data x.h5
one_line score-no-weights "$rankwise" score "$work/bare"
one_line build-no-tokenizer-there "$data" build --tokenizer "$work" --out "$work/x.h5" "$work/rows.jsonl"
one_line build-bad-row "$data" build --tokenizer $tokenizer --out "$work/x.h5" "$work/rows.jsonl"
one_line build-bad-template "$data" build --tokenizer $tokenizer --template chat --out "$work/x.h5" "$work/rows.jsonl"
one_line build-no-input "$data" build --tokenizer $tokenizer --out "$work/x.h5" "$work/nowhere.jsonl"
one_line build-no-folder "$data" build --tokenizer $tokenizer --out "$work/nowhere/x.h5" "$work/rows.jsonl"
one_line show-nothing-there "$inspect" show "$work/nowhere"
expect no-file 2 'no configuration file.*hint: rankwise train' "$rankwise" train optim.lr=1e-5
expect plan-no-file 2 'no configuration file.*hint: rankwise plan' "$rankwise" plan
expect plan-bad-ranks 2 'ranks: expected 1 to 1048576, found 0' "$rankwise" plan "$cfg" --ranks 0
expect eval-no-data 2 'eval: --data is missing' "$rankwise" eval "$work"
expect encode-no-tokenizer 2 'encode: --tokenizer is missing' "$data" encode
expect build-no-tokenizer 2 'build: --tokenizer is missing' "$data" build x.jsonl --out x.h5
check build-misuse-is-short test "$(wc -l <"$work/err")" -eq 3

# docs/configuration.md holds what `help train` prints.
"$rankwise" help train | sed -n '/^Options, in/,$p' >"$work/options"
sed -n '/^Options, in/,/^```$/p' docs/configuration.md | sed '$d' >"$work/documented"
check documentation-lists-the-options diff "$work/options" "$work/documented"

# Completion, as bash calls it.
"$rankwise" help completion >"$work/completion"
complete_line() { # line: the words that bash would offer
    bash -c 'source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; read -ra COMP_WORDS <<<"$2"
             [[ $2 != *" " ]] || COMP_WORDS+=("")
             COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _rankwise; echo "${COMPREPLY[*]}"' - "$work/completion" "$1"
}
check completes-commands test "$(complete_line 'rankwise tr')" = train
check completes-options test "$(complete_line 'rankwise train x.cfg optim.be')" = optim.betas=
check completes-choices test "$(complete_line 'rankwise train x.cfg optim.schedule=co')" = "cosine constant cosine_restarts"
check completes-booleans test "$(complete_line 'rankwise train data.shuffle=f')" = false
finish
