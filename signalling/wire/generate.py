# SPDX-License-Identifier: Apache-2.0
"""Make what follows from the message types: the JSON schema, the protocol reference and the JavaScript typedefs.

``python -m signalling.wire.generate`` writes them, ``--check`` only says whether they are fresh (exit code 1 if not).
The prose of ``docs/protocol.md`` is written by hand; what stands between its ``generated`` marks is made here.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from signalling.wire import messages
from signalling.wire.codes import CODES
from signalling.wire.docstrings import markdown
from signalling.wire.reference import (
    FieldReference,
    ListReference,
    StructReference,
    WireReference,
    read_wire,
)
from signalling.wire.typenames import javascript_type, limits, markdown_type

_WIRE = Path(__file__).parent
_ROOT = _WIRE.parents[1]
SCHEMA = _WIRE / "schema.json"
JAVASCRIPT = _WIRE.parent / "web" / "js" / "wire.js"
PROTOCOL = _ROOT / "docs" / "protocol.md"

JAVASCRIPT_NAMES = {"Error": "ErrorMessage"}
"""Where the class's name would hide one of JavaScript's own."""


def schema(wire: WireReference) -> str:
    """Return the JSON schema (2020-12) of both directions."""
    (client, server), components = msgspec.json.schema_components(
        [messages.ClientMessage, messages.ServerMessage], ref_template="#/$defs/{name}"
    )
    for struct in (*wire.from_client, *wire.from_server, *wire.pieces):
        definition: dict[str, Any] = components[struct.name]
        definition["description"] = struct.text
        for field in struct.fields:
            if field.text:
                definition["properties"][field.name]["description"] = field.text
        if struct in wire.pieces and struct.name not in wire.client_pieces:
            definition.pop("additionalProperties", None)  # clients ignore what they don't know
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Selat signalling messages",
        "description": "One message is one ClientMessage or ServerMessage. Made by signalling.wire.generate.",
        "anyOf": [{"$ref": "#/$defs/ClientMessage"}, {"$ref": "#/$defs/ServerMessage"}],
        "$defs": {"ClientMessage": client, "ServerMessage": server, **components},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


# -- JavaScript ------------------------------------------------------------------------------------


def javascript(wire: WireReference) -> str:
    """Return ``wire.js``: typedefs, and as little at run time as the pages need."""
    lists = [
        _union_typedef(entry.name, entry.text, [m.value for m in entry.members])
        for entry in wire.lists
    ]
    codes = _union_typedef(
        "Code", "A code of an error.", [member.value for member, _ in wire.codes]
    )
    pieces = [_typedef(struct, null_ok=struct.name in wire.client_pieces) for struct in wire.pieces]
    sent = [_typedef(struct, null_ok=True) for struct in wire.from_client]
    received = [_typedef(struct, null_ok=False) for struct in wire.from_server]
    unions = [
        _alias("ClientMessage", "What a page sends.", [_js_name(s.name) for s in wire.from_client]),
        _alias(
            "ServerMessage", "What a page receives.", [_js_name(s.name) for s in wire.from_server]
        ),
        "/**\n * What a page hands to the transport, which adds the id.\n"
        " * @template T\n * @typedef {T extends unknown ? Omit<T, 'id'> : never} WithoutId\n */",
        "/** @typedef {WithoutId<ClientMessage>} ClientRequest */",
    ]
    head = (
        "// SPDX-License-Identifier: Apache-2.0\n"
        "// Made by `make wire` from signalling/wire; don't edit.\n\n"
        "/** Versions of the protocol, the preferred one first. */\n"
        f"export const PROTOCOL_VERSIONS = {json.dumps(list(messages.PROTOCOL_VERSIONS))};\n\n"
        "/**\n * What a WebSocket close code of ours means.\n"
        " * @type {Readonly<Record<number, Code>>}\n */\n"
        f"export const CLOSE_CODES = {{\n{_close_codes()}}};\n\n"
        "/**\n * Refusals after which a page may try the same again by itself.\n"
        " * @type {readonly string[]}\n */\n"
        f"export const RETRY_CODES = [\n{_retry_codes()}];\n\n"
    )
    return head + "\n\n".join([*lists, codes, *pieces, *sent, *received, *unions]) + "\n"


def _close_codes() -> str:
    first: dict[int, str] = {}
    for code, info in CODES.items():
        if info.close is not None:
            first.setdefault(info.close, code.value)
    return "".join(f'  {close}: "{code}",\n' for close, code in sorted(first.items()))


def _retry_codes() -> str:
    return "".join(f'  "{code.value}",\n' for code, info in CODES.items() if info.retry)


def _js_name(name: str) -> str:
    return JAVASCRIPT_NAMES.get(name, name)


def _typedef(struct: StructReference, *, null_ok: bool) -> str:
    lines = [struct.text, f"@typedef {{object}} {_js_name(struct.name)}"]
    if struct.tag:
        lines.append(f'@property {{"{struct.tag}"}} type')
    for field in struct.fields:
        type_name = javascript_type(field.type, null_ok=null_ok or field.required)
        name = field.name if field.required else f"[{field.name}]"
        lines.append(f"@property {{{type_name}}} {name} {_plain(field.text)}".rstrip())
    return _comment([_plain(lines[0]), *lines[1:]])


def _union_typedef(name: str, text: str, values: list[str]) -> str:
    values_type = "|".join(json.dumps(value) for value in values)
    return f"/** @typedef {{{values_type}}} {name} {_plain(text)} */"


def _alias(name: str, text: str, names: list[str]) -> str:
    return _comment([text, f"@typedef {{{'|'.join(names)}}} {name}"])


def _comment(lines: list[str]) -> str:
    return "/**\n" + "".join(f" * {line}\n" for line in lines) + " */"


def _plain(text: str) -> str:
    """Return a docstring fit for JSDoc: single backquotes, no end of comment."""
    return text.replace("``", "`").replace("*/", "* /")


# -- the protocol reference ------------------------------------------------------------------------


def protocol(page: str, wire: WireReference) -> str:
    """Return the protocol page with every generated section made again.

    Raises:
        ValueError: a section of the page is not known, or a known one is missing.
    """
    sections = {
        "from-client": "\n".join(_section(struct) for struct in wire.from_client),
        "from-server": "\n".join(_section(struct) for struct in wire.from_server),
        "pieces": "\n".join(_section(struct) for struct in wire.pieces),
        "lists": "\n".join(_list_section(entry) for entry in wire.lists),
        "codes": _code_table(wire),
    }
    mark = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
    found = [match[2] for match in mark.finditer(page)]
    if sorted(found) != sorted(sections):
        raise ValueError(
            f"docs/protocol.md must have each of these once: {', '.join(sorted(sections))}"
        )
    return mark.sub(lambda match: f"{match[1]}\n{sections[match[2]]}\n{match[3]}", page)


def _section(struct: StructReference) -> str:
    title = f"### `{struct.tag}`" if struct.tag else f"### {struct.name}"
    lines = [title, "", markdown(struct.text).replace("\\|", "|"), ""]
    shown = [field for field in struct.fields if not (struct.tag and field.name in ("id", "re"))]
    if shown:
        lines += ["| field | type | limits | |", "| --- | --- | --- | --- |", *map(_row, shown), ""]
    return "\n".join(lines)


def _row(field: FieldReference) -> str:
    name = f"`{field.name}`" if field.required else f"`{field.name}`?"
    return f"| {name} | {markdown_type(field.type)} | {_limits(field)} | {markdown(field.text)} |"


def _limits(field: FieldReference) -> str:
    said = limits(field.type)
    if not field.required and field.default not in (None, "", [], {}):
        said.append(f"default `{json.dumps(field.default)}`")
    return markdown("; ".join(said))


def _list_section(entry: ListReference) -> str:
    values = [
        f"- `{member.value}`{': ' + markdown(member.text) if member.text else ''}"
        for member in entry.members
    ]
    return "\n".join(
        [f"### {entry.name}", "", markdown(entry.text).replace("\\|", "|"), "", *values, ""]
    )


def _code_table(wire: WireReference) -> str:
    rows = [
        f"| `{member.value}` | {info.status} | {info.close or '–'} | {'yes' if info.retry else 'no'} |"
        f" {markdown(member.text)} |"
        for member, info in wire.codes
    ]
    head = ["| code | HTTP status | close code | retry | |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, ""])


# -- the command -----------------------------------------------------------------------------------


def outputs() -> dict[Path, str]:
    """Return what each generated file should hold."""
    wire = read_wire()
    return {
        SCHEMA: schema(wire),
        JAVASCRIPT: javascript(wire),
        PROTOCOL: protocol(PROTOCOL.read_text(encoding="utf-8"), wire),
    }


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` name the stale ones; return the exit code."""
    stale = [
        path
        for path, text in outputs().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(_ROOT)} is stale; run `make wire`\n")
        return 1 if stale else 0
    for path, text in outputs().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
