# SPDX-License-Identifier: Apache-2.0
"""The page about the lifecycle says what the tables say."""

import re

import pytest

from signalling import reference
from signalling.core import diagram, lifecycle, presence
from signalling.core import events as ev
from signalling.wire.terms import ConsultState, SpecialistState

PAGE = reference.LIFECYCLE.read_text(encoding="utf-8")
LIVE = set(ConsultState) - lifecycle.TERMINAL


def section(name: str) -> str:
    """Return a generated section of the page as it is in the repository."""
    match = re.search(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert match is not None
    return match[1]


def table(name: str) -> tuple[list[str], list[list[str]]]:
    """Return a section's table: its header and its rows."""
    lines = [line for line in section(name).splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip(" *`") for cell in line.split("|")[1:-1]] for line in lines]
    return header, rows


def edges(name: str) -> set[tuple[str, str, str]]:
    """Return a picture's edges, one for each label."""
    found = re.findall(r"^ +(\S+) --> ([a-z_]+): (.+)$", section(name), re.MULTILINE)
    return {(a, b, label) for a, b, labels in found for label in labels.split(", ")}


def tag(kind: type[ev.Event]) -> str:
    return str(kind.__struct_config__.tag)


def test_the_page_is_fresh() -> None:
    """The page in the repository is what `make docs` would make of it now."""
    assert reference.lifecycle_reference(PAGE) == PAGE


def test_the_table_on_the_page_is_the_table_in_the_code() -> None:
    """Read back, the page's table has every cell of the code's, and no other."""
    header, rows = table("consult-table")
    assert set(header[1:-1]) == LIVE
    read = {
        (state, row[0]): state if cell == "=" else cell
        for row in rows
        for state, cell in zip(header[1:-1], row[1:-1], strict=True)
        if cell
    }
    assert read == {
        (state, tag(kind)): rule.to
        for state, rules in lifecycle.TRANSITIONS.items()
        for kind, rule in rules.items()
    }


def test_every_condition_is_told() -> None:
    """An event with a guard says in words what it asks for."""
    _, rows = table("consult-table")
    guarded = {
        tag(kind)
        for rules in lifecycle.TRANSITIONS.values()
        for kind, rule in rules.items()
        if rule.guard is not None
    }
    assert {row[0] for row in rows if row[-1]} == guarded


def test_the_picture_has_every_way_from_one_state_to_another() -> None:
    """Each rule that changes the state is an edge; joint rules are edges in brackets; ends are ends."""
    rules = {
        (state, rule.to, tag(kind))
        for state, rules in lifecycle.TRANSITIONS.items()
        for kind, rule in rules.items()
        if rule.to is not state
    }
    drawn = edges("consult-diagram")
    assert {e for e in drawn if not e[2].startswith("(")} == rules | {("[*]", "invited", "invited")}
    joint = {(j.state, j.to) for j in lifecycle.JOINT}
    assert {(a, b) for a, b, label in drawn if label.startswith("(")} == joint
    ends = set(re.findall(r"(\w+) --> \[\*\]", section("consult-diagram")))
    assert ends == lifecycle.TERMINAL


def test_every_state_that_can_run_out_is_told() -> None:
    """Each live state has its line about when it runs out; a promise runs out twice."""
    _, rows = table("deadline-table")
    assert {row[0] for row in rows} == LIVE == set(diagram.RUNS_OUT)
    assert rows[-1][-1].count("→") == 2
    settings = set(re.findall(r"`(\w+_s)`", section("deadline-table")))
    assert settings <= set(
        re.findall(r"^\| `(\w+)` \|", reference.configuration_reference(), re.MULTILINE)
    )


def test_the_specialists_table_and_picture() -> None:
    """The specialist's table and picture are the code's, with rest read as available or off call."""
    header, rows = table("presence-table")
    assert header[1:] == list(SpecialistState)
    cells = {(s, row[0]): c for row in rows for s, c in zip(header[1:], row[1:], strict=True) if c}
    listed = {(s, tag(kind)) for s, rules in presence.TRANSITIONS.items() for kind in rules}
    assert cells.keys() == listed
    assert cells["in_call", "ended"] == "available or off_call"
    assert cells["ringing", "ring_declined"] == "available"
    assert cells["in_call", "went_off_call"] == "="
    drawn = edges("presence-diagram")
    assert {(a, label.split(" ")[0]) for a, _, label in drawn if a != "[*]"} == {
        key for key, cell in cells.items() if cell != "="
    }


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace("<!-- generated: joint-table -->", ""),
        PAGE + "<!-- generated: made-up -->\n<!-- end -->\n",
        PAGE.replace("generated: joint-table", "generated: presence-table"),
    ],
)
def test_marks_can_not_get_lost(page: str) -> None:
    """A page without one of the sections, with one twice or with an unknown one is an error, not a silent gap."""
    with pytest.raises(ValueError, match="must have each of these once"):
        reference.lifecycle_reference(page)
