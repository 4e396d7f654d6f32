# SPDX-License-Identifier: Apache-2.0
"""The documents lead somewhere: links, paths and make targets that they name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md") for path in ROOT.glob(pattern)
)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    """Each link to a file of the project, and to a heading in it, has a target."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_exist(document: Path) -> None:
    """Each `make` command that a document gives is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(
            r"(?:`|^|\&\& )make (?:-C \S+ )?([a-z][a-z-]*)",
            document.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    assert named <= targets


def test_map_of_the_readme_is_true() -> None:
    """What the README's map points to is there, and no package is missing from it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w/]+)` \|", text, re.MULTILINE))
    assert {"signalling/", "media/", "auth/", "tests/", "deploy/"} <= named
    assert not {name for name in named if not (ROOT / name).is_dir()}


def test_help_tells_of_every_target_of_the_house() -> None:
    """`make help` lists the targets that people are told of."""
    listed = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    house = {
        "help",
        "run",
        "test",
        "test-all",
        "check",
        "fmt",
        "types",
        "arch",
        "wire",
        "docs",
        "load",
        "clean",
    }
    assert house <= listed


def test_decisions_have_their_four_parts() -> None:
    """Each decision says its status, context, decision and consequences, and is in the list."""
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs/adr").glob("0*.md")):
        text = page.read_text(encoding="utf-8")
        parts = re.findall(r"^(?:\*\*(Status):\*\*|## (\w+))", text, re.MULTILINE)
        assert [a or b for a, b in parts][:1] == ["Status"], page.name
        assert {"Context", "Decision", "Consequences"} <= {b for _, b in parts}, page.name
        assert f"({page.name})" in index
