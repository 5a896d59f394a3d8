#!/usr/bin/env bash
# rankwise-data build beyond single rows: weights, splits, seeds, threads, names by content, several processes at once, kills,
# full disks. Shards are read with h5dump, not with our reader.
# limit: 600
. tests/cli/harness.sh
tokenizer=tests/golden/tokenizer_small
build() { "$data" build --tokenizer "$tokenizer" --max-length 64 "$@"; }
quiet() { build "$@" >"$work/out" 2>"$work/err"; }
numbers() { # file dataset: its numbers on one line
    h5dump -y -d "$2" "$1" | sed -n '/DATA {/,/}/p' | grep -oE '^ *-?[0-9., -]+$' | tr -d ' \n' | tr ',' ' '
}
count() { numbers "$1" /comparison/row | wc -w; }
text() { h5dump -a "$2" "$1" | sed -n 's/.*(0): "\(.*\)"$/\1/p'; }
rows() { # number, name: rows with a prompt each, which every fourth one shares with the one before
    awk -v n="$1" -v name="$2" 'BEGIN { for (i = 0; i < n; i++) {
        p = i % 4 == 3 ? i - 1 : i
        printf "{\"prompt\": \"%s question %d, what is it? \", \"chosen\": \"good %d of %s\", \"rejected\": \"bad %d\"}\n",
            name, p, i, name, i * 7 } }'
}
left_behind() { find "$work" -name 'x.h5?*' | sort | tr '\n' ' '; }

rows 1000 one >"$work/one.jsonl"
rows 300 two >"$work/two.jsonl"
quiet --out "$work/all.h5" "$work/one.jsonl"

# --- weights ---
quiet --out "$work/x.h5" "$work/one.jsonl:0.25"
same build-fraction "$(count "$work/x.h5")" 250
same build-fraction-keeps-order "$(numbers "$work/x.h5" /comparison/row)" \
    "$(numbers "$work/x.h5" /comparison/row | tr ' ' '\n' | sort -n | uniq | tr '\n' ' ' | sed 's/ $//')"
check build-fraction-is-spread test "$(numbers "$work/x.h5" /comparison/row | tr ' ' '\n' | awk '$1 > 500' | wc -l)" -gt 80
quiet --out "$work/y.h5" "$work/one.jsonl:250"
same build-count-is-the-fraction "$(numbers "$work/y.h5" /comparison/row)" "$(numbers "$work/x.h5" /comparison/row)"
quiet --out "$work/y.h5" --seed 1 "$work/one.jsonl:250"
check build-seed-draws-others test "$(numbers "$work/y.h5" /comparison/row)" != "$(numbers "$work/x.h5" /comparison/row)"
same build-seed-draws-as-many "$(count "$work/y.h5")" 250
quiet --out "$work/x.h5" "$work/one.jsonl:1.5"
same build-repeats "$(count "$work/x.h5")" 1500
same build-repeats-all-first "$(numbers "$work/x.h5" /comparison/row | cut -d' ' -f1-1000)" "$(seq -s' ' 1000)"
same build-repeats-a-half-without-replacement \
    "$(numbers "$work/x.h5" /comparison/row | tr ' ' '\n' | tail -n 500 | sort -n | uniq | wc -l)" 500
same build-repeats-no-token "$(numbers "$work/x.h5" /sequence/first)" "$(numbers "$work/all.h5" /sequence/first)"
quiet --out "$work/x.h5" "$work/one.jsonl:2000" "$work/two.jsonl:30"
same build-count-above-the-rows "$(numbers "$work/x.h5" /comparison/source | tr ' ' '\n' | uniq -c | tr -s ' \n' ' ')" " 2000 0 30 1 "
cp "$work/two.jsonl" "$work/odd:0.5"
cp "$work/two.jsonl" "$work/pairs=x"
quiet --out "$work/x.h5" "$work/odd:0.5"
same build-path-with-a-colon "$(count "$work/x.h5")" 300
quiet --out "$work/x.h5" "$work/odd:0.5:0.1"
same build-path-with-a-colon-and-a-weight "$(count "$work/x.h5")" 30
expect build-source-of-an-input 0 '300 rows read, 300 pairs kept' build --out "$work/x.h5" "pairs=$work/two.jsonl"
check build-source-of-an-input-is-used grep -q 'litbench' <(build --out "$work/x.h5" "litbench=$work/two.jsonl" 2>&1)
expect build-path-like-a-source 0 '300 pairs kept' bash -c "cd '$work' && '$data' build --tokenizer '$PWD/$tokenizer' --out x.h5 pairs=x"
expect build-weight-of-standard-input 1 'a weight needs the number of rows.*hint' build --out "$work/x.h5" -- -:0.5
expect build-weight-of-zero 1 'expected a fraction above 0' build --out "$work/x.h5" "$work/one.jsonl:0.0"
expect build-count-of-zero 1 'expected a number of rows above 0' build --out "$work/x.h5" "$work/one.jsonl:0"
expect build-no-such-file 1 'nowhere.jsonl: cannot be opened' build --out "$work/x.h5" "$work/nowhere.jsonl:0.5"

