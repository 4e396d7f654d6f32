# SPDX-License-Identifier: Apache-2.0
"""Health posts: the list, its mistakes, and opening hours."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.core.posts import (
    COLUMNS,
    Post,
    PostsInvalid,
    open_now,
    parse_hours,
    parse_posts,
)
from signalling.wire.ids import PostCode

EXAMPLE = Path(__file__).parents[4] / "deploy" / "posts.example.csv"
HEADER = ",".join(COLUMNS)


def at(text: str, zone: str = "Asia/Makassar") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def post(hours: str, zone: str = "Asia/Makassar") -> Post:
    return Post(PostCode("A"), "A", zone, opening_hours=hours)


def test_the_example_list_can_be_imported() -> None:
    """The example in deploy/ reads without a mistake, says that it is one, and uses all three zones."""
    posts = parse_posts(EXAMPLE.read_text(encoding="utf-8"))
    assert len(posts) == 12
    assert all(each.name.startswith("Example: ") for each in posts)
    assert {each.time_zone for each in posts} == {"Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"}
    assert posts[0].latitude == -1.59
    assert posts[2].name == "Example: Puskesmas Midai, Natuna"


def test_columns_may_be_missing_moved_and_marked() -> None:
    """Optional columns may be missing, the order is free, and a spreadsheet's byte order mark is no letter."""
    (only,) = parse_posts("\ufeffname,Code ,time_zone\r\nPustu,P-1,Asia/Jayapura\r\n\r\n")
    assert only == Post(PostCode("P-1"), "Pustu", "Asia/Jayapura")


@pytest.mark.parametrize(
    ("row", "line", "column"),
    [
        (",a,,,,Asia/Jakarta,,,", 2, "code"),
        ("a b,a,,,,Asia/Jakarta,,,", 2, "code"),
        ("A,,,,,Asia/Jakarta,,,", 2, "name"),
        ("A,a,,,,,,,", 2, "time_zone"),
        ("A,a,,,,Asia/Atlantis,,,", 2, "time_zone"),
        ("A,a,,,,../../etc/passwd,,,", 2, "time_zone"),
        ("A,a,,91,0,Asia/Jakarta,,,", 2, "latitude"),
        ("A,a,,nan,0,Asia/Jakarta,,,", 2, "latitude"),
        ("A,a,,0,-181,Asia/Jakarta,,,", 2, "longitude"),
        ('A,a,,"1,5",0,Asia/Jakarta,,,', 2, "latitude"),
        ("A,a,,1,,Asia/Jakarta,,,", 2, "latitude"),
        ("A,a,,,,Asia/Jakarta,call us,,", 2, "emergency_line"),
        ("A,a,,,,Asia/Jakarta,,8-16,", 2, "opening_hours"),
        ("A,a,,,,Asia/Jakarta,,,pigeon", 2, "link_type"),
        (f"A,{'a' * 121},,,,Asia/Jakarta,,,", 2, "name"),
        ("A,a\x07,,,,Asia/Jakarta,,,", 2, "name"),
        ("A,a", 2, ""),
        ("A,a,,,,Asia/Jakarta,,,\nA,b,,,,Asia/Jakarta,,,", 3, "code"),
        ('A,"a,,,,Asia/Jakarta,,,', 2, ""),
    ],
)
def test_a_mistake_is_named_with_its_line(row: str, line: int, column: str) -> None:
    """A wrong cell stops the import and is named by line and column."""
    with pytest.raises(PostsInvalid) as caught:
        parse_posts(f"{HEADER}\n{row}\n")
    assert [(error.line, error.column) for error in caught.value.errors] == [(line, column)]
    assert str(caught.value).startswith(f"line {line}")


def test_all_mistakes_are_found_at_once() -> None:
    """One run lists every mistake, so that a list is mended in one go."""
    rows = "\n".join(["A,a,,,,Mars,,,", "B,b,,,,Asia/Jakarta,,,", ",,,,,Asia/Jakarta,,,x"])
    with pytest.raises(PostsInvalid) as caught:
        parse_posts(f"{HEADER}\n{rows}")
    found = [(error.line, error.column) for error in caught.value.errors]
    assert found == [(2, "time_zone"), (4, "code"), (4, "name"), (4, "link_type")]


