#!/usr/bin/env python3
"""Renders a table of conversations with transformers' apply_chat_template and with `rankwise-data render`, and compares.

    python tests/golden/compare_templates.py TEMPLATE.jinja... [TOKENIZER_FOLDER...] [--named]

transformers 5.23 in the environment. A template that fails on a conversation must fail in both; what raise_exception was
given must be in both messages. Names what differs; the last line counts.
"""
import json
import os
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
RENDER = os.path.join(os.environ.get("BUILD", os.path.join(ROOT, "build")), "rankwise-data")
NOW = "26 Jul 2025"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class Clock:
    @staticmethod
    def now():
        return Clock

    @staticmethod
    def strftime(_):
        return NOW


chat_template_utils.datetime = Clock


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def function(name, about, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


WEATHER = function("get_weather", "Weather at a place: temperature, \"wind\" & <rain>.",
                   {"city": {"type": "string", "description": "The city"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                    "days": {"type": "integer", "default": 1}}, ["city"])
SEARCH = function("search", "Seek in the web\nor elsewhere",
                  {"query": {"type": ["string", "null"], "description": "Wörter \u4f60\u597d"},
                   "filters": {"type": "array", "items": {"type": "object", "properties": {
                       "key": {"type": "string"}, "value": {"anyOf": [{"type": "number"}, {"type": "boolean"}]}}}},
                   "nested": {"type": "object", "properties": {"a": {"type": "number", "minimum": 0.5}},
                              "additionalProperties": False}}, ["query", "filters"])
EMPTY = function("now", "No parameters", {}, [])
FLAT = {"name": "flat", "description": "Without a type", "parameters": {"type": "object", "properties": {
    "x": {"type": "number"}}}}


def call(name, arguments, id_="call00001"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    hi, hello = say("user", "Hi there!"), say("assistant", "Hello, how can I help?")
    system = say("system", "You are a helpful assistant.")
    ask = say("user", "What is the weather in Paris?")
    yield {"messages": [hi]}
    yield {"messages": [hi], "add_generation_prompt": True}
    yield {"messages": [hi, hello]}
    yield {"messages": [system, hi, hello]}
    yield {"messages": [system, hi, hello, say("user", "Bye"), say("assistant", "Farewell.")]}
    yield {"messages": [system, hi, hello, say("user", "Bye")], "add_generation_prompt": True}
    yield {"messages": [system], "add_generation_prompt": True}
    yield {"messages": [say("user", ""), say("assistant", "")]}
    yield {"messages": [say("system", ""), say("user", "  padded \n\n"), say("assistant", "\n  lines\r\n\tand tabs  ")]}
    yield {"messages": [say("user", "Grüße, 世界! \U0001F600 ﬁ İ ß \u00a0\u2003x\u2028y"), say("assistant", "Ça \"va\" <b>&amp;</b>")]}
    yield {"messages": [hi, hi, hello, hello]}
    yield {"messages": [hello, hi]}
    yield {"messages": [hi, say("assistant", "<think>\nLet me see.\n</think>\n\nIt is 4."), say("user", "Sure?"),
                        say("assistant", "<think>Again</think>Yes.")]}
    yield {"messages": [hi, say("assistant", "It is 4.", reasoning_content="Two and two."), say("user", "Sure?")],
           "add_generation_prompt": True}
    yield {"messages": [hi, say("assistant", "It is 4.", thinking="Two and two."), say("user", "So?"),
                        say("assistant", "Yes", reasoning="Hm.")]}
    yield {"messages": [system, hi], "add_generation_prompt": True, "enable_thinking": False}
    yield {"messages": [system, hi], "add_generation_prompt": True, "enable_thinking": True}
    yield {"messages": [hi], "add_generation_prompt": True, "thinking": True}
    yield {"messages": [hi, hello, say("user", "More")], "add_generation_prompt": True, "reasoning_effort": "high"}
    for tools in ([WEATHER], [WEATHER, SEARCH, EMPTY], [FLAT], []):
        yield {"messages": [system, ask], "tools": tools, "add_generation_prompt": True}
        yield {"messages": [ask], "tools": tools}
    for arguments in ({"city": "Paris", "days": 2}, '{"city": "Paris", "days": 2}', {}):
        yield {"messages": [system, ask, say("assistant", None, tool_calls=[call("get_weather", arguments)]),
                            {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"t\": 21.5}"},
                            say("assistant", "It is 21.5 degrees.")], "tools": [WEATHER, SEARCH]}
    yield {"messages": [ask, say("assistant", "I look it up.", tool_calls=[
        call("get_weather", {"city": "Paris", "unit": None, "exact": True, "f": 1.0, "list": [1, "a", {"b": 2}]}),
        call("search", {"query": "wetter \"heute\"", "filters": []}, "call00002")]),
        {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "21.5"},
        {"role": "tool", "tool_call_id": "call00002", "name": "search", "content": "nothing"}],
        "tools": [WEATHER, SEARCH], "add_generation_prompt": True}
    yield {"messages": [ask, say("assistant", "", tool_calls=[call("get_weather", {"city": "Paris"})]),
                        {"role": "tool", "name": "get_weather", "content": {"temperature": 21.5, "ok": True, "n": None}},
                        say("assistant", "Fine."), say("user", "Thanks")], "add_generation_prompt": True}
    yield {"messages": [ask, say("assistant", "", tool_calls=[{"name": "get_weather", "arguments": {"city": "Paris"}}]),
                        say("tool", "21.5")]}
    yield {"messages": [ask, say("assistant", "x", reasoning_content="First I look.",
                                 tool_calls=[call("get_weather", {"city": "Paris"})]), say("tool", "21.5")],
           "tools": [WEATHER], "add_generation_prompt": True}
    yield {"messages": [say("user", [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]),
                        say("assistant", [{"type": "text", "text": "three"}])]}
    yield {"messages": [say("user", [{"type": "image"}, {"type": "text", "text": "What is it?"}])],
           "add_generation_prompt": True}
    yield {"messages": [say("system", [{"type": "text", "text": "Be kind."}]), hi], "add_generation_prompt": True}
    yield {"messages": [say("user", None), say("assistant", "a")]}
    yield {"messages": [say("user", 7), say("assistant", 1.5)]}
    yield {"messages": [say("developer", "Speak German."), hi], "add_generation_prompt": True}
    yield {"messages": [say("critic", "Bad."), say("User", "X")]}
    yield {"messages": [{"role": "user"}, {"content": "without a role"}]}
    yield {"messages": [system, say("system", "Another."), hi, hello]}
    yield {"messages": [hi, hello, system, hi]}
    yield {"messages": [hi], "documents": [{"title": "T1", "text": "Some text."}, {"title": "T2", "text": "More."}],
           "add_generation_prompt": True}
    yield {"messages": [hi, say("assistant", "<|im_end|></s> {{ x }} {% y %} [INST] <s>"), say("user", "é\u0301 " * 30)]}
    yield {"messages": [say("user", f"{i}") if i % 2 == 0 else say("assistant", f"a {i}") for i in range(41)]}


def make_tokenizer():
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **SPECIAL)


def theirs(tokenizer, template, row):
    row = dict(row)
    try:
        return tokenizer.apply_chat_template(row.pop("messages"), chat_template=template, tokenize=False, **row), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def ours(arguments, rows):
    """Renders all rows; a row that fails ends the program, which goes on behind it."""
    results, first = [], 0
    while first < len(rows):
        text = "".join(json.dumps(row) + "\n" for row in rows[first:])
        done = subprocess.run([RENDER, "render", "--now", NOW, *arguments], input=text.encode(), capture_output=True)
        results += [(json.loads(line)["text"], None) for line in done.stdout.decode().split("\n")[:-1]]
        if len(results) < len(rows):
            results.append((None, done.stderr.decode().strip()))
            assert done.returncode == 1, done
        first = len(results)
    return results


def compare(name, tokenizer, template, arguments, rows):
    bad = fails = 0
    for i, (row, mine) in enumerate(zip(rows, ours(arguments, rows))):
        expected = theirs(tokenizer, template, row)
        fails += expected[1] is not None
        raised = expected[1] and expected[1].startswith("TemplateError: ") and expected[1][15:]
        if expected[0] == mine[0] and (not raised or raised in mine[1]):
            continue
        bad += 1
        if os.environ.get("SHOW", "1") != "0":
            print(f"{name}: conversation {i}:\n  expected {expected!r:.1500}\n  found    {mine!r:.1500}")
    return bad, fails


def main():
    rows = list(conversations())
    named = "--named" in sys.argv
    paths = [a for a in sys.argv[1:] if not a.startswith("--")]
    total = wrong = failing = n = 0
    jobs = []
    for path in paths:
        if os.path.isdir(path):
            from transformers import AutoTokenizer
            jobs.append((path, AutoTokenizer.from_pretrained(path), None, ["--tokenizer", path, "--template", "model"]))
        else:
            special = ["--special", ",".join(f"{k[:3]}={v}" for k, v in SPECIAL.items())]
            with open(path, encoding="utf-8") as file:
                jobs.append((path, make_tokenizer(), file.read(), ["--template", path, *special]))
    if named:
        import open_instruct_templates  # a copy of its CHAT_TEMPLATES, not ours to carry
        for name in ("simple_concat_with_space", "simple_concat_with_new_line", "simple_chat", "assistant_message_only",
                     "zephyr", "tulu"):
            jobs.append((name, make_tokenizer(), open_instruct_templates.CHAT_TEMPLATES[name],
                         ["--template", name, "--special", ",".join(f"{k[:3]}={v}" for k, v in SPECIAL.items())]))
    for name, tokenizer, template, arguments in jobs:
        bad, fails = compare(name, tokenizer, template, arguments, rows)
        print(f"{name}: {len(rows) - bad} of {len(rows)} equal ({fails} fail in both)")
        n, total, wrong, failing = n + 1, total + len(rows), wrong + bad, failing + fails
    print(f"{n} templates, {total} texts, {failing} of them errors, {wrong} differ")
    sys.exit(wrong > 0)


main()
