#!/usr/bin/env bash
# The layers of src/, from the object files: CONTRIBUTING.md lists the folders, and none calls one that stands below it in
# that list; no external symbol is defined twice; no two structs, enums or unions share a tag; and each header in include/
# is used by more than one folder. --list shows what every folder calls, --tags and --headers what is wrong there.
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
n_bad=0 quiet=${1:-}

verdict() { # name, what was found; nothing where only a list is asked for
    [[ -z $quiet ]] || return 0
    if [[ -z $2 ]]; then echo "ok layers_$1"; else
        echo "not ok layers_$1: $(tr '\n' ' ' <<<"$2" | cut -c 1-900)"
        n_bad=$((n_bad + 1))
    fi
}

# The list: the indented lines under "## Layers" that begin with a folder's name.
mapfile -t layers < <(awk '/^## / { inside = /^## Layers/ } inside && /^    [a-z_]+ / { print $1 }' CONTRIBUTING.md)
folders=$(find src -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
verdict list_names_every_folder "$(diff <(printf '%s\n' "${layers[@]}" | grep -vx data_tools | sort) <(echo "$folders") | grep '^[<>]')"

objects() { # those of sources that are in the tree now
    local source
    for source in src/*.c src/*/*.c data_tools/*.c; do
        [[ ! -e $build/${source%.c}.o ]] || echo "$build/${source%.c}.o"
    done
}
mapfile -t all < <(objects)
if ((${#all[@]} < 100)); then
    echo "not ok layers: expected the object files under $build, found ${#all[@]} of them"
    exit 1
fi

# "folder file D|U symbol" for each external symbol that a file defines or wants.
symbols=$(nm -A "${all[@]}" | sed "s#^$build/##" | awk '
    { split($0, at, ":"); file = at[1]; sub(/\.o$/, ".c", file)
      n = split(file, part, "/"); folder = part[1] == "data_tools" ? part[1] : n > 2 ? part[2] : "main"
      type = $(NF - 1)
      if (type == "U") print folder, file, "U", $NF
      else if (type ~ /^[A-TV-Z]$/) print folder, file, "D", $NF }')

verdict symbols_are_defined_once "$(awk '$3 == "D" && $4 != "main" { if ($4 in at) print $4 ": " at[$4] " and " $2; at[$4] = $2 }' <<<"$symbols")"

calls=$(awk '$3 == "D" { folder[$4] = $1; next } { n++; from[n] = $1; file[n] = $2; name[n] = $4 }
    END { for (i = 1; i <= n; i++) if (name[i] in folder && folder[name[i]] != from[i]) print from[i], folder[name[i]], file[i], name[i] }' \
    <(grep ' D ' <<<"$symbols") <(grep ' U ' <<<"$symbols"))
if [[ $quiet == --list ]]; then
    awk '{ n[$1 " -> " $2]++ } END { for (k in n) print k, n[k] }' <<<"$calls" | sort
    exit
fi
verdict no_folder_calls_upwards "$(awk -v order="${layers[*]} main" '
    BEGIN { n = split(order, folder, " "); for (i = 1; i <= n; i++) rank[folder[i]] = i }
    $2 == "data_tools" || ($1 != "data_tools" && rank[$2] > rank[$1]) { print $3 " calls " $4 " of " $2 }' <<<"$calls" | sort -u)"

tags=$(grep -rnoE '\b(struct|enum|union) [a-z_0-9]+ \{' src include data_tools cuda |
    awk -F: '{ split($3, word, " "); if (word[2] in at) print word[2] ": " at[word[2]] " and " $1; at[word[2]] = $1 }')
[[ $quiet != --tags ]] || { echo "$tags"; exit; }
verdict tags_are_unique "$tags"

# A header belongs where it is used; one of include/ that another one includes is used wherever that one is.
headers=$(grep -oE '^#include "[a-z_0-9]+\.h"' -r include src data_tools cuda | sed -E 's/:#include "(.*)"/ \1/' | awk '
    { n = split($1, part, "/"); where = part[1] == "src" ? (n > 2 ? part[2] : "main") : part[1]
      if (where == "include") { up[$2] = up[$2] " " part[n]; next }
      if (!(($2, where) in seen)) { seen[$2, where] = 1; used[$2] = used[$2] " " where } }
    function users(h, n, i, list) { if (h in done) return; done[h] = 1; found = found used[h]
        n = split(up[h], list, " "); for (i = 1; i <= n; i++) users(list[i]) }
    END { while (("ls include" | getline h) > 0) {
        delete done; found = ""; users(h); n = split(found, list, " "); delete different; k = 0
        for (i = 1; i <= n; i++) if (!(list[i] in different)) { different[list[i]] = 1; k++ }
        if (k < 2) print h ":" found } }')
[[ $quiet != --headers ]] || { echo "$headers"; exit; }
verdict headers_of_include_are_shared "$headers"

# The core, which the GPU's checks link, needs no library: what it is made of compiles and links without them.
core=$build/core_links
if [[ -z $quiet ]] && make -s CORE_ONLY=1 BUILD="$core" "$core/tests/test_ops" >"$build/core_links.log" 2>&1; then
    echo "ok layers_core_needs_no_libraries"
elif [[ -z $quiet ]]; then
    verdict core_needs_no_libraries "$(tail -n 5 "$build/core_links.log")"
fi
exit $((n_bad > 0))
