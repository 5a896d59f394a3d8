"""Makes the tokenizer goldens: `python tests/golden/make_tokenizers.py` from the repository root.

    tokenizer_small/      a byte-level BPE of 512 tokens trained here, laid out like GPT-2's (the last id is
                          <|endoftext|>), for every test and demo that needs a tokenizer and must not be skipped
    tokenizer_resaved/    the same, with a pad token added and saved by transformers
    tokenizer_chars/      a BPE of characters with byte fallback and no pre-tokenizer, laid out like Llama 2's
    tokenizer_cases.json  variants of tokenizer.json, as merge patches on one of these, with strings and their ids and
                          texts decoded from them
    tokenizer_hh.json     for the real tokenizers and texts in ../shared/data, where they are there: the number of
                          strings and ids and the SHA-256 of all ids as little-endian 32-bit numbers

Needs Hugging Face tokenizers (0.23) and transformers; the output depends on nothing else.
"""
import gzip
import hashlib
import json
import os
import random

from compare_tokenizers import random_strings
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = os.path.join(HERE, "tokenizer_small")
CHARS = os.path.join(HERE, "tokenizer_chars")
EOS = "<|endoftext|>"

# Plain sentences for the trainer: dialogue, numbers, code and a little of other scripts, so that merges of every kind
# exist. Written for this file.
TEXT = """
Human: What is the capital of France? Assistant: The capital of France is Paris.
Human: Can you help me with a question about the weather? Assistant: Of course, I can help you with that.
Human: How many days are there in a year? Assistant: There are 365 days in a year, and 366 in a leap year.
I think that you should not do that, because it would hurt other people. Please ask me something else.
She said that they'd been there before, but he didn't remember; we're sure you'll like it, and I've seen it.
for (int i = 0; i < n; i++) { total += value[i] * 2; }    return total;
The quick brown fox jumps over the lazy dog. A good answer is short, true and kind. A bad answer is long and wrong.
Numbers such as 1, 2, 3, 10, 20, 100, 1000 and 2024 stand in this text. So do lists: red, green, blue, yellow.
Das ist ein schöner Tag, und über den Bäumen fliegen Vögel. Où est la gare? C'est là-bas, près du café.
Это короткое предложение. 这是一个句子。 これは文です。 Αυτό είναι μια πρόταση.
The answer to the question is in the book that I have on the table in the other room of the house.
"""


