# SPDX-License-Identifier: Apache-2.0
"""What there is on the wire, as data: each message and piece with its fields, types, limits and texts.

Made from the classes themselves by msgspec's introspection, so that nothing can be documented that does not exist.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import inspect as mi

from signalling.wire import base, codes, content, direct, legs, messages, quality, terms
from signalling.wire.docstrings import Docstrings, read_docstrings

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class FieldReference:
    """One field of a message or piece."""

    name: str
    """As on the wire."""
    type: mi.Type
    required: bool
    default: object
    """``msgspec.NODEFAULT`` where there is none."""
    text: str


@dataclass(frozen=True, slots=True)
class StructReference:
    """One message or piece."""

    name: str
    tag: str
    """The value of ``type``; empty for a piece."""
    text: str
    fields: tuple[FieldReference, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One value of a closed list."""

    value: str
    text: str


@dataclass(frozen=True, slots=True)
class ListReference:
    """One closed list."""

    name: str
    text: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class WireReference:
    """Everything on the wire."""

    from_client: tuple[StructReference, ...]
    from_server: tuple[StructReference, ...]
    pieces: tuple[StructReference, ...]
    client_pieces: frozenset[str]
    """Names of the pieces that a client sends (whether or not the server sends them too)."""
    lists: tuple[ListReference, ...]
    codes: tuple[tuple[Member, codes.CodeInfo], ...]


def read_wire() -> WireReference:
    """Return the whole wire, in the order of the sources."""
    docs = read_docstrings(
        *(
            _HERE / f"{name}.py"
            for name in (
                "base",
                "messages",
                "legs",
                "direct",
                "content",
                "quality",
                "terms",
                "codes",
            )
        )
    )
    client, server = get_args(messages.ClientMessage), get_args(messages.ServerMessage)
    return WireReference(
        from_client=tuple(_struct(cls, docs) for cls in client),
        from_server=tuple(_struct(cls, docs) for cls in server),
        pieces=tuple(
            _struct(cls, docs)
            for module in (messages, legs, direct, content, quality)
            for cls in _defined(module, base.Part)
        ),
        client_pieces=frozenset(
            name
            for cls in client
            for name in _structs_inside(mi.type_info(cls))
            if name != cls.__name__
        ),
        lists=tuple(_list(cls, docs) for cls in _defined(terms, enum.StrEnum)),
        codes=tuple(
            (Member(code.value, docs.fields.get(("Code", code.name), "")), codes.CODES[code])
            for code in codes.Code
        ),
    )


def _defined(module: Any, base: type) -> list[Any]:  # noqa: ANN401 - modules and classes are read as such
    """Return the classes of ``module`` that derive from ``base``, in the order of the source."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value is not base
        and value.__module__ == module.__name__
    ]


def _struct(cls: type[msgspec.Struct], docs: Docstrings) -> StructReference:
    info = mi.type_info(cls)
    assert isinstance(info, mi.StructType)
    return StructReference(
        name=cls.__name__,
        tag=str(info.tag) if info.tag is not None else "",
        text=docs.classes[cls.__name__],
        fields=tuple(
            FieldReference(f.encode_name, f.type, f.required, _default(f), _text(cls, f.name, docs))
            for f in info.fields
        ),
    )


def _text(cls: type, name: str, docs: Docstrings) -> str:
    """Return the field's text from the class that declares it."""
    return next(
        (docs.fields[key] for base in cls.__mro__ if (key := (base.__name__, name)) in docs.fields),
        "",
    )


def _default(field: mi.Field) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _list(cls: type[enum.StrEnum], docs: Docstrings) -> ListReference:
    members = tuple(Member(m.value, docs.fields.get((cls.__name__, m.name), "")) for m in cls)
    return ListReference(cls.__name__, docs.classes[cls.__name__], members)


def _structs_inside(info: mi.Type) -> set[str]:
    """Return the names of all structs in a type, itself included; the wire's types are not recursive."""
    match info:
        case mi.StructType(cls=cls, fields=fields):
            return {cls.__name__}.union(*(_structs_inside(field.type) for field in fields))
        case mi.UnionType(types=types):
            return set().union(*(_structs_inside(member) for member in types))
        case mi.ListType(item_type=item):
            return _structs_inside(item)
        case _:
            return set()
