#!/usr/bin/env python3
"""Lengths of real pairs, for the GPU benchmark on machines that have no data: "stem chosen rejected" a line, in tokens.

    rankwise-data build --tokenizer ../shared/data/tokenizers/gpt2 --out hh.h5 ../shared/data/prefs/hh_harmless_*.jsonl.gz
    python3 tests/gpu/make_hh_lengths.py hh.h5 > tests/gpu/hh_lengths.txt
"""
import sys

import h5py

with h5py.File(sys.argv[1]) as f:
    first = f["sequence/first"][:]
    length = first[1:] - first[:-1]
    sides = length[f["comparison/chosen"][:]], length[f["comparison/rejected"][:]]
    for chosen, rejected, forest in zip(*sides, f["comparison/forest_tokens"][:]):
        print(chosen + rejected - forest, chosen, rejected)
