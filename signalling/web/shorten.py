# SPDX-License-Identifier: Apache-2.0
"""Shorter names for a script that nobody imports from: 5 % of the patient's page on the wire.

Every variable of one name is renamed alike, in the whole script: scopes stay what they are, and none needs to be
understood. What must be told apart is a variable from a property, and for that it is enough to know what kind of brace a
name stands in: ``{text}`` in an object or a pattern becomes ``{text: a}``, in a block ``{a}``. Names that the browser
gives (``_GLOBALS``) are left alone. Private names (``#name``) can't be seen from outside their class: they are renamed.

Not understood, and not used: labels, ``var``, ``with``, several declarations in one statement.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from string import ascii_letters, digits

_TOKEN = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
    | (?P<string> "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
    | (?P<template> `(?:[^`\\$]|\\.|\$(?!\{))*(?:`|\$\{) )
    | (?P<regex> (?<=[(,=:!&|?{;+\ ]) /(?![*/\ ]) (?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+ /[a-z]* )
    | (?P<private> \#[A-Za-z_]\w* )
    | (?P<name> [A-Za-z_$][\w$]* )
    | (?P<number> \d[\w.]* )
    | (?P<blank> \s+ )
    | (?P<sign> \?\.(?!\d) | \.\.\. | => | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_AFTER_HOLE = re.compile(r"\}(?:[^`\\$]|\\.|\$(?!\{))*(?:`|\$\{)", re.DOTALL)
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "async await break case catch class const constructor continue default delete do else export "
        "extends false finally for from function get if import in instanceof let new null of return "
        "set static super switch this throw true try typeof undefined void while yield",
    )
)
_GLOBALS = frozenset(
    re.findall(
        r"\w+",
        "addEventListener alert atob btoa caches clearInterval clearTimeout close closed confirm "
        "console crypto document event external fetch find focus frames globalThis history innerHeight "
        "innerWidth isSecureContext length localStorage location matchMedia name navigator open origin "
        "parent performance print prompt queueMicrotask removeEventListener screen scroll scrollTo self "
        "sessionStorage setInterval setTimeout status stop structuredClone top window",
    )
)
"""Globals of the browser under which a module might declare something: renaming would hit both."""
_BEFORE_OBJECT = frozenset(["(", ",", "=", ":", "[", "?", "&", "|", "!", "+", "..."]) | {
    "return",
    "default",
    "const",
    "let",
    "of",
    "in",
    "new",
}
_DECLARING = frozenset({"const", "let", "function", "class"})

_VARIABLES = frozenset({"variable", "declared", "shorthand", "declared shorthand"})

Token = tuple[str, str]
"""Its kind (for a name, later, its role) and its text."""


@dataclass(slots=True)
class _Brace:
    """An open bracket."""

    kind: str
    """``object`` (or pattern), ``block``, ``class``, ``(`` or ``[``."""
    start: int
    declares: bool = False
    """A pattern after ``const`` or ``let``, or in parameters."""


def shorten(source: str, kept: frozenset[str] = frozenset()) -> str:
    """Return the script with shorter names but for those ``kept``, without comments; it does the same as before."""
    tokens = [token for token in _tokens(source) if token[0] != "comment"]
    roles = _roles([token for token in tokens if token[0] != "blank"])
    counts = Counter(text for text, role in roles if role != "property")
    declared = {text for text, role in roles if role.startswith("declared") and len(text) > 1}
    names = sorted(declared - _GLOBALS - _KEYWORDS - kept, key=lambda name: (-counts[name], name))
    new = dict(zip(names, _fresh(set(counts) | _KEYWORDS | _GLOBALS), strict=False))
    private = sorted({text for kind, text in tokens if kind == "private"})
    short = {name: f"#{letters}" for name, letters in zip(private, _fresh(_KEYWORDS), strict=False)}
    return "".join(_rewritten(tokens, roles, new, short))


def _tokens(source: str) -> Iterator[Token]:
    """Yield the script's tokens; a template comes in pieces, with the tokens of its expressions between."""
    at, depth = 0, 0
    holes: list[int] = []
    """The depth of braces at which the expression of each open template began."""
    while at < len(source):
        in_hole = holes and source[at] == "}" and depth == holes[-1]
        match = (_AFTER_HOLE if in_hole else _TOKEN).match(source, at)
        if match is None:
            raise ValueError(f"not a token: {source[at : at + 40]!r}")
        at = match.end()
        text = match[0]
        kind = "template" if in_hole else str(match.lastgroup)
        if in_hole:
            holes.pop()
        if kind == "template" and text.endswith("${"):
            holes.append(depth)
        elif kind == "sign":
            depth += (text == "{") - (text == "}")
        yield kind, text


def _rewritten(
    tokens: list[Token], roles: list[Token], new: dict[str, str], private: dict[str, str]
) -> Iterator[str]:
    each_role = iter(roles)
    for kind, text in tokens:
        role = next(each_role)[1] if kind == "name" else kind
        if role == "private":
            yield private[text]
        elif text not in new or role not in _VARIABLES:
            yield text
        else:
            yield f"{text}:{new[text]}" if role.endswith("shorthand") else new[text]


def _roles(code: list[Token]) -> list[Token]:
    """Return each name with what it is: ``variable``, ``declared``, ``property``, or a ``shorthand`` of either."""
    closing = _closing(code)
    open_: list[_Brace] = []
    roles: list[Token] = []
    for at, (kind, text) in enumerate(code):
        before = code[at - 1][1] if at else ""
        after = code[at + 1][1] if at + 1 < len(code) else ""
        if kind == "template":
            if text.startswith("}"):
                open_.pop()
            if text.endswith("${"):
                open_.append(_Brace("(", at))
        elif kind == "sign" and text in "([{":
            open_.append(_opened(code, at, closing, open_))
        elif kind == "sign" and text in ")]}" and open_:
            open_.pop()
        elif kind == "name":
            brace = open_[-1] if open_ else _Brace("block", 0)
            roles.append((text, _role(text, before, after, brace)))
    return roles


def _role(text: str, before: str, after: str, brace: _Brace) -> str:
    if before in {".", "?."} or (brace.kind == "class" and _is_member(before)):
        return "property"
    if brace.kind == "object" and (before in {"{", ",", "async", "get", "set"}):
        if after in {":", "("}:
            return "property"
        return "declared shorthand" if brace.declares else "shorthand"
    if before in _DECLARING or after == "=>" or brace.declares:
        return "declared"
    return "variable"


def _is_member(before: str) -> bool:
    return before in {"{", "}", ";", ")", "async", "static", "get", "set", "*"}


def _opened(code: list[Token], at: int, closing: dict[int, int], open_: list[_Brace]) -> _Brace:
    text, before = code[at][1], code[at - 1][1] if at else ""
    outer = open_[-1] if open_ else None
    if text == "(":
        end = closing.get(at, at)
        after = code[end + 1][1] if end + 1 < len(code) else ""
        called = before in {"if", "for", "while", "switch"} or (before in {")", "]"})
        parameters = after == "=>" or (after == "{" and not called)
        return _Brace("(", at, declares=parameters)
    if text == "[":
        return _Brace(
            "[", at, declares=before in {"const", "let"} or bool(outer and outer.declares)
        )
    if _is_class(code, at):
        return _Brace("class", at)
    # A brace after `>` is the body of an arrow function; the token `=>` is one sign.
    if before in _BEFORE_OBJECT:
        declares = before in {"const", "let"} or bool(outer and outer.declares and before != "=")
        return _Brace("object", at, declares)
    return _Brace("block", at)


def _is_class(code: list[Token], at: int) -> bool:
    """Whether the brace at ``at`` opens a class's body: ``class A {`` or ``class A extends B {``."""
    return any(text == "class" for _, text in code[max(0, at - 4) : at - 1])


def _closing(code: list[Token]) -> dict[int, int]:
    pairs: dict[int, int] = {}
    open_: list[int] = []
    for at, (kind, text) in enumerate(code):
        if kind == "sign" and text in "([{":
            open_.append(at)
        elif kind == "sign" and text in ")]}" and open_:
            pairs[open_.pop()] = at
    return pairs


def _fresh(taken: set[str] | frozenset[str]) -> Iterator[str]:
    """Yield short names that nothing has yet."""
    for length in (1, 2):
        for letters in product(ascii_letters, *[ascii_letters + digits] * (length - 1)):
            name = "".join(letters)
            if name not in taken:
                yield name
