# SPDX-License-Identifier: Apache-2.0
"""Danger signs: the table, the charts and the colours."""

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.core.triage import (
    BY_CODE,
    LEFT_OUT,
    SIGNS,
    Chart,
    Group,
    UnknownSign,
    assess,
    chart,
    chart_of,
    colour,
)
from signalling.wire.messages import IntakeForm
from signalling.wire.terms import Assistant, Sex, Urgency

RANK = [Urgency.GREEN, Urgency.YELLOW, Urgency.RED]
ages = st.integers(0, 1_560)
codes = st.sets(st.sampled_from(sorted(BY_CODE)))


def form(*signs: str, age_months: int = 360, pregnant: bool = False) -> IntakeForm:
    return IntakeForm(
        complaint="x",
        age_months=age_months,
        sex=Sex.UNKNOWN,
        assistant=Assistant.NOBODY,
        language="id",
        consent=True,
        signs=list(signs),
        pregnant=pregnant,
    )


def codes_of(age_months: int, pregnant: bool = False) -> set[str]:
    return {sign.code for sign in chart(age_months, pregnant)}


def test_codes_are_unique_and_fit_the_wire() -> None:
    """Each code is there once and fits into an intake form; all of them fit into one."""
    assert len(BY_CODE) == len(SIGNS) <= 64
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{2,39}", code) for code in BY_CODE)


def test_questions_are_plain_and_unlike() -> None:
    """Each asked sign has its own short question; only what follows from the age has none."""
    questions = [sign.question for sign in SIGNS if sign.question]
    assert len(set(questions)) == len(questions)
    assert max(map(len, questions)) <= 90
    assert [sign.code for sign in SIGNS if not sign.question] == ["infant"]


def test_vital_signs_are_left_out_and_listed() -> None:
    """Nobody is asked for a number that needs a device, and what is left out is listed with its reason."""
    assert not any(re.search(r"\d+ ?(%|mmHg|bpm|°)", sign.question) for sign in SIGNS)
    left_out = " ".join(criterion for criterion, _ in LEFT_OUT)
    for vital in (
        "Heart rate",
        "Breathing rate",
        "Oxygen saturation",
        "Temperature",
        "Blood pressure",
    ):
        assert vital in left_out
    assert all(reason for _, reason in LEFT_OUT)


@pytest.mark.parametrize(
    ("months", "expected"), [(0, Chart.CHILD), (143, Chart.CHILD), (144, Chart.ADULT)]
)
def test_charts_change_at_twelve_years(months: int, expected: Chart) -> None:
    """The children's chart ends the day the patient is 12."""
    assert chart_of(months) is expected


def test_each_age_is_asked_what_concerns_it() -> None:
    """Age and pregnancy decide what is asked."""
    assert "newborn" in codes_of(0)
    assert "newborn" not in codes_of(1)
    assert "young_infant_temperature" in codes_of(1)
    assert "young_infant_temperature" not in codes_of(2)
    assert "wasting" in codes_of(143)
    assert "wasting" not in codes_of(144)
    assert "pain_over_50" not in codes_of(599)
    assert "pain_over_50" in codes_of(600)
    assert "pregnant_labour" not in codes_of(300)
    assert "pregnant_labour" in codes_of(300, pregnant=True)
    assert "violent" not in codes_of(100)


@given(age=ages, pregnant=st.booleans())
def test_red_is_asked_first(age: int, pregnant: bool) -> None:
    """On every chart no sign that is red alone comes after the yellow ones, and life-threats are first."""
    asked = chart(age, pregnant)
    assert asked[0].code == "unresponsive"
    grouped = [sign for sign in asked if sign.group is None]
    ranks = [RANK.index(sign.alone) for sign in grouped]
    assert ranks == sorted(ranks, reverse=True)


ADULT_RED = (
    "unresponsive", "stridor", "breathing_distress", "cyanosis", "shock", "heavy_bleeding", "convulsing",
    "major_injury", "poisoning", "threatened_limb", "snake_bite", "pain_over_50", "violent",
)  # fmt: skip


@pytest.mark.parametrize("code", ADULT_RED)
def test_each_red_sign_is_red_alone(code: str) -> None:
    """Each red criterion of the adult chart makes a patient red by itself."""
    assert assess(form(code, age_months=700)) is Urgency.RED


@pytest.mark.parametrize("code", sorted(c for c in BY_CODE if c.startswith("pregnant_")))
def test_each_pregnancy_sign_is_red(code: str) -> None:
    """Each danger sign in pregnancy is red."""
    assert assess(form(code, pregnant=True)) is Urgency.RED


@pytest.mark.parametrize("group", Group)
def test_any_two_of_a_group_are_red_and_one_is_not(group: Group) -> None:
    """Two signs of a group are red, whichever two; one of them alone never is."""
    members = [sign.code for sign in SIGNS if sign.group is group]
    assert len(members) == 4
    for one in members:
        assert assess(form(one, age_months=60)) is not Urgency.RED
    for two in combinations(members, 2):
        assert assess(form(*two, age_months=60)) is Urgency.RED


def test_one_sign_of_each_group_is_no_pair() -> None:
    """Groups are counted apart: one sign from each is not "any two of"."""
    assert assess(form("stiff_neck", "sunken_eyes", age_months=60)) is Urgency.GREEN


def test_the_same_sign_twice_is_one_sign() -> None:
    """A sign that is ticked twice does not make a pair with itself."""
    assert assess(form("headache", "headache")) is Urgency.GREEN


def test_no_sign_is_green_and_an_infant_is_yellow() -> None:
    """Without signs a patient is green, an infant under six months at least yellow."""
    assert assess(form()) is Urgency.GREEN
    assert assess(form(age_months=5)) is Urgency.YELLOW
    assert assess(form(age_months=6)) is Urgency.GREEN


def test_a_sign_that_nobody_knows_is_refused() -> None:
    """A code that isn't in the table is an error, not a green patient."""
    with pytest.raises(UnknownSign):
        assess(form("unresponsiv"))


@given(some=codes, more=codes, age=ages, pregnant=st.booleans())
def test_more_signs_are_never_less_urgent(some, more, age: int, pregnant: bool) -> None:
    """Adding signs never lowers the colour, for any age, pregnant or not."""
    fewer = assess(form(*some, age_months=age, pregnant=pregnant))
    all_of_them = assess(form(*some, *more, age_months=age, pregnant=pregnant))
    assert RANK.index(all_of_them) >= RANK.index(fewer)


@given(signs=st.lists(st.sampled_from(sorted(BY_CODE))), seed=st.randoms())
def test_order_and_repeats_do_not_matter(signs: list[str], seed) -> None:
    """The colour depends on which signs there are, not on how they were listed."""
    shuffled = signs * 2
    seed.shuffle(shuffled)
    assert colour(shuffled) is colour(signs)
