# SPDX-License-Identifier: Apache-2.0
"""Transport-wide feedback: when each packet of a leg arrived.

Format: draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1. Times are whole ticks of 250 us.
Chromium ignores feedback whose media SSRC is not one of its own streams, and lowers its rate by 20 %
each second without valid feedback (both measured), so the caller must name a real stream and keep
sending. Told of losses, it pads for 1 to 2 s whatever the limits of its streams (35 kbit/s beside a
picture of 60 on 128 kbit/s with 1 % of loss, a queue of 250-500 ms each 20 to 30 s, measured): a
browser that limits rule is told of arrivals alone (docs/adr/0020-arrivals-without-losses.md).
"""

from __future__ import annotations

import struct
from itertools import accumulate, pairwise
from typing import Final, TypeAlias

import msgspec

from media.core.serial import HALF_16, MASK_16

Octets: TypeAlias = bytes | bytearray

TICK_S: Final = 0.000250
TICKS_PER_S: Final = 4_000
TICKS_PER_REFERENCE: Final = 256
"""The reference time counts 64 ms."""
MAX_STATUSES: Final = 2_048
"""A second of 1,200-octet packets at 20 Mbit/s; a run-length chunk could claim 65,535."""
MAX_DELTA_S: Final = 8.0
"""Between two arrivals in one feedback: 16 signed bits of ticks are 8.19 s."""
MAX_PACKETS: Final = 512
"""Per feedback written: under 1,200 octets whatever the pattern."""
MAX_RUNS: Final = 16
"""Of arrivals, each told by a feedback of 72 octets on the wire, per write: 29 % of loss at 130 packets a second has 6 in 0.2 s.
Of more the newest are told: who skips numbers at will costs no more than that."""

_HEAD = struct.Struct("!HHI")
_CHUNK = struct.Struct("!H")
_FEEDBACK = struct.Struct("!BBHII")


class TransportFeedback(msgspec.Struct, frozen=True, gc=False):
    """What one feedback packet says."""

    sender_ssrc: int
    media_ssrc: int
    base: int
    """Transport-wide sequence number of the first entry."""
    count: int
    """Feedback packets sent before this one, modulo 256: a gap is a lost feedback."""
    reference: int
    """Reference time in units of 64 ms, signed 24 bits."""
    arrivals: tuple[int | None, ...]
    """For each number from `base` on: arrival in ticks of 250 us on the receiver's clock, or None."""


def parse_feedback(
    data: Octets, at: int, end: int, sender_ssrc: int, media_ssrc: int
) -> TransportFeedback | None:
    """Read the feedback between `at` and `end`; None if it is malformed or claims too much."""
    if at + 8 > end:
        return None
    base, total, word = _HEAD.unpack_from(data, at)
    if not 0 < total <= MAX_STATUSES:
        return None
    at += 8
    symbols: list[int] = []
    while len(symbols) < total:
        if at + 2 > end:
            return None
        chunk: int = _CHUNK.unpack_from(data, at)[0]
        at += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13 & 3] * min(chunk & 0x1FFF, total - len(symbols))
            if not chunk & 0x1FFF:
                return None
        elif chunk & 0x4000:
            symbols += [chunk >> shift & 3 for shift in range(12, -2, -2)]
        else:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    reference = word >> 8
    if reference & 0x800000:
        reference -= 0x1000000
    arrivals = _arrivals(data, at, end, symbols[:total], reference * TICKS_PER_REFERENCE)
    if arrivals is None:
        return None
    return TransportFeedback(sender_ssrc, media_ssrc, base, word & 0xFF, reference, arrivals)


def _arrivals(
    data: Octets, at: int, end: int, symbols: list[int], ticks: int
) -> tuple[int | None, ...] | None:
    if symbols.count(1) == len(symbols):  # nothing lost and nothing late: nearly always
        if at + len(symbols) > end:
            return None
        return tuple(accumulate(data[at : at + len(symbols)], initial=ticks))[1:]
    arrivals: list[int | None] = []
    for symbol in symbols:
        if symbol == 0:
            arrivals.append(None)
            continue
        if symbol == 1:
            if at >= end:
                return None
            ticks += data[at]
            at += 1
        elif symbol == 2:
            if at + 2 > end:
                return None
            delta = data[at] << 8 | data[at + 1]
            ticks += delta - 0x10000 if delta & 0x8000 else delta
            at += 2
        else:  # 3 is reserved
            return None
        arrivals.append(ticks)
    return tuple(arrivals)


