# SPDX-License-Identifier: Apache-2.0
"""Danger signs that order the queue. No diagnosis, and no substitute for a triage by a trained person.

The signs are those of the Interagency Integrated Triage Tool of WHO, ICRC and MSF, which has one chart for patients of
12 years and over and one for children under 12. ``SIGNS`` is the one table: what is asked, of whom, and which colour
follows. What a lay person with a phone can't measure is left out and listed in ``LEFT_OUT``: somebody whose only
criterion is a measured one is therefore *under*-triaged here, and the specialist must look again.

The colours err on the side of urgency: a sign counts whichever chart it was ticked on, more signs never make a patient
less urgent, and what the tool asks a supervisor to review (a high-risk vital sign that can be felt) is yellow.

The clinical owner of an installation must check the table (``docs/triage.md``) before patients use it: ``Source`` says
how well each line is founded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from signalling.wire.terms import Urgency

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signalling.wire.messages import IntakeForm

CHILD_BELOW_MONTHS = 144
"""The children's chart ends at 12 years."""
INFANT_BELOW_MONTHS = 6
NEEDED_OF_GROUP = 2
"""The tool's "any two of"."""


class Chart(StrEnum):
    """Which chart a sign stands on."""

    CHILD = "child"
    """Under 12 years."""
    ADULT = "adult"
    """12 years and over."""


class Source(StrEnum):
    """How a line of the table is founded."""

    ADULT_CHART = "adult chart"
    """A transcript of the tool's chart for 12 years and over (scribd 639643229)."""
    CHILD_CHART = "child chart, unverified"
    """What is known of the tool's chart for under 12 years from secondary accounts (scribd 686749894, ETAT's signs as in
    10.1371/journal.pdig.0000408 table 1); it was not compared with the original."""


class Group(StrEnum):
    """Signs of which any two together are red."""

    BRAIN = "brain"
    """Altered mental status, stiff neck, fever or hypothermia, headache."""
    DEHYDRATION = "dehydration"
    """Lethargy, sunken eyes, very slow skin pinch, drinks poorly; children only."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One line of the table."""

    code: str
    """What travels in the intake form; never reused for another meaning."""
    alone: Urgency
    """Colour that follows from this sign by itself; green = it counts in its group only."""
    charts: frozenset[Chart]
    question: str
    """For lay people, English; the key of the translation. Empty = not asked but known from the age."""
    criterion: str
    """The tool's criterion in clinical words, for the specialist and the clinical owner."""
    source: Source
    group: Group | None = None
    pregnant: bool = False
    """Asked of pregnant patients only."""
    from_months: int = 0
    """Asked from this age on."""
    below_months: int = 1_561
    """Asked below this age; the form's own limit is 1560 months."""

    def fits(self, age_months: int, pregnant: bool) -> bool:
        """Say whether this sign belongs on the chart of such a patient."""
        return (
            chart_of(age_months) in self.charts
            and self.from_months <= age_months < self.below_months
            and (pregnant or not self.pregnant)
        )


def chart_of(age_months: int) -> Chart:
    """Return the chart for an age in months."""
    return Chart.CHILD if age_months < CHILD_BELOW_MONTHS else Chart.ADULT


def _(text: str) -> str:
    """Mark a text for translation (Babel collects it); it is translated by the page."""
    return text


_BOTH = frozenset(Chart)
_CHILD = frozenset({Chart.CHILD})
_ADULT = frozenset({Chart.ADULT})
_R, _Y, _G = Urgency.RED, Urgency.YELLOW, Urgency.GREEN
_A, _C = Source.ADULT_CHART, Source.CHILD_CHART