# --- limit: of all rows that are read ---
quiet --out "$work/x.h5" --limit 1010 "$work/one.jsonl" "$work/two.jsonl"
same build-limit "$(numbers "$work/x.h5" /comparison/source | tr ' ' '\n' | uniq -c | tr -s ' \n' ' ')" " 1000 0 10 1 "

# --- the split: no prompt on both sides, over inputs and builds; together they are all ---
prompts() { # shard file...: the prompts of the rows that the shard has
    local shard=$1 i=0 file
    shift
    paste <(numbers "$shard" /comparison/source | tr ' ' '\n') <(numbers "$shard" /comparison/row | tr ' ' '\n') >"$work/places"
    for file; do
        awk -v i=$i 'NR == FNR { if ($1 == i) want[$2] = 1; next } FNR in want' "$work/places" "$file"
        i=$((i + 1))
    done | sed 's/.*"prompt": "\([^"]*\)".*/\1/' | sort -u
}
quiet --out "$work/x.h5" --eval-out "$work/y.h5" --eval-fraction 0.2 "$work/one.jsonl" "$work/two.jsonl" "$work/one.jsonl:0.5"
same build-split-is-all $(($(count "$work/x.h5") + $(count "$work/y.h5"))) 1800
n=$(count "$work/y.h5")
check build-split-fraction test "$n" -gt 270 -a "$n" -lt 450
prompts "$work/x.h5" "$work/one.jsonl" "$work/two.jsonl" "$work/one.jsonl" >"$work/train"
prompts "$work/y.h5" "$work/one.jsonl" "$work/two.jsonl" "$work/one.jsonl" >"$work/held"
same build-split-is-disjoint "$(comm -12 "$work/train" "$work/held" | wc -l)" 0
quiet --out "$work/x2.h5" --eval-out "$work/y2.h5" --eval-fraction 0.2 "$work/two.jsonl"
prompts "$work/y2.h5" "$work/two.jsonl" >"$work/held2"
same build-split-is-the-same-in-another-build "$(comm -12 "$work/train" "$work/held2" | wc -l)" 0
quiet --out "$work/x2.h5" --eval-out "$work/y2.h5" --eval-fraction 0.2 --seed 5 "$work/two.jsonl"
check build-split-by-the-seed test "$(prompts "$work/y2.h5" "$work/two.jsonl" | md5sum)" != "$(md5sum <"$work/held2")"
check build-split-is-named grep -q '"side":"held_out"' <(text "$work/y.h5" /options)
expect build-split-without-pairs 1 'y3.h5: no pair is left.*--eval-fraction' \
    build --out "$work/x3.h5" --eval-out "$work/y3.h5" --eval-fraction 0.000001 "$work/two.jsonl"
check build-split-without-pairs-leaves-nothing test ! -e "$work/x3.h5" -a ! -e "$work/y3.h5"
expect build-eval-fraction-alone 2 'eval-out is missing' build --out "$work/x.h5" --eval-fraction 0.1 "$work/one.jsonl"
expect build-eval-fraction-too-large 2 'between 0 and 1' build --out "$work/x.h5" --eval-out "$work/y.h5" --eval-fraction 1 "$work/one.jsonl"

