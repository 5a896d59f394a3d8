"""Makes src/text/unicode_tables.c: what Hugging Face tokenizers takes each code point for.

    python tests/golden/make_unicode.py        (tokenizers 0.23 in the environment; half a minute)

The library matches with three engines (Oniguruma for patterns, Rust's regex for added tokens, Rust itself for digits),
each with a Unicode version of its own. So the classes are not taken from a Unicode file but asked of the library, code point by code point.
"""
import os
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/text/unicode_tables.c")
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn".split()


def chunks(size=4096):
    return (POINTS[i:i + size] for i in range(0, len(POINTS), size))


def matched(pattern):
    """The code points that Oniguruma puts into the pattern's class."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    found = set()
    for part in chunks():
        for piece, _ in split.pre_tokenize_str("".join(map(chr, part))):
            found.update(map(ord, piece))
    return found


def digits():
    """The code points that the pre-tokenizer Digits cuts out: numeric for Rust."""
    split = pre_tokenizers.Digits(individual_digits=True)
    found = set()
    for part in chunks():
        spans = {span for _, span in split.pre_tokenize_str("".join("a" + chr(c) + "a" for c in part))}
        found.update(c for i, c in enumerate(part) if (3 * i + 1, 3 * i + 2) in spans)
    return found


def words():
    """The code points next to which a single_word token is not recognised: \\w of Rust's regex."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("<x>", single_word=True, normalized=False)])
    found = set()
    for part in chunks():
        text = "".join(chr(c) + "<x> " for c in part)
        free = {start for start, _ in tokenizer.encode(text).offsets}
        found.update(c for i, c in enumerate(part) if 5 * i + 1 not in free)
    return found


def stripped():
    """The code points that an rstrip token swallows: \\s of Rust's regex."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("<x>", rstrip=True, normalized=False)])
    found = set()
    for part in chunks():
        text = "".join("<x>" + chr(c) + "-" for c in part)
        found.update(c for (start, end), c in zip(tokenizer.encode(text).offsets, part) if end - start == 4)
    return found


def ranges(value_of):
    """[(first, last, value)] of the code points whose value is not 0."""
    out = []
    for c in POINTS:
        value = value_of(c)
        if out and out[-1][1] == c - 1 and out[-1][2] == value:
            out[-1][1] = c
        elif value:
            out.append([c, c, value])
    return out


def utf8_length(c):
    return len(chr(c).encode())


def stand_ins(category):
    """For every code point whose category PCRE2 may see otherwise (changed since Unicode 14, or not assigned yet): one of
    the same category and UTF-8 length that every version sees alike and that has no case."""
    stable = {}
    for c in POINTS:
        name = category[c]
        cased = chr(c).lower() != chr(c) or chr(c).upper() != chr(c)
        if c >= 0x80 and not cased and name == unicodedata.category(chr(c)) and name != "Cn":
            stable.setdefault((name, utf8_length(c)), c)
    stable.update({("Cn", 2): 0x378, ("Cn", 3): 0xFDD0, ("Cn", 4): 0x1FFFE})

    def stand_in(c):
        if category[c] != "Cn" and category[c] == unicodedata.category(chr(c)):
            return 0
        return stable[category[c], utf8_length(c)]
    return ranges(stand_in)


NFC, NFD = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
HANGUL = range(0xAC00, 0xAC00 + 11172)


def combining_classes():
    """{code point: class} of the library's version: the class with whose mark it never changes places."""
    low, high = chr(0x334), chr(0x345)  # of the lowest class and of the highest
    moving = [c for c in POINTS if NFD(chr(c)) == chr(c) and
              (NFD(high + chr(c)) != high + chr(c) or NFD(chr(c) + low) != chr(c) + low)]
    reference = {}
    for c in moving:
        reference.setdefault(unicodedata.combining(chr(c)), chr(c))
    classes = {}
    for c in moving:
        mark = chr(c)
        equal = [k for k, other in reference.items()
                 if NFD(other + mark) == other + mark and NFD(mark + other) == mark + other]
        assert len(equal) == 1, (hex(c), equal)
        classes[c] = equal[0]
    return classes


def decompositions():
    """[(code point, first, second or 0)]: applied again and again they give the whole decomposition."""
    whole = {c: NFD(chr(c)) for c in POINTS if c not in HANGUL}
    known = {}
    for c, text in whole.items():
        known.setdefault(text, c)
    for c, text in whole.items():  # of several, the one that composition gives
        if NFC(text) == chr(c):
            known[text] = c
    return [(c, known[text[:-1]] if text[1:] else ord(text), ord(text[-1]) if text[1:] else 0)
            for c, text in whole.items() if text != chr(c)]


def write_table(f, name, comment, rows, per_line=5):
    f.write(f"\n/* {comment} */\nconst struct unicode_range {name}[] = {{\n")
    for i in range(0, len(rows), per_line):
        f.write("    " + " ".join("{0x%X, 0x%X, 0x%X}," % tuple(r) for r in rows[i:i + per_line]) + "\n")
    f.write(f"}};\nconst int {name}_count = {len(rows)};\n")


def main():
    letters, numbers, spaces = matched(r"\p{L}"), matched(r"\p{N}"), matched(r"\s")
    word, digit = words(), digits()
    assert stripped() == spaces, "the two engines differ in \\s: give each a bit"
    category = {c: "Cn" for c in POINTS}
    for name in CATEGORIES:
        for c in matched(r"\p{%s}" % name):
            category[c] = name
    assert {c for c in POINTS if category[c][0] == "L"} == letters

    combining, pairs = combining_classes(), decompositions()
    seconds = {pair[2] for pair in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    inner = {c for c in POINTS if c and (c in combining or c in seconds or NFC(chr(c)) != chr(c))}

    def value(c):
        bits = (letters, numbers, spaces, word, inner, digit)
        return sum((c in members) << i for i, members in enumerate(bits))
    # Written by hand above: U+180E is a space for PCRE2 alone.
    shims = sorted(stand_ins(category) + [[0x180E, 0x180E, 0x2060]])
    with open(OUT, "w") as f:
        f.write("/* Generated by tests/golden/make_unicode.py from the behaviour of Hugging Face tokenizers: do not edit.\n"
                " * Code points are grouped into ranges {first, last, value}, in ascending order. */\n"
                "/* clang-format off */\n#include \"unicode.h\"\n")
        write_table(f, "unicode_classes", "value: enum unicode_class bits; 0 where no range stands.", ranges(value))
        write_table(f, "unicode_stand_ins", "value: the code point to match in its place (unicode.h).", shims)
        write_table(f, "unicode_combining", "value: the canonical combining class; 0 where no range stands.",
                    ranges(lambda c: combining.get(c, 0)))
        write_table(f, "unicode_decompositions", "{code point, first, second or 0}: canonical, without Hangul.", pairs)


if __name__ == "__main__":
    main()
