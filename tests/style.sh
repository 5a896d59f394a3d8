#!/usr/bin/env bash
# The house style, as far as a machine can tell: CONTRIBUTING.md says why. Notes (functions of over 80 lines, files of
# over 800) go to stderr and fail nothing.
cd "$(dirname "$0")/.." || exit 1
n_bad=0
sources=() # what is in the tree and is not made by a script
for file in src/*.c src/*/*.c src/*/*.h include/*.h data_tools/*.[ch] cuda/*.cu cuda/*.h tests/*.[ch] tests/{bench,fuzz,cluster,gpu,long}/*.[ch]; do
    [[ ! -e $file ]] || head -n 3 "$file" | grep -qiE 'generated|made by tests' || sources+=("$file")
done

verdict() { # name, what was found
    if [[ -z $2 ]]; then echo "ok style_$1"; else
        echo "not ok style_$1: $(tr '\n' ' ' <<<"$2" | cut -c 1-600)"
        n_bad=$((n_bad + 1))
    fi
}

verdict banned_calls "$(grep -nE '\b(atoi|atof|sprintf|strcpy|strcat|strtok|rand|srand|assert)[ ]*\(' "${sources[@]}")"
verdict leftovers "$(grep -nE 'TODO|FIXME|(^|[^X])XXX([^X]|$)|not implemented yet' "${sources[@]}")"
verdict no_tabs_or_trailing_blanks "$(grep -nE $'\t|[ \t]+$' "${sources[@]}")"
verdict lines_within_100 "$(grep -nE '^.{101,}' "${sources[@]}" | cut -c 1-60)"
verdict mpi_stays_in_its_place "$(grep -lE '#include <mpi.h>' "${sources[@]}" |
    grep -vE '^(src/ranks/|cuda/nccl|tests/)')"
verdict dnnl_stays_in_its_place "$(grep -lE '#include .*dnnl' "${sources[@]}" | grep -vE '^(src/cpu/matmul|tests/)')"
verdict hdf5_stays_in_its_place "$(grep -lE '#include <hdf5' "${sources[@]}" |
    grep -vE '^(src/base/h5|src/data/shard|src/checkpoint/|data_tools/inspect|tests/|include/h5)')"
verdict jq_stays_in_its_place "$(grep -lE '#include <j[qv]\.h' "${sources[@]}" | grep -vx data_tools/format_mapping.c)"

# A function is a block whose braces stand at column 0.
long_functions() { # lines
    awk -v limit="$1" 'FNR == 1 { open = 0 }
        /^[A-Za-z].*\) \{$/ { open = FNR; name = $0 }
        /^\}/ { if (open && FNR - open > limit) print FILENAME ":" open ": " FNR - open " lines"; open = 0 }' \
        "${sources[@]}"
}
verdict functions_within_120 "$(long_functions 120)"
long_functions 80 | sed 's/^/note: long function: /' >&2
wc -l "${sources[@]}" | awk '$1 > 800 && $2 != "total" { print "note: long file: " $2 ", " $1 " lines" }' >&2

# Other versions of clang-format cut lines in other ways; 14 is Debian 12's.
if clang-format --version 2>/dev/null | grep -q 'version 14'; then
    unformatted=
    for file in "${sources[@]}"; do
        [[ $file != *.c ]] || clang-format "$file" | cmp -s - "$file" || unformatted+="$file "
    done
    verdict formatted "${unformatted:+make format would change $unformatted}"
else
    echo "skipped style_formatted: clang-format 14 is not installed"
fi
if command -v shellcheck >/dev/null; then
    verdict shell_scripts "$(shellcheck -S warning -x .ci/* tests/*.sh tests/*/*.sh slurm/*.sbatch | grep -E '^In .* line')"
else
    echo "skipped style_shell_scripts: shellcheck is not installed"
fi
exit $((n_bad > 0))
