#!/usr/bin/env python3
"""Writes tests/golden/jinja_cases.json: small templates of every feature, with what jinja2 makes of them in the environment
that transformers 5.23 sets up for chat templates.

    python tests/golden/make_jinja.py > tests/golden/jinja_cases.json
"""
import json

from transformers.utils.chat_template_utils import _compile_jinja_template

VARIABLES = {
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "n": 3, "tags": ["b", "a"]},
                 {"role": "user", "content": "", "x": None}],
    "d": {"b": 1, "a": "two", "C": [1, 2.5, None, True], "items": "shadowed", "n": {"k": "v"}},
    "s": "The quick brown fox", "u": "Grüße, 世界! \U0001F600 ǆ ﬁ ß İ ΑΣ", "e": "", "i": 7, "f": 2.5, "t": True, "none_": None,
    "l": [3, 1, 2], "w": "  a\tb \n", "html": "<a href=\"x\">'&'</a>", "big": 12345678901234567, "q": "it's \"q\"",
    "people": [{"name": "Bo", "age": 30, "at": {"city": "Rome"}}, {"name": "al", "age": 25, "at": {"city": "Oslo"}},
               {"name": "Cy", "age": 30, "at": {"city": "rome"}}],
}

EXPRESSIONS = r"""
-7 // 2, -7 % 3, 7 // -2, 7 % -3, -7.5 // 2, -7.5 % 2, 7 / 2, 6 / 2
1e16, 1e15, 1.5e-5, 0.0001, 1e22, 123456789.123, 0.1 + 0.2, 1.0, -0.0, 1e100, 5e-324
1_000, 1_0.5
"a" 'b' "c", 'it\'s', "\n\t\\ \x41 \u00e9 \q", "line\
d"
s ~ 1 ~ none ~ true ~ missing ~ [1]
s + "x", "ab" * 3, 2 * "ab", [1] * 2, [1] + [2], (1,) + (2, 3), "a" * -1
s[0], s[-1], s[1:4], s[::-1], s[::2], s[-3:], s[:-3], s[10:2], s[99:], s[4:1:-1], u[2:5], u[::-1], u[-1]
l[0], l[-1], l[1:], l[::-1], l[:], l[99], l["x"], l[0:3:2], l[5:], l[-2:], (1, 2, 3)[1:]
d.b, d["a"], d.C, d["items"], d.get("zz"), d.get("zz", 5), d.n.k, d["n"]["k"], d.missing, d.n.zz
d.keys() | list, d.values() | list, d.items() | list | length, d | length, d.keys(), d.n.items()
d, l, messages[1], none, (1,), (), {}, [], {1: "a", none: true, 2.5: [1]}, "x", ("a", "b'c", 'd"e', 'f\'"g')
1 < 2 < 3, 1 < 3 < 2, 1 == 1.0, true == 1, "a" < "b", [1, 2] < [1, 3], (1, 2) == (1, 2), [1] == (1,), "1" == 1
1 in l, 4 not in l, "quick" in s, "a" in d, "z" in d, 1 in (1, 2), "" in "", none in [none], missing in [missing]
not true, not e, true and "x", e or "y", none and 1, 0 or none or false, not not 1, not 1 == 2
"yes" if t else "no", "yes" if e, ("a" if false else "b" if false else "c")
missing is defined, missing is undefined, s is defined, d.zz is defined, none is none, none_ is none, none is not none
1 is number, 1.5 is number, true is number, true is boolean, 1 is boolean, 1 is integer, true is integer, 1.5 is float, "1" is number
s is string, l is string, l is iterable, l is sequence, d is mapping, d is sequence, d is iterable, 1 is iterable, none is iterable, missing is iterable
3 is odd, 4 is odd, 4 is even, 9 is divisibleby 3, 9 is divisibleby(2), 3 is eq 3, 3 is equalto(4), 3 is ne 4, 3 is gt 2, 3 is lt 2, 3 is ge 3, 3 is le 3, 3 is greaterthan 1, 3 is lessthan 1
true is true, 1 is true, false is false, "a" is in "abc", 1 is in l, "x" is sameas "x", none is sameas none, s is callable, range is callable
missing | default("d"), e | default("d"), e | default("d", true), none | d("x"), none | d("x", true), missing | d
s | upper, s | lower, s | title, s | capitalize, "hELLO wORLD-foo(bar" | title, s | length, s | count, u | upper, u | lower, u | capitalize, u | title
w | trim, "xxaxx" | trim("x"), s | replace("quick", "slow"), "aaa" | replace("a", "b", 2), "abc" | replace("", "-"), s | reverse, s | first, s | last
l | sort, l | sort(reverse=true), l | first, l | last, l | join(", "), l | join, l | reverse | list, l | length, [] | first
["b", "A", "c"] | sort, ["b", "A", "c"] | sort(case_sensitive=true), ["b", "a", "B"] | unique | list, [1, 1.0, true, 2] | unique | list
people | map(attribute="name") | list, people | map(attribute="at.city") | join("-"), people | map(attribute="zz", default="?") | list, l | map("string") | list, ["a ", " b"] | map("trim") | list, l | map("default", 1) | list
people | selectattr("age", "equalto", 30) | map(attribute="name") | list, people | rejectattr("age", "gt", 26) | list | length, messages | selectattr("content") | list | length, messages | selectattr("n", "defined") | list | length, messages | selectattr("x", "none") | list | length
l | select("odd") | list, l | reject("odd") | list, [0, 1, "", "a", none] | select | list, l | select(">", 1) | list, l | select("in", [1, 3]) | list
people | sort(attribute="age") | map(attribute="name") | list
d.n | items | list, d.n | dictsort, {"b": 2, "A": 1, "c": 0} | dictsort, {"b": 2, "a": 3} | dictsort(by="value"), {"b": 1, "a": 2} | dictsort(reverse=true), missing | items | list
"42" | int, "4.9" | int, "x" | int, "x" | int(5), 3.9 | int, true | int, none | int, " 12 " | int, "1_0" | int
"1.5" | float, "x" | float, "x" | float(1.0), 3 | float, "1e3" | float, "inf" | float, none | float
-3 | abs, 2.5 | abs, 3 | string, none | string, true | string, [1, "a"] | string
html | escape, html | e, html | safe, (html | e) ~ "<", (html | e) + "<", html | safe | upper, (html|e)|length
"a\nb\n\nc" | indent, "a\nb" | indent(2, true), "a\n\nb" | indent(2, blank=true), "a\nb" | indent("> "), "" | indent, "a\n" | indent
"{} {}".format(1, "a"), "{1} {0}".format(1, 2), "{a}".format(a=5), "{{}}".format(), "{i:d}|{s:s}|{{{0}}}".format(7, i=5, s="x"), "{} {} {}".format(1.5, none, [1])
d | tojson, d.n | tojson(indent=2), l | tojson(indent=4), {} | tojson(indent=2), [[], {}] | tojson(indent=1), {"b": 1, "a": [1, {"c": 2}]} | tojson(sort_keys=true), {"a": 1} | tojson(separators=(",", ":")), u | tojson, u | tojson(ensure_ascii=true), "a\"\\\n\t\x01\x7f/<>&" | tojson, {1: 2, none: 3, true: 4, 2.5: 5} | tojson, 1.0 | tojson, 1e16 | tojson, (1, 2) | tojson, "é" | tojson(true)
"a,b,,c".split(","), "a b  c ".split(), " a b c".split(none, 1), "a,b,c".split(",", 1), "a\nb\r\nc\x0bd\n".splitlines(), "abc".split("x"), "".split(), "".split(","), "aXbXc".split("X")[-1]
"  a ".strip(), "xxaxx".strip("x"), "xya".lstrip("xy"), "a\n".rstrip("\n"), "\u3000a\u00a0".strip()
"abc".startswith("ab"), "abc".endswith(("x", "c")), "abc".removeprefix("a"), "abc".removesuffix("bc")
"abc".upper(), "ABC".lower(), "hello world it's".title(), "hELLO".capitalize(), "ß".upper(), "ΑΣ".lower(), "ǆ".capitalize(), "İ".lower() | length
"-".join(["a", "b"]), "".join([]), "a{b}c".replace("{", "[").replace("}", "]"), "aaa".replace("a", "b", 1)
"x" in d.keys(), 1 in d.values()
range(3), range(3) | list, range(1, 7, 2) | list, range(5, 0, -2) | list, range(3)[1], range(10)[2:5], range(0) | list, range(3) | length, range(2) == range(2)
dict(a=1, b="x"), dict([["a", 1]]), dict({"a": 1}, b=2), namespace(a=1).a, dict() | length
messages[0].role, messages[0]["role"], messages[-1].x, messages[-1].x is none, messages[1].get("n"), messages[2].zz is defined, messages | length, messages[1:] | length, messages[::-1][0].content
big, big + 1, 10 // 3, 10 % 3, 7.0 // 2, true + true, 1 - 1.0, 0.1 * 3, 1 / 3, 100 * 1.1
i if i is number and i > 5 else "small", [x] if x is defined else [], (l | length) * 2, l|length == 3 and t, s|upper|lower|title
loop is defined, "a" ~ ("b" if t) ~ ("c" if e), [1, [2, [3, {"a": (1,)}]]]
q, [q], ["\n\t\x00\x7f\u200b\u00e9\U0001F600\ud7ff"], ["a\\b"], [u], {"k'": "v\""}
"a" < 1
missing.x
missing + 1
missing()
d.n.zz.y
none.x.y
none + "a"
"a" + 1
[1].append(2)
d.update({"a": 1})
d.pop("a")
1 // 0
l | tojson(indent="x")
missing | tojson
missing | length, missing | list, missing | join, missing | string, missing | trim, missing | upper
missing | first
missing | int
none | length
l | nosuchfilter
l is nosuchtest
{} is mapping, l.x is defined, s.x is defined, s.upper is defined, i.x is undefined
raise_exception("Stop: " ~ 1)
range(100001)
namespace(_a=1)
i[1:]
l | map("nosuch") | list
"x".join([1])
nosuch("x")
5 | first
1.5.x is undefined
"{} {}".format(1)
"%s-%d-%%" | format("a", 3), "%s" | format(none), "%s|%s" | format(1.5, ["x"]), "%s" | format(d)
"%s %s" | format(1)
"%s" | format(1, 2)
"{".format(1)
"x" * 3, 8 - 3 * 2 // 4 % 3, "٣" | int, "1_2" | int, "1__2" | int(-1), "+5" | int, "- 5" | int(-1)
u | upper, u | lower, u | title, u.title(), u.capitalize(), [u], ["\u00ad\u0378\u2028\ue000"], "ǆǄ ǉx ŉa ΐ ﬃ ΑΣ ΑΣ. ªΣ".title(), "ΑΣ ΣΑ Σ".lower()
""".strip("\n")