# --- threads: the same bytes, the same first error ---
rows 6000 many >"$work/many.jsonl"
for threads in 1 2 3 8; do
    rm -f "$work/x.h5"
    quiet --out "$work/x.h5" --threads $threads "$work/many.jsonl" "$work/two.jsonl:2.5" "$work/one.jsonl"
    [[ $threads != 1 ]] || cp "$work/x.h5" "$work/threads.h5"
    check "build-threads-$threads" cmp "$work/x.h5" "$work/threads.h5"
done
sed -e '4000s/.*/{"chosen": 1}/' -e '2500s/.*/nonsense/' -e '3000s/$/,/' "$work/many.jsonl" >"$work/bad.jsonl"
for threads in 1 8; do
    expect "build-first-error-$threads" 1 'bad.jsonl:2500: not valid JSON' build --out "$work/x2.h5" --threads $threads "$work/bad.jsonl"
    expect "build-skips-$threads" 0 '5997 pairs kept' build --out "$work/skip$threads.h5" --threads $threads --skip-bad-rows "$work/bad.jsonl"
done
check build-skips-alike cmp "$work/skip1.h5" "$work/skip8.h5"
check build-skips-are-counted grep -q '"invalid_json":2,"invalid_fields":1' <(text "$work/skip1.h5" /rows)
(for i in $(seq 1 16); do cat "$work/many.jsonl"; done; printf '{"chosen": "x", "rejec') >"$work/large.jsonl"
expect build-error-at-the-end 1 'large.jsonl:96001: ' build --out "$work/x2.h5" --threads 3 "$work/large.jsonl"

# --- answers of several kinds ---
cat >"$work/ranked.jsonl" <<'EOT'
{"prompt": "p", "responses": ["a", "b", "c", "a"], "scores": [3, 1, 1, 3]}
{"prompt": "p", "responses": ["x", "y", "word word word word word word word word word word word word"], "scores": [3, 1, 2]}
{"prompt": "q", "responses": ["same", "same"], "scores": [3, 3]}
EOT
expect build-ranked 0 '3 rows read, 5 pairs kept' build --max-length 12 --truncate drop --out "$work/x.h5" "$work/ranked.jsonl"
same build-ranked-encodes-an-answer-once "$(numbers "$work/x.h5" /sequence/first | wc -w)" 6
same build-ranked-pairs "$(numbers "$work/x.h5" /comparison/chosen);$(numbers "$work/x.h5" /comparison/rejected)" "0 0 0 0 3;1 2 1 2 4"
same build-ranked-groups "$(numbers "$work/x.h5" /group/first)" "0 5"
check build-ranked-counts grep -q '"kept":5,.*"too_long":2,"tie":3' <(text "$work/x.h5" /rows)
same build-prompt-tokens "$(numbers "$work/x.h5" /comparison/prompt_tokens)" "1 1 1 1 1"
printf '{"chosen": "a", "rejected": "b", "from": "%s"}\n' red blue red >"$work/from.jsonl"
expect build-origin-key 0 '3 pairs kept' build --origin-key from --out "$work/x.h5" "$work/from.jsonl"
same build-source-key-is-an-entry "$(numbers "$work/x.h5" /comparison/source)" "1 2 1"
check build-source-key-is-told grep -q '"origin":"red","rows":2' <(text "$work/x.h5" /sources)
printf '{"prompt": "%s", "chosen": "yes", "rejected": "no"}\n' "$(seq -s' ' 40)" >"$work/long.jsonl"
expect build-max-prompt-length 0 '1 pairs kept' build --max-prompt-length 9 --truncate left --out "$work/x.h5" "$work/long.jsonl"
same build-max-prompt-length-is-kept "$(numbers "$work/x.h5" /comparison/prompt_tokens)" 9
expect build-max-prompt-length-error 1 'expected at most 9 tokens' build --max-prompt-length 9 --truncate error --out "$work/x.h5" "$work/long.jsonl"

# --- up to date, and when it is not ---
rm -f "$work/x.h5"
expect build-first 0 '1000 pairs kept' build --out "$work/x.h5" "$work/one.jsonl"
cp -p "$work/x.h5" "$work/kept.h5"
expect build-again 0 'x.h5: up to date' build --out "$work/x.h5" "$work/one.jsonl"
check build-again-writes-nothing test ! "$work/x.h5" -nt "$work/kept.h5"
expect build-again-with-other-threads 0 'up to date' build --threads 1 --out "$work/x.h5" "$work/one.jsonl"
cp "$work/one.jsonl" "$work/moved.jsonl"
expect build-again-from-a-copy 0 'up to date' build --out "$work/x.h5" "$work/moved.jsonl"
for change in "--max-length 63" "--seed 3" "--limit 999" "--truncate left" "--skip-bad-rows" "--max-prompt-length 60"; do
    # shellcheck disable=SC2086 # an option and its value
    expect "build-other${change// /-}" 0 'pairs kept' build $change --out "$work/x.h5" "$work/one.jsonl"
