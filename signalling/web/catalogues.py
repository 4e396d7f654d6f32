# SPDX-License-Identifier: Apache-2.0
"""The pages' texts and their translations (gettext catalogues, read by Babel).

A language exists if ``locale/<language>/LC_MESSAGES/selat.po`` does; nothing else has to be told. English is the
language of the source: its catalogue holds only what should read differently from the source.

``python -m signalling.web.catalogues`` brings the catalogues up to date with the templates, modules and tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.pofile import normalize, read_po
from jinja2.ext import babel_extract

from signalling.core.triage import SIGNS
from signalling.web.bundle import texts

WEB = Path(__file__).parent
LOCALE = WEB / "locale"
SOURCE_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Language:
    """A language that the pages speak."""

    code: str
    """BCP 47, as in the catalogue's folder and the page's path."""
    name: str
    """What it calls itself."""
    direction: str
    """``ltr`` or ``rtl``."""
    catalog: Catalog

    def translate(self, text: str) -> str:
        """Return the text in this language, the source's if there is no translation."""
        message = self.catalog.get(text)
        return str(message.string) if message and message.string and not message.fuzzy else text


def languages() -> dict[str, Language]:
    """Read all catalogues, by language code, sorted."""
    found = {}
    for path in sorted(LOCALE.glob("*/LC_MESSAGES/selat.po")):
        code = path.parent.parent.name
        locale = Locale.parse(code, sep="-")
        with path.open("rb") as file:
            catalog = read_po(file, locale=str(locale))
        name = locale.get_display_name(locale) or code
        found[code] = Language(code, name[:1].upper() + name[1:], locale.text_direction, catalog)
    return found


def source_texts() -> Iterator[tuple[str, str]]:
    """Yield every text that the pages can show, with the file it is in."""
    for path in sorted((WEB / "templates").glob("*.html")):
        for _, _, message, _ in babel_extract(BytesIO(path.read_bytes()), ["_"], [], {}):
            if isinstance(
                message, str
            ):  # not `_(variable)`: its text is listed where it is written
                yield message, f"templates/{path.name}"
    for path in sorted((WEB / "js").rglob("*.js")):
        for text in texts(path.read_text(encoding="utf-8")):
            yield text, path.relative_to(WEB).as_posix()
    for sign in SIGNS:
        if sign.question:
            yield sign.question, "core/triage.py"


def update() -> None:
    """Bring every catalogue up to date: new texts in, texts that are gone out, translations kept."""
    wanted = sorted({text for text, _ in source_texts()})
    for path in sorted(LOCALE.glob("*/LC_MESSAGES/selat.po")):
        before = path.read_text(encoding="utf-8")
        with path.open("rb") as file:
            catalog = read_po(file)
        found = {text: catalog.get(text) for text in wanted}
        if path.parent.parent.name == SOURCE_LANGUAGE:
            wanted_here = [text for text in wanted if (known := found[text]) and known.string]
        else:
            wanted_here = wanted
        # Written by hand: Babel's writer adds dates and addresses that mean nothing here.
        parts = [before.split("\n\n", 1)[0].rstrip()]
        for text in wanted_here:
            known = found[text]
            string = str(known.string) if known and known.string else ""
            parts.append(f"msgid {normalize(text)}\nmsgstr {normalize(string)}")
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def missing() -> dict[str, list[str]]:
    """Return, by language, the texts without a translation, and those (with a ``-`` before) that nobody shows."""
    wanted = {text for text, _ in source_texts()}
    lacks: dict[str, list[str]] = {}
    for code, language in languages().items():
        known = {str(message.id) for message in language.catalog if message.id}
        untranslated = {
            text for text in wanted if not (found := language.catalog.get(text)) or not found.string
        }
        problems = [f"-{text}" for text in sorted(known - wanted)]
        if code != SOURCE_LANGUAGE:
            problems += sorted(untranslated)
        lacks[code] = problems
    return lacks


if __name__ == "__main__":
    update()
    for code, problems in missing().items():
        for problem in problems:
            sys.stderr.write(f"{code}: {problem}\n")
