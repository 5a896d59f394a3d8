"""Makes src/unicode/unicode_tables.c: what Hugging Face tokenizers takes each code point for.

    python tests/golden/make_unicode.py        (tokenizers 0.23 in the environment; half a minute)

The library matches with three engines (Oniguruma for patterns, Rust's regex for added tokens, Rust itself for digits),
each with a Unicode version of its own. So the classes are not taken from a Unicode file but asked of the library, code point by code point.
"""
import os
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/unicode/unicode_tables.c")
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


SCRIPTS = """Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki
Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common
Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan
Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Gurung_Khema Han Hangul
Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian
Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin
Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi
Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar
Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian
Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya
Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian
Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le
Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Todhri Toto Tulu_Tigalari Ugaritic
Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square""".split()
# The order is that of enum unicode_property.
PROPERTIES = "Alphabetic Lowercase Uppercase Word Emoji Ideographic Extended_Pictographic".split()


def scripts():
    """({code point: index into the names}, names) of the scripts that the library's engine knows."""
    found, names = {}, []
    for name in SCRIPTS:
        try:
            members = matched(r"\p{%s}" % name)
        except Exception:  # a script of a later Unicode version
            continue
        assert not any(c in found for c in members), name
        found.update((c, len(names)) for c in members)
        names.append(name.replace("_", "").lower())
    return found, names


def cased():
    """Every character that may match another one without regard to case, by Python's or the library's Unicode."""
    lower = normalizers.Lowercase().normalize_str
    return sorted({ord(d) for c in POINTS for text in (chr(c).lower(), chr(c).upper(), chr(c).title(), chr(c).casefold(),
                                                       lower(chr(c)))
                   if text != chr(c) for d in (chr(c), text) if len(d) == 1})


def folds():
    """[(code point, the next of those that match alike without case, 0)], which form rings."""
    points, rows = cased(), []
    text = "-".join(map(chr, points))  # apart, so that none matches as one of several
    left = set(points)
    for c in points:
        if c not in left:
            continue
        split = pre_tokenizers.Split(Regex("(?i:[\\x{%X}])" % c), "removed", invert=True)
        ring = sorted({ord(piece) for piece, _ in split.pre_tokenize_str(text)})
        assert c in ring and left >= set(ring), hex(c)
        left -= set(ring)
        if len(ring) > 1:
            rows += [(d, ring[(i + 1) % len(ring)], 0) for i, d in enumerate(ring)]
    return sorted(rows)


def long_folds():
    """What matches several characters without case: (code point, 0, 0) for each such character, and (first, second, 1)
    for each two neighbours in what it matches."""
    whole = [(c, chr(c).casefold()) for c in POINTS if len(chr(c).casefold()) > 1]
    pairs = {(ord(a), ord(b), 1) for _, text in whole for a, b in zip(text, text[1:])}
    return sorted([(c, 0, 0) for c, _ in whole] + list(pairs))


def lowercase():
    """[(code point, first, second or 0)] of the normalizer Lowercase."""
    lower = normalizers.Lowercase().normalize_str
    texts = [(c, lower(chr(c))) for c in POINTS]
    assert all(len(text) in (1, 2) for _, text in texts)
    return [(c, ord(text[0]), ord(text[1]) if text[1:] else 0) for c, text in texts if text != chr(c)]


def punctuation():
    """The code points that the pre-tokenizer Punctuation cuts out."""
    split = pre_tokenizers.Punctuation()
    found = set()
    for part in chunks():
        spans = {span for _, span in split.pre_tokenize_str("".join("a" + chr(c) + "a" for c in part))}
        found.update(c for i, c in enumerate(part) if (3 * i + 1, 3 * i + 2) in spans)
    return found


NFC, NFD = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
NFKD = normalizers.NFKD().normalize_str
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


def compatibility():
    """([(code point, place, length)], points): the whole decomposition, where it is not the canonical one."""
    rows, points = [], []
    for c in POINTS:
        text = NFKD(chr(c))
        if c in HANGUL or text == NFD(chr(c)):
            continue
        rows.append((c, len(points), len(text)))
        points += map(ord, text)
    return rows, points


def write_table(f, name, comment, rows, per_line=5):
    f.write(f"\n/* {comment} */\nconst struct unicode_range {name}[] = {{\n")
    for i in range(0, len(rows), per_line):
        f.write("    " + " ".join("{0x%X, 0x%X, 0x%X}," % tuple(r) for r in rows[i:i + per_line]) + "\n")
    f.write(f"}};\nconst int {name}_count = {len(rows)};\n")


def write_points(f, name, comment, points, per_line=16):
    f.write(f"\n/* {comment} */\nconst uint32_t {name}[] = {{\n")
    for i in range(0, len(points), per_line):
        f.write("    " + " ".join("0x%X," % c for c in points[i:i + per_line]) + "\n")
    f.write("};\n")


