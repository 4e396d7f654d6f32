# SPDX-License-Identifier: Apache-2.0
"""What must be done every ten milliseconds, for all rooms of a process.

A timer does it while there is little to do. While the socket is read in a rhythm, each reading does a share of it instead:
no wake-ups beside those for packets, and no packet waits until eighty rooms have been looked after.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from media.relay.room import Room
    from media.relay.udp import UdpPort

TICK_S: Final = 0.010
"""Half a frame of voice: what a room does by time is never later than that."""
SHARES: Final = 5
"""Of the rooms, one at each reading of a busy socket (``media.relay.udp.GATHER_S``)."""
LONGEST_S: Final = 0.001
"""After so long packets come first again."""
WATCH_S: Final = 2 * TICK_S
"""How often it is seen whether the socket is still read in a rhythm."""


class Ticker:
    """Calls ``tick`` of each room that is awake."""

    def __init__(
        self,
        udp: UdpPort,
        rooms: Callable[[], Sequence[Room]],
        *,
        clock: Callable[[], float],
        on_fault: Callable[[Exception], None],
        also: Callable[[float], bool] | None = None,
    ) -> None:
        """Make one that rests.

        Args:
            udp: whose rhythm is followed.
            rooms: returns all there are, awake or not.
            clock: monotonic seconds.
            on_fault: takes an error of ours in a room's tick.
            also: another thing to be done every tick; returns whether it must go on.
        """
        self._udp = udp
        self._rooms = rooms
        self._clock = clock
        self._on_fault = on_fault
        self._also = also
        self._timer: asyncio.TimerHandle | None = None
        self._place = 0
        self._share_at = 0.0
        udp.on_gathered = self._gathered

    def start(self) -> None:
        """Begin, if it has not: when a room has woken up."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._timed)

    def stop(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed(self) -> None:
        """Do all there is, unless the socket's rhythm does; end by itself when nobody is awake."""
        self._timer = None
        goes_on = True
        if not self._udp.gathers:
            now = self._clock()
            goes_on = self._tick(self._rooms(), now)
            goes_on = self._tick_also(now) or goes_on
        if goes_on:
            wait_s = WATCH_S if self._udp.gathers else TICK_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._timed)

    def _gathered(self) -> None:
        """Do a share, going on where the last one ended; some rooms may take so long that the rest of it waits."""
        now = self._clock()
        if self._timer is None or now < self._share_at:
            return
        self._share_at = max(self._share_at + TICK_S / SHARES, now)
        rooms, clock, until = self._rooms(), self._clock, now + LONGEST_S
        try:
            for _ in range(max(1, -(-len(rooms) // SHARES))):
                place = self._place
                if place >= len(rooms):
                    self._tick_also(now)
                    place = 0
                self._place = place + 1
                if rooms and rooms[place].awake:
                    rooms[place].tick(now)
                if clock() > until:
                    break
        except Exception as error:  # noqa: BLE001 the next reading goes on with the next room
            self._on_fault(error)

    def _tick(self, rooms: Sequence[Room], now: float) -> bool:
        """Return whether anybody is awake. One room's defect must not stop the others."""
        awake = False
        for room in rooms:
            if room.awake:
                awake = True
                try:
                    room.tick(now)
                except Exception as error:  # noqa: BLE001 see above
                    self._on_fault(error)
        return awake

    def _tick_also(self, now: float) -> bool:
        try:
            return self._also is not None and self._also(now)
        except Exception as error:  # noqa: BLE001 the rooms must go on
            self._on_fault(error)
            return True
