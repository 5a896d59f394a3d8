#!/usr/bin/env bash
# The size and the order of the tree, as a table: what tests/layers.sh finds, lines of code, files, functions, comments,
# and how often code outside the families' table asks for a family. `tree.sh DIR` measures another checkout of it.
here=$(cd "$(dirname "$0")/../.." && pwd)
cd "${1:-$here}" || exit 1

mapfile -t sources < <(git ls-files 'src/*.[ch]' 'include/*.h' 'data_tools/*.[ch]' 'cuda/*.cu' 'cuda/*.h' |
    while read -r file; do head -n 3 "$file" | grep -qiE 'generated|made by tests' || echo "$file"; done)

# Lines of code: no comments, no blank lines, no rows of tables (lines of nothing but numbers).
code_lines() {
    cat "$@" | sed -E 's://.*$::' | awk '
        { line = $0
          while (1) {
            if (inside) { at = index(line, "*/"); if (!at) { line = ""; break } line = substr(line, at + 2); inside = 0 }
            at = index(line, "/*"); if (!at) break
            rest = substr(line, at + 2); end = index(rest, "*/")
            if (end) line = substr(line, 1, at - 1) substr(rest, end + 2); else { line = substr(line, 1, at - 1); inside = 1; break }
          }
          if (line ~ /[^ \t]/ && line !~ /^[ \t{}0-9a-fA-Fx,.-]+$/) n++ 
          else if (line ~ /^[ \t]*[{}]/) n++ }
        END { print n + 0 }'
}

functions() { # sorted lengths
    awk 'FNR == 1 { open = 0 } /^[A-Za-z].*\) \{$/ || /^ .*\) \{$/ && !open { open = FNR }
         /^\}/ { if (open) print FNR - open + 1; open = 0 }' "${sources[@]}" | sort -n
}
at_percent() { awk -v p="$1" '{ x[NR] = $1 } END { i = int(NR * p / 100 + 0.5); if (i < 1) i = 1; print x[i] }'; }

echo "lines of code by folder, without comments, blanks and tables:"
for folder in src/* include data_tools cuda; do
    files=()
    for file in "${sources[@]}"; do [[ $file != "$folder"/* && $file != "$folder" ]] || files+=("$file"); done
    ((${#files[@]} == 0)) || printf '  %-16s %6d\n' "$folder" "$(code_lines "${files[@]}")"
done
printf '  %-16s %6d\n' all "$(code_lines "${sources[@]}")"
echo "functions: $(functions | wc -l), median $(functions | at_percent 50), p90 $(functions | at_percent 90), longest $(functions | tail -n 1)"
echo "largest files: $(wc -l "${sources[@]}" | sort -rn | awk '$2 != "total" { printf "%s%s %d", s, $2, $1; s = ", " }' | cut -d, -f 1-4)"
echo "comment lines: $(cat "${sources[@]}" | awk '/^[ \t]*(\/\*|\*|\/\/)/ { n++ } END { printf "%.1f %%", 100 * n / NR }')"
echo "headers in include/: $(git ls-files 'include/*.h' | wc -l)"
outside='^(src/arch/famil|src/model/arch.c|src/arch/arch.c:0)'
echo "conditionals on a family outside its table: $(grep -nE '(==|!=) *(ARCH_|FAMILY_)[A-Z]|case (ARCH_|FAMILY_)[A-Z]|\b(is_)?neox\b *[?&|)]|[!&|(] *neox\b|->family\b|\.family\b' "${sources[@]}" | grep -vcE "$outside")"
[[ ! -x tests/layers.sh ]] || tests/layers.sh
