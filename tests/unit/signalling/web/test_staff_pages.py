# SPDX-License-Identifier: Apache-2.0
"""The specialist's and the operator's page as rendered: states, weight, languages, labels."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from signalling.edge.pages import Pages
from signalling.web import catalogues

ROOT = Path(__file__).parents[4]
WEB = ROOT / "signalling" / "web"
STAFF = {
    "specialist": ("desk.js", "SpecialistPageState"),
    "operator": ("board.js", "OperatorPageState"),
}
MAX_BYTES = 60 * 1024
"""Gzipped, page and assets: a staff page loads within 5 s on 100 kbit/s."""


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages()


class Elements(HTMLParser):
    """All elements of a page, in order, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def html_of(pages: Pages, page: str, language: str) -> str:
    return b"".join(getattr(pages, page)[language].bodies[""]).decode()


@pytest.mark.parametrize("page", STAFF)
def test_the_lists_of_states_agree(pages, page):
    """The documented states, the union in the code and the sections of the template are the same list."""
    module, name = STAFF[page]
    source = (WEB / "js" / module).read_text(encoding="utf-8")
    union = re.search(rf"@typedef \{{([^}}]+)\}} {name}", source)
    coded = set(re.findall(r'"(\w+)"', union[1]))
    section = (
        (ROOT / "docs" / "states.md").read_text(encoding="utf-8").split(f"## {page.title()}\n")[1]
    )
    documented = set(re.findall(r"^- `(\w+)`:", section.split("\n## ")[0], re.MULTILINE))
    elements = Elements(html_of(pages, page, "en")).found
    shown = {state for _, attrs in elements for state in (attrs.get("data-in") or "").split()}
    assert coded == documented == shown


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("page", STAFF)
def test_a_staff_page_is_light(pages, page, language):
    """Page, styles and script together stay below the ceiling, gzipped."""
    html = html_of(pages, page, language)
    names = re.findall(r"/static/([\w.-]+)\?v=", html)
    assert len(names) == 3
    total = len(getattr(pages, page)[language].bodies["gzip"])
    total += sum(len(pages.static[name].bodies["gzip"]) for name in names)
    assert total < MAX_BYTES


@pytest.mark.parametrize("page", STAFF)
def test_every_field_has_a_label_and_every_button_a_name(pages, page):
    """Each input is named by a label, each dialog and section by a heading that exists; ids are given once."""
    html = html_of(pages, page, "en")
    elements = Elements(html).found
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    labelled = {attrs.get("for") for tag, attrs in elements if tag == "label"}
    for tag, attrs in elements:
        if tag in {"input", "select", "textarea"}:
            assert attrs.get("id") in labelled, attrs
        for target in (attrs.get("aria-labelledby") or "").split():
            assert target in ids, attrs
        if tag in {"video", "progress", "img"}:
            assert attrs.get("aria-label") or "alt" in attrs, attrs
    assert not re.search(r'\son\w+="|\sstyle="|javascript:', html)


@pytest.mark.parametrize("page", STAFF)
def test_every_id_that_the_code_asks_for_is_there(pages, page):
    """No module of a page looks for an element that the page doesn't have."""
    ids = {attrs["id"] for _, attrs in Elements(html_of(pages, page, "en")).found if "id" in attrs}
    modules = [*WEB.glob(f"js/pages/{page}*.js"), *WEB.glob("js/pages/staff*.js")]
    asked = re.compile(
        r'(?:\$|\b(?:say|show|onclick|put|dialog|choices|complain|field|tickBoxes|ticked))\("([\w-]+)"'
    )
    for module in modules:
        for name in asked.findall(module.read_text(encoding="utf-8")):
            assert name in ids, f"{module.name}: {name}"


@pytest.mark.parametrize("language", ["id", "en"])
def test_staff_texts_are_translated(language):
    """No text of the staff pages is missing in a catalogue, and none in the script stayed English."""
    if language == catalogues.SOURCE_LANGUAGE:
        return
    catalogue = catalogues.languages()[language].catalog
    words = ("staff", "specialist", "operator", "labels", "desk", "note", "board", "alarm")
    lacking = [
        text
        for text, where in catalogues.source_texts()
        if where.rsplit("/")[-1].startswith(words)
        and not ((found := catalogue.get(text)) and found.string)
    ]
    assert lacking == []