def train_small():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=511, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(["\n\n" + line for line in TEXT.strip().split("\n")], trainer)
    made = json.loads(tokenizer.to_str())
    assert len(made["model"]["vocab"]) == 511, len(made["model"]["vocab"])
    made["model"]["vocab"][EOS] = 511
    tokenizer = Tokenizer.from_str(json.dumps(made))
    tokenizer.add_special_tokens([AddedToken(EOS, normalized=False, special=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert tokenizer.token_to_id(EOS) == 511
    return tokenizer


def write_small(tokenizer):
    os.makedirs(SMALL, exist_ok=True)
    with open(os.path.join(SMALL, "tokenizer.json"), "w") as f:
        f.write(tokenizer.to_str(pretty=False) + "\n")
    config = {"tokenizer_class": "GPT2TokenizerFast", "bos_token": EOS, "eos_token": EOS, "unk_token": EOS,
              "model_max_length": 1024}
    with open(os.path.join(SMALL, "tokenizer_config.json"), "w") as f:
        json.dump(config, f)
        f.write("\n")



def resave_small():
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(SMALL)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(os.path.join(HERE, "tokenizer_resaved"))


def prepend_and_replace():
    return {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace({"String": " "}, "\u2581")]}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def write_chars():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>"] + bytes_, show_progress=False)
    tokenizer.train_from_iterator(TEXT.strip().split("\n"), trainer)
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = [token(i, t) for i, t in enumerate(("<unk>", "<s>", "</s>"))]
    made["model"].update({"byte_fallback": True, "fuse_unk": True})
    made["normalizer"], made["pre_tokenizer"] = prepend_and_replace(), None
    made["decoder"] = {"type": "Sequence", "decoders": [replace({"String": "\u2581"}, " "), {"type": "ByteFallback"},
                                                        {"type": "Fuse"},
                                                        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    made["post_processor"] = {
        "type": "TemplateProcessing", "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]}
    os.makedirs(CHARS, exist_ok=True)
    with open(os.path.join(CHARS, "tokenizer.json"), "w") as f:
        f.write(Tokenizer.from_str(json.dumps(made)).to_str(pretty=False) + "\n")


EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "a", " a", "  a", "   a", "a ", "a  ", "a\n", "a \n b", "\t\ta",
    "it's", "it'S", "they're we've I'm he'll she'd", "'s", " 's", "''s", "'", "''", "'r", "'re", "'l", "'ll", "'x",
    "12345", " 12345", "a1b2", "1.5e-10", "3,000,000", "x²", "½ cup", "٣٤", "Ⅷ", "①",
    "!?!", " !?!", "a!b", "...", "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>",
    "<|endoftext|", "<|endoftext|>>", "naïve café", "cafe\u0301", "ſt's 'ſ", "İi", "ﬁn", "\u212b\u1e9b\u0323", "\u0344",
    "\u1112\u1161\u11ab 한글", "\uac00\u11a8", "日本語のテキスト", "слово", "λόγος", "नमस्ते", "שלום", "👨\u200d👩\u200d👧", "🇫🇷", "❤\ufe0f",
    "\u00a0", "a\u00a0b", "\u2003\u2003a", "\u3000x", "\u200b", "\u180ea", " \u180e a", "\u0085a", "a\u2028b", "\ufeffa",
    "\u001c\u001da", "\x00", "a\x00b", "\x7f", "\ud7ff\ue000\uffff", "\U0010ffff", "\U00013460x", "\u1c89x", "\U0001e5f1x",
    "\U00016d40\U00016d70", "\U0002ebf0y", "\u0378z", "a" * 100, "ab" * 200, " " * 70 + "x", "\n" * 50, "é" * 40,
    "the cat sat on the mat, and the dog, too; it isn't so.", "for (int i = 0; i < n; i++) {\n    x += 1;\n}\n",
    "\n\nHuman: Hello!\n\nAssistant: Hi, I'll help.\r\n\r\n  Ok?  ",
]


def token(id, content, **flags):
    made = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True}
    made.update(flags)
    return made


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def variants(small):
    """[(name, merge patch on tokenizer.json, more strings)]"""
    model = small["model"]
    eos = token(511, EOS)
    pairs = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    without = {"a": None, "e": None}  # null removes the key
    fewer = [m for m in pairs if not any(c in side for side in m for c in "ae")]
    gone = {t: None for t in model["vocab"] if ("a" in t or "e" in t) and t != EOS}
    out = [
        ("small", {}, list(random_strings(150, 3, [EOS]))),
        ("prefix space", {"pre_tokenizer": byte_level(True, True)}, []),
        ("no regular expression", {"pre_tokenizer": byte_level(False, False)}, []),
        ("no pre-tokenizer options", {"pre_tokenizer": {"use_regex": None}}, []),
        ("merges as strings", {"model": {"merges": [" ".join(m) for m in pairs]}}, []),
        ("merges as pairs", {"model": {"merges": pairs}}, []),
        ("merges in another order", {"model": {"merges": pairs[::-1]}}, []),
        ("a merge twice", {"model": {"merges": pairs + pairs[:40]}}, []),
        ("ignore_merges", {"model": {"ignore_merges": True, "merges": pairs[40:]}}, ["the", " the", " question Human"]),
        ("bytes left out", {"model": {"vocab": {**without, **gone}, "merges": fewer}}, ["bab tat"]),
        ("unk", {"model": {"vocab": {**without, **gone}, "merges": fewer, "unk_token": EOS}}, ["baab taet e"]),
        ("unk fused", {"model": {"vocab": {**without, **gone}, "merges": fewer, "unk_token": EOS, "fuse_unk": True}},
         ["baab taet e"]),
        ("nfc", {"normalizer": {"type": "NFC"}}, list(random_strings(60, 4, ["e\u0301", "\u0344", "\u1112\u1161"]))),
        ("nfc in a sequence", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}}, []),
        ("qwen", {"normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(split(QWEN), byte_level())},
         list(random_strings(60, 5, [EOS]))),
        ("llama 3", {"model": {"ignore_merges": True},
                     "pre_tokenizer": sequence(split(QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")), byte_level())},
         list(random_strings(40, 6, [EOS]))),
        ("o200k", {"pre_tokenizer": sequence(split(O200K), byte_level())}, list(random_strings(40, 7, [EOS]))),
        ("digits", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, byte_level(False, True))},
         ["a12\u0663b\u216712", "x\U00011de1y\U00016ff5", "\u00b2\u00bd3"]),
        ("digits together", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False},
                                                       byte_level(True, True))}, []),
        ("matches of nothing", {"pre_tokenizer": sequence(split(r"x*"), byte_level())}, ["axxb", "xx", "日x本"]),
        ("split on an empty string", {"pre_tokenizer": sequence(split("", kind="String"), byte_level())}, []),
    ]
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            out.append((f"split {behavior} {invert}",
                        {"pre_tokenizer": sequence(split(" ", behavior, invert, "String"), byte_level())},
                        ["a b  c   d", " a", "a ", "  "]))
            out.append((f"regex {behavior} {invert}",
                        {"pre_tokenizer": sequence(split(r"\p{L}+|\d", behavior, invert), byte_level())},
                        ["ab1c 12", "1", "a1", "--a--11--"]))
    added = [
        eos, token(512, "<pad>", lstrip=True), token(513, "<mask>", rstrip=True), token(514, "<both>", lstrip=True, rstrip=True),
        token(515, "word", single_word=True, special=False), token(516, "  ", special=False),
        token(517, "    ", special=False), token(518, "<pad>x", special=False),
        token(519, "caf\u00e9", special=False, normalized=True), token(520, "日本", single_word=True),
        token(521, "\u0344", special=False, normalized=True), token(522, " lead", special=False),
    ]
    texts = ["a <pad> b", "a  <pad><pad>  b", " <mask>  b", "<mask> <pad>", "x <both> y", "<both>  <both>", "word", "words",
             "a word.", "sword word", "word_", "_word", "word-word", "wordword", "éword", "\u0301word", "word\u0301",
             "a  b    c     d      e", "<pad>x", "<pad>xy", "cafe\u0301", "café", "cafes", "日本", "日本語", "a日本", "。日本。",
             "\u0308\u0301", "<mask> lead", "<mask>  lead", " lead", "x\n\t<pad>\u3000<mask>\u2003\u200b", "<pad",
             "<|endoftext|><pad> word <mask>", "\u200dword", "word\u203f", "\u00aaword", "word\u2167", "\U0001F170word"]
    out.append(("added tokens", {"added_tokens": added}, texts + list(random_strings(40, 8, texts))))
    out.append(("added tokens and nfc", {"added_tokens": added, "normalizer": {"type": "NFC"},
                                         "pre_tokenizer": byte_level(True, True)}, texts))
    return out


