#!/usr/bin/env python3
"""Writes parsers.h: fragments, and digests of what a transcription of the parsers' rules into Python reads in 10,000 texts
that are put together from them.

Run by hand: python3 tests/golden/make_parsers.py > tests/golden/parsers.h"""
import re

TEXTS, PER_DIGEST, MOST_FRAGMENTS = 10000, 100, 14
FRAGMENTS = [
    "<s>", "</s>", "<S>", "</S>", "<\u017f>", "<s>73</s>", "<s> 4.5 </s>", "<s>\n100\t</s>", "<s>101</s>", "<s>5.1</s>", "<s>3</s>",
    "<s>\u0663\u0664</s>", "<s>3.\uff14</s>", "<s>3.25</s>", "<s>-1</s>", "<s>0.5</s>", "<s>6</s>", "<s>1\u00a0</s>", "<s>\x1c2</s>", "<s>1000</s>",
    "<s>007</s>", "<s></s>", "<s>2\u180e</s>", "<s>2\u200b</s>", "0", "7", "42", "3.5", "-2", "1", "4", "5", ".", "\u0662",
    "<score>", "</score>", "<SCORE>", "<score>3</score>", "<score> is 2 of 4</score>", "<score>4/5</score>", "<score>9</score>",
    "<score>-1</score>", "<score>\u0661</score>", "<score>none</score>", "<score>3.9</score>",
    "<think>", "</think>", "<THINK>", "</Think>", "<thin\u212a>", "</thin\u212a>", "<think>A <score>1</score></think>",
    "<better>", "</better>", "<better>A</better>", "<better> b\n</better>", "<better>tie</better>", "<better>t\u0131e</better>",
    "<better>neither</better>", "<better>\u1e9a</better>", "<better>Response B</better>", "<better>A or B</better>", "<better>?</better>",
    "A", "B", "a", "b", "tie", "TIE", "Response A", "answer b", "They are equal", "Response A and answer B", "\nA\n", "\n b \n", "\nTie.\n",
    "Preferred: A", "Preferred: B\n", "preferred :\n**B**", "PREFERRED: tie", "Preferred: Both", "Preferred: Story A", "preferred: a lot",
    "Preferred:", "\nStory B", "\nstory a", "*", " ", "\n", "\n\n", "\n \t\n", "\n\n\n", "\r\n", "\u2028", "\u3000", "words", " more words ",
    "\u00e9", "\U0001f600", "e\u0301", "\u00df", "_",
]
MASK = (1 << 64) - 1


class Draws:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def text(i):
    draws = Draws(i)
    return "".join(FRAGMENTS[draws.below(len(FRAGMENTS))] for _ in range(1 + draws.below(MOST_FRAGMENTS)))


def score100(text, which):
    found = re.findall(r"<s>\s*(\d{1,3})\s*</s>", text, re.IGNORECASE)
    if not found:
        return None
    value = int(found[which])
    return float(value) if 0 <= value <= 100 else None


def score5(text, which):
    found = re.findall(r"<s>\s*([1-5](?:\.\d)?)\s*</s>", text, re.IGNORECASE)
    if not found:
        return None
    value = float(found[which])
    return value if 1 <= value <= 5 else None


def without_thoughts(text):
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r"\n\s*\n", "\n\n", text).strip()


def score(text):
    tag = re.search(r"<score>(.*?)</score>", without_thoughts(text), re.DOTALL)
    digits = re.search(r"\d+", tag.group(1)) if tag else None
    value = int(digits.group()) if digits else -1
    return float(value) if 0 <= value <= 4 else None


def better(text):
    text = without_thoughts(text)
    tag = re.search(r"<better>(.*?)</better>", text, re.DOTALL)
    if tag:
        said = tag.group(1).strip().upper()
        if said in ("A", "B"):
            return said
        if said == "TIE":
            return "T"
        if ("A" in said) != ("B" in said):
            return "A" if "A" in said else "B"
        if "TIE" in said or "A" in said:
            return "T"
    for line in reversed(text.split("\n")[-5:]):
        line = line.strip().upper()
        for answer in "AB":
            if line == answer or "RESPONSE " + answer in line or "ANSWER " + answer in line:
                return answer
        if "TIE" in line or "EQUAL" in line:
            return "T"
    return None


def preferred(text):
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL | re.IGNORECASE)
    found = re.findall(r"(?i:preferred\s*:[*_\"' ]*(?:(?:story|response|answer) +)?)([AB]|(?i:tie))\b", text)
    said = found[-1] if found else text.strip().split("\n")[-1].strip()
    return {"A": "A", "B": "B", "TIE": "T", "STORY A": "A", "STORY B": "B"}.get(said.upper())


PARSERS = {
    "score100_first": lambda t: score100(t, 0),
    "score100_last": lambda t: score100(t, -1),
    "score5_first": lambda t: score5(t, 0),
    "score5_last": lambda t: score5(t, -1),
    "score": score,
    "better": better,
    "preferred": preferred,
}


def digest(results):
    h = 0xCBF29CE484222325
    for r in results:
        said = "-" if r is None else r if isinstance(r, str) else "%.1f" % r
        for byte in (said + ";").encode():
            h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def main():
    print("/* Made by tests/golden/make_parsers.py: what the parsers read in %d texts; a digest (FNV-1a) for\n * each %d of them, and how many of all texts have a result."
          % (TEXTS, PER_DIGEST))
    print(" */")
    print("#include <stdint.h>")
    print("enum { PARSER_TEXTS = %d, PARSER_TEXTS_PER_DIGEST = %d, PARSER_MOST_FRAGMENTS = %d };" % (TEXTS, PER_DIGEST, MOST_FRAGMENTS))
    print("static const char *const parser_fragments[] = {")
    for f in FRAGMENTS:
        print('    "%s",' % "".join(chr(b) if chr(b).isascii() and chr(b).isprintable() else "\\%03o" % b for b in f.encode()))
    print("};")
    print("static const struct {\n    const char *name;\n    int n_read;\n    uint64_t digest[PARSER_TEXTS / PARSER_TEXTS_PER_DIGEST];")
    print("} parser_golden[] = {")
    texts = [text(i) for i in range(TEXTS)]
    for name, parse in PARSERS.items():
        results = [parse(t) for t in texts]
        print('    {"%s",\n     %d,\n     {' % (name, sum(r is not None for r in results)))
        d = [digest(results[i:i + PER_DIGEST]) for i in range(0, TEXTS, PER_DIGEST)]
        for i in range(0, len(d), 4):
            print("         " + " ".join("0x%016x," % v for v in d[i:i + 4]))
        print("     }},")
    print("};")


main()
