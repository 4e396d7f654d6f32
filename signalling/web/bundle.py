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

_FUNCTION = re.compile(
    r"^(?:async )?function ([\w$]+)\((?:[^()\n]|\(\))*\) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL
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
    entry: Path,
    translate: Translate,
    *,
    short_names: bool = True,
    late: bool = False,
    after: Path | None = None,
) -> str:
    """Return the script of a page in one language, minified, ready to stand in a ``<script type="module">``.

    Args:
        entry: the page's own module.
        translate: from a text to its translation.
        short_names: rename variables too; for a page that must be small, and whose modules are written for that.
        late: a part that the page imports by its address later on: what ``entry`` exports are the properties of its
            default export. It is whole: what it shares with the page (some 1 % of it) is in both.
        after: the entry of a ``first_script`` of the same page, whose functions are there already.

    Raises:
        BundleError: the modules don't fit together.
    """
    given: frozenset[str] = frozenset()
    if after is not None:
        *imported, _ = modules(after)
        if not set(imported) <= set(modules(entry)):
            raise BundleError(f"{after.name}: it imports what {entry.name} does not")
        given = frozenset(_functions(_joined(after, translate)[0]))
    whole, exported = _joined(entry, translate, given)
    if late:
        whole += f"export default {{{', '.join(exported)}}};\n"
    return _minified(shorten(whole) if short_names else str(rjsmin.jsmin(whole)))


def first_script(entry: Path, translate: Translate) -> str:
    """Return a script that runs before the page has come whole, for a ``<script>``; what it declares, all may use.

    Raises:
        BundleError: the modules don't fit together.
    """
    whole, _ = _joined(entry, translate)
    return _minified(shorten(whole, frozenset(_functions(whole))))


def _joined(
    entry: Path, translate: Translate, given: frozenset[str] = frozenset()
) -> tuple[str, list[str]]:
    """Return the modules as one, and what the last one exports."""
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
    return _pruned("\n".join(parts), given, frozenset(exported)), exported


def _functions(source: str) -> list[str]:
    return [match[1] for match in _FUNCTION.finditer(source)]


def _minified(whole: str) -> str:
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


def _pruned(source: str, given: frozenset[str], exported: frozenset[str]) -> str:
    """Leave out what is ``given``, and tables and functions of the modules that this page doesn't use."""
    for unit in (_FUNCTION, _TABLE):  # what only a function used goes with it
        used = Counter(re.findall(r"[\w$]+", source))
        for match in list(unit.finditer(source)):
            name = match[1]
            if name in given or (used[name] == 1 and name not in exported):
                source = source.replace(match[0], "")
    return source