DEEPSEEK = [split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+")]
GLM = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
       r"\s+(?!\S)|\s+")
TIKTOKEN = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
            r"\s+(?!\S)|\s")
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QUOTES = "[\u2018\u2019\u201c-\u201f'\"]|\u180e+|[\u0370-\u03ff&&\\p{Lu}]+|(?i:\u00e9t\u00e9|ars)"


def patterns():
    """Real patterns beyond those above, and constructs; (name, pre-tokenizer, more strings)."""
    mixed = list(random_strings(30, 9, ["12345", "\u4e2d\u6587", "\u3042", "_x", "\u2019s", "\u0391\u03b2"]))
    yield "deepseek", sequence(*DEEPSEEK, byte_level()), mixed + ["#include <a>", "x_y", "12345 6", "\u4e2d\u6587\u3042a"]
    for name, pattern in (("glm", GLM), ("tiktoken", TIKTOKEN), ("kimi", KIMI), ("quotes", QUOTES)):
        yield name, sequence(split(pattern), byte_level()), mixed + ["a\u2019s \u00c9T\u00c9", "\u0391\u0392\u03b3", "x  ", "123456"]
    for pattern in (r"^a|e$|^\s", r"\bt\w|\Bh", r"(?<=a)n|(?<!\s)s", r"[[a-z]&&[^aeiou]]+|[^\W\d]", r"(?>a|an)d|\h{2}+", r".{,3}?e",
                    r"\p{Hiragana}+|\p{^L}{2}|\P{Lu}", r"(?i:k\u212a?|\u00e9|[\u0430-\u044f]+)", r"[[:punct:]]|[[:^alpha:]]{2,}",
                    r"\R|\x41|\x{e9}|\u4e2d", r"(?i)human|QUE", r"a{1,2}+|(?:e{2}?)"):
        yield "pattern " + pattern, sequence(split(pattern), byte_level()), [
            "AnAand\u4e2d\u3042 Human question\r\n", "\u212aKk \u00c9\u00e9", "\u0416\u0436z", "aaa eee\nabc\n", "\u00bd\u00b2x"]


