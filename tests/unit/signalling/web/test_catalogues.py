# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest

from signalling.web import catalogues

VALUES = re.compile(r"\{\w+\}")


def test_every_text_is_translated_and_none_is_stale() -> None:
    """A page shows one language only: nothing is left over from the source, and nothing nobody shows is kept."""
    assert catalogues.missing() == {code: [] for code in catalogues.languages()}


def test_a_translation_holds_the_same_values_as_its_text() -> None:
    """`{place}` must not get lost, nor be translated itself."""
    texts = {text for text, _ in catalogues.source_texts()}
    for language in catalogues.languages().values():
        for text in texts:
            translated = language.translate(text)
            assert sorted(VALUES.findall(text)) == sorted(VALUES.findall(translated)), text


def test_english_needs_no_translation() -> None:
    """The language of the source is there from the first text on."""
    english = catalogues.languages()["en"]
    assert english.translate("Anything at all") == "Anything at all"
    assert english.name == "English"
    assert english.direction == "ltr"


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a language that was not there before."""
    path = tmp_path / "ar" / "LC_MESSAGES" / "selat.po"
    path.parent.mkdir(parents=True)
    path.write_text('# Arabic\nmsgid ""\nmsgstr ""\n"Language: ar\\n"\n\nmsgid "Join"\nmsgstr "انضم"\n\n'
                    'msgid "Nobody shows this"\nmsgstr "x"\n', encoding="utf-8")  # fmt: skip
    monkeypatch.setattr(catalogues, "LOCALE", tmp_path)
    return path


def test_a_language_is_a_catalogue_and_nothing_else(catalogue: Path) -> None:
    """Adding a file adds the language, with its name and its direction."""
    assert catalogue.is_file()
    arabic = catalogues.languages()["ar"]
    assert (arabic.name, arabic.direction, arabic.translate("Join")) == ("العربية", "rtl", "انضم")


def test_update_adds_what_is_new_drops_what_is_gone_and_keeps_the_rest(catalogue: Path) -> None:
    """Translators see each text that lacks one; nothing that they wrote for a living text is lost."""
    catalogues.update()
    text = catalogue.read_text(encoding="utf-8")
    assert text.startswith("# Arabic\n")
    assert 'msgid "Join"\nmsgstr "انضم"' in text
    assert "Nobody shows this" not in text
    assert "Wait for the specialist" in catalogues.missing()["ar"]
    catalogues.update()
    assert catalogue.read_text(encoding="utf-8") == text
