"""Compares ids and decoded text with Hugging Face tokenizers, on more text than the committed goldens hold, and times
both on the texts. From the repository root:

    python tests/golden/compare_tokenizers.py ../shared/data/tokenizers/gpt2 [--texts FILE ...] [--random 100000] [--auto]

Every string of the JSON and JSONL files and as many random Unicode strings are encoded by both. A directory is compared
by its tokenizer.json alone, or, with --auto, with all its files, against transformers' AutoTokenizer. (That one builds
tokenizers of the class LlamaTokenizer anew, with another pre-tokenizer than tokenizer.json has: ids behind special
tokens differ then.)
"""
import argparse
import ctypes
import gzip
import json
import os
import random
import subprocess
import sys
import time
import unicodedata

from tokenizers import Tokenizer

SOURCES = "src/base/{base,clock,file,hash,json*,memory,random,log}.c src/{unicode,jinja,tokenizer,template}/*.c"
LIBRARY = "build/text_for_python.so"


class Ids(ctypes.Structure):
    _fields_ = [("id", ctypes.POINTER(ctypes.c_int32)), ("n", ctypes.c_int64), ("capacity", ctypes.c_int64)]


class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(ctypes.c_char)), ("length", ctypes.c_size_t), ("capacity", ctypes.c_size_t)]


def load_library():
    os.makedirs("build", exist_ok=True)
    command = f"gcc -std=gnu11 -D_GNU_SOURCE -O3 -march=native -shared -fPIC -Iinclude -o {LIBRARY} {SOURCES} " \
              "-ljansson -lpcre2-8 -lm -lpthread"
    subprocess.run(["bash", "-c", command], check=True)
    lib = ctypes.CDLL(os.path.abspath(LIBRARY))
    lib.tokenizer_open_directory.restype = lib.encoder_new.restype = ctypes.c_void_p
    lib.tokenizer_open_directory.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    lib.encoder_new.argtypes = [ctypes.c_void_p]
    lib.encoder_encode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
    lib.tokenizer_decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_bool, ctypes.c_void_p]
    lib.tokenizer_identity.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.error_text.restype = ctypes.c_char_p
    return lib


class Ours:
    def __init__(self, directory):
        self.lib = load_library()
        self.tokenizer = self.lib.tokenizer_open_directory(directory.encode(), None)
        if not self.tokenizer:
            sys.exit(self.lib.error_text().decode())
        self.encoder = self.lib.encoder_new(self.tokenizer)
        self.ids, self.text = Ids(), Buffer()

    def encode(self, text):
        data = text.encode()
        self.ids.n = 0
        if self.lib.encoder_encode(self.encoder, data, len(data), ctypes.byref(self.ids)) != 0:
            sys.exit(self.lib.error_text().decode())
        return self.ids.id[:self.ids.n]

    def decode(self, ids, skip_special):
        array = (ctypes.c_int32 * max(1, len(ids)))(*ids)
        self.text.length = 0
        self.lib.tokenizer_decode(self.tokenizer, array, len(ids), skip_special, ctypes.byref(self.text))
        return self.text.data[:self.text.length].decode()

    def identity(self):
        out = ctypes.create_string_buffer(65)
        self.lib.tokenizer_identity(self.tokenizer, out)
        return out.value.decode()


def random_strings(n, seed, special):
    """Assigned characters of every plane and block, combining marks, all whitespace, emoji, contractions, digits, and
    now and then a special token."""
    draw = random.Random(seed)
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
    later = [chr(c) for c in range(0x870, 0x33480) if unicodedata.category(chr(c)) == "Cn"]
    marks = [c for c in assigned if unicodedata.category(c)[0] == "M"]
    space = [c for c in assigned if c.isspace() or c in "\u180e\u200b\u2060\ufeff"]
    low = [c for c in assigned if ord(c) < 0x3000]
    ascii_ = [chr(c) for c in range(1, 128)]
    pools = [assigned, later, marks, space, low, ascii_, ascii_, [" "], ["\n", "\r\n", "\t"],
             ["'s", "'S", "'t", "'re", "'VE", "'m", "'ll", "'D", "'\u017f", "\u2019s"], list("0123456789\u00b2\u0663\u2167"),
             ["\U0001F600", "\U0001F468\u200d\U0001F469", "\u2764\ufe0f"], list("etaoin shrdlu"), special,
             ["e\u0301", "\u1112\u1161\u11ab", "\u0344", "\u1E9B\u0323", "\u212b", "\uac00\u11a8"]]
    for _ in range(n):
        yield "".join(draw.choice(draw.choice(pools)) * draw.choice([1, 1, 1, 1, 2, 5])
                      for _ in range(draw.randint(0, 24)))


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings_of(part)


def compare(ours, theirs, texts, name):
    n = differ = 0
    for text in texts:
        n += 1
        expected, found = theirs.encode(text, add_special_tokens=False).ids, ours.encode(text)
        bad = expected != found
        for skip in (False, True):
            bad = bad or theirs.decode(expected, skip_special_tokens=skip) != ours.decode(expected, skip)
        if not bad and len(expected) > 2:  # cut characters
            bad = theirs.decode(expected[1::2], skip_special_tokens=False) != ours.decode(expected[1::2], False)
        differ += bad
        if bad and differ <= 5:
            print(f"{name}: {text!r}\n  expected {expected}\n  found    {found}")
    print(f"{name}: {n} strings, {differ} differ")
    return differ


def measure(ours, theirs, texts):
    """Processor time, one thread each, first one then the other, twice: with caches empty, then warm."""
    data = [text.encode() for text in texts]
    size = sum(len(text) for text in data) / 1e6
    theirs = Tokenizer.from_str(theirs.to_str())
    encoder = ours.lib.encoder_new(ours.tokenizer)
    for caches in ("empty", "warm"):
        start = time.process_time()
        for text in texts:
            theirs.encode(text, add_special_tokens=False)
        middle = time.process_time()
        for text in data:
            ours.ids.n = 0
            ours.lib.encoder_encode(encoder, text, len(text), ctypes.byref(ours.ids))
        end = time.process_time()
        print(f"{size:.2f} MB, caches {caches}: theirs {size / (middle - start):.2f} MB/s, ours "
              f"{size / (end - middle):.1f} MB/s, {(middle - start) / (end - middle):.1f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--texts", nargs="*", default=[])
    parser.add_argument("--random", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--auto", action="store_true")
    args = parser.parse_args()
    path = args.directory
    if os.path.isdir(path) and not args.auto:
        path = os.path.join(path, "tokenizer.json")
    if args.auto:
        from transformers import AutoTokenizer
        theirs = AutoTokenizer.from_pretrained(path)._tokenizer
    else:
        theirs = Tokenizer.from_file(path)
    theirs.no_truncation()
    theirs.no_padding()
    ours = Ours(path)
    print("identity", ours.identity())
    differ, texts = 0, []
    for path in args.texts:
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rt") as f:
            found = [s for line in (f if ".jsonl" in path else [f.read()]) for s in strings_of(json.loads(line))]
        differ += compare(ours, theirs, found, path)
        texts += found
    special = [t["content"] for t in json.loads(theirs.to_str())["added_tokens"]] or ["x"]
    differ += compare(ours, theirs, random_strings(args.random, args.seed, special), "random")
    if texts:
        measure(ours, theirs, texts)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
