# SPDX-License-Identifier: Apache-2.0
"""Plain traffic over a lab's link, made by threads of the test itself: echoes, floods, streams."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.link.lab import Lab, Place

_IP_UDP_BYTES = 28  # IPv4 and UDP headers: the model counts whole IP packets


@dataclass(slots=True)
class Arrivals:
    """What arrived at a UDP socket: when (monotonic), which number, how large, from where."""

    at_s: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    packet_bytes: list[int] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)

    def rate_bps(self) -> float:
        """Return bits of IP packets per second between the first and the last arrival."""
        return sum(self.packet_bytes[1:]) * 8 / (self.at_s[-1] - self.at_s[0])

    def longest_gap_s(self) -> float:
        """Return the longest time between two arrivals."""
        return max(b - a for a, b in zip(self.at_s, self.at_s[1:], strict=False))


@contextlib.contextmanager
def receiving(lab: Lab, place: Place, port: int) -> Iterator[Arrivals]:
    """Count what arrives at a UDP port of one end, in a thread, until the block ends."""
    arrivals = Arrivals()
    with lab.open_socket(place, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        receiver.bind(("0.0.0.0", port))
        receiver.settimeout(0.1)
        stop = threading.Event()

        def receive() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    data, sender = receiver.recvfrom(2000)
                    arrivals.at_s.append(time.monotonic())
                    arrivals.numbers.append(int.from_bytes(data[:4], "big"))
                    arrivals.packet_bytes.append(len(data) + _IP_UDP_BYTES)
                    arrivals.senders.append(sender[0])

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield arrivals
        finally:
            stop.set()
            thread.join()


def send_evenly(
    lab: Lab, place: Place, target: tuple[str, int], *, rate_bps: float, packet_bytes: int,
    duration_s: float,
) -> int:  # fmt: skip
    """Send numbered UDP packets of one size at an even rate; return how many.

    While an interface is gone they are lost, as they would be for a browser.
    """
    every_s = packet_bytes * 8 / rate_bps
    count = round(duration_s / every_s)
    filling = bytes(packet_bytes - _IP_UDP_BYTES - 4)
    with lab.open_socket(place, socket.SOCK_DGRAM) as sender:
        start_s = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start_s + number * every_s - time.monotonic()))
            with contextlib.suppress(OSError):
                sender.sendto(number.to_bytes(4, "big") + filling, target)
    return count


def round_trips_s(lab: Lab, count: int, every_s: float, timeout_s: float = 3.0) -> list[float]:
    """Send small UDP packets from the island to the city and back; return the round trips.

    Those that are lost are missing.
    """
    with (
        lab.open_socket("city", socket.SOCK_DGRAM) as mirror,
        lab.open_socket("island", socket.SOCK_DGRAM) as probe,
    ):
        mirror.bind(("0.0.0.0", 0))
        mirror.settimeout(0.05)
        target = (lab.city_address, mirror.getsockname()[1])

        stop = threading.Event()

        def reflect() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    data, sender = mirror.recvfrom(2000)
                    mirror.sendto(data, sender)

        trips_s: list[float] = []

        def collect() -> None:
            probe.settimeout(timeout_s)
            with contextlib.suppress(TimeoutError):
                while len(trips_s) < count:
                    number = int.from_bytes(probe.recv(100), "big")
                    trips_s.append(time.monotonic() - sent_at_s[number])
            stop.set()

        threads = [threading.Thread(target=reflect), threading.Thread(target=collect)]
        sent_at_s: list[float] = []
        for number in range(count):
            sent_at_s.append(time.monotonic())
            probe.sendto(number.to_bytes(4, "big"), target)
            if number == 0:  # bound by the first sending
                for thread in threads:
                    thread.start()
            time.sleep(every_s)
        for thread in threads:
            thread.join()
        return trips_s


def stream_bps(lab: Lab, source: Place, duration_s: float) -> float:
    """Send over one TCP connection for `duration_s`; return the received payload's rate.

    The first half is the start-up and is not counted.
    """
    place: Place = "city" if source == "island" else "island"
    address = lab.city_address if place == "city" else lab.island_address
    with lab.open_socket(place) as listener, lab.open_socket(source) as sender:
        listener.bind(("0.0.0.0", 0))
        listener.listen(1)
        sender.connect((address, listener.getsockname()[1]))
        receiver, _ = listener.accept()
        stop = threading.Event()

        def send() -> None:
            sender.settimeout(0.2)
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    sender.send(bytes(65536))

        thread = threading.Thread(target=send)
        thread.start()
        with receiver:
            receiver.settimeout(duration_s)
            start_s = time.monotonic()
            received, counted_from_s = 0, 0.0
            while time.monotonic() < start_s + duration_s:
                data = len(receiver.recv(262_144))
                if time.monotonic() >= start_s + duration_s / 2:
                    if counted_from_s:
                        received += data
                    else:
                        counted_from_s = time.monotonic()
            counted_s = time.monotonic() - counted_from_s
            stop.set()
            thread.join()
        return received * 8 / counted_s
