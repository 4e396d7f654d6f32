# SPDX-License-Identifier: Apache-2.0
"""A relay that speaks the wire and carries nothing: it mints, seats and closes legs, and says that they are well."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from typing_extensions import override

from auth import tokens
from auth.roles import Role
from auth.tokens import Audience, Claims
from signalling.edge.clock import now
from tests.support.clinic import Call, Clinic
from tests.support.peer import Message, Peer

GOLDEN = Path(__file__).parents[1] / "wire" / "golden"
OFFER: Message = json.loads((GOLDEN / "client.legs_minted.json").read_text())["legs"][0]["offer"]
ANSWER: Message = json.loads((GOLDEN / "client.leg_answer.json").read_text())["answer"]
POOL = 8
STATUS_S = 0.2
"""Five times as often as a real one, so that tests need not wait for the first."""


def relay_token(clinic: Clinic, name: str = "relay-1", **changes: Any) -> str:
    """Return a relay's token of this node."""
    at = now()
    claims = {
        "sub": name,
        "role": Role.RELAY,
        "audience": Audience.RELAY,
        "jti": secrets.token_urlsafe(8),
        "expires_at": at + 3_600.0,
        **changes,
    }
    return tokens.issue(clinic.node.consults.ring, Claims(**claims), at)


class FakeRelay(Peer):
    """A relay process. What it has of people survives its connection, as in a real one."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, token: str, *, legs_max: int = 100
    ) -> None:
        super().__init__(http, url, token)
        self.legs_max = legs_max
        self.draining = False
        self.connects = True
        """Whether legs come up by themselves."""
        self.pool: dict[str, Message] = {}
        self.seats: dict[str, Message] = {}
        self.ever: list[str] = []
        """Legs that were seated, in order."""
        self.closed: list[str] = []
        """Legs that were closed, each time that it was said."""
        self.answers: dict[str, Message] = {}
        self.forwarding: dict[str, list[str]] = {}
        self._minted = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def id(self) -> str:
        """Its participant id."""
        return f"r_{self.instance}"

    @classmethod
    async def start(cls, clinic: Clinic, name: str = "relay-1", **given: Any) -> FakeRelay:
        """Connect a new one, with a full pool."""
        relay = cls(clinic.http, clinic.url, relay_token(clinic, name), **given)
        clinic.peers.append(relay)
        await relay.connect()
        return relay

    async def connect(self) -> None:
        """Dial, and say all that a relay says; what nobody had is minted afresh."""
        welcome = await self.open()
        assert welcome["type"] == "welcome", welcome
        assert (welcome["role"], welcome["participant"]) == ("relay", self.id)
        self.pool.clear()
        await self.say_status()
        await self.send("legs_seated", legs=list(self.seats.values()), forwarding=self.carried())
        await self.mint(POOL)
        self._tasks.append(asyncio.create_task(self._tell_status()))

    def carried(self) -> list[str]:
        """Return the consults that it forwards."""
        return [consult for consult, between in self.forwarding.items() if between]

    async def say_status(self) -> None:
        """Say how it is."""
        await self.send(
            "relay_status",
            legs=len(self.seats),
            legsMax=self.legs_max,
            loadRatio=len(self.seats) / 1_000,
            draining=self.draining,
        )

    async def _tell_status(self) -> None:
        while True:
            await asyncio.sleep(STATUS_S)
            await self.say_status()

    @override
    async def send_text(self, text: str) -> None:
        """What is said into a connection that has just ended is lost."""
        with contextlib.suppress(aiohttp.ClientConnectionResetError):
            await super().send_text(text)

    async def mint(self, count: int) -> list[str]:
        """Mint legs; return their ids."""
        legs = []
        for _ in range(count):
            self._minted += 1
            leg = f"l_{self.instance[-6:]}_{self._minted}"
            self.pool[leg] = OFFER
            legs.append(leg)
        await self.send("legs_minted", legs=[{"leg": leg, "offer": OFFER} for leg in legs])
        return legs

    async def freeze(self) -> None:
        """Say nothing any more, with the socket open, as a process does that was stopped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    @override
    async def lose(self) -> None:
        """Lose the connection; it goes on forwarding."""
        await self.freeze()
        await super().lose()

    @override
    async def close(self) -> None:
        await self.freeze()
        await super().close()

    def seat_of(self, participant: str) -> Message:
        """Return the newest seat of a participant that is not closed."""
        return next(s for s in reversed(self.seats.values()) if s["participant"] == participant)

    def has(self, participant: str) -> bool:
        """Return whether a participant has a leg of it."""
        return any(s["participant"] == participant for s in self.seats.values())

    async def flow(self, consult: str) -> None:
        """Say that voice goes out on every leg of a consult."""
        for leg in [leg for leg, seat in self.seats.items() if seat["consult"] == consult]:
            await self.send("leg_state", leg=leg, state="flowing")

    @override
    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            message = json.loads(frame.data)
            await self._react(message)
            self.messages.append(message)
            self._came.set()
        self.close_code = socket.close_code
        self._came.set()

    async def _react(self, message: Message) -> None:
        match message["type"]:
            case "seat":
                seat = message["seat"]
                leg = seat["leg"]
                assert leg in self.pool, "a leg that was not minted, or is somebody's"
                del self.pool[leg]
                self.seats[leg] = seat
                self.ever.append(leg)
                await self.mint(1)
            case "leg_answer":
                leg = message["leg"]
                assert leg in self.seats, "an answer for nobody's leg"
                self.answers[leg] = message["answer"]
                if self.connects:
                    self.seats[leg] = {**self.seats[leg], "connected": True}
                    await self.send("leg_state", leg=leg, state="connected", iceMs=120, dtlsMs=240)
            case "forwarding":
                self.forwarding[message["consult"]] = message["between"]
            case "close_leg":
                self.closed.append(message["leg"])
                self.seats.pop(message["leg"], None)
                await self.send("leg_state", leg=message["leg"], state="closed")
            case _:
                pass


class Page:
    """Answers the legs that a peer is given, as a page does."""

    def __init__(self, peer: Peer, *, standbys: bool = False) -> None:
        """Answer as they come, until ``stop``; ``standbys`` too."""
        self.peer = peer
        self._standbys = standbys
        self._answered: set[str] = set()
        self._task = asyncio.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        while True:
            for message in self.peer.of("leg"):
                wanted = self._standbys or not message.get("standby")
                if wanted and message["leg"] not in self._answered:
                    self._answered.add(message["leg"])
                    with contextlib.suppress(aiohttp.ClientConnectionResetError):
                        await self.peer.send(
                            "leg_answer",
                            consult=message["consult"],
                            leg=message["leg"],
                            answer=ANSWER,
                        )
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Answer no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def first_legs(peer: Peer) -> list[Message]:
    """Return the legs that a page was given, without the standby ones."""
    return [m for m in peer.of("leg") if not m.get("standby")]


def standby_legs(peer: Peer) -> list[Message]:
    """Return the standby legs that a page was given."""
    return [m for m in peer.of("leg") if m.get("standby")]


Pages = Callable[..., Page]
"""Makes pages that answer their legs."""


async def relayed_call(clinic: Clinic, pages: Pages, specialist: Peer | None = None) -> Call:
    """Bring up a call whose legs are connected."""
    specialist = specialist or await clinic.specialist()
    pages(specialist)
    patient = await clinic.patient()
    pages(patient)
    call = await clinic.connect(patient, specialist)
    for side in (patient, specialist):
        await side.wait_until(lambda s=side: first_legs(s))
    return call
