#!/usr/bin/env bash
# rankwise-data peek, stats and audit: what they print is compared with numbers counted here by hand or by awk, and each
# finding of the audit is planted in a shard of its own.
. tests/cli/harness.sh
tokenizer=tests/golden/tokenizer_small
make_shard() { # name, then rows on stdin
    "$data" build --tokenizer "$tokenizer" --max-length 64 --out "$work/$1.h5" - 2>"$work/err"
}
says() { # name pattern: of $work/out
    if grep -qE -e "$2" "$work/out"; then ok "$1"; else not_ok "$1" "expected /$2/, found: $(head -c 900 "$work/out")"; fi
}

make_shard good <<'EOT'
{"chosen": "\n\nHuman: Why?\n\nAssistant: Because", "rejected": "\n\nHuman: Why?\n\nAssistant: No"}
{"chosen": "\n\nHuman: Who?\n\nAssistant: I", "rejected": "\n\nHuman: Who?\n\nAssistant: You and I"}
{"chosen": "\n\nHuman: How?\n\nAssistant: So", "rejected": "\n\nHuman: How?\n\nAssistant: Well, so"}
EOT
n_tokens=$(h5dump -H -d /token "$work/good.h5" | sed -n 's/.*SIMPLE { ( \([0-9]*\) ).*/\1/p')

# --- stats ---
expect stats 0 '3 comparisons of 6 sequences under 3 prompts' "$data" stats "$work/good.h5"
says stats-tokens "both sides, nothing shared +$n_tokens "
forest=$(h5dump -y -d /comparison/forest_tokens "$work/good.h5" | sed -n '/DATA {/,/}/p' | tr -c '0-9' '\n' | awk '{ sum += $1 } END { print sum }')
says stats-forest "forest of each pair .* $forest +1\.00"
says stats-padded-full "padded to the maximum length +$((6 * 64)) "
expect stats-json 0 '^\{.*"comparisons":3,.*"tokens":'"$n_tokens"',' "$data" stats --json "$work/good.h5"
for kind in png svg; do
    if command -v gnuplot >/dev/null; then
        expect stats-plot-$kind 0 'comparisons' "$data" stats "$work/good.h5" "$work/good.h5" --plot "$work/picture.$kind"
        check stats-plot-$kind-is-one grep -qaE 'PNG|<svg' "$work/picture.$kind"
    else
        echo "skipped stats-plot-$kind: gnuplot is not installed"
    fi
done
check stats-plot-shows-its-labels grep -qa 'rejected' "$work/picture.svg"
expect stats-plot-name 1 'ends in .png or .svg' "$data" stats "$work/good.h5" --plot "$work/picture.jpg"
expect stats-plot-nowhere 1 'could not' "$data" stats "$work/good.h5" --plot "$work/none/picture.svg"
mkdir "$work/bin"
expect stats-without-gnuplot 1 'gnuplot is not installed; hint: apt-get install' \
    env PATH="$work/bin" "$data" stats "$work/good.h5" --plot "$work/picture.svg"
expect stats-no-shard 2 'expected a shard' "$data" stats
expect stats-not-a-shard 1 'Makefile' "$data" stats Makefile

# --- peek ---
expect peek 0 'comparison 1 of 3, from standard input:2' "$data" peek "$work/good.h5" --from 1 --count 1
says peek-branches '^You and I<\|endoftext\|>$|^ You and I<\|endoftext\|>$'
expect peek-sample 0 'comparison 2 of 3' "$data" peek "$work/good.h5" --count 9
expect peek-colours 0 $'\033\\[41;97m' "$data" peek "$work/good.h5" --color always
expect peek-no-colours 0 'stem: [0-9]+ tokens, of which [0-9]+ prompt' "$data" peek "$work/good.h5"
if grep -q $'\033' "$work/out"; then not_ok peek-plain "escapes in a file"; else ok peek-plain; fi
expect peek-ids 0 'rejected: [0-9]+ tokens: [0-9 ]+511$' "$data" peek "$work/good.h5" --ids
expect peek-beyond 1 'expected a comparison below 3, found 3' "$data" peek "$work/good.h5" --from 3
expect peek-bad-number 2 'expected an integer' "$data" peek "$work/good.h5" --count x
# What would act on a terminal or in a page does not.
printf '%s\n' '{"chosen": "\u001b[31m<b>\u202e&\u009b \ud83d\ude00 two", "rejected": "one"}' | make_shard nasty
expect peek-escapes 0 '\\x1b\[31m<b>\\u202e&\\x9b 😀 two' "$data" peek "$work/nasty.h5"
expect peek-html 0 '' "$data" peek "$work/nasty.h5" --html "$work/page.html"
python=$(command -v python3)
if [[ -n $python ]]; then
    cat >"$work/read.py" <<'EOT'
