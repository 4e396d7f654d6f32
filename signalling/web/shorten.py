# SPDX-License-Identifier: Apache-2.0
"""Shorter names for a script that nobody imports from: 6 % of the patient's page on the wire.

Private names (``#name``) can't be seen from outside their class: they are simply renamed. Of the others only those are
renamed that are declared by ``const``, ``let``, ``function`` or ``class`` and never, anywhere, stand where their text
could be a property: after a dot, before a colon, as a shorthand or pattern in braces, as a method or field, in a string.
Such a name is renamed everywhere alike, so that scopes stay what they are. No scope is understood, and none needs to be.

What is read is the project's own formatting (a class's members are indented by two blanks), not any JavaScript.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from string import ascii_letters, digits

_TOKEN = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
    | (?P<string> "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
    | (?P<template> `(?:[^`\\]|\\.)*` )
    | (?P<regex> (?<=[(,=:!&|?{;+]) \s* /(?![*/]) (?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+ /[a-z]* )
    | (?P<private> \#[A-Za-z_]\w* )
    | (?P<name> [A-Za-z_$][\w$]* )
    | (?P<number> \d[\w.]* )
    | (?P<blank> \s+ )
    | (?P<sign> \?\.(?!\d) | \.\.\. | => | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_MEMBER = re.compile(
    r"^  (?:static |async |get |set |\*)*([A-Za-z_$][\w$]*)(?: ?[(=;])", re.MULTILINE
)
_METHOD = re.compile(r"^\s+(?:async |get |set )*([A-Za-z_$][\w$]*)\([^\n]*\) \{$", re.MULTILINE)
_HOLE = re.compile(r"(?<=\$\{)[^{}`]*(?=\})")
_DECLARING = {"const", "let", "function", "class"}
_MIN_LENGTH = 3
_GLOBALS = re.findall(
    r"\w+",
    "caches close closed confirm console crypto document event external fetch find focus frames "
    "history length location name navigator open origin parent performance print prompt screen "
    "scroll scrollTo self status stop top undefined window",
)
"""Globals of the browser under which a module might declare something: renaming would hit both."""

Token = tuple[str, str]


def shorten(source: str) -> str:
    """Return the script with shorter names, without comments; it does the same as before."""
    tokens = [token for token in _tokens(source) if token[0] != "comment"]
    counts = Counter(text for kind, text in tokens if kind == "name")
    counts.update(text for kind, text in _inside(tokens) if kind == "name")
    taken = set(counts)
    names = sorted(_renameable(source, tokens), key=lambda name: (-counts[name], name))
    new = dict(zip(names, _fresh(taken), strict=False))
    private = sorted({text for kind, text in tokens if kind == "private"})
    new.update({name: f"#{short}" for name, short in zip(private, _fresh(set()), strict=False)})
    return "".join(_rewritten(token, new) for token in tokens)


def _tokens(source: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(source):
        yield str(match.lastgroup), match[0]


def _inside(tokens: list[Token]) -> Iterator[Token]:
    """Yield the tokens of the expressions in templates."""
    for kind, text in tokens:
        if kind == "template":
            for hole in _HOLE.findall(text):
                yield from _tokens(hole)


def _rewritten(token: Token, new: dict[str, str]) -> str:
    kind, text = token
    if kind == "template":
        return _HOLE.sub(
            lambda hole: "".join(_rewritten(each, new) for each in _tokens(hole[0])), text
        )
    return new.get(text, text) if kind in {"name", "private"} else text


def _renameable(source: str, tokens: list[Token]) -> set[str]:
    code = [token for token in tokens if token[0] != "blank"]
    declared: set[str] = set()
    barred = {*_GLOBALS, *_MEMBER.findall(source), *_METHOD.findall(source)}
    brackets: list[str] = []
    for at, (kind, text) in enumerate(code):
        if text in {"(", "[", "{"} and kind == "sign":
            brackets.append(text)
        elif text in {")", "]", "}"} and kind == "sign" and brackets:
            brackets.pop()
        elif kind == "name":
            before = code[at - 1][1] if at else ""
            after = code[at + 1][1] if at + 1 < len(code) else ""
            if before in _DECLARING:
                declared.add(text)
            in_braces = bool(brackets) and brackets[-1] == "{"
            shorthand = in_braces and before in {"{", ",", "..."} and after in {",", "}", "="}
            if before in {".", "?."} or after == ":" or shorthand:
                barred.add(text)
        elif kind == "string":
            barred.add(text[1:-1])
        elif kind == "template":
            barred.update(_properties(text))
    return {name for name in declared - barred if len(name) >= _MIN_LENGTH}


def _properties(template: str) -> set[str]:
    """Return the names that stand after a dot in a template's expressions, and those in what isn't understood."""
    rest = _HOLE.sub("", template)
    names = {
        name for hole in _HOLE.findall(template) for name in re.findall(r"\.\s*([\w$]+)", hole)
    }
    return names | (
        set(re.findall(r"[\w$]+", rest)) if rest.count("${") != rest.count("${}") else set()
    )


def _fresh(taken: set[str]) -> Iterator[str]:
    """Yield short names that nothing has yet."""
    for length in (1, 2):
        for letters in product(ascii_letters, *[ascii_letters + digits] * (length - 1)):
            name = "".join(letters)
            if name not in taken and name not in {"do", "if", "in", "of", "as", "is"}:
                yield name
