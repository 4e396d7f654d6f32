# SPDX-License-Identifier: Apache-2.0
"""Selat's protocol for the load: how a patient and a specialist get into a call and out of it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tests.load.calls import CANDIDATES, Field, Side, candidate, description
from tests.load.client import FIRST_ID, Client, Template, connect
from tests.load.process import Server

WAIT_S = 30.0
RINGING = 20
"""Patients who wait at a time while a field is prepared."""
INTAKE = {
    "complaint": "batuk dan demam sejak tiga hari",
    "ageMonths": 400,
    "sex": "male",
    "assistant": "nobody",
    "language": "id",
    "consent": True,
}

Message = dict[str, Any]


class Page:
    """What a page keeps of its WebSocket."""

    def __init__(self, client: Client) -> None:
        """``client`` is connected and has said nothing yet."""
        self.client = client
        self.next_id = FIRST_ID
        self._unread: deque[Message] = deque(maxlen=200)
        self._news = asyncio.Event()
        self.listen()

    def listen(self) -> None:
        """Take the messages (again)."""
        self.client.on_message = self._received

    def _received(self, payload: bytes) -> None:
        self._unread.append(json.loads(payload))
        self._news.set()

    async def until(
        self, wanted: Callable[[Message], object], wait_s: float | None = WAIT_S
    ) -> Message:
        """Return the first message that is wanted; those before it are dropped.

        Raises:
            RuntimeError: the server refused something.
            TimeoutError: it didn't come.
        """
        async with asyncio.timeout(wait_s):
            while True:
                while self._unread:
                    message = self._unread.popleft()
                    if message["type"] == "error":
                        raise RuntimeError(f"refused: {message['code']}")
                    if wanted(message):
                        return message
                self._news.clear()
                await self._news.wait()

    def send(self, kind: str, **fields: object) -> int:
        """Send a message; return its id."""
        self.next_id += 1
        self.client.send({"type": kind, "id": self.next_id, **fields})
        return self.next_id

    async def request(self, kind: str, **fields: object) -> Message:
        """Send a message and wait for its answer."""
        request_id = self.send(kind, **fields)
        return await self.until(lambda message: message.get("re") == request_id)


async def arrive(port: int, session: str, *, tls: bool = False) -> Page:
    """Connect and say hello."""
    page = Page(await connect(port, "/ws", tls=tls))
    await page.request("hello", protocols=[1], token=session, instance=f"page{id(page):016x}")
    return page


def in_state(state: str, consult: str) -> Callable[[Message], object]:
    """Return whether a message shows a consult in a state."""
    return lambda m: m["type"] == "consult" and m["consult"] == consult and m["state"] == state


def side(page: Page, consult: str, kind: str) -> Side:
    """Return an end of a call that sends ``kind`` (offer or answer) and its candidates."""
    messages = [Template.of("description", {"consult": consult, "description": description(kind)})]
    for number in range(1, CANDIDATES + 1):
        found = {"consult": consult, "candidate": candidate(number)}
        messages.append(Template.of("candidate", found))
    return Side(page.client, messages, page.next_id)


def empty_field() -> Field:
    """Return a field that knows how Selat's messages begin."""
    return Field(
        (b'{"type":"description"', b'{"type":"candidate"'),
        (b'{"type":"error"',),
    )


async def ring_and_accept(specialist: Page) -> str:
    """Wait for the ring, take it, and return its consult once it is in call."""
    desk = await specialist.until(lambda m: m["type"] == "desk" and m.get("ring"), None)
    consult: str = desk["ring"]["consult"]
    accepted = specialist.send("accept", consult=consult)
    done: set[str] = set()

    def both(message: Message) -> bool:
        if message.get("re") == accepted:
            done.add("ok")
        elif in_state("in_call", consult)(message):
            done.add("view")
        return len(done) == 2

    await specialist.until(both)
    return consult


async def wait_and_talk(patient: Page, consult: str) -> None:
    """Give the intake and wait until a specialist is there."""
    given = patient.send("intake", form=INTAKE)
    await patient.until(lambda m: m.get("re") == given)
    await patient.until(in_state("in_call", consult))


async def field_of_calls(server: Server, pairs: int, *, tls: bool) -> Field:
    """Bring pairs into calls by the whole path, and return them."""
    field = empty_field()
    sessions: Sequence[str] = await server.ask({"specialists": 0})
    patients = await server.ask({"patients": pairs})
    for first in range(0, pairs, RINGING):
        batch = patients[first : first + RINGING]
        desks = await asyncio.gather(
            *(arrive(server.port, s, tls=tls) for s in sessions[first : first + len(batch)])
        )
        pages = await asyncio.gather(*(arrive(server.port, p["session"], tls=tls) for p in batch))
        by_consult = {p["consult"]: page for p, page in zip(batch, pages, strict=True)}
        rings = [asyncio.create_task(ring_and_accept(desk)) for desk in desks]
        for desk in desks:
            desk.send("on_call", on=True)
        await asyncio.gather(*(wait_and_talk(page, c) for c, page in by_consult.items()))
        for desk, consult in zip(desks, await asyncio.gather(*rings), strict=True):
            # The specialist offers: the patient is the polite side.
            field.add(side(desk, consult, "offer"), side(by_consult[consult], consult, "answer"))
    return field


class Ward:
    """Specialists on call, and patients who come, are helped and go."""

    def __init__(self, server: Server, *, tls: bool) -> None:
        """``open`` must be awaited."""
        self._server, self._tls = server, tls
        self._arrived: dict[str, asyncio.Future[Page]] = {}
        self._desks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Put the node's specialists on call."""
        for session in await self._server.ask({"specialists": 0}):
            desk = await arrive(self._server.port, session, tls=self._tls)
            await desk.request("on_call", on=True)
            self._desks.append(asyncio.create_task(self._serve(desk)))

    async def close(self) -> None:
        """End; raises what went wrong at a desk."""
        self._look_at_desks()
        for task in self._desks:
            task.cancel()
        await asyncio.gather(*self._desks, return_exceptions=True)

    def _look_at_desks(self) -> None:
        for task in self._desks:
            if task.done():
                task.result()

    async def visit(self, patient: dict[str, str]) -> None:
        """One call from the patient's hello to its end.

        Raises:
            RuntimeError: the server refused something, also at a desk.
            TimeoutError: something didn't come, and every desk is well.
        """
        try:
            await self._visit(patient)
        except TimeoutError:
            # A desk that was refused something answers no more rings: the patient's wait is not what went wrong.
            self._look_at_desks()
            raise

    async def _visit(self, patient: dict[str, str]) -> None:
        consult = patient["consult"]
        arrived = self._arrived[consult] = asyncio.get_running_loop().create_future()
        page = await arrive(self._server.port, patient["session"], tls=self._tls)
        await wait_and_talk(page, consult)
        arrived.set_result(page)
        await page.until(in_state("ended", consult))
        page.client.close()

    async def _serve(self, desk: Page) -> None:
        while True:
            consult = await ring_and_accept(desk)
            patient = await self._arrived.pop(consult)
            field = empty_field()
            offerer = side(desk, consult, "offer")
            field.add(offerer, side(patient, consult, "answer"))
            await field.once_each()
            desk.next_id = offerer.next_id
            desk.listen()
            patient.listen()
            await desk.request("end", consult=consult, outcome="advice", summary="Minum air.")