import sys
from html.parser import HTMLParser
class Page(HTMLParser):
    def __init__(self): super().__init__(); self.text, self.depth, self.n = "", 0, 0
    def handle_starttag(self, tag, attrs): self.depth += tag == "p"; self.n += tag == "span"
    def handle_endtag(self, tag): self.depth -= tag == "p"
    def handle_data(self, data): self.text += data if self.depth else ""
page = Page(); page.feed(open(sys.argv[1], encoding="utf-8").read())
assert "\\x1b[31m<b>\\u202e&\\x9b \U0001F600 two<|endoftext|>" in page.text, page.text
assert page.n > 8 and "\x1b" not in page.text
EOT
    check peek-html-reads-back "$python" "$work/read.py" "$work/page.html"
else
    echo "skipped peek-html-reads-back: no python3"
fi
expect peek-html-stdout 0 '<span class="c1"' "$data" peek "$work/good.h5" --html -
expect peek-full-disk 1 'could not be written' "$data" peek "$work/good.h5" --html /dev/full

# --- audit: nothing to find, then each finding ---
expect audit-good 0 '^0 problems' "$data" audit --strict "$work/good.h5"
says audit-longer 'longer answer wins: 33\.33 %, equally long: 0\.00 %; picking the longer is right in 33\.33 %'
make_shard bad <<'EOT'
{"chosen": "\n\nHuman: Why?\n\nAssistant: Because", "rejected": "\n\nHuman: Why?\n\nAssistant: Being"}
{"chosen": "\n\nHuman: A\n\nAssistant: B", "rejected": "\n\nHuman: A\n\nAssistant: C"}
{"chosen": "\n\nHuman: A\n\nAssistant: C", "rejected": "\n\nHuman: A\n\nAssistant: B"}
{"chosen": "\n\nHuman: A\n\nAssistant: D", "rejected": "\n\nHuman: A\n\nAssistant: B"}
{"chosen": "\n\nHuman: A\n\nAssistant: D", "rejected": "\n\nHuman: A\n\nAssistant: B"}
EOT
expect audit-bad 0 '^[1-9][0-9]* problem' "$data" audit "$work/good.h5" "$work/bad.h5"
says audit-contradictory 'problem  comparisons that others contradict: 2 of 5 \(standard input:2, standard input:3\)'
says audit-duplicate 'note     comparisons that repeat another: 1 of 5 \(standard input:5\)'
says audit-leak-prompts 'problem  prompts of the first that the second has too \(leakage\): 1 of 3'
says audit-leak-sequences 'problem  sequences of the first that the second has too \(leakage\): 1 of 6'
says audit-contracts 'ok       contracts'
expect audit-strict 1 'the audit found [0-9]+ problem' "$data" audit --strict "$work/bad.h5"
{
    for i in {1..40}; do echo '{"chosen": "\n\nHuman: '"$i"'", "rejected": "\n\nHuman: no '"$i"'"}'; done
    echo '{"chosen": "Human: strange", "rejected": "Human: stranger"}'
} | make_shard drift
expect audit-drift 0 'begin otherwise than the others \(template drift\): 1 of 41 \(standard input:41\)' "$data" audit "$work/drift.h5"
"$data" build --tokenizer "$tokenizer" --max-length 32 --out "$work/other.h5" - 2>"$work/err" <<<'{"chosen": "a", "rejected": "b"}'
expect audit-contracts-differ 0 'problem  contracts: .*max' "$data" audit "$work/good.h5" "$work/other.h5"
"$data" build --tokenizer "$tokenizer" --special bos='<|endoftext|>' --out "$work/bos.h5" - 2>"$work/err" \
    <<<'{"chosen": "<|endoftext|><|endoftext|>a", "rejected": "<|endoftext|>b"}'
expect audit-double-bos 0 'problem  comparisons with a double BOS: 1 of 1' "$data" audit "$work/bos.h5"
finish
