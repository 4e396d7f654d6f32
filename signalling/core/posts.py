# SPDX-License-Identifier: Apache-2.0
"""Health posts as data: reading the list, and whether a post is open.

The list is a CSV file (RFC 4180, UTF-8, first line = column names) that an operator keeps in a spreadsheet. All its
mistakes are found at once, each with its line, and nothing is imported while there is one.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from typing_extensions import override

from signalling.wire.ids import PostCode

COLUMNS = (
    "code", "name", "region", "latitude", "longitude", "time_zone", "emergency_line", "opening_hours", "link_type",
)  # fmt: skip
REQUIRED = ("code", "name", "time_zone")
"""Columns that must be filled; the others may be empty, or missing as a whole."""

LINK_TYPES = ("satellite_geo", "satellite_leo", "microwave", "2g", "3g", "4g", "fibre", "unknown")
"""What a post's line is; the profiles that Selat was measured with go by these names."""

DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
DAY_MINUTES = 1_440
MAX_ROWS = 20_000
"""Indonesia has about 10,000 health centres; a longer file is not a list of posts."""
MAX_TEXT = 120


class Post(msgspec.Struct, frozen=True):
    """One health post."""

    code: PostCode
    """Short and stable, e.g. `MTW-01`; links and statistics carry it."""
    name: str
    time_zone: str
    """IANA name, e.g. `Asia/Makassar`."""
    region: str = ""
    """Province, district or island: what an operator compares."""
    latitude: float | None = None
    """Degrees, WGS 84."""
    longitude: float | None = None
    """Degrees, WGS 84."""
    emergency_line: str = ""
    """Telephone number that a red patient is shown at once."""
    opening_hours: str = ""
    """As in `Mo-Fr 08:00-16:00; Sa 08:00-12:00`; empty = unknown, `24/7` = always."""
    link_type: str = "unknown"
    """One of `LINK_TYPES`."""


@dataclass(frozen=True, slots=True)
class Span:
    """Opening hours on some days, in minutes since local midnight; ``end`` above 1440 = into the next day."""

    days: frozenset[int]
    """Weekdays, Monday = 0."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong in one line of the file."""

    line: int
    """As an editor counts; 1 is the line of column names, 0 the whole file."""
    column: str
    problem: str

    @override
    def __str__(self) -> str:
        """Write it as a person reads it."""
        where = f"line {self.line}" if self.line else "file"
        return (
            f"{where}, {self.column}: {self.problem}" if self.column else f"{where}: {self.problem}"
        )


class PostsInvalid(ValueError):
    """The list has mistakes; nothing of it may be imported."""

    def __init__(self, errors: list[RowError]) -> None:
        """Carry all mistakes."""
        super().__init__("; ".join(map(str, errors[:5])))
        self.errors = errors