def character_variants(chars):
    """[(name, merge patch on tokenizer_chars, more strings)]"""
    meta = "\u2581"
    plain = {"normalizer": None}
    texts = ["", " ", "  a", "a  b   c", " \u2581 x", "\u2581the", "the answer  is", "<s>the</s> a <s>", "\u65e5\u672c\u8a9e x", "\u00e9\u00e8",
             "\U0001F600 ok", "a\nb\n\n", "1234", "the the the the the the the the the the", "\u2581\u2581\u2581a"]

    def metaspace(scheme, cut):
        return {"type": "Metaspace", "replacement": meta, "prepend_scheme": scheme, "split": cut}
    out = [("chars", {}, texts + list(random_strings(60, 10, ["<s>", "</s>", meta])))]
    for scheme in ("always", "first", "never"):
        for cut in (False, True):
            out.append((f"metaspace {scheme} {cut}", {**plain, "pre_tokenizer": metaspace(scheme, cut), "decoder": {
                "decoders": None, **metaspace(scheme, cut)}}, texts))
    gemma = {"normalizer": {"normalizers": None, **replace({"String": " "}, meta)}, "pre_tokenizer": split(" ", "MergedWithPrevious", False, "String")}
    out.append(("gemma", gemma, texts + list(random_strings(30, 11, ["<s>", meta]))))
    vocab = chars["model"]["vocab"]
    some = {f"<0x{i:02X}>": None for i in range(128, 256)}
    for fuse in (False, True):
        out.append((f"unk, fuse {fuse}", {"model": {"fuse_unk": fuse, "byte_fallback": False}}, texts))
        out.append((f"some bytes, fuse {fuse}", {"model": {"fuse_unk": fuse, "vocab": some}}, texts + ["\u65e5\x01\u672c\u00e9\x02"]))
    out.append(("no unk", {"model": {"unk_token": None, "byte_fallback": False}}, texts))
    out.append(("chars, ignore_merges", {"model": {"ignore_merges": True, "merges": chars["model"]["merges"][30:]}}, texts))
    out.append(("chars, other merges", {"model": {"merges": chars["model"]["merges"][::-1]}}, texts))
    affixes = {t: None for t in list(vocab)[300:]}
    affixes.update({"##" + c + end: 1000 + 2 * ord(c) + len(end) // 4 for c in "abcdefghijklmnopqrst" for end in ("", "</w>")})
    out.append(("affixes", {**plain, "model": {"vocab": affixes, "merges": [], "continuing_subword_prefix": "##",
                                               "end_of_word_suffix": "</w>"},
                            "pre_tokenizer": {"type": "Whitespace"}}, texts))
    for one in ({"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"}, {"type": "Nmt"},
                {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Strip", "strip_left": True, "strip_right": True},
                replace({"Regex": r"\s+"}, " "), replace({"Regex": r"\p{L}{2}"}, "xy"), {"type": "ByteLevel"}):
        out.append(("normalizer " + one["type"] + " " + str(len(out)),
                    {"normalizer": {"type": "Sequence", "normalizers": [one]}, "pre_tokenizer": metaspace("first", True)},
                    ["\u1e9b\u0323 \ufb01 \uac01 \u2460", "\u0130I\u03a3\u1e9e", "\u00a0 \u3000x ", "\u0301a e\u0301\u0323", "\u200b\ufeff\u2028\x07y"]
                    + list(random_strings(25, 12, ["\u00c5", "\u212b", "\u3300", "\uff21", "\u0345"]))))
    for one in ({"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"}, {"type": "FixedLength", "length": 3},
                {"type": "CharDelimiterSplit", "delimiter": "e"}, {"type": "Punctuation"}, {"type": "Punctuation", "behavior": "Contiguous"},
                {"type": "Digits", "individual_digits": True}, sequence(byte_level(False, True), {"type": "Digits", "individual_digits": True}),
                sequence(metaspace("first", False), split(meta, "Isolated", False, "String")), sequence()):
        out.append(("pre-tokenizer " + one["type"] + " " + str(len(out)), {**plain, "pre_tokenizer": one},
                    ["a-b, c. \u3002\u2014x", "x\u00bf?!\u0e4f", "foo_bar\u203fbaz", "1\u00bd\u0663 2"]))
    decoders_ = [None, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "BPEDecoder", "suffix": "</w>"}, byte_level(True, True),
                 {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "Strip", "content": "t", "start": 2, "stop": 0},
                 {"type": "Metaspace", "replacement": meta, "add_prefix_space": True, "prepend_scheme": "always"},
                 replace({"Regex": "[aeiou]+"}, "-"), {"type": "Sequence", "decoders": []}]
    for one in decoders_:
        out.append(("decoder " + (one["type"] if one else "none") + " " + str(len(out)), {"decoder": {"decoders": None, **one} if one else None},
                    ["I don't know ; do not ask . It 's \U0001F600\u65e5", "\x00\x7f"]))
    out.append(("added, ids as the library gives them", {"added_tokens": [
        token(9, "<x>", special=False), token(7000, "</s>", special=True, lstrip=True), token(5, "the", special=False, single_word=True),
        token(3, " ", special=False, normalized=False, lstrip=True, rstrip=True), token(2, "A b", special=False, normalized=True)]},
        ["a <x></s> the   the", "then A b", "   ", "<x> <x>"]))
    return out


def merge_patch(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merge_patch(made.get(key), value)
    return made


def make_case(base, name, patch, strings, with_texts):
    with open(os.path.join(HERE, base, "tokenizer.json")) as f:
        tokenizer = Tokenizer.from_str(json.dumps(merge_patch(json.load(f), patch)))
    rows = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in strings]
    decoded = []
    for text, ids in rows[-40:] + rows[:20] if with_texts else []:
        part = ids[1::2] if len(ids) > 2 else ids  # characters cut in two
        decoded.append([part, tokenizer.decode(part, skip_special_tokens=False),
                        tokenizer.decode(part, skip_special_tokens=True)])
    return {"name": name, "base": base, "patch": patch, "encoded": rows, "decoded": decoded}


def write_cases():
    with open(os.path.join(SMALL, "tokenizer.json")) as f:
        small = json.load(f)
    with open(os.path.join(CHARS, "tokenizer.json")) as f:
        chars = json.load(f)
    cases = []
    for name, patch, more in variants(small):
        few = name.startswith(("split", "regex", "merges", "a merge", "unk", "bytes", "digits"))
        cases.append(make_case("tokenizer_small", name, patch, (EDGES[::3] if few else EDGES) + more,
                               "added" in name or name == "small"))
    for name, pre_tokenizer, more in patterns():
        cases.append(make_case("tokenizer_small", name, {"pre_tokenizer": pre_tokenizer}, EDGES[::6] + more, False))
    for name, patch, more in character_variants(chars):
        cases.append(make_case("tokenizer_chars", name, patch, EDGES[::1 if name == "chars" else 8] + more,
                               name.startswith(("chars", "added", "decoder", "metaspace", "gemma"))))
    with open(os.path.join(HERE, "tokenizer_cases.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


def write_real(data):
    rows = []
    for name in ("gpt2", "pythia-neox-20b", "qwen2.5-instruct", "phi-3-mini"):
        tokenizer = Tokenizer.from_file(os.path.join(data, "tokenizers", name, "tokenizer.json"))
        for file in ("hh_harmless_eval.jsonl.gz", "hh_harmless_train.jsonl.gz"):
            digest, n_strings, n_ids = hashlib.sha256(), 0, 0
            with gzip.open(os.path.join(data, "prefs", file), "rt") as f:
                for line in f:
                    row = json.loads(line)
                    for text in (row["chosen"], row["rejected"]):
                        ids = tokenizer.encode(text, add_special_tokens=False).ids
                        n_strings, n_ids = n_strings + 1, n_ids + len(ids)
                        digest.update(b"".join(i.to_bytes(4, "little") for i in ids))
            rows.append({"tokenizer": name, "file": file, "strings": n_strings, "ids": n_ids, "sha256": digest.hexdigest()})
    with open(os.path.join(HERE, "tokenizer_hh.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


def main():
    random.seed(0)
    small = train_small()
    write_small(small)
    resave_small()
    write_chars()
    write_cases()
    data = os.path.join(HERE, "../../../shared/data")
    if os.path.exists(data):
        write_real(data)


if __name__ == "__main__":
    main()
