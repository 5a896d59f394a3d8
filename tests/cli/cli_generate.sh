#!/usr/bin/env bash
# Texts that a language model writes: the same in any company, on any number of ranks; what ends them; what is refused.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

"$data" demo --out "$work/demo" >"$work/said" 2>&1 || not_ok demo "$(tail -n 1 "$work/said")"
for ((i = 0; i < 20; i++)); do
    printf '{"prompt": "say %d", "completion": "this is what %d is"}\n' $((i / 2)) $((i * 3))
done >"$work/rows.jsonl"
"$data" build --tokenizer "$work/demo/model" --max-length 256 --threads 1 --out "$work/rows.h5" --completions "$work/rows.jsonl" \
    >"$work/said" 2>&1 || not_ok build "$(tail -n 2 "$work/said")"
echo 'run = { seed = 3; };' >"$work/base.cfg"
train() { # run directory, more options
    local dir=$1
    shift
    "$rankwise" train "$work/base.cfg" run.dir="$work/$dir" run.threads=1 data.train="$work/rows.h5" data.eval= loss.type=completion \
        optim.lr=3e-3 batch.groups=5 "$@"
}
check trained train run model.path="$work/demo/model" model.init=random optim.steps=30
check exported "$rankwise" export "$work/run" "$work/model" run.threads=1
check "trained with adapters" train lora model.path="$work/model" lora.rank=2 optim.steps=3
check "an adapter" "$rankwise" export "$work/lora" "$work/adapter" run.threads=1

# Prompts that share beginnings, of one token to more than a page of keys has.
for ((i = 0; i < 24; i++)); do
    printf '{"id": %d, "prompt": "say %s%d"}\n' $i "$(head -c $((i * 7)) <<<'this and that, and what there is to be said of it, again and again, this and that, and what there is to be said of it, again and again, and so on')" $((i / 3))
done >"$work/prompts.jsonl"
write() { # model, options; input from stdin
    local model=$1
    shift
    "$rankwise" generate "$model" --max-new-tokens 12 run.threads=1 "$@" 2>"$work/err"
}
by_id() { sort -t: -k2,2n -s; }

# --- the promise ---
for how in greedy drawn bf16; do
    case $how in
    greedy) options=(--greedy) ;;
    drawn) options=(--temperature 0.9 --top-p 0.95 --n 2 --seed 5) ;;
    bf16) options=(--temperature 1 --n 2 model.precision=bf16) ;;
    esac
    options+=(--logprobs)
    write "$work/model" "${options[@]}" <"$work/prompts.jsonl" >"$work/together"
    check "$how: all are there" test "$(wc -l <"$work/together")" -eq "$([[ $how == greedy ]] && echo 24 || echo 48)"
    for ((i = 1; i <= 24; i += 6)); do sed -n ${i}p "$work/prompts.jsonl" | write "$work/model" "${options[@]}"; done >"$work/alone"
    grep -E '"id":(0|6|12|18),' "$work/together" >"$work/some"
    check "$how: alone as with others" cmp "$work/alone" "$work/some"
    tac "$work/prompts.jsonl" | write "$work/model" "${options[@]}" --max-rows 3 run.threads=2 | by_id >"$work/other"
    check "$how: in another order, three at a time, with two threads" cmp "$work/other" "$work/together"
    for ranks in 2 3; do
        $MPIRUN -np $ranks "$rankwise" generate "$work/model" --max-new-tokens 12 run.threads=1 "${options[@]}" parallel.zero_stage=3 \
            <"$work/prompts.jsonl" >"$work/other" 2>"$work/err"
        check "$how: on $ranks ranks" cmp "$work/other" "$work/together"
    done
done
gpu=(run.device=cuda "run.plugin=$PWD/$BUILD/emulated/librankwise_cuda.so")
if [[ -e $BUILD/emulated/librankwise_cuda.so ]]; then
    head -n 5 "$work/prompts.jsonl" >"$work/five.jsonl"
    write "$work/model" --temperature 1 --max-new-tokens 6 "${gpu[@]}" <"$work/five.jsonl" >"$work/together"
    check "emulated: all are there" test "$(wc -l <"$work/together")" -eq 5
    sed -n 4p "$work/five.jsonl" | write "$work/model" --temperature 1 --max-new-tokens 6 "${gpu[@]}" >"$work/alone"
    same "emulated: alone as with others" "$(cat "$work/alone")" "$(sed -n 4p "$work/together")"
    tac "$work/five.jsonl" | write "$work/model" --temperature 1 --max-new-tokens 6 --max-rows 2 "${gpu[@]}" | by_id >"$work/other"
    check "emulated: in another order" cmp "$work/other" "$work/together"
