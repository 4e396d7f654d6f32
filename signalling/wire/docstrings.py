# SPDX-License-Identifier: Apache-2.0
"""The text beside each class, field and constant of a module, read from its source.

Python keeps the docstring of a class but drops the string under a field; the syntax tree has both (the convention is
PEP 257's "attribute docstring").
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CODE = re.compile(r"``([^`]+)``")


@dataclass(frozen=True, slots=True)
class Docstrings:
    """What one module says about its classes and their fields."""

    classes: dict[str, str]
    """Text by class name."""
    fields: dict[tuple[str, str], str]
    """Text by (class name, field or member name)."""


def read_docstrings(*sources: Path) -> Docstrings:
    """Return the texts in ``sources``, each folded to one line."""
    classes: dict[str, str] = {}
    fields: dict[tuple[str, str], str] = {}
    for source in sources:
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = one_line(ast.get_docstring(node) or "")
                fields |= {(node.name, name): text for name, text in _field_docstrings(node)}
    return Docstrings(classes, fields)


def one_line(text: str) -> str:
    """Return ``text`` with every run of white space made one space."""
    return " ".join(text.split())


def markdown(text: str) -> str:
    """Return a docstring as Markdown fit for a table's cell: single backquotes, no bare bar."""
    return _CODE.sub(r"`\1`", text).replace("|", "\\|")


def _field_docstrings(node: ast.ClassDef) -> list[tuple[str, str]]:
    """Return (name, text) for each assignment in a class that is followed by a string."""
    found: list[tuple[str, str]] = []
    for statement, after in zip(node.body, node.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign):
            target: ast.expr = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        else:
            continue
        match target, after:
            case ast.Name(id=name), ast.Expr(value=ast.Constant(value=str(text))):
                found.append((name, one_line(text)))
            case _:
                pass
    return found
