#!/usr/bin/env python3
"""Counts which parts of Jinja chat templates use: what is worth having in src/jinja, and what is refused.

    python tests/golden/count_jinja.py FOLDER...

Reads every *.jinja under the folders. A line is: kind, name, in how many templates, the first of them. Needs jinja2 and
transformers, whose environment parses the templates.
"""
import collections
import pathlib
import sys

from jinja2 import nodes
from transformers.utils.chat_template_utils import _compile_jinja_template


def is_text(node):
    """Whether an operand of % is visibly a string, which makes it formatting."""
    if isinstance(node, nodes.Const):
        return isinstance(node.value, str)
    return isinstance(node, (nodes.Concat, nodes.TemplateData))


def uses(tree):
    for node in tree.find_all(nodes.Node):
        if isinstance(node, (nodes.Filter, nodes.Test)):
            kind = type(node).__name__.lower()
            yield kind, node.name
            if kind == "filter" and node.name in ("map", "select", "reject", "selectattr", "rejectattr"):
                at = int(node.name.endswith("attr"))
                if len(node.args) > at and isinstance(node.args[at], nodes.Const):
                    yield "filter" if node.name == "map" else "test", node.args[at].value
            for argument in node.kwargs or []:
                yield "argument", f"{node.name}({argument.key}=)"
        elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            yield "method", node.node.attr
        elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
            yield "function", node.node.name
        elif isinstance(node, nodes.Mod) and is_text(node.left):
            yield "format", "%"
        elif isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name == "loop":
            yield "loop", node.attr
        elif isinstance(node, (nodes.Stmt, nodes.BinExpr, nodes.UnaryExpr, nodes.Concat, nodes.Slice, nodes.CondExpr)):
            yield "node", type(node).__name__


def main():
    counts, first = collections.Counter(), {}
    read = refused = 0
    environment = _compile_jinja_template("").environment
    for path in sorted(path for folder in sys.argv[1:] for path in pathlib.Path(folder).rglob("*.jinja")):
        try:
            tree = environment.parse(path.read_text(encoding="utf-8"))
        except Exception:
            refused += 1
            continue
        read += 1
        own = {name.name for name in tree.find_all(nodes.Macro)}
        for use in {use for use in uses(tree) if not (use[0] == "function" and use[1] in own)}:
            counts[use] += 1
            first.setdefault(use, path.name)
    for (kind, name), n in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], str(item[0][1]))):
        print(f"{kind:9} {str(name):24} {n:5}  {first[kind, name]}")
    print(f"{read} templates, {refused} that jinja2 cannot parse")


main()
