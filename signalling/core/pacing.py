# SPDX-License-Identifier: Apache-2.0
"""How fast to send a page to somebody whose link is not known yet.

TCP begins with ten segments, which is more than the queue of a thin link holds, and goes on by doubling; what is dropped is
noticed a round trip later, and some of it repaired by timeouts of seconds. But before a page is asked for, the server's part
of the TLS handshake has crossed the link: by how much its acknowledgement took longer than that of an empty packet, so long
did the link work on it. From then on acknowledgements say what the link carries, and by how much they come later than a round
trip, how much waits in its queue.

Sans-I/O: what the kernel knows of a connection goes in, a bound for its pacing comes out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

HEADERS_BYTES = 52
"""IPv4 and TCP with timestamps (RFC 791, RFC 9293 §3.1, RFC 7323 §3.2), of each segment."""
SHORT_ROUND_TRIP_S = 0.05
"""Below it nothing is bounded: such links are not thin, or their queue is empty again before anybody has noticed it."""
JITTER = 0.1
"""What took longer by less than this part of the round trip may be jitter. So an estimate is rather too high, by a quarter, and
a queue of 600 ms takes that for 2 s."""
SHARPNESS = 12
"""No link is taken for one that works longer on a handshake than this part of a round trip, if jitter may have been all."""
FIRST_LEAST_BPS = 28_000
"""The thinnest link that carries a voice has 24 kbit/s."""
UNKNOWN_BPS = 64_000
"""Where a part of the handshake was lost and what took long says nothing: our choice, a remnant of 2G. If the link has less,
some of the page is lost once; if it has more, the next round trip tells."""
GROWTH = 2.0
"""Of what arrives, while nothing waits in the queue: TCP's slow start (RFC 5681 §3.1)."""
FULL_S, FULL_GAIN = 0.1, 1.1
"""With so much in the queue the link is full: a little more than it carries, to notice when it carries more."""
LONG_S, LONG_GAIN = 0.3, 0.85
"""Half of what the queues of consumer modems hold: let it become shorter."""
LEAST_BPS = 16_000
"""A page's 16 kB in 8 s; less is sent by TCP itself when it loses, not by a bound."""
LEAST_WINDOW_S = 0.2
"""No rate is read from less than that, nor from less than a round trip once there is one: jitter bunches what arrives."""
LEAST_ARRIVALS = 4
"""Nor from fewer moments at which something arrived."""


@dataclass(frozen=True, slots=True)
class Path:
    """What the kernel knows of a connection, a moment ago."""

    least_round_trip_s: float
    segment_bytes: int
    """The most that one segment carries of data."""
    acknowledged_bytes: int
    """Of data, in order."""
    arrived_segments: int
    """In order or not."""
    flying_segments: int
    """Sent, not known to have arrived and not given up."""
    waiting_bytes: int
    """Written, not sent yet."""
    repeated_segments: int
    """Sent again so far."""
    delivery_bps: float
    """The best rate seen, of data (draft-cheng-iccrg-delivery-rate-estimation)."""


def first_bound_bps(path: Path) -> float | None:
    """Return the bound for the first response, of packets, headers and all; None: the link is no thin one."""
    least_s = path.least_round_trip_s
    if least_s < SHORT_ROUND_TRIP_S or not path.delivery_bps or not path.acknowledged_bytes:
        return None
    if path.repeated_segments:  # what took so long was no work of the link
        return UNKNOWN_BPS
    segments = -(-path.acknowledged_bytes // path.segment_bytes)
    # The rate counts whole segments, from the flight's sending to its last acknowledgement.
    took_s = segments * path.segment_bytes * 8 / path.delivery_bps
    worked_s = max(took_s - (1 + JITTER) * least_s, least_s / SHARPNESS)
    size_bytes = path.acknowledged_bytes + segments * HEADERS_BYTES
    return max(FIRST_LEAST_BPS, size_bytes * 8 / worked_s)


class Bound:
    """The bound of one connection, from its first response on."""

    def __init__(self, first_bps: float, path: Path) -> None:
        """``first_bps`` holds until the link has answered to the response."""
        self.bps = first_bps
        self._own_from = path.arrived_segments + path.flying_segments
        """What arrives before was on its way already."""
        self._sent: deque[tuple[float, int]] = deque()
        """When so many segments had been sent that were not lost."""
        self._arrived: deque[tuple[float, int, float]] = deque()
        """When so many had arrived, and how long the last of them was under way."""

    def step(self, path: Path, now: float) -> float:
        """Return the bound from now on; to be asked several times in a round trip."""
        sent, arrived = self._sent, self._arrived
        total = path.arrived_segments + path.flying_segments
        if not path.flying_segments and not path.waiting_bytes:
            sent.clear()  # a rest: what comes after it is measured afresh
            arrived.clear()
            self._own_from = total
            return self.bps
        if not sent or total > sent[-1][1]:
            sent.append((now, total))
        if path.arrived_segments <= (arrived[-1][1] if arrived else self._own_from):
            return self.bps
        while len(sent) > 1 and sent[0][1] < path.arrived_segments:
            sent.popleft()
        arrived.append((now, path.arrived_segments, now - sent[0][0]))
        window_s = max(LEAST_WINDOW_S, path.least_round_trip_s)
        while len(arrived) > LEAST_ARRIVALS and arrived[1][0] <= now - window_s:
            arrived.popleft()
        if len(arrived) < LEAST_ARRIVALS:
            return self.bps
        since, before, _ = arrived[0]
        packet_bits = (path.segment_bytes + HEADERS_BYTES) * 8
        carried_bps = (path.arrived_segments - before) * packet_bits / max(1e-3, now - since)
        took_s = min(each for _, _, each in list(arrived)[-LEAST_ARRIVALS:])
        queue_s = took_s - path.least_round_trip_s
        if queue_s > LONG_S:
            bps = LONG_GAIN * carried_bps
        elif queue_s > FULL_S:
            bps = FULL_GAIN * carried_bps
        else:
            bps = max(self.bps, GROWTH * carried_bps)
        self.bps = max(LEAST_BPS, bps)
        return self.bps
