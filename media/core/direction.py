# SPDX-License-Identifier: Apache-2.0
"""A direction is what one page sends: its rung on the ladder, and what the page was told of it.

The relay has one for each leg, a node one for each side of a call from browser to browser.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from media.core import ladder
from media.core.asking import hoped
from media.core.codecs import FALLBACK
from media.core.limits import TOLD_S, Limits, limits_of
from media.core.rungs import Rung, Wish

if TYPE_CHECKING:
    from media.core.fit import Path
    from media.core.ladder import Move, State


class Notes(Protocol):
    """What takes each decision (``media.relay.trace.Trace``)."""

    def began(self, direction: Direction, rung: Rung, path: Path, now: float) -> None:
        """Note the beginning of a direction, or a new one."""

    def decided(self, direction: Direction, path: Path, move: Move | None, now: float) -> None:
        """Note a question and its answer."""

    def braked(self, direction: Direction, path: Path, move: Move | None, now: float) -> None:
        """Note that a page stopped its picture."""


class Direction:
    """One page's."""

    __slots__ = (
        "_told_at", "_trace", "codec", "copy_s", "hear_s", "number", "reason", "state", "talking", "told", "wish",
    )  # fmt: skip

    told: Limits | None
    """Last returned."""
    reason: ladder.Reason
    """Of the last move."""
    talking: bool
    """Whether it began with those who look, not only with its own link."""

    def __init__(self, trace: Notes | None) -> None:
        """``trace`` takes each decision."""
        self.state: State | None = None
        self.number = 0
        """In the trace."""
        self.told = None
        self.reason = ladder.Reason.START
        self.talking = False
        self.wish = Wish.MOTION
        self.codec = FALLBACK
        """What its picture is to be sent in; told with the next decision."""
        self.copy_s = 0.0
        """How far behind its frames the copies of its voice are to be; 0: one frame."""
        self.hear_s = 0.0
        """For how long it is to keep the voice that it hears, at least."""
        self._trace = trace
        self._told_at = 0.0

    @property
    def rung(self) -> Rung:
        """Where it is."""
        return self.state.rung if self.state is not None else Rung.TEXT

    def begin(self, rung: Rung, path: Path, base_rtt_s: float, now: float) -> Limits:
        """Start at a rung, or below where that doesn't fit, and return what is to be told."""
        self.state = ladder.begin(rung, path, now, self.wish)
        self.reason = ladder.Reason.START
        if self._trace is not None:
            self._trace.began(self, rung, path, now)
        return self._tell(self._limits(path, base_rtt_s, now), now)

    def decide(
        self, path: Path, base_rtt_s: float, now: float
    ) -> tuple[Limits | None, Move | None]:
        """Return what is to be told, if it is another thing than before, and the move that made it so."""
        state = self.state
        if state is None:
            return None, None
        if state.wish is not self.wish:
            state = ladder.wished(state, self.wish)
        self.state, move = ladder.decide(state, path, now, hoped(state, path, now))
        if self._trace is not None:
            self._trace.decided(self, path, move, now)
        return self._moved(move, path, base_rtt_s, now), move

    def braked(
        self, path: Path, base_rtt_s: float, now: float
    ) -> tuple[Limits | None, Move | None]:
        """Take the page's word that it has stopped its picture; return as ``decide``."""
        if self.state is None:
            return None, None
        self.state, move = ladder.braked(self.state, path, now)
        if self._trace is not None:
            self._trace.braked(self, path, move, now)
        return self._moved(move, path, base_rtt_s, now), move

    def wire_bps(self, path: Path) -> float:
        """Return what it takes of its links, all used."""
        if self.state is None:
            return 0.0
        sending = self.state.sending
        open_bps = self.told.video_max_bps if self.told is not None and not sending.max_bps else 0
        return sending.wire_bps(path[0]) + open_bps

    def _moved(self, move: Move | None, path: Path, base_rtt_s: float, now: float) -> Limits | None:
        if move is not None:
            self.reason = move.reason
        limits = self._limits(path, base_rtt_s, now)
        told = self.told
        if move is None and told is not None and limits.beside(told):
            if now - self._told_at < TOLD_S or not limits.drifted(told):
                return None
        elif told is not None and not limits.differs(told):
            return None
        return self._tell(limits, now)

    def _limits(self, path: Path, base_rtt_s: float, now: float) -> Limits:
        assert self.state is not None
        hope = hoped(self.state, path, now)
        limits = limits_of(self.state, self.reason, path, base_rtt_s, hope)
        copies_s = self.copy_s if self.state.sending.copies else 0.0
        return replace(
            limits,
            codec=self.codec.value,
            copy_ms=round(copies_s * 1e3),
            hear_ms=round(self.hear_s * 1e3),
        )

    def _tell(self, limits: Limits, now: float) -> Limits:
        self.told = limits
        self._told_at = now
        return limits
