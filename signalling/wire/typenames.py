# SPDX-License-Identifier: Apache-2.0
"""How a field's type is written: in JSDoc, in the protocol reference, and its limits in words."""

from __future__ import annotations

import json

from msgspec import inspect as mi

from signalling.wire.codes import Code


def javascript_type(info: mi.Type, *, null_ok: bool) -> str:
    """Return the JSDoc type.

    Args:
        info: the type.
        null_ok: whether ``null`` may stand for "nothing"; the server leaves such a field out instead.

    Raises:
        TypeError: a kind of type that the wire doesn't use yet.
    """
    match info:
        case mi.UnionType(types=types):
            names = [
                javascript_type(member, null_ok=null_ok)
                for member in types
                if null_ok or not isinstance(member, mi.NoneType)
            ]
            return "|".join(names)
        case mi.ListType(item_type=item):
            inner = javascript_type(item, null_ok=null_ok)
            return f"({inner})[]" if "|" in inner else f"{inner}[]"
        case mi.DictType(value_type=value):
            return f"Record<string, {javascript_type(value, null_ok=null_ok)}>"
        case mi.LiteralType(values=values):
            return "|".join(json.dumps(value) for value in values)
        case _:
            return _plain_type(info, {mi.IntType: "number", mi.FloatType: "number"})


def markdown_type(info: mi.Type) -> str:
    """Return the type in words, with links to the page's own sections.

    Raises:
        TypeError: a kind of type that the wire doesn't use yet.
    """
    match info:
        case mi.UnionType(types=types):
            return " or ".join(markdown_type(member) for member in types)
        case mi.ListType(item_type=item):
            return f"list of {markdown_type(item)}"
        case mi.DictType(value_type=value):
            return f"object of {markdown_type(value)}"
        case mi.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case mi.EnumType() | mi.StructType():
            name = info.cls.__name__
            # Codes have a table of their own.
            return f"[{name}](#{'codes' if info.cls is Code else name.lower()})"
        case _:
            return _plain_type(info, {mi.IntType: "integer", mi.FloatType: "number"})


def _plain_type(info: mi.Type, numbers: dict[type, str]) -> str:
    match info:
        case mi.IntType() | mi.FloatType():
            return numbers[type(info)]
        case mi.StrType():
            return "string"
        case mi.BoolType():
            return "boolean"
        case mi.NoneType():
            return "null"
        case mi.EnumType() | mi.StructType():
            return info.cls.__name__
        case _:
            raise TypeError(f"no way to write {info!r} yet")


def limits(info: mi.Type) -> list[str]:
    """Return the bounds of a type, each a short phrase."""
    match info:
        case mi.UnionType(types=types):
            return [phrase for member in types for phrase in limits(member)]
        case mi.ListType(item_type=item):
            return [
                *_bounds(info.min_length, info.max_length, " items"),
                *(f"each {p}" for p in limits(item)),
            ]
        case mi.StrType():
            said = _bounds(info.min_length, info.max_length, " characters")
            return [*said, f"`{json.dumps(info.pattern)[1:-1]}`"] if info.pattern else said
        case mi.IntType() | mi.FloatType():
            return _bounds(info.ge, info.le, "")
        case _:
            return []


def _bounds(low: float | None, high: float | None, unit: str) -> list[str]:
    match low, high:
        case None, None:
            return []
        case None, _:
            return [f"≤ {high}{unit}"]
        case _, None:
            return [f"≥ {low}{unit}"]
        case _:
            return [f"{low}–{high}{unit}"]
