# SPDX-License-Identifier: Apache-2.0
"""What is done by time, by a timer and by a busy socket's rhythm."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from media.relay.port import RelayPort
from media.relay.ticker import LONGEST_S, SHARES, TICK_S, Ticker
from tests.support.relay_peer import relay
from tests.support.until import until

SOME = 2_000


class Room:
    """What a ticker needs of a room."""

    def __init__(self, *, awake: bool = True) -> None:
        self.awake = awake
        self.ticked: list[float] = []

    def tick(self, now: float) -> None:
        self.ticked.append(now)


class Broken(Room):
    """One with a defect."""

    def tick(self, now: float) -> None:
        super().tick(now)
        raise KeyError


def ticking(port: RelayPort, rooms: list[Any], faults: list[Exception], **more: Any) -> Ticker:
    return Ticker(port.udp, lambda: rooms, clock=time.monotonic, on_fault=faults.append, **more)


async def test_rooms_that_are_awake_are_ticked_and_one_defect_stops_no_other():
    """By the timer: those that sleep are left alone, an error is told and the next room is ticked all the same."""
    async with relay() as port:
        rooms, faults = [Broken(), Room(), Room(awake=False)], []
        ticker = ticking(port, rooms, faults)
        ticker.start()
        ticker.start()
        await until(lambda: len(rooms[1].ticked) >= 3)
        ticker.stop()
        assert len(rooms[0].ticked) == len(rooms[1].ticked) == len(faults)
        assert not rooms[2].ticked
        assert rooms[1].ticked[1] - rooms[1].ticked[0] >= TICK_S * 0.9


async def test_it_rests_when_nobody_is_awake_and_goes_on_for_what_else_there_is():
    """No timer is left when all sleep and the other thing is over; starting again ticks again."""
    async with relay() as port:
        room, left = Room(awake=False), [3]

        def also(now: float) -> bool:
            left[0] -= 1
            return left[0] > 0

        ticker = ticking(port, [room], [], also=also)
        ticker.start()
        await until(lambda: left[0] == 0)
        room.awake = True
        await asyncio.sleep(5 * TICK_S)  # a time in which it would have ticked
        assert not room.ticked
        ticker.start()
        await until(lambda: len(room.ticked) >= 2)
        assert left[0] < 0
        ticker.stop()


@asynccontextmanager
async def busy(port: RelayPort) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Bring a port's socket into its rhythm; what is yielded keeps it there for a millisecond."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect(("127.0.0.1", port.udp_port))

        async def load() -> None:
            for _ in range(5):
                stranger.send(bytes([255]) * 20)
            await asyncio.sleep(0.001)

        for _ in range(SOME):
            stranger.send(bytes([255]) * 20)
            await asyncio.sleep(0)
            if port.udp.gathers:
                break
        assert port.udp.gathers
        yield load


async def test_a_busy_sockets_rhythm_ticks_each_room_as_often_a_share_at_a_time():
    """Under load no reading ticks more than a share, each room has its turn, one with a defect too, and none more often than
    by the timer."""
    async with relay() as port:
        rooms, faults = [Broken(), *(Room() for _ in range(2 * SHARES - 1))], []
        ticker = ticking(port, rooms, faults)
        ticker.start()
        async with busy(port) as load:
            for room in rooms:
                room.ticked.clear()
            began_at = time.monotonic()
            while min(len(room.ticked) for room in rooms) < 5:
                await load()
                assert time.monotonic() < began_at + 10
            most = max(len(room.ticked) for room in rooms)
            assert most <= (time.monotonic() - began_at) / TICK_S + 2
        at_once = Counter(at for room in rooms for at in room.ticked)
        assert max(at_once.values()) == 2
        assert faults
        ticker.stop()


async def test_rooms_that_take_long_wait_for_the_next_reading():
    """Each takes longer than packets may wait: one at a reading, and still all have their turn."""

    class Long(Room):
        def tick(self, now: float) -> None:
            super().tick(now)
            until_s = time.monotonic() + 1.5 * LONGEST_S
            while time.monotonic() < until_s:
                pass

    async with relay() as port:
        rooms = [Long() for _ in range(3 * SHARES)]
        ticker = ticking(port, rooms, [])
        async with busy(port) as load:
            ticker.start()
            began_at = time.monotonic()
            while min(len(room.ticked) for room in rooms) < 3:
                await load()
                assert time.monotonic() < began_at + 10
        assert set(Counter(at for room in rooms for at in room.ticked).values()) == {1}
        ticker.stop()


async def test_in_the_rhythm_the_other_thing_is_done_too_also_without_rooms():
    """Once for each round of the rooms; where there are none, as often as a share is due."""
    async with relay() as port:
        done: list[float] = []

        def also(now: float) -> bool:
            done.append(now)
            return True

        ticker = ticking(port, [], [], also=also)
        async with busy(port) as load:
            ticker.start()
            done.clear()
            began_at = time.monotonic()
            while len(done) < 5:
                await load()
                assert time.monotonic() < began_at + 10
        ticker.stop()