else
    echo "skipped emulated: it is not built"
fi

# --- what models there are ---
write "$work/model" --greedy <"$work/prompts.jsonl" >"$work/expected"
write "$work/run" --greedy <"$work/prompts.jsonl" >"$work/found"
check "a run writes as its export" cmp "$work/found" "$work/expected"
write "$work/lora" --greedy <"$work/prompts.jsonl" >"$work/expected"
write "$work/adapter" --greedy <"$work/prompts.jsonl" >"$work/found"
check "and its adapter" cmp "$work/found" "$work/expected"
"$rankwise" train "$work/base.cfg" run.dir="$work/reward" run.threads=1 model.path="$work/model" data.train="$work/demo/train.h5" \
    data.eval= batch.groups=4 optim.steps=1 >/dev/null 2>&1
expect "a reward model writes nothing" 1 'expected a language model, found a reward model; hint' "$rankwise" generate "$work/reward"
"$rankwise" export "$work/reward" "$work/reward_model" run.threads=1 >/dev/null 2>&1
expect "nor its export" 1 'expected a language model, found a score head; hint' "$rankwise" generate "$work/reward_model"

# --- what ends a text ---
echo '{"prompt": "say 4"}' >"$work/one.jsonl"
value() { grep -oE "\"$1\": (\"[^\"]*\"|[^,}]*)" | sed 's/^[^ ]* //'; } # of the JSON line on stdin
text=$(write "$work/model" --greedy <"$work/one.jsonl" | value text)
text=${text//\"/}
middle=${text:4:3}
line=$(write "$work/model" --greedy --stop "$middle" --stop "never said" <"$work/one.jsonl")
same "a stop text ends it" "$(value text <<<"$line")" "\"${text%%"$middle"*}\""
same "and says so" "$(value finish <<<"$line")" '"stop"'
check "its texts are told" grep -qF ", stop texts \"$middle\", \"never said\"" "$work/err"
ids=$(write "$work/model" --greedy --logprobs <"$work/one.jsonl" | grep -oE '"token_ids": \[[^]]*\]' | tr -dc '0-9 ')
read -r -a id <<<"$ids"
cp -r "$work/model" "$work/listed"
echo "{\"eos_token_id\": [1, ${id[3]}], \"repetition_penalty\": 1.0, \"max_new_tokens\": 9}" >"$work/listed/generation_config.json"
line=$("$rankwise" generate "$work/listed" run.threads=1 <"$work/one.jsonl" 2>"$work/err")
same "each of a list of EOS ends it" "$(value tokens <<<"$line")" 4
same "and says so too" "$(value finish <<<"$line")" '"eos"'
check "the list is told" grep -q "writing: greedy, at most 9 tokens, EOS 1 ${id[3]}" "$work/err"
echo '{"do_sample": true, "temperature": 0.5, "top_k": 7, "num_beams": 4}' >"$work/listed/generation_config.json"
"$rankwise" generate "$work/listed" --max-new-tokens 3 --top-k 5 run.threads=1 <"$work/one.jsonl" >"$work/out" 2>"$work/err"
check "what is drawn by is the file's, but for what is given" grep -q 'writing: temperature 0.5, top_k 5, at most 3 tokens, EOS' "$work/err"
check "what is not done is told" grep -q '"num_beams" is not done here' "$work/err"
echo '{"temperature": "warm", "do_sample": true}' >"$work/listed/generation_config.json"
expect "a bad file is named" 1 'generation_config.json: "temperature"' "$rankwise" generate "$work/listed" run.threads=1

# --- prompts ---
sed 's/^{/{"chat_template": "{% for m in messages %}<{{ m.content }}>{% endfor %}{% if add_generation_prompt %}say {% endif %}",/' \
    "$work/model/tokenizer_config.json" >"$work/with_template"
cp -r "$work/model" "$work/chat" && rm -f "$work/chat/score_contract.json" && cp "$work/with_template" "$work/chat/tokenizer_config.json"
echo '{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "key": {"kept": [1]}}' >"$work/messages.jsonl"
echo '{"prompt": "<a><b>say ", "key": {"kept": [1]}}' >"$work/rendered.jsonl"
same "messages are what the template makes of them" "$(write "$work/chat" --greedy <"$work/messages.jsonl")" \
    "$(write "$work/chat" --greedy <"$work/rendered.jsonl")"
check "other keys are kept" grep -q '"kept":\[1\]' <<<"$(write "$work/chat" --greedy <"$work/rendered.jsonl")"
{
    cat "$work/messages.jsonl"
    echo 'no JSON'
    echo '{"prompt": 5, "id": 7}'
    echo '{"prompt": ""}'
    printf '{"prompt": "%s"}\n' "$(printf 'say %.0s' {1..300})"
    echo '{"text": "say 4"}'
    cat "$work/one.jsonl"
} >"$work/bad.jsonl"
write "$work/model" --greedy --out "$work/file" <"$work/bad.jsonl" >"$work/out"
same "bad lines fail in the end" $? 1
same "nothing on stdout where there is --out" "$(cat "$work/out")" ""
check "how many is said" grep -q '6 of 7 lines have no text; hint' "$work/err"
same "each has a line" "$(grep -c '"error": "line [1-6]: ' "$work/file")" 6
check "with its other keys" grep -q '^{"id":7, "error": "line 3: ' "$work/file"
same "and the others go on" "$(tail -n 1 "$work/file")" "$(write "$work/model" --greedy <"$work/one.jsonl")"
write "$work/model" --greedy <<<'no JSON' >"$work/out"
same "bad lines alone" "$(cut -c -18 "$work/out")" '{"error": "line 1:'
for ((i = 0; i < 5; i++)); do echo "{\"prompt\": \"say $i\", \"id\": $i}"; done >"$work/five.jsonl"
write "$work/model" --n 30000 --max-new-tokens 1 --temperature 1 <"$work/five.jsonl" >"$work/out"
same "texts of more than a window" "$(wc -l <"$work/out") $(tail -n 1 "$work/out" | grep -oE '"sample": [0-9]*')" '150000 "sample": 29999'
mkfifo "$work/pipe"
cat "$work/pipe" >"$work/found" &
write "$work/model" --greedy --out "$work/pipe" <"$work/one.jsonl"
wait $!
same "a pipe is written to" "$(cat "$work/found")" "$(write "$work/model" --greedy <"$work/one.jsonl")"
check "and stays one" test -p "$work/pipe"
write "$work/model" --greedy --out /dev/full <"$work/bad.jsonl"
same "a full device, beside bad lines" $? 1
check "is what is told" grep -q '/dev/full: cannot be written: No space left' "$work/err"
expect "nothing to write" 0 'wrote 0 texts' "$rankwise" generate "$work/model" run.threads=1
coproc "$rankwise" generate "$work/model" --greedy --max-new-tokens 12 run.threads=1 2>"$work/said"
answers=
for text in 4 5; do
    printf '{"prompt": "say %s"}\n' $text >&"${COPROC[1]}"
    read -r -t 60 answer <&"${COPROC[0]}" && answers+=$answer
done
eval "exec ${COPROC[1]}>&-"
wait "$COPROC_PID"
expect "a program that waits for each text gets it" 0 '^{"sample".*}{"sample".*}$' echo "$answers"

# --- misuse ---
expect "samples that are all the same" 1 'samples that are written greedily are all the same; hint' "$rankwise" generate "$work/model" --n 2 --greedy
expect "a temperature below 0" 2 '"temperature": expected a number above 0' "$rankwise" generate "$work/model" --temperature -1
expect "no number" 2 '--top-p: expected a number, found "much"' "$rankwise" generate "$work/model" --top-p much
expect "no whole number" 2 '--n: expected a whole number from 1' "$rankwise" generate "$work/model" --n 1.5
expect "an empty stop text" 1 'expected a stop text, found an empty one' "$rankwise" generate "$work/model" --stop "" run.threads=1
expect "more tokens than positions" 1 'fewer tokens to be written than the model has positions, 256, found 256; hint' \
    "$rankwise" generate "$work/model" --max-new-tokens 256 run.threads=1
finish
