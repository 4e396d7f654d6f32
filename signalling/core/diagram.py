# SPDX-License-Identifier: Apache-2.0
"""The tables of consult and specialist as pictures and as Markdown, for ``docs/lifecycle.md``.

Drawn from the tables themselves, so that the page can't say anything else than the code does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from signalling.core import events as ev
from signalling.core import lifecycle, presence
from signalling.core.lifecycle import Consult
from signalling.core.policy import ConsultPolicy
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.terms import ConsultState, SpecialistState

S, P = ConsultState, SpecialistState

RUNS_OUT: Mapping[ConsultState, str] = {
    S.INVITED: "when the invitation does (`invitation_s`); for who joined late, `keep_s` after joining",
    S.WAITING: "`wait_max_s` of the colour after the search began; rings in vain don't restart it; on hold while the patient is away: "
    "`keep_s` after they were lost",
    S.RINGING: "`ring_s` after the ring began",
    S.IN_CALL: "`call_max_s` after it was accepted",
    S.INTERRUPTED: "`keep_s` after a side was lost",
    S.CALLBACK: "at the promised instant (`callback_s` of the colour); once overdue, or closed by an answer, "
    "`callback_keep_s` later",
}
"""When each live state runs out, in words; what follows is asked of the code."""

_PAST_ALL = 1e15
"""An instant after every deadline."""


def tag_of(kind: type[ev.Event]) -> str:
    """Return the name under which an event is stored."""
    return str(kind.__struct_config__.tag)


def _sentence(text: str | None) -> str:
    """Return the first sentence of a docstring, without its full stop."""
    return " ".join((text or "").split()).split(". ")[0].rstrip(".")


def _picture(edges: Mapping[tuple[str, str], Sequence[str]], ends: Iterable[str]) -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {a} --> {b}: {', '.join(labels)}" for (a, b), labels in edges.items()]
    lines += [f"    {state} --> [*]" for state in ends]
    return "\n".join([*lines, "```"])


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# -- the consult -----------------------------------------------------------------------------------


def consult_diagram() -> str:
    """Return the consult's states and what leads from one to another; what leaves a state as it is isn't drawn."""
    edges: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    edges["[*]", S.INVITED].append(tag_of(ev.Invited))
    for state, rules in lifecycle.TRANSITIONS.items():
        for kind, rule in rules.items():
            if rule.to is not state:
                edges[state, rule.to].append(tag_of(kind))
    for joint in lifecycle.JOINT:
        edges[joint.state, joint.to].append(
            f"({_sentence(joint.when.__doc__).split(':')[0].lower()})"
        )
    return _picture(edges, sorted(lifecycle.TERMINAL))


def consult_table() -> str:
    """Return each event in each live state: the state after it, ``=`` where it stays, nothing where it is refused."""
    live = [s for s in S if s not in lifecycle.TERMINAL]
    listed = {kind for rules in lifecycle.TRANSITIONS.values() for kind in rules}
    rows = []
    for kind in (k for k in ev.AnyEvent.__args__ if k in listed):
        cells = [f"`{tag_of(kind)}`"]
        for state in live:
            rule = lifecycle.TRANSITIONS[state].get(kind)
            cells.append("" if rule is None else "=" if rule.to is state else f"**{rule.to}**")
        rows.append([*cells, _conditions(kind)])
    return _rows(["event", *live, "only if"], rows)


def _conditions(kind: type[ev.Event]) -> str:
    """Return what guards of an event ask for, with the states where it isn't the same in all."""
    rules = {s: r[kind] for s, r in lifecycle.TRANSITIONS.items() if kind in r}
    texts = {s: _sentence(r.guard.__doc__) for s, r in rules.items() if r.guard is not None}
    if len(set(texts.values())) == 1 and len(texts) == len(rules):
        return next(iter(texts.values()))
    return "; ".join(f"{state}: {text}" for state, text in texts.items())


def joint_table() -> str:
    """Return the states that a fact turns into others."""
    return _rows(
        ["state", "becomes", "when"],
        [[j.state, f"**{j.to}**", _sentence(j.when.__doc__)] for j in lifecycle.JOINT],
    )


def deadline_table() -> str:
    """Return when each live state runs out, and which event that is."""
    rows = []
    for state, words in RUNS_OUT.items():
        consult = Consult(
            ConsultId(""), state=state, specialist=AccountId(""), ring_until=0.0, expires_at=0.0
        )
        follows = []
        while (
            consult.state is state
        ):  # a promise runs out twice: it becomes overdue, then it expires
            event = lifecycle.on_deadline(consult, _PAST_ALL, ConsultPolicy())
            assert event is not None
            consult = lifecycle.apply(consult, event)
            follows.append(f"`{tag_of(type(event))}` → {consult.state}")
        rows.append([state, words, ", then ".join(follows)])
    return _rows(["state", "runs out", "what follows"], rows)


# -- the specialist --------------------------------------------------------------------------------


def _after(state: SpecialistState, to: SpecialistState | str) -> dict[SpecialistState, str]:
    """Return the states that a cell of the specialist's table leads to, each with its condition."""
    if to != presence.REST:
        return {P(to): ""}
    if state is P.RINGING:  # going off call ends the ring first, in the same step
        return {P.AVAILABLE: ""}
    return {P.AVAILABLE: " (on call)", P.OFF_CALL: " (off call)"}


def presence_diagram() -> str:
    """Return the specialist's states and what leads from one to another."""
    edges: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    edges["[*]", P.OFF_CALL] = ["account"]
    for state, rules in presence.TRANSITIONS.items():
        for kind, to in rules.items():
            for after, condition in _after(state, to).items():
                if after is not state:
                    edges[state, after].append(tag_of(kind) + condition)
    return _picture(edges, [])


def presence_table() -> str:
    """Return each event in each of the specialist's states, as ``consult_table`` does."""
    listed = {kind for rules in presence.TRANSITIONS.values() for kind in rules}
    rows = []
    for kind in (k for k in ev.AnyEvent.__args__ if k in listed):
        cells = [f"`{tag_of(kind)}`"]
        for state in P:
            to = presence.TRANSITIONS[state].get(kind)
            words = "" if to is None else " or ".join(_after(state, to))
            cells.append("=" if words == state else f"**{words}**" if words else "")
        rows.append(cells)
    return _rows(["event", *P], rows)


def sections() -> dict[str, str]:
    """Return the generated sections of ``docs/lifecycle.md`` by their names."""
    return {
        "consult-diagram": consult_diagram(),
        "consult-table": consult_table(),
        "joint-table": joint_table(),
        "deadline-table": deadline_table(),
        "presence-diagram": presence_diagram(),
        "presence-table": presence_table(),
    }
