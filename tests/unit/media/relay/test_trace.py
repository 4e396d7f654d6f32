# SPDX-License-Identifier: Apache-2.0
"""A recorded trace decides the same when it is replayed."""

import json
from pathlib import Path

from media.core.direction import Direction
from media.core.fit import Link
from media.core.rungs import Rung, Wish
from media.relay.trace import Trace, replay

RECORDED = Path(__file__).with_name("traces") / "vsat_congested.jsonl"
"""Both directions of 20 s of a call between two Chromium browsers, 128/64 kbit/s, 800 ms, jitter of 60 ms, 3 % of loss."""


def test_a_recorded_call_is_decided_as_it_was():
    """Each move of the recording comes again, with its reason and its settings, and no other; a change of a rule shows here."""
    lines = RECORDED.read_text().splitlines()
    assert list(replay(lines)) == []
    moves = [json.loads(line)["move"] for line in lines if '"move"' in line]
    assert len(moves) >= 8
    assert {"proved", "rate"} <= {move["reason"] for move in moves}
    assert {"glimpse", "small"} <= {move["after"] for move in moves}


def test_another_decision_is_told():
    """A line whose answer is not what the ladder says now is yielded with what it says."""
    lines = RECORDED.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if '"move"' in line)
    line = json.loads(lines[number])
    line["move"]["height"] = 999
    changed = [*lines[:number], json.dumps(line), *lines[number + 1 :]]
    ((text, said),) = replay(changed)
    assert json.loads(text)["move"]["height"] == 999
    assert said is not None
    assert said["height"] != 999


def test_what_is_written_is_a_trace():
    """Wishes, brakes and decisions of several directions; nothing in it but numbers and words of the ladder."""
    written: list[str] = []
    trace = Trace(written.append)
    one, other = Direction(trace), Direction(trace)
    path = (Link(1e6, 1e6, 0.0, 0.1),)
    one.begin(Rung.STANDARD, path, 0.1, 0.0)
    other.begin(Rung.VOICE, path, 0.1, 0.0)
    for step in range(20):
        if step == 10:
            one.wish = Wish.DETAIL
        for each in (one, other):
            each.decide(path, 0.1, 0.2 * step)
    limits, move = one.braked(path, 0.1, 4.0)
    assert limits is not None
    assert move is not None
    assert limits.video_max_bps == 0
    assert list(replay(written)) == []
    assert {json.loads(line)["direction"] for line in written} == {1, 2}
    assert {json.loads(line)["what"] for line in written} == {"begin", "decide", "braked"}


def _record_anew() -> None:
    """After a rule was changed on purpose: decide the recorded questions again, and keep the answers."""
    lines = RECORDED.read_text().splitlines()
    said = dict(replay(lines))
    written = []
    for text in lines:
        line = json.loads(text)
        if text in said:
            line.pop("move", None)
            if said[text] is not None:
                line["move"] = said[text]
        written.append(json.dumps(line, separators=(",", ":")))
    RECORDED.write_text("\n".join(written) + "\n")


if __name__ == "__main__":  # python -m tests.unit.media.relay.test_trace
    _record_anew()
