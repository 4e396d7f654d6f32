# SPDX-License-Identifier: Apache-2.0
"""The trace: what the ladder was asked and what it decided, a JSON line each; off unless the operator wants it.

A recorded trace is a test: ``replay`` asks the ladder the same again and yields where it would decide otherwise. Nothing in
it names a consult, a person or an address: directions are numbered as they begin.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from media.core import ladder
from media.core.asking import hoped
from media.core.fit import Link
from media.core.rungs import Rung, Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from media.core.direction import Direction
    from media.core.fit import Path
    from media.core.ladder import Move, State


class Trace:
    """Writes the decisions of all directions of one process."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """``write`` takes a line."""
        self._write = write
        self._count = 0

    def began(self, direction: Direction, rung: Rung, path: Path, now: float) -> None:
        """Note the beginning of a direction, or a new one."""
        self._count += 1
        direction.number = self._count
        self._line("begin", direction, path, None, now, rung=rung.label)

    def decided(self, direction: Direction, path: Path, move: Move | None, now: float) -> None:
        """Note a question and its answer."""
        self._line("decide", direction, path, move, now)

    def braked(self, direction: Direction, path: Path, move: Move | None, now: float) -> None:
        """Note that a page stopped its picture."""
        self._line("braked", direction, path, move, now)

    def _line(
        self,
        what: str,
        direction: Direction,
        path: Path,
        move: Move | None,
        now: float,
        **more: str,
    ) -> None:
        line: dict[str, Any] = {
            "what": what,
            "direction": direction.number,
            "at": now,
            "wish": direction.wish.value,
            **more,
            "path": [
                [
                    link.rate_bps,
                    link.usable_bps,
                    link.loss_ratio,
                    link.rtt_s,
                    link.queue_s,
                    link.silence_s,
                    link.beside_bps,
                ]
                for link in path
            ],
        }
        if move is not None:
            line["move"] = _said(move)
        self._write(json.dumps(line, separators=(",", ":")))


def replay(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield each line at which the ladder decides otherwise now, with what it decides.

    Raises:
        ValueError, KeyError: it is not a trace.
    """
    states: dict[int, State] = {}
    for text in lines:
        line = json.loads(text)
        number, now = line["direction"], line["at"]
        path = tuple(Link(*values) for values in line["path"])
        wish = Wish(line["wish"])
        if line["what"] == "begin":
            states[number] = ladder.begin(
                Rung[line["rung"].upper().replace("-", "_")], path, now, wish
            )
            continue
        state = states[number]
        if line["what"] == "braked":
            states[number], move = ladder.braked(state, path, now)
        else:
            if state.wish is not wish:
                state = ladder.wished(state, wish)
            states[number], move = ladder.decide(state, path, now, hoped(state, path, now))
        said = _said(move) if move is not None else None
        if said != line.get("move"):
            yield text, said


def _said(move: Move) -> dict[str, Any]:
    sending, voice = move.sending, move.sending.voice
    return {
        "before": move.before.label,
        "after": move.after.label,
        "reason": move.reason.value,
        "opus_bps": voice.opus_bps if voice is not None else 0,
        "frame_ms": voice.frame_ms if voice is not None else 0,
        "copies": sending.copies,
        "height": sending.height,
        "fps": sending.fps,
        "max_bps": sending.max_bps,
    }