# fmt: off
SIGNS: tuple[Sign, ...] = (
    # -- red: airway, breathing, circulation, disability ------------------------------------------------------------
    Sign("unresponsive", _R, _BOTH, _("Cannot be woken, does not react"), "Unresponsive", _A),
    Sign("stridor", _R, _BOTH, _("Harsh, high noise when breathing in"), "Stridor", _A),
    Sign("breathing_distress", _R, _BOTH,
         _("Fights for air, cannot speak or feed for lack of breath"), "Respiratory distress", _A),
    Sign("cyanosis", _R, _BOTH, _("Blue or grey lips or tongue"), "Central cyanosis", _A),
    Sign("heavy_bleeding", _R, _BOTH, _("Heavy bleeding that does not stop"), "Heavy bleeding", _A),
    Sign("shock", _R, _BOTH, _("Cold, pale and sweaty or mottled skin, very weak"),
         "Poor circulation as far as it can be seen (for capillary refill > 3 s, weak and fast pulse)", _A),
    Sign("convulsing", _R, _BOTH, _("Convulsions (fits) now"), "Active convulsions", _A),
    # -- any two together are red -----------------------------------------------------------------------------------
    Sign("confused", _Y, _BOTH, _("Confused, agitated or hard to keep awake"),
         "Altered mental status or agitation", _A, Group.BRAIN),
    Sign("stiff_neck", _G, _BOTH, _("Stiff neck"), "Stiff neck", _A, Group.BRAIN),
    Sign("fever", _G, _BOTH, _("Fever, or unusually cold body"), "Fever or hypothermia", _A, Group.BRAIN),
    Sign("headache", _G, _BOTH, _("Headache"), "Headache", _A, Group.BRAIN),
    Sign("lethargic", _Y, _CHILD, _("Limp, very sleepy or uninterested"), "Lethargy", _C, Group.DEHYDRATION),
    Sign("sunken_eyes", _G, _CHILD, _("Sunken eyes"), "Sunken eyes", _C, Group.DEHYDRATION),
    Sign("slow_skin_pinch", _G, _CHILD, _("Pinched skin of the belly goes back very slowly"),
         "Very slow skin pinch (> 2 s)", _C, Group.DEHYDRATION),
    Sign("drinks_poorly", _Y, _CHILD, _("Cannot drink or breastfeed"), "Unable to drink or feed, or drinks poorly", _C,
         Group.DEHYDRATION),
    # -- red: other ---------------------------------------------------------------------------------------------------
    Sign("newborn", _R, _CHILD, _("Baby younger than 8 days"), "Any infant under 8 days", _C, below_months=1),
    Sign("young_infant_temperature", _R, _CHILD, _("Baby feels hot or cold"),
         "Under 2 months with a temperature below 36 or above 39 °C", _C, below_months=2),
    Sign("major_injury", _R, _BOTH,
         _("Serious accident: traffic, fall from a height, stab, shot, crushed, large burn"), "High-risk trauma", _A),
    Sign("poisoning", _R, _BOTH, _("Swallowed or touched poison or a dangerous chemical"),
         "Poisoning, ingestion or dangerous chemical exposure", _A),
    Sign("threatened_limb", _R, _BOTH, _("Arm or leg suddenly painful and pale, cold, numb or without strength"),
         "Threatened limb", _A),
    Sign("snake_bite", _R, _BOTH, _("Bitten by a snake"), "Snake bite", _A),
    Sign("pain_over_50", _R, _ADULT, _("Sudden pain in the chest or belly"),
         "Acute chest or abdominal pain over 50 years", _A, from_months=600),
    Sign("violent", _R, _ADULT, _("Violent or aggressive"), "Violent or aggressive", _A),
    # -- red: pregnant ------------------------------------------------------------------------------------------------
    Sign("pregnant_bleeding", _R, _BOTH, _("Bleeding from the vagina"), "Pregnant with heavy bleeding", _A,
         pregnant=True),
    Sign("pregnant_belly_pain", _R, _BOTH, _("Severe pain in the belly"), "Pregnant with severe abdominal pain", _A,
         pregnant=True),
    Sign("pregnant_fits", _R, _BOTH, _("Had fits, or is confused"), "Pregnant with seizures or altered mental status",
         _A, pregnant=True),
    Sign("pregnant_headache", _R, _BOTH, _("Severe headache"), "Pregnant with severe headache", _A, pregnant=True),
    Sign("pregnant_vision", _R, _BOTH, _("Sees badly, blurred or flashes"), "Pregnant with visual changes", _A,
         pregnant=True),
    Sign("pregnant_labour", _R, _BOTH, _("Labour has begun, or the waters broke"), "Active labour", _A, pregnant=True),
    # -- yellow ---------------------------------------------------------------------------------------------------------
    Sign("infant", _Y, _CHILD, "", "Any infant from 8 days to 6 months", _C, below_months=INFANT_BELOW_MONTHS),
    Sign("neck_swelling", _Y, _BOTH, _("Swelling of mouth, throat or neck"),
         "Any swelling or mass of mouth, throat or neck", _A),
    Sign("wheezing", _Y, _BOTH, _("Whistling breath"), "Wheezing", _A),
    Sign("vomits_everything", _Y, _BOTH, _("Vomits everything"), "Vomits everything", _A),
    Sign("diarrhoea", _Y, _BOTH, _("Diarrhoea that goes on"), "Ongoing diarrhoea", _A),
    Sign("cannot_drink", _Y, _ADULT, _("Cannot eat or drink"), "Unable to feed or drink", _A),
    Sign("pallor", _Y, _BOTH, _("Very pale inside the eyelids or palms"), "Severe pallor", _A),
    Sign("bleeding", _Y, _BOTH, _("Light bleeding that goes on"), "Ongoing bleeding", _A),
    Sign("fainted", _Y, _BOTH, _("Fainted recently"), "Recent fainting", _A),
    Sign("restless", _Y, _CHILD, _("Restless, cries and cannot be calmed"), "Restless, continuously irritable", _C),
    Sign("weakness", _Y, _BOTH, _("Suddenly very weak"), "Acute general weakness", _A),
    Sign("focal_deficit", _Y, _BOTH, _("Face, arm or leg suddenly weak or numb, or speech slurred"),
         "Acute focal neurologic complaint", _A),
    Sign("vision", _Y, _BOTH, _("Suddenly sees badly"), "Acute visual disturbance", _A),
    Sign("severe_pain", _Y, _BOTH, _("Very strong pain"), "Severe pain", _A),
    Sign("rash", _Y, _BOTH, _("New rash that grows within hours, or skin that peels"),
         "New rash worsening over hours, or peeling", _A),
    Sign("limb_injury", _Y, _BOTH, _("Crooked arm or leg, bone through the skin, or joint out of place"),
         "Visible acute limb deformity, open fracture or suspected dislocation", _A),
    Sign("injury", _Y, _BOTH, _("Other injury or burn"), "Other trauma or burns", _A),
    Sign("needs_surgery", _Y, _BOTH, _("Sent for an urgent operation"),
         "Known diagnosis requiring urgent surgical intervention", _A),
    Sign("assault", _Y, _BOTH, _("Sexual violence"), "Sexual assault", _A),
    Sign("genital_pain", _Y, _BOTH, _("Sudden pain of the testicles or penis"),
         "Acute testicular or scrotal pain, or priapism", _A),
    Sign("no_urine", _Y, _BOTH, _("Cannot pass urine"), "Unable to pass urine", _A),
    Sign("animal_bite", _Y, _BOTH, _("Bitten by an animal, or pricked by a used needle"),
         "Exposure requiring time-sensitive prophylaxis", _A),
    Sign("wasting", _Y, _CHILD, _("Very thin, ribs and bones show"), "Visible severe wasting", _C),
    Sign("swollen_feet", _Y, _CHILD, _("Both feet swollen"), "Oedema of both feet", _C),
)
# fmt: on
"""The one table; red before yellow, so that a page can ask in this order and stop early."""