def write_names(f, name, comment, names):
    f.write(f"\n/* {comment} */\nconst char *const {name}[] = {{\n")
    for i in range(0, len(names), 6):
        f.write("    " + " ".join('"%s",' % n for n in names[i:i + 6]) + "\n")
    f.write("};\n")


def main():
    letters, numbers, spaces = matched(r"\p{L}"), matched(r"\p{N}"), matched(r"\s")
    word, digit, punct = words(), digits(), punctuation()
    assert stripped() == spaces, "the two engines differ in \\s: give each a bit"
    strip = normalizers.Strip().normalize_str
    assert {c for c in POINTS if strip(chr(c)) == ""} == spaces
    strip = normalizers.StripAccents().normalize_str
    marks = {c for c in POINTS if strip(chr(c)) == ""}
    category = {c: len(CATEGORIES) for c in POINTS}
    for i, name in enumerate(CATEGORIES):
        for c in matched(r"\p{%s}" % name):
            category[c] = i
    assert all(category[c] < len(CATEGORIES) for c in POINTS)
    assert {c for c in POINTS if CATEGORIES[category[c]][0] == "L"} == letters
    assert {c for c in POINTS if CATEGORIES[category[c]] == "Nd"} == matched(r"\d")
    properties = [matched(r"\p{%s}" % name) for name in PROPERTIES]
    members = {name: {c for c in POINTS if CATEGORIES[category[c]].startswith(name)} for name in ("No", "P", "S")}
    word_property = properties[PROPERTIES.index("Word")]  # codepoints.c knows how classes in brackets differ
    assert word_property == matched(r"\w") and word_property - members["No"] == matched(r"[\w]") == matched("[[:word:]]")
    assert matched("[[:punct:]]") == members["P"] | members["S"]
    # codepoints.c makes these of categories
    assert matched(r"\p{Punct}") == members["P"]
    graph = {c for c in POINTS if CATEGORIES[category[c]] not in ("Cc", "Cn") and CATEGORIES[category[c]][0] != "Z"}
    assert matched(r"\p{Graph}") == graph
    assert matched(r"\p{Print}") == graph | {c for c in POINTS if CATEGORIES[category[c]] == "Zs"}
    script_of, script_names = scripts()

    combining, pairs = combining_classes(), decompositions()
    seconds = {pair[2] for pair in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    inner = {c for c in POINTS if c and (c in combining or c in seconds or NFC(chr(c)) != chr(c))}

    def value(c):
        bits = (letters, numbers, spaces, word, inner, digit, punct, marks)
        return sum((c in members) << i for i, members in enumerate(bits))
    compatible, compatible_points = compatibility()
    with open(OUT, "w") as f:
        f.write("/* Generated by tests/golden/make_unicode.py from the behaviour of Hugging Face tokenizers: do not edit.\n"
                " * Code points are grouped into ranges {first, last, value}, in ascending order. */\n"
                "/* clang-format off */\n#include \"unicode.h\"\n")
        write_table(f, "unicode_classes", "value: enum unicode_class bits; 0 where no range stands.", ranges(value))
        write_table(f, "unicode_categories", "value: the place in unicode_category_names + 1.",
                    ranges(lambda c: category[c] + 1))
        write_names(f, "unicode_category_names", "General categories.", CATEGORIES)
        write_table(f, "unicode_scripts", "value: the place in unicode_script_names + 1.",
                    ranges(lambda c: script_of.get(c, -1) + 1))
        write_names(f, "unicode_script_names", "Scripts, without underscores.", script_names + [""])
        write_table(f, "unicode_properties", "value: enum unicode_property bits.",
                    ranges(lambda c: sum((c in members) << i for i, members in enumerate(properties))))
        write_table(f, "unicode_folds", "{code point, the next in its ring of those that match alike without case, 0}.",
                    folds())
        write_table(f, "unicode_long_folds", "{code point, 0, 0}: matches several without case; {first, second, 1}: "
                    "neighbours in such a several.", long_folds())
        write_table(f, "unicode_lower", "{code point, first, second or 0}: in lower case.", lowercase())
        write_table(f, "unicode_combining", "value: the canonical combining class; 0 where no range stands.",
                    ranges(lambda c: combining.get(c, 0)))
        write_table(f, "unicode_decompositions", "{code point, first, second or 0}: canonical, without Hangul.", pairs)
        write_table(f, "unicode_compatible", "{code point, place in unicode_compatible_points, length}: the whole "
                    "compatibility decomposition, where it is not the canonical one.", compatible)
        write_points(f, "unicode_compatible_points", "See unicode_compatible.", compatible_points)


if __name__ == "__main__":
    main()