STATEMENTS = [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}"
    "{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}|{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.previtem is defined }} {% endfor %}",
    "{% for x in [] %}a{% else %}empty{% endfor %}{% for x in l %}{{ x }}{% else %}no{% endfor %}",
    "{% for x in range(10) if x % 2 %}{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for k, v in d.n.items() %}{{ k }}={{ v }}{% endfor %}{% for k in d %}{{ k }} {% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in 'héy' %}[{{ c }}]{% endfor %}{% for x in missing %}x{% endfor %}{% for x in (1, 2,) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}",
    "{% for x in none_ %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "{% for a, b in [[1]] %}{% endfor %}",
    "{% set x = 0 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(n=0, found=false) %}{% for i in l %}{% set ns.n = ns.n + i %}{% if i == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }}{{ ns.found }}{{ ns.zz is defined }}{{ ns }}",
    "{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}{% set ns = namespace() %}{% set ns.a, y = 3, 4 %}{{ ns.a }}{{ y }}",
    "{% set x %}block {{ s | upper }}{% endset %}[{{ x }}]{% set y | upper | replace('B', 'c') %}abc{% endset %}{{ y }}",
    "{% set notns = {} %}{% set notns.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% if e %}a{% elif i == 7 %}b{% else %}c{% endif %}{% if false %}{% elif false %}{% else %}z{% endif %}",
    "{% if t %}{% set z = 5 %}{% endif %}{{ z }}{% if e %}{% set y = 5 %}{% endif %}{{ y is defined }}",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=3) }} {{ m(b=1, a=0) }} {{ m() }} {{ m.name }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(z=2) }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in {{ s }}{% endcall %}",
    "{% macro m() %}{{ caller(1, x=2) }}{% endmacro %}{% call(a, x) m() %}{{ a }}{{ x }}{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro m() %}{{ later }}{% endmacro %}{% set later = 3 %}{{ m() }}",
    "{% for i in [1, 2] %}{% macro m(x) %}{{ i }}{{ x }}{% endmacro %}{{ m(9) }}{% endfor %}",
    "{% macro m(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ m(1) | upper }}{{ y is defined }}{% set r = m('q') %}{{ r + '!' }}",
    "{% filter upper | trim %}  abc {{ s }} {% endfilter %}",
    "{% generation %}{% set x = 1 %}gen{{ s }}{% endgeneration %}{{ x is defined }}",
    "{%- generation -%}  a  {%- endgeneration -%} b", "{% raw %}{{ x }} {% y %}{% endraw %}!", "a {%- raw -%}  b  {%- endraw -%} c", "{% raw %}\n x\n{% endraw %}\ny",
    "a {# comment #} b {#- c -#} d\n  {# own line #}\ne", "{# a\n multi -#}\n x",
    "  {% if true %}\n  a\n  {% endif %}\nb\n", "  {%- if true -%}\n  a\n  {%- endif -%}\nb\n\n", "  {%+ if true +%}\n  a\n  {%+ endif %}\nb",
    "a\n{{ 1 }}\n{{- 2 -}}\n 3 {{ 4 -}} \n5", "x  {% set a = 1 %}  y", "\t {% set a = 1 %}\n\ty", "{% if true %}{% endif %}  {% if true %}\n\nq{% endif %}",
    "a\r\nb\rc{% if true %}\r\nd{% endif %}\r\n", "tail\n", "tail\n\n", "\n{{ 1 }}\n", "{{ {'a': {'b': 1}}['a']['b'] }}{{ {} }}{{ '}}' }}{{ \"{%\" }}",
    "{{- '\\n' -}}", "{{ 'a' }}  {{- 'b' }}  \n  {%- set x = 1 %}\n c", "{% set x = namespace(a=[1]) %}{% set x.a = x.a + [2] %}{{ x.a }}",
    "{% set it = l | map('string') %}{{ it | list }}{{ it | list }}{{ it is iterable }}", "{% set it = l | select('odd') %}{{ it | length }}",
    "{% set r = l | reverse %}{% for x in r %}{{ x }}{% endfor %}{% for x in r %}{{ x }}{% endfor %}",
    "{% do x %}", "{% if %}", "{% for %}", "{% if true %}", "{{ 1 + }}", "{% endif %}", "{{ 'a }}", "{{ (1 }}",
    "{% set %}", "{% set 1 = 2 %}", "{{ a b }}", "{# never closed", "{% raw %}never", "{{ 1 ! 2 }}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{{ 1 is odd is even }}",
    "{% for x in range(3) %}{% for y in range(2) %}{{ loop.index }}{{ x }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% set a = [] %}{% for x in l %}{% set a = a + [x] %}{% endfor %}{{ a }}", "{{ messages | map(attribute='content') | join('\\n') }}{{ messages | map(attribute='zz') | list }}",
    "{% for m in messages if m.role == 'user' %}{{ m.content }}{{ loop.first }}{% endfor %}{{ loop is defined }}",
    "{{ ('a', 'b') }}{% set t = ('x',) %}{{ t }}{{ t[0] }}{% if ('a' in t or 'x' in t) and not false %}ok{% endif %}",
    "{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- '<u>' + m.content + '</u>\\n' }}\n    {%- else %}\n        {{- m.content -}}\n    {%- endif %}\n{%- endfor %}\n",
    "{% set x = 1 %}{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}{% if x %}{% set x = 3 %}{% endif %}{{ x }}",
    "{{ range.x is defined }}{{ d.keys is callable }}{{ s.split is defined }}{{ d['keys'] is callable }}{{ messages[0].items() | list }}",
]


def expected(template):
    try:
        return {"text": _compile_jinja_template(template).render(**VARIABLES)}
    except RecursionError:
        return {"error": ""}
    except Exception as error:
        named = type(error).__name__ in ("UndefinedError", "TemplateError", "SecurityError", "TemplateRuntimeError")
        return {"error": str(error) if named and "is undefined" in str(error) or type(error).__name__ == "TemplateError" else ""}


def main():
    cases = []
    lines, pending = [], ""
    for line in EXPRESSIONS.split("\n"):
        pending += line
        if line.endswith("\\"):
            pending += "\n"
            continue
        lines.append(pending)
        pending = ""
    for line in lines:
        cases.append("{{ (" + line + ") }}" if ", " in line else "{{ " + line + " }}")
    cases += STATEMENTS
    rows = ",\n".join(json.dumps({"template": t, **expected(t)}) for t in cases)
    print('{"variables": ' + json.dumps(VARIABLES) + ',\n"cases": [\n' + rows + "\n]}")


main()
