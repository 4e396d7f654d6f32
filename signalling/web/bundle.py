# SPDX-License-Identifier: Apache-2.0
"""One script and one style sheet per page and language, made from the files as they are written.

The modules are plain ES modules that a browser could load one by one; but each would cost a round trip, and a page for
a thin link must be one response, and a second one for what it can do without at first. So they are put one after the other in the order of their imports, with ``import`` and
``export`` taken off, and texts in ``_("…")`` replaced by their translation. No other tool is needed, and what may be
written is limited accordingly: named imports from ``./`` only, nothing renamed, every top-level name once per page.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import minify_html
import rcssmin
import rjsmin

from signalling.web.shorten import shorten

_IMPORT = re.compile(r'^import \{[^}]*\} from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async |const |let |class |function ))", re.MULTILINE)
_EXPORTED = re.compile(r"^export (?:async )?(?:const|let|class|function\*?) (\w+)", re.MULTILINE)
_LEFT_OVER = re.compile(r"^(?:import|export)\b", re.MULTILINE)
_TOP_LEVEL = re.compile(r"^(?:async )?(?:const|let|class|function\*?) (\w+)", re.MULTILINE)
_TEXT = re.compile(r'(?<![\w$.])_\(\s*("(?:[^"\\]|\\.)*")\s*(,\s*\)|[,)])')
_UNREAD_TEXT = re.compile(r"(?<![\w$.#])_\((?!text\b)")

_TABLE = re.compile(
    r"^const (\w+) = (?:/\*.*?\*/ )?[(]?[\[{]\n.*?^[\]}][)]?;\n", re.MULTILINE | re.DOTALL
)

Translate = Callable[[str], str]


class BundleError(Exception):
    """A module that can't be put together with the others; the message says which and why."""


def modules(entry: Path) -> list[Path]:
    """Return the modules that ``entry`` needs, itself last, each after those that it imports.

    Raises:
        BundleError: an import of something that isn't there.
    """
    order: list[Path] = []
    seen: set[Path] = set()

    def visit(path: Path) -> None:
        if path in seen:
            return
        seen.add(path)
        if not path.is_file():
            raise BundleError(f"{path.name}: there is no such module")
        for name in _IMPORT.findall(path.read_text(encoding="utf-8")):
            visit((path.parent / name).resolve())
        order.append(path)

    visit(entry.resolve())
    return order


def texts(source: str) -> Iterator[str]:
    """Yield the texts that a module marks with ``_("…")``.

    Raises:
        BundleError: something else than a literal is marked; the catalogues would miss it.
    """
    rest = _TEXT.sub("", source)
    unread = _UNREAD_TEXT.search(rest)
    if unread and "function _(" not in rest[max(0, unread.start() - 20) : unread.end() + 8]:
        raise BundleError(f"not a literal in double quotes: {rest[unread.start() :][:60]!r}")
    for match in _TEXT.finditer(source):
        yield json.loads(match[1])


def script(
    entry: Path, translate: Translate, *, short_names: bool = True, late: bool = False
) -> str:
    """Return the script of a page in one language, minified, ready to stand in a ``<script type="module">``.

    Args:
        entry: the page's own module.
        translate: from a text to its translation.
        short_names: rename variables too; for a page that must be small, and whose modules are written for that.
        late: a part that the page imports by its address later on: what ``entry`` exports are the properties of its
            default export. It is whole: what it shares with the page (some 1 % of it) is in both.

    Raises:
        BundleError: the modules don't fit together.
    """
    parts: list[str] = []
    exported: list[str] = []
    owner: dict[str, str] = {}
    for path in modules(entry):
        written = path.read_text(encoding="utf-8")
        exported = _EXPORTED.findall(written)
        source = _EXPORT.sub("", _IMPORT.sub("", written))
        left_over = _LEFT_OVER.search(source)
        if left_over:
            raise BundleError(
                f"{path.name}: only named imports from ./ and plain exports are understood"
            )
        for name in _TOP_LEVEL.findall(source):
            if name in owner:
                raise BundleError(f"{name} is in {owner[name]} and in {path.name}: rename one")
            owner[name] = path.name
        parts.append(_translated(source, translate))
    if late:
        parts.append(f"export default {{{', '.join(exported)}}};\n")
    whole = _pruned("\n".join(parts))
    whole = shorten(whole) if short_names else str(rjsmin.jsmin(whole))
    if "</script" in whole or "<!--" in whole:
        raise BundleError("a text would end the script element")
    opening = "<script type=module>"
    minified = minify_html.minify(f"{opening}{whole}</script>", minify_js=True)
    return minified.removeprefix(opening).removesuffix("</script>")


def style(paths: list[Path]) -> str:
    """Return style sheets as one, minified."""
    return str(rcssmin.cssmin("\n".join(path.read_text(encoding="utf-8") for path in paths)))


def _translated(source: str, translate: Translate) -> str:
    def literal(match: re.Match[str]) -> str:
        text = json.dumps(translate(json.loads(match[1])), ensure_ascii=False)
        # With values the function stays, to put them in; without, the text alone is enough.
        return f"_({text}," if match[2] == "," else text

    return _TEXT.sub(literal, source)


def _pruned(source: str) -> str:
    """Leave out tables that this page doesn't use (of wire.js and the like)."""
    used = Counter(re.findall(r"\w+", source))
    for match in list(_TABLE.finditer(source)):
        if used[match[1]] == 1:
            source = source.replace(match[0], "")
    return source