def parse_posts(text: str) -> list[Post]:
    """Return the posts in a CSV text.

    Raises:
        PostsInvalid: with every mistake in it.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    errors: list[RowError] = []
    posts: list[Post] = []
    seen: dict[str, int] = {}
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if header_errors := _header_errors(header):
            raise PostsInvalid(header_errors)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num
            post, row_errors = _parse_row(line, header, cells)
            errors += row_errors
            if post is not None and post.code in seen:
                errors.append(RowError(line, "code", f"is also in line {seen[post.code]}"))
            elif post is not None:
                seen[post.code] = line
                posts.append(post)
            if len(posts) > MAX_ROWS:
                raise PostsInvalid([RowError(line, "", f"more than {MAX_ROWS} posts")])
    except csv.Error as error:
        errors.append(RowError(reader.line_num, "", f"is not CSV ({error})"))
    if not posts and not errors:
        errors.append(RowError(0, "", "has no posts"))
    if errors:
        raise PostsInvalid(errors)
    return posts


def _header_errors(header: list[str]) -> list[RowError]:
    unknown = [
        RowError(1, name or "(no name)", "unknown column") for name in header if name not in COLUMNS
    ]
    missing = [RowError(1, name, "column is missing") for name in REQUIRED if name not in header]
    twice = [
        RowError(1, name, "column is there twice") for name in COLUMNS if header.count(name) > 1
    ]
    return unknown + missing + twice


_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)
_PHONE = re.compile(r"\+?[0-9][0-9 ()/-]{1,30}", re.ASCII)


def _parse_row(
    line: int, header: list[str], cells: list[str]
) -> tuple[Post | None, list[RowError]]:
    if len(cells) != len(header):
        return None, [
            RowError(line, "", f"has {len(cells)} cells, the first line has {len(header)}")
        ]
    row = dict.fromkeys(COLUMNS, "") | {
        name: cell.strip() for name, cell in zip(header, cells, strict=True)
    }
    problems = {column: problem for column in COLUMNS if (problem := _problem(column, row[column]))}
    if bool(row["latitude"]) != bool(row["longitude"]):
        problems.setdefault("latitude", "latitude and longitude go together")
    if problems:
        return None, [RowError(line, column, problem) for column, problem in problems.items()]
    post = Post(
        code=PostCode(row["code"]),
        name=row["name"],
        time_zone=row["time_zone"],
        region=row["region"],
        latitude=float(row["latitude"]) if row["latitude"] else None,
        longitude=float(row["longitude"]) if row["longitude"] else None,
        emergency_line=row["emergency_line"],
        opening_hours=row["opening_hours"],
        link_type=row["link_type"] or "unknown",
    )
    return post, []


def _problem(column: str, text: str) -> str:
    """Return what is wrong with one cell, or an empty text."""
    if not text:
        return "must not be empty" if column in REQUIRED else ""
    if len(text) > MAX_TEXT or not text.isprintable():
        return f"must be at most {MAX_TEXT} printable characters"
    checks = {
        "code": _check_code,
        "latitude": lambda value: _check_degrees(value, 90),
        "longitude": lambda value: _check_degrees(value, 180),
        "time_zone": _check_zone,
        "emergency_line": _check_phone,
        "opening_hours": _check_hours,
        "link_type": _check_link,
    }
    return checks[column](text) if column in checks else ""


def _check_code(text: str) -> str:
    return "" if _CODE.fullmatch(text) else "may have letters, digits, - and _, at most 32"


def _check_degrees(text: str, limit: int) -> str:
    try:
        degrees = float(text)
    except ValueError:
        return "must be a number of degrees with a decimal point"
    return "" if -limit <= degrees <= limit else f"must be from -{limit} to {limit}"


def _check_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "must be an IANA name such as Asia/Jakarta, Asia/Makassar or Asia/Jayapura"
    return ""


def _check_phone(text: str) -> str:
    return "" if _PHONE.fullmatch(text) else "must be a telephone number"


def _check_hours(text: str) -> str:
    try:
        parse_hours(text)
    except ValueError as error:
        return str(error)
    return ""


def _check_link(text: str) -> str:
    return "" if text in LINK_TYPES else f"must be one of {', '.join(LINK_TYPES)}"


# -- opening hours ---------------------------------------------------------------------------------

_RULE = re.compile(
    r"(?:(?P<days>(?:Mo|Tu|We|Th|Fr|Sa|Su)(?:[-,](?:Mo|Tu|We|Th|Fr|Sa|Su))*) )?"
    r"(?P<times>\d\d:\d\d-\d\d:\d\d(?:,\d\d:\d\d-\d\d:\d\d)*)",
    re.ASCII,
)


@lru_cache(maxsize=4_096)
def parse_hours(text: str) -> tuple[Span, ...]:
    """Return the spans of opening hours written in a small part of OpenStreetMap's `opening_hours`.

    Rules are separated by `;`: days (`Mo-Fr`, `Sa,Su`, none = every day) and times (`08:00-12:00,13:00-16:00`; an end
    at or before the start lies in the next day). `24/7` is always. Later rules add to earlier ones.

    Raises:
        ValueError: the text is written in another way.
    """
    if text == "24/7":
        return (Span(frozenset(range(7)), 0, DAY_MINUTES),)
    spans: list[Span] = []
    for part in text.split(";"):
        match = _RULE.fullmatch(part.strip())
        if match is None:
            raise ValueError("must look like: Mo-Fr 08:00-16:00; Sa 08:00-12:00")
        days = _parse_days(match["days"])
        for times in match["times"].split(","):
            start, _, end = times.partition("-")
            first, last = _minutes(start), _minutes(end)
            spans.append(Span(days, first, last if last > first else last + DAY_MINUTES))
    return tuple(spans)


def _parse_days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        names = [DAYS.index(name) for name in part.split("-")]
        if len(names) > 2:
            raise ValueError("a range of days has two ends, as in Mo-Fr")
        first, last = names[0], names[-1]
        days.update((first + step) % 7 for step in range((last - first) % 7 + 1))
    return frozenset(days)


def _minutes(text: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if minute > 59 or hour * 60 + minute > DAY_MINUTES:
        raise ValueError("times go from 00:00 to 24:00")
    return hour * 60 + minute


def open_now(post: Post, now: float) -> bool | None:
    """Say whether a post is open at ``now`` (UTC epoch seconds), None if its hours are not known.

    Local time is that of the post's zone, also when clocks change there.
    """
    if not post.opening_hours:
        return None
    local = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(post.time_zone))
    minute, today = local.hour * 60 + local.minute, local.weekday()
    yesterday = (today - 1) % 7
    return any(
        (today in span.days and span.start <= minute < span.end)
        or (yesterday in span.days and minute < span.end - DAY_MINUTES)
        for span in parse_hours(post.opening_hours)
    )
