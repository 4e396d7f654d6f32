# SPDX-License-Identifier: Apache-2.0
"""Limits as the ladder decides them, as the message that pages are told: a relay's and, without one, a node's."""

from __future__ import annotations

from typing import Final, get_args

from media.core.brake import Brake
from media.core.fit import Side
from media.core.limits import Limits
from media.core.rungs import Rung
from signalling.wire import legs as wire

MS_MAX: Final = 3_600_000
"""The most that a span may be on the wire: an hour."""
_PLAIN: Final = [
    each
    for each in wire.Limits.__struct_fields__
    if each not in ("rung", "reason", "whose", "brake")
]
NAMES: Final[dict[Rung, wire.RungName]] = dict(zip(Rung, get_args(wire.RungName), strict=True))
BY_NAME: Final = {name: rung for rung, name in NAMES.items()}


def on_wire(limits: Limits, whose: Side | None) -> wire.Limits:
    """Return the message's limits; `whose` link made them so, if that is known."""
    return wire.Limits(
        **{each: getattr(limits, each) for each in _PLAIN},
        rung=NAMES[limits.rung],
        reason=limits.reason.value,
        whose=whose.value if whose is not None else None,
        brake=_brake(limits.brake) if limits.brake is not None else None,
    )


def whole_ms(span_s: float) -> int:
    """Return a span in milliseconds, within what the wire takes."""
    return max(0, min(MS_MAX, round(span_s * 1e3)))


def _brake(brake: Brake) -> wire.Brake:
    return wire.Brake(
        no_report_ms=whole_ms(brake.no_report_s),
        round_trip_ms=whole_ms(brake.round_trip_s),
        polls=brake.polls,
        poll_ms=whole_ms(brake.poll_s),
    )