@pytest.mark.parametrize(
    ("header", "column"),
    [("code,name", "time_zone"), (f"{HEADER},colour", "colour"), (f"{HEADER},code", "code")],
)
def test_a_wrong_header_is_named(header: str, column: str) -> None:
    """Unknown, missing and doubled columns are named before any row is read."""
    with pytest.raises(PostsInvalid) as caught:
        parse_posts(f"{header}\nA,b\n")
    assert [error.column for error in caught.value.errors] == [column]


@pytest.mark.parametrize("text", ["", HEADER, f"{HEADER}\n\n"])
def test_an_empty_list_is_a_mistake(text: str) -> None:
    """A list without posts is refused: it is never what was meant."""
    with pytest.raises(PostsInvalid):
        parse_posts(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the file holds, the outcome is posts or a list of mistakes."""
    for candidate in (text, f"{HEADER}\n{text}"):
        errors: list[object] = []
        posts: list[Post] = []
        try:
            posts = parse_posts(candidate)
        except PostsInvalid as invalid:
            errors += invalid.errors
        assert bool(posts) != bool(errors)


WEEK = "Mo-Fr 08:00-12:00,13:00-16:00; Sa 08:00-12:00"


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        (WEEK, "2026-11-20T08:00", True),  # a Friday
        (WEEK, "2026-11-20T07:59", False),
        (WEEK, "2026-11-20T12:00", False),
        (WEEK, "2026-11-20T15:59", True),
        (WEEK, "2026-11-20T16:00", False),
        (WEEK, "2026-11-21T11:00", True),
        (WEEK, "2026-11-21T13:00", False),
        (WEEK, "2026-11-22T11:00", False),
        ("24/7", "2026-11-22T03:00", True),
        ("09:00-10:00", "2026-11-22T09:30", True),
        ("Fr 18:00-02:00", "2026-11-21T01:59", True),
        ("Fr 18:00-02:00", "2026-11-21T02:00", False),
        ("Fr 18:00-02:00", "2026-11-20T01:00", False),
        ("Sa-Mo 08:00-09:00", "2026-11-22T08:30", True),
        ("Sa,Mo 08:00-09:00", "2026-11-22T08:30", False),
        ("Su 00:00-24:00", "2026-11-22T23:59", True),
        ("Su 00:00-24:00", "2026-11-23T00:00", False),
        ("Su 00:00-00:00", "2026-11-22T23:59", True),
    ],
)
def test_open_by_local_time(hours: str, moment: str, expected: bool) -> None:
    """A post is open from the first minute of a span to the one before its end, also over midnight."""
    assert open_now(post(hours), at(moment)) is expected


def test_open_by_the_zone_of_the_post() -> None:
    """The same instant is eight in the west and ten in the east."""
    instant = at("2026-11-20T08:30", "Asia/Jakarta")
    assert open_now(post("08:00-09:00", "Asia/Jakarta"), instant) is True
    assert open_now(post("08:00-09:00", "Asia/Jayapura"), instant) is False


def test_unknown_hours_are_unknown() -> None:
    """Without hours nobody claims that a post is closed."""
    assert open_now(post(""), 0.0) is None


@pytest.mark.parametrize(
    "text",
    ["Mo", "Mo 8:00-16:00", "Mo 08:00", "Mo-We-Fr 08:00-09:00", "Mo 24:01-25:00", "Mo 08:60-09:00", "PH off", ";",
     "Mo 08:00-09:00;", "mo 08:00-09:00"],
)  # fmt: skip
def test_other_ways_of_writing_are_refused(text: str) -> None:
    """What the small grammar does not have is refused rather than guessed."""
    with pytest.raises(ValueError, match=r"must look like|two ends|times go"):
        parse_hours(text)


@given(
    start=st.integers(0, 1_439),
    length=st.integers(1, 1_439),
    day=st.integers(0, 6),
    minute=st.integers(0, 7 * 1_440 - 1),
)
def test_open_exactly_for_its_length(start: int, length: int, day: int, minute: int) -> None:
    """For any span on any day, a minute of the week is open exactly if it lies within the span, around the week."""
    end = (start + length) % 1_440
    name = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")[day]
    hours = f"{name} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    monday = at("2026-11-16T00:00")
    after_start = (minute - (day * 1_440 + start)) % (7 * 1_440)
    assert open_now(post(hours), monday + minute * 60) is (after_start < length)
