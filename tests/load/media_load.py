# SPDX-License-Identifier: Apache-2.0
"""Media from generated SRTP peers, sent and received in one tight loop: paced like calls, or as fast as a relay takes it."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from media.core.transport_cc import ArrivalLog
from tests.support.relay_peer import Peer, check

VOICE_HZ, PICTURE_HZ = 48_000, 90_000
VOICE_PPS, PICTURE_PPS = 50, 20
VOICE_BYTES, PICTURE_BYTES = 100, 520
"""50 voice packets and 20 of picture a second: 150 kbit/s each way with all headers."""
FEEDBACK_S = 0.1
CHECK_S = 2.5
KEY_S = 1.0
KEY_EVERY = 20
"""Pictures between two key frames, a second: a relay that has stopped a picture goes on with one, and nobody here hears its
request."""
PADDING_TYPE = 97
"""Of retransmissions, of which there are none here: what has it is a probe's padding, which is no forwarded packet."""
IN_FLIGHT = 128
LATENCY_EVERY = 8
"""Packets between two that are decrypted for their time of sending."""
_HEAD = struct.Struct("!BBHIIHHBBBBBBBB")
_TIME = struct.Struct("!q")


@dataclass
class End:
    """One leg of the load: what it sends, and how much it got."""

    peer: Peer
    sends: bool = True
    receives: bool = True
    feeds_back: bool = True
    """Whether its receiver gives transport-wide feedback."""
    lose_every: int = 0
    """One of so many packets is not sent: a loss of its up-link."""
    number: int = 0
    transport: int = 0
    frame: int = 0
    picture: int = 0
    received: int = 0
    key_until: float = 0.0
    """All frames up to then are key frames: a relay asks for them after a pause, and nobody listens here."""
    log: ArrivalLog = field(default_factory=ArrivalLog)

    def __post_init__(self) -> None:
        self.socket = socket.fromfd(self.peer.descriptor, socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        assert self.peer.keys is not None
        self.protect = self.peer.keys.outbound.protect
        self.protect_rtcp = self.peer.keys.outbound.protect_rtcp
        self.unprotect = self.peer.keys.inbound.unprotect
        self.check = bytes(check(self.peer.pairs[0], nominated=True))
        self.voice_body = bytes(VOICE_BYTES - 8)
        self.picture_body = bytes(PICTURE_BYTES - 13)

    def send(self, *, picture: bool, size: int = 0) -> None:
        """Send one packet, with its time in its last octets."""
        at = time.monotonic()
        sent = int(at * 262_144) & 0xFFFFFF
        stamp = _TIME.pack(time.monotonic_ns())
        ssrcs = self.peer.ssrcs
        if picture:
            number, hz, kind, ssrc = self.picture, PICTURE_HZ, 96 | 0x80, ssrcs[1]
            # VP8 with a 15-bit picture ID.
            first = b"\x90\x80" + struct.pack("!H", 0x8000 | number & 0x7FFF)
            is_key = at <= self.key_until or number % KEY_EVERY == 0
            payload = first + bytes((int(not is_key),)) + self.picture_body + stamp
            self.picture += 1
        else:
            number, hz, kind, ssrc = self.number, VOICE_HZ, 111, ssrcs[0]
            payload = (bytes(size - 8) if size else self.voice_body) + stamp
            self.number += 1
        transport = self.transport
        self.transport = transport + 1 & 0xFFFF
        if self.lose_every and transport % self.lose_every == 0:
            return
        head = _HEAD.pack(
            0x90, kind, number & 0xFFFF, int(at * hz) & 0xFFFFFFFF, ssrc, 0xBEDE, 2,
            0x22, sent >> 16, sent >> 8 & 0xFF, sent & 0xFF, 0x31, transport >> 8, transport & 0xFF, 0,
        )  # fmt: skip
        with contextlib.suppress(BlockingIOError):
            self.socket.send(self.protect(head + payload))

    def feed_back(self) -> None:
        """Say when packets came, as browsers do ten times a second."""
        for data in self.log.write(self.peer.ssrcs[0], 1):
            self.socket.send(self.protect_rtcp(data))


@dataclass(frozen=True, slots=True)
class Result:
    """What a stretch of load did."""

    sent: int
    received: int
    wall_s: float
    latencies_ms: list[float]
    """Of a sample, sorted."""
    late_ms: float
    """How late the load itself was with its packets, 99th percentile."""

    def percentile_ms(self, share: float) -> float:
        """Return a latency."""
        found = self.latencies_ms
        return found[min(len(found) - 1, int(len(found) * share))] if found else float("nan")


class Load:
    """All ends, read by one poll."""

    def __init__(self, ends: Sequence[End]) -> None:
        self.ends = ends
        self._poll = select.epoll()
        self._by_fd = {end.socket.fileno(): end for end in ends}
        for descriptor in self._by_fd:
            self._poll.register(descriptor, select.EPOLLIN)
        self._buffer = bytearray(2_048)
        self._latencies: list[float] = []
        self._received = 0

    def close(self) -> None:
        """Let go of the sockets' copies."""
        self._poll.close()
        for end in self.ends:
            end.socket.close()

    def _drain(self, wait_s: float) -> None:
        buffer = self._buffer
        for descriptor, _ in self._poll.poll(wait_s):
            end = self._by_fd[descriptor]
            read = end.socket.recv_into
            for _ in range(64):
                try:
                    size = read(buffer, 0, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                if buffer[0] < 128 or 192 <= buffer[1] < 224:
                    continue
                self._received += buffer[1] & 127 != PADDING_TYPE
                number = end.received
                end.received = number + 1
                if end.feeds_back:
                    end.log.received(number & 0xFFFF, time.monotonic())
                if number % LATENCY_EVERY == 0:
                    packet = end.unprotect(bytes(buffer[:size]))
                    (stamp,) = _TIME.unpack_from(packet, len(packet) - 8)
                    if stamp:
                        self._latencies.append((time.monotonic_ns() - stamp) / 1e6)

    def _result(self, sent: int, began: float, late: list[float]) -> Result:
        took = time.monotonic() - began
        late.sort()
        latencies, self._latencies = (
            sorted(each for each in self._latencies if 0 < each < 10_000),
            [],
        )
        received, self._received = self._received, 0
        return Result(sent, received, took, latencies, late[int(len(late) * 0.99)] * 1e3 if late else 0.0)  # fmt: skip

    def paced(self, seconds: float) -> Result:
        """Send as people in calls do, unsynchronised, and receive."""
        events: list[tuple[float, int, End]] = []
        for place, end in enumerate(self.ends):
            shift = place * 0.618_034 % 1
            if end.sends:
                events += [((i + shift) / VOICE_PPS, 0, end) for i in range(VOICE_PPS)]
                events += [((i + shift) / PICTURE_PPS, 1, end) for i in range(PICTURE_PPS)]
            if end.feeds_back and end.receives:
                events += [((i + shift) * FEEDBACK_S, 2, end) for i in range(round(1 / FEEDBACK_S))]
            events.append((shift, 3, end))
        events.sort(key=lambda event: event[0])
        sent, late = 0, []
        self._drain(0)
        self._received, self._latencies = 0, []
        began = time.monotonic()
        for end in self.ends:
            end.key_until = began + KEY_S
        for second in range(round(seconds)):
            for offset, kind, end in events:
                due = began + second + offset
                while (wait := due - time.monotonic()) > 0:
                    self._drain(min(wait, 0.000_5))
                if kind < 2:
                    end.send(picture=kind == 1)
                    sent += 1
                    if sent % 16 == 0:
                        late.append(-wait)
                        self._drain(0)
                elif kind == 2:
                    end.feed_back()
                elif second % 3 == 0:
                    end.socket.send(end.check)
        end_at = time.monotonic() + 0.2
        while time.monotonic() < end_at:
            self._drain(0.01)
        return self._result(sent, began, late)

    def flat_out(self, seconds: float, size: int) -> Result:
        """Send voice packets of one size as fast as they come back, a bounded number under way."""
        senders = [end for end in self.ends if end.sends]
        self._drain(0)
        self._received, self._latencies = 0, []
        began = time.monotonic()
        sent = place = 0
        credit = began
        while (now := time.monotonic()) - began < seconds:
            while sent - self._received < IN_FLIGHT:
                senders[place].send(picture=False, size=size)
                place = (place + 1) % len(senders)
                sent += 1
            before = self._received
            self._drain(0.002)
            if self._received != before:
                credit = now
            elif now - credit > 0.1:  # some were lost
                sent = self._received
                credit = now
        return self._result(sent, began, [])