class ArrivalLog:
    """Collects arrivals of one leg and writes them as feedback."""

    __slots__ = ("_count", "_highest", "_new", "_next")

    def __init__(self) -> None:
        self._new: list[tuple[int, float]] = []
        self._highest = -1
        self._next = -1
        self._count = 0

    def received(self, number: int, now: float) -> None:
        """Note that the packet with this 16-bit transport-wide number arrived now (hot path)."""
        if len(self._new) < MAX_STATUSES:
            self._new.append((number, now))

    def write(self, sender_ssrc: int, media_ssrc: int, *, losses: bool = True) -> list[bytes]:
        """Return feedback for all that arrived since the last call; nothing if nothing did.

        Args:
            sender_ssrc: Ours.
            media_ssrc: One of the browser's own sending streams.
            losses: Whether what did not arrive is told too; otherwise each run of arrivals has a feedback of its own,
                for the newest `MAX_RUNS`.
        """
        if not self._new:
            return []
        # Arrivals were noted in the order of time.
        is_short = self._new[-1][1] - self._new[0][1] < MAX_DELTA_S
        found = self._unwrapped()
        packets: list[bytes] = []
        for part in [found] if losses else _runs(found)[-MAX_RUNS:]:
            rest = part
            while rest:
                base = max(self._next, rest[0][0] - MAX_PACKETS // 2) if losses else rest[0][0]
                last = len(rest)
                if not is_short or rest[-1][0] >= base + MAX_PACKETS:
                    last = _fitting(rest, base)
                packets.append(self._packet(sender_ssrc, media_ssrc, base, rest[:last]))
                self._next = rest[last - 1][0] + 1
                rest = rest[last:]
        return packets

    def _unwrapped(self) -> list[tuple[int, float]]:
        """Return what has come since the last call, in the order of numbers that never wrap, each once."""
        highest = self._highest
        if highest < 0:
            self._next = self._new[0][0] + MASK_16 + 1
            highest = self._next - 1
        found: list[tuple[int, float]] = []
        in_order = True
        for number, at in self._new:
            index = highest + ((number - highest + HALF_16) & MASK_16) - HALF_16
            if index > highest:
                highest = index
            elif index < self._next:
                continue
            else:
                in_order = False
            found.append((index, at))
        self._highest = highest
        self._new.clear()
        return found if in_order else sorted(dict(reversed(found)).items())

    def _packet(
        self, sender_ssrc: int, media_ssrc: int, base: int, chosen: list[tuple[int, float]]
    ) -> bytes:
        reference = int(chosen[0][1] / (TICK_S * TICKS_PER_REFERENCE))
        ticks = reference * TICKS_PER_REFERENCE
        symbols = [0] * (chosen[-1][0] - base + 1)
        deltas = bytearray()
        for index, at in chosen:
            delta = int(at * TICKS_PER_S + 0.5) - ticks
            if 0 <= delta <= 0xFF:
                ticks += delta
                symbols[index - base] = 1
                deltas.append(delta)
            else:
                delta = max(-0x8000, min(0x7FFF, delta))
                ticks += delta
                symbols[index - base] = 2
                deltas += (delta & 0xFFFF).to_bytes(2, "big")
        word = (reference & 0xFFFFFF) << 8 | self._count
        self._count = (self._count + 1) & 0xFF
        body = _HEAD.pack(base & MASK_16, len(symbols), word) + _chunks(symbols) + deltas
        padding = -len(body) % 4
        first = 0x8F | (0x20 if padding else 0)
        if padding:
            body += bytes(padding - 1) + bytes((padding,))
        return _FEEDBACK.pack(first, 205, 2 + len(body) // 4, sender_ssrc, media_ssrc) + body


def _runs(found: list[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    """Return these, ascending and each once, as runs of numbers that follow each other."""
    if found and found[-1][0] - found[0][0] == len(found) - 1:  # nearly always
        return [found]
    begins = [at for at in range(1, len(found)) if found[at][0] != found[at - 1][0] + 1]
    return [found[begin:end] for begin, end in pairwise([0, *begins, len(found)])]


def _fitting(found: list[tuple[int, float]], base: int) -> int:
    """Return how many of these go into one feedback."""
    last = 1
    while (
        last < len(found)
        and found[last][0] < base + MAX_PACKETS
        and abs(found[last][1] - found[last - 1][1]) < MAX_DELTA_S
    ):
        last += 1
    return last


def _chunks(symbols: list[int]) -> bytes:
    """Pack the statuses: runs where they are longer than a vector, else vectors (draft §3.1.3-4)."""
    total = len(symbols)
    if symbols.count(symbols[0]) == total:  # nearly always; `MAX_PACKETS` is less than a run holds
        return _CHUNK.pack(symbols[0] << 13 | total)
    out = bytearray()
    at = 0
    while at < total:
        symbol = symbols[at]
        run = 1
        while at + run < total and run < 0x1FFF and symbols[at + run] == symbol:
            run += 1
        if run >= 14 or at + run == total:
            out += _CHUNK.pack(symbol << 13 | run)
            at += run
            continue
        small = symbols[at : at + 14]
        if 2 not in small:
            chunk = 0x8000
            for place, value in enumerate(small):
                chunk |= value << (13 - place)
            at += 14
        else:
            chunk = 0xC000
            for place, value in enumerate(symbols[at : at + 7]):
                chunk |= value << (12 - 2 * place)
            at += 7
        out += _CHUNK.pack(chunk)
    return bytes(out)