done
expect build-other-tokenizer 0 'pairs kept' "$data" build --max-length 64 --tokenizer tests/golden/tokenizer_resaved --out "$work/x.h5" "$work/one.jsonl"
sed 's/good 7 of/fine 7 of/' "$work/one.jsonl" >"$work/moved.jsonl"
quiet --out "$work/x.h5" "$work/one.jsonl"
expect build-other-bytes 0 'pairs kept' build --out "$work/x.h5" "$work/moved.jsonl"
head -c 20000 "$work/kept.h5" >"$work/x.h5"
expect build-over-a-cut-shard 0 'pairs kept' build --out "$work/x.h5" "$work/one.jsonl"
check build-over-a-cut-shard-is-whole cmp "$work/x.h5" "$work/kept.h5"
flip() { # file offset: one bit
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
finds_flips() { # how many of 24 bits over the whole file are found by build and by inspect, or change nothing that h5dump reads
    local i n=0 size at
    size=$(stat -c %s "$work/kept.h5")
    for ((i = 0; i < 24; i++)); do
        cp "$work/kept.h5" "$work/x.h5"
        at=$((4096 + (size - 4096) * i / 24 + i * 7))
        flip "$work/x.h5" $at
        if "$inspect" verify "$work/x.h5" >"$work/verify" 2>&1; then
            h5diff -q "$work/x.h5" "$work/kept.h5" && n=$((n + 1))
            continue
        fi
        quiet --out "$work/x.h5" "$work/one.jsonl"
        cmp -s "$work/x.h5" "$work/kept.h5" && n=$((n + 1))
    done
    echo $n
}
same build-over-a-flipped-bit "$(finds_flips)" 24
cp "$work/kept.h5" "$work/x.h5"
flip "$work/x.h5" 6000
expect build-over-damage-says-so 0 'x.h5: .*damaged.*; building it again' build --out "$work/x.h5" "$work/one.jsonl"
cp "$work/kept.h5" "$work/x.h5"
: >"$work/x.h5.lock"
: >"$work/x.h5.partial"
: >"$work/x.h5.tmp-other-1"
expect build-up-to-date-sweeps 0 'up to date' build --out "$work/x.h5" "$work/one.jsonl"
same build-up-to-date-leaves-nothing "$(left_behind)" ""

# --- what stands under the name ---
cp "$work/one.jsonl" "$work/same.jsonl"
expect build-onto-its-input 1 'same.jsonl: is an input' build --out "$work/same.jsonl" "$work/same.jsonl"
expect build-onto-its-input-as-a-link 1 'is an input' bash -c "ln -s same.jsonl '$work/l'; exec '$data' build --tokenizer $tokenizer --out '$work/l' '$work/same.jsonl'"
check build-onto-its-input-keeps-it cmp "$work/same.jsonl" "$work/one.jsonl"
expect build-onto-another-file 1 'two.jsonl: is there already and is no token shard; hint' build --out "$work/two.jsonl" "$work/one.jsonl"
expect build-onto-another-file-for-eval 1 'two.jsonl: is there already' build --out "$work/n.h5" --eval-out "$work/two.jsonl" "$work/one.jsonl"
expect build-onto-a-device 1 '/dev/null: expected a file or nothing, found a device' build --out /dev/null "$work/one.jsonl"
check build-onto-a-device-keeps-it test -c /dev/null
: >"$work/n.h5"
expect build-onto-an-empty-file 0 '1000 pairs kept' build --out "$work/n.h5" "$work/one.jsonl"
mkdir "$work/elsewhere"
ln -s elsewhere/target.h5 "$work/link.h5"
expect build-through-a-link 0 '1000 pairs kept' build --out "$work/link.h5" "$work/one.jsonl"
check build-through-a-link-keeps-it test -L "$work/link.h5" -a -s "$work/elsewhere/target.h5"
expect build-through-a-link-again 0 'up to date' build --out "$work/link.h5" "$work/one.jsonl"
expect build-twice-the-same-file 1 'are the same file' build --out "$work/elsewhere/target.h5" --eval-out "$work/link.h5" "$work/one.jsonl"
h5copy -i "$work/n.h5" -s /token -o "$work/other.h5" -d /token
expect build-onto-other-hdf5 1 'other.h5: is there already' build --out "$work/other.h5" "$work/one.jsonl"

quiet --out "$work/x.h5" - <"$work/one.jsonl"
quiet --out "$work/x.h5" - <"$work/one.jsonl"
check build-standard-input-again grep -q '1000 pairs kept' "$work/err"

# --- a cache ---
expect build-cache 0 "^$work/cache/[0-9a-f]{64}.h5$" build --cache "$work/cache" "$work/one.jsonl"
shard=$(cat "$work/out")
same build-cache-name-is-the-digest "$(text "$shard" /digest).h5" "$(basename "$shard")"
expect build-cache-again 0 'up to date' build --cache "$work/cache" "$work/one.jsonl"
same build-cache-prints-the-path "$(cat "$work/out")" "$shard"
quiet --cache "$work/cache" --eval-fraction 0.1 "$work/one.jsonl"
same build-cache-of-a-split "$(xargs ls <"$work/out" 2>&1 | wc -l)" 2
same build-cache-has-three "$(find "$work/cache" -type f | wc -l)" 3
expect build-cache-of-standard-input 1 'hint: write it to a' build --cache "$work/cache" -
expect build-cache-and-out 2 'expected one of them' build --cache "$work/cache" --out "$work/x.h5" "$work/one.jsonl"

# --- four processes at once: one builds, all end well with the same shard ---
for round in 1 2 3; do
    rm -rf "$work/cache"
    for i in 1 2 3 4; do build --cache "$work/cache" "$work/large.jsonl" --skip-bad-rows >"$work/out.$i" 2>"$work/err.$i" & done
    wait
    same "build-at-once-$round" "$(cat "$work"/out.[1-4] | sort | uniq -c | awk '{ print $1 }')" 4
    same "build-at-once-one-builds-$round" "$(cat "$work"/err.[1-4] | grep -c 'pairs kept')" 1
    same "build-at-once-leaves-nothing-else-$round" "$(find "$work/cache" -type f | wc -l)" 1
done

# --- killed: nothing that looks whole, and the next build ends with the same bytes ---
sum=0
rm -f "$work/x.h5" "$work/y.h5"
cp "$(cat "$work/out.1")" "$work/whole.h5"
quiet --out "$work/whole.h5" --eval-out "$work/whole_eval.h5" --skip-bad-rows "$work/large.jsonl" "$work/two.jsonl:1.5" "$work/large.jsonl:0.3"
killed() { # bytes: a build that is killed once its log has so many
    "$data" build --tokenizer "$tokenizer" --max-length 64 --out "$work/x.h5" --eval-out "$work/y.h5" \
        --skip-bad-rows "$work/large.jsonl" "$work/two.jsonl:1.5" "$work/large.jsonl:0.3" >"$work/out" 2>"$work/err" &
    local build=$!
    until (($(stat -c %s "$work/x.h5.partial" 2>/dev/null || echo 0) >= $1)) || ! kill -0 $build 2>/dev/null; do sleep 0.002; done
    kill -KILL $build 2>/dev/null
    wait $build
} 2>/dev/null
for bytes in 0 1 1000 50000 200000 1000000 2000000; do
    rm -f "$work"/x.h5* "$work"/y.h5*
    killed $bytes
    [[ ! -e $work/x.h5 ]] || cmp -s "$work/x.h5" "$work/whole.h5" || not_ok "build-killed-looks-whole-$bytes" "another shard"
    quiet --out "$work/x.h5" --eval-out "$work/y.h5" --skip-bad-rows "$work/large.jsonl" "$work/two.jsonl:1.5" "$work/large.jsonl:0.3"
    sum=$((sum + $(grep -c 'going on from' "$work/err")))
    if cmp -s "$work/x.h5" "$work/whole.h5" && cmp -s "$work/y.h5" "$work/whole_eval.h5" && [[ -z $(left_behind) ]]; then
        ok "build-killed-at-$bytes"
    else
        not_ok "build-killed-at-$bytes" "other bytes, or left behind: $(left_behind)"
    fi
done
check build-killed-goes-on test $sum -ge 2
# A damaged log: only what is whole before the damage counts.
quiet --out "$work/x.h5" "$work/one.jsonl"
cp "$work/x.h5" "$work/kept.h5"
killed 200000
size=$(stat -c %s "$work/x.h5.partial" 2>/dev/null || echo 0)
if ((size > 100000)); then
    printf 'XXXX' | dd of="$work/x.h5.partial" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
    quiet --out "$work/x.h5" --eval-out "$work/y.h5" --skip-bad-rows "$work/large.jsonl" "$work/two.jsonl:1.5" "$work/large.jsonl:0.3"
    check build-damaged-log cmp "$work/x.h5" "$work/whole.h5"
else
    echo "skipped build-damaged-log: the build was killed before it had a log"
fi
: >"$work/x.h5.partial"
head -c 100000 /dev/urandom >>"$work/x.h5.partial"
quiet --out "$work/x.h5" --limit 900 "$work/one.jsonl"
quiet --out "$work/x.h5" "$work/one.jsonl"
check build-log-of-something-else cmp "$work/x.h5" "$work/kept.h5"

# --- where it cannot be written ---
expect build-no-folder 1 'nowhere/x.h5: cannot be written' build --out "$work/nowhere/x.h5" "$work/one.jsonl"
expect build-onto-a-folder 1 "$work: " build --out "$work" "$work/one.jsonl"
rm -f "$work"/x.h5*
for blocks in 8 40; do
    expect "build-full-disk-$blocks" 1 'x.h5: cannot be written: File too large' \
        bash -c "ulimit -f $blocks; exec '$data' build --tokenizer '$tokenizer' --max-length 64 --out '$work/x.h5' '$work/many.jsonl'"
    same "build-full-disk-$blocks-leaves-no-shard" "$(find "$work" -name 'x.h5*' ! -name '*.partial')" ""
done
expect build-without-room-for-its-log 0 '6000 pairs kept' \
    bash -c "ulimit -f 1000; exec '$data' build --tokenizer '$tokenizer' --max-length 64 --out '$work/x.h5' '$work/many.jsonl'"
check build-without-room-for-its-log-says-so grep -q 'x.h5.partial: File too large; this build goes on without it' "$work/err"
rm "$work/x.h5"
quiet --out "$work/x.h5" "$work/many.jsonl"
same build-after-a-full-disk "$(count "$work/x.h5")$(left_behind)" 6000

expect build-into-proc 1 '/proc/x.h5: cannot be written' build --out /proc/x.h5 "$work/one.jsonl"

# --- pipes; a folder that goes away, an input that changes, while another is read ---
mkfifo "$work/pipe"
mkdir "$work/gone"
(sleep 0.3; rm -r "$work/gone"; cat "$work/one.jsonl") >"$work/pipe" &
expect build-folder-that-goes-away 1 'gone/x.h5' build --out "$work/gone/x.h5" "$work/pipe"
wait
cp "$work/two.jsonl" "$work/moved.jsonl"
(sleep 0.3; cat "$work/one.jsonl" >>"$work/moved.jsonl"; cat "$work/one.jsonl") >"$work/pipe" &
expect build-input-that-changes 1 'moved.jsonl: changed while it was read' build --out "$work/gone.h5" "$work/pipe" "$work/moved.jsonl"
wait
check build-input-that-changes-leaves-nothing test -z "$(find "$work" -name 'gone.h5*')"
(sleep 0.2; cat "$work/one.jsonl") >"$work/pipe" &
expect build-from-a-pipe 0 '1000 pairs kept' build --out "$work/x.h5" "$work/pipe"
wait
check build-from-a-pipe-is-the-same h5diff "$work/x.h5" "$work/kept.h5" /token /token
: >"$work/none.jsonl"
expect build-many-inputs 0 '6300 rows read' build --out "$work/x.h5" "$work/many.jsonl" "$work/none.jsonl" "$work/two.jsonl" "$work/none.jsonl"
finish