LEFT_OUT: tuple[tuple[str, str], ...] = (
    ("Heart rate below 50 or above 150 (red), below 60 or above 130", "needs a watch and practice"),
    (
        "Capillary refill above 3 s, weak and fast pulse",
        "needs practice; `shock` asks what can be seen",
    ),
    ("Breathing rate below 10 or above 30", "needs a watch and practice"),
    ("Oxygen saturation below 92 %", "needs an oximeter"),
    ("Temperature below 36 or above 39 °C", "needs a thermometer; `fever` asks what can be felt"),
    ("Blood pressure of 160/110 and above in pregnancy", "needs a cuff"),
    ("Blood sugar", "needs a test"),
    ("ECG with acute ischaemia", "needs an ECG"),
    ("AVPU other than A", "asked in words as `unresponsive` and `confused`"),
)
"""Criteria of the tool that a lay person can't measure, and why; whoever has the devices tells the specialist."""

BY_CODE: dict[str, Sign] = {sign.code: sign for sign in SIGNS}


class UnknownSign(ValueError):
    """An intake form names a sign that isn't in the table."""


def chart(age_months: int, pregnant: bool) -> list[Sign]:
    """Return what is to be asked of such a patient, red before yellow."""
    return [sign for sign in SIGNS if sign.question and sign.fits(age_months, pregnant)]


def assess(form: IntakeForm) -> Urgency:
    """Return the colour that orders the queue.

    Raises:
        UnknownSign: the form names a sign that isn't in the table.
    """
    unknown = set(form.signs) - BY_CODE.keys()
    if unknown:
        raise UnknownSign(f"{len(unknown)} unknown signs")
    by_age = [
        sign.code
        for sign in SIGNS
        if not sign.question and sign.fits(form.age_months, form.pregnant)
    ]
    return colour({*form.signs, *by_age})


def colour(codes: Iterable[str]) -> Urgency:
    """Return the colour that follows from signs: the worst alone, or red by two of a group."""
    signs = [BY_CODE[code] for code in set(codes)]
    groups = [sign.group for sign in signs if sign.group]
    if any(groups.count(group) >= NEEDED_OF_GROUP for group in groups):
        return Urgency.RED
    for urgency in (Urgency.RED, Urgency.YELLOW):
        if any(sign.alone is urgency for sign in signs):
            return urgency
    return Urgency.GREEN
