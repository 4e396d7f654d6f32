# SPDX-License-Identifier: Apache-2.0
"""A WebSocket from upgrade to goodbye: the hello, the limits, what happens when a side comes or goes.

Until the hello is accepted nothing is created but a timer. Afterwards each message is judged here (order, rate, role)
and handed to ``commands``. Whatever refuses answers with a stable code, and the connection stays as it was unless the
code says that it closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter, deque
from collections.abc import Collection, Coroutine

from aiohttp import hdrs, web

from auth import tokens
from auth.errors import TokenInvalid
from auth.origins import require_origin
from auth.roles import Action, Role, may
from auth.throttle import HELLO_BY_PERSON, Throttle, address_key
from auth.tokens import Audience, Claims
from signalling.config import Config
from signalling.core import events as ev
from signalling.core.lifecycle import Consult
from signalling.edge import rota
from signalling.edge.clock import now
from signalling.edge.commands import Commands, IceServers
from signalling.edge.connections import Connection, Connections, Gone
from signalling.edge.consults import Consults
from signalling.edge.contents import Contents
from signalling.edge.house import Account, House
from signalling.edge.ledger import Ledger
from signalling.edge.legs import Legs
from signalling.edge.proxies import client_address
from signalling.edge.push import Push
from signalling.edge.relays import relay_of
from signalling.edge.socket import Socket
from signalling.edge.views import peer_of
from signalling.errors import Refused, refusal
from signalling.logs import context
from signalling.metrics import Metrics
from signalling.store.base import StoreError
from signalling.wire import codec
from signalling.wire.codes import CODES, Code
from signalling.wire.ids import AccountId, ConnectionId, ConsultId, InstanceId, ParticipantId
from signalling.wire.messages import (
    PROTOCOL_VERSIONS,
    TAGS,
    ClientMessage,
    Error,
    Hello,
    Welcome,
)
from signalling.wire.terms import SpecialistState

log = logging.getLogger(__name__)

MAX_PENDING = 64
"""Durable requests of one connection that wait for the store; more are refused with ``rate_limited``."""
RELAY_MESSAGES = 20
"""A relay speaks for all its legs: it may send so many times what one person may."""
STRANGERS_PER_ADDRESS_MAX = 512
"""WebSockets of one address (of IPv6, one /64) that have not said who they are: a fortieth of the places of a node, and
never more than half of them. An island behind one address may be a thousand pages; one that is let in counts no more."""


class Visitor:
    """One WebSocket: a stranger first, then a connection."""

    __slots__ = (
        "_allowance",
        "_burst",
        "_clock",
        "_gate",
        "_limits",
        "_pending",
        "_per_s",
        "_refilled_at",
        "_working",
        "connection",
        "household",
        "last_id",
        "socket",
        "timer",
    )

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.household = ""
        """Where a stranger comes from; empty for one who is known."""
        limit = gate.config.limits.outgoing_max_bytes
        self.socket = Socket(self.received, self.pinged, limit, self.received_bytes)
        self.connection: Connection | None = None
        self.last_id = 0
        loop = asyncio.get_running_loop()
        self._clock = loop.time  # looking the loop up for each message costs 0.2 µs
        self._limits = gate.config.limits
        self.timer: asyncio.TimerHandle | None = loop.call_later(
            self._limits.hello_timeout_s, self._too_late
        )
        self._per_s, self._burst = self._limits.messages_per_s, self._limits.message_burst
        self._allowance = float(self._burst)
        self._refilled_at = self._clock()
        self._pending: deque[ClientMessage] = deque()
        self._working = False

    def received(self, data: bytes) -> None:
        """Take one message; never raises."""
        message: ClientMessage | None = None
        try:
            self._spend()
            message = codec.decode(data)
            self._gate.metrics.message_received(TAGS[type(message)])
            self._take(message)
        except Exception as error:  # noqa: BLE001 - the one place where every exception becomes a code
            request_id = getattr(error, "request_id", None)
            if message is not None:
                request_id = message.id
            self.refuse(error, request_id)

    def received_bytes(self, data: bytes) -> None:
        """Take one piece of content; it counts like a message. Never raises."""
        try:
            self._spend()
            self._gate.contents.piece(self.connection, data)
        except Exception as error:  # noqa: BLE001 - as above
            self.refuse(error, None)

    def pinged(self) -> None:
        """Count a ping like a message: each is answered, so they must not come without end either."""
        try:
            self._spend()
        except Refused as refused:
            self.refuse(refused, None)

    def _take(self, message: ClientMessage) -> None:
        """Judge a message's place and hand it on."""
        if message.id <= self.last_id:
            raise Refused(Code.OUT_OF_ORDER)
        self.last_id = message.id
        connection = self.connection
        if connection is not None and type(message) is not Hello:
            if not self._gate.commands.at_once(connection, message):
                self._enqueue(message)
        elif type(message) is not Hello:
            raise Refused(Code.UNAUTHENTICATED)
        elif self.timer is None:
            raise Refused(Code.OUT_OF_ORDER)
        else:
            self.timer.cancel()
            self.timer = None
            self._gate.spawn(self._hello(message))

    def _spend(self) -> None:
        """Take one message from the connection's allowance (token bucket)."""
        at = self._clock()
        allowance = self._allowance + (at - self._refilled_at) * self._per_s
        self._refilled_at = at
        self._allowance = min(allowance, self._burst) - 1.0
        if allowance < 1.0:
            raise Refused(Code.RATE_LIMITED)

    def widen(self, factor: int) -> None:
        """Allow so many times the messages of one person."""
        self._per_s, self._burst = self._per_s * factor, self._burst * factor

    def refuse(self, error: Exception, request_id: int | None) -> Code:
        """Answer with a code; close if the code says so. Return the code."""
        refused = refusal(error)
        self._gate.metrics.refused(refused.code)
        retry = refused.retry_after_s
        self.socket.send(
            codec.encode(
                Error(
                    code=refused.code,
                    re=request_id,
                    retry_after_ms=None if retry is None else int(retry * 1_000) + 1,
                    ref=refused.ref,
                )
            )
        )
        if CODES[refused.code].close is not None:
            self.socket.close(refused.code)
        return refused.code

    def _too_late(self) -> None:
        self.timer = None
        self.refuse(Refused(Code.HELLO_TIMEOUT), None)

    async def _hello(self, hello: Hello) -> None:
        try:
            await self._gate.admit(self, hello)
        except Exception as error:  # noqa: BLE001 - as above
            code = self.refuse(error, hello.id)
            if self.connection is None:
                # Whoever is not let in may not stay either; if that was our fault, they shall try again.
                self.socket.close(Code.RESTARTING if CODES[code].retry else Code.UNAUTHENTICATED)

    def _enqueue(self, message: ClientMessage) -> None:
        """Handle what waits for the store in the order in which it came, one after the other."""
        if len(self._pending) >= MAX_PENDING:
            raise Refused(Code.RATE_LIMITED)
        self._pending.append(message)
        if not self._working:
            self._working = True
            self._gate.spawn(self._work())

    async def _work(self) -> None:
        try:
            # What a displaced or signed-out page asked for earlier is not done any more: it is answered by the close.
            while self._pending and self.connection is not None and self.socket.close_code is None:
                message = self._pending.popleft()
                try:
                    with context(connection=self.connection.id, role=self.connection.role):
                        await self._gate.commands.handle(self.connection, message)
                except Exception as error:  # noqa: BLE001 - as above
                    self.refuse(error, message.id)
        finally:
            self._working = False


class Gate:
    """Lets visitors in, keeps count of them, and notices when they go. One per node."""

    def __init__(
        self,
        *,
        config: Config,
        ledger: Ledger,
        house: House,
        consults: Consults,
        connections: Connections,
        push: Push,
        commands: Commands,
        legs: Legs,
        contents: Contents,
        metrics: Metrics,
        origins: Collection[str],
    ) -> None:
        """``origins`` are the canonical origins of our own pages."""
        self.config = config
        self.commands = commands
        self.contents = contents
        self.metrics = metrics
        self._ledger = ledger
        self._house = house
        self._consults = consults
        self._connections = connections
        self._push = push
        self._legs = legs
        self._origins = origins
        self._visitors: set[Visitor] = set()
        self._strangers: Counter[str] = Counter()
        self._hellos = Throttle(HELLO_BY_PERSON)
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        """Going down: nobody new is let in."""
        house.on_account = self._on_account
        connections.on_regained = lambda connection: self.spawn(self._regained(connection))

    async def handler(self, request: web.Request) -> web.StreamResponse:
        """Serve ``/ws``."""
        require_origin(request.headers.get(hdrs.ORIGIN), self._origins)
        if self.draining:
            raise Refused(Code.RESTARTING, retry_after_s=1.0)
        if len(self._visitors) >= self.config.limits.max_connections:
            raise Refused(Code.TOO_MANY_CONNECTIONS, retry_after_s=5.0)
        household = self._household(request)
        visitor = Visitor(self)
        visitor.household = household
        self._strangers[household] += 1
        self._visitors.add(visitor)
        try:
            return await visitor.socket.run(request)
        finally:
            self._visitors.discard(visitor)
            self._no_stranger(visitor)
            if visitor.socket.close_code == CODES[Code.SLOW_READER].close:
                self.metrics.refused(Code.SLOW_READER)
            if visitor.timer is not None:
                visitor.timer.cancel()
            if visitor.connection is not None:
                self.contents.gone(visitor.connection)
                self._gone(visitor.connection)
                visitor.connection = None

    def _household(self, request: web.Request) -> str:
        """Return where a stranger comes from; raises Refused if too many from there have not said who they are."""
        server, limits = self.config.server, self.config.limits
        forwarded_for = request.headers.get("X-Forwarded-For", "")
        address = client_address(request.remote or "", forwarded_for, server.trusted_proxies)
        household = address_key(address)
        most = min(STRANGERS_PER_ADDRESS_MAX, limits.max_connections // 2 + 1)
        if self._strangers[household] >= most:
            raise Refused(Code.TOO_MANY_CONNECTIONS, retry_after_s=5.0)
        return household

    def _no_stranger(self, visitor: Visitor) -> None:
        """Who is known, or gone, takes no stranger's place."""
        household, visitor.household = visitor.household, ""
        if household:
            self._strangers[household] -= 1
            if self._strangers[household] <= 0:
                del self._strangers[household]

    # -- coming ------------------------------------------------------------------------------------------------------

    async def admit(self, visitor: Visitor, hello: Hello) -> None:
        """Judge a hello; make the visitor a connection and tell it all that it missed.

        Raises:
            Refused, auth.errors.AuthError: not let in.
        """
        version = next((v for v in hello.protocols if v in PROTOCOL_VERSIONS), None)
        if version is None:
            raise Refused(Code.VERSION_UNSUPPORTED)
        claims = self._claims(hello)
        consult, _ = await self._whose(claims, hello)
        relay = claims.role is Role.RELAY
        self._pace(claims)
        connection = Connection(
            id=ConnectionId(secrets.token_hex(6)),
            socket=visitor.socket,
            role=claims.role,
            participant=relay_of(hello.instance) if relay else ParticipantId(claims.sub),
            instance=InstanceId(hello.instance),
            consult=consult.id if consult is not None else None,
            binding=claims.sub if relay else claims.jti,
            resumed=hello.cursor > 0,
            high_bytes=self.config.limits.outgoing_high_bytes,
        )
        if relay:
            self._legs.relays.require_same(connection)
        if consult is not None and hello.consult == consult.id:
            if hello.cursor > consult.version:
                # The page comes from a node that was ahead of this one; what it has must not come again.
                consult = await self._ledger.refresh(consult.id)
            connection.cursor = min(hello.cursor, consult.version)
        await self._connections.add(connection)
        try:
            # Whoever was displaced or signed out while we asked the store was not here to be told.
            _, name = await self._whose(claims, hello)
        except Exception:
            await self._connections.remove(connection)
            raise
        if not visitor.socket.open:
            self.spawn(self._forget(connection))  # whom it displaced is gone as well
            return
        visitor.connection = connection
        self._no_stranger(visitor)
        if relay:
            visitor.widen(RELAY_MESSAGES)
            self._legs.relays.came(connection)  # before the welcome: it speaks at once
        self.metrics.connection_opened(connection.role)
        if hello.cursor:
            self.metrics.resumed()
        self._welcome(connection, hello, version, name)
        try:
            await self._connections.displace(connection)
            await self._brief(connection, consult)
        except (Refused, StoreError):
            # It can't be shown the truth now: it reconnects, and asks again.
            connection.socket.close(Code.RESTARTING)

    def _welcome(self, connection: Connection, hello: Hello, version: int, name: str) -> None:
        # A relay is reached by its own address: it needs no TURN server.
        relay = connection.role is Role.RELAY
        ice = IceServers([], None) if relay else self.commands.ice_servers(connection)
        connection.send(
            Welcome(
                re=hello.id,
                protocol=version,
                now=now(),
                role=connection.role,
                participant=connection.participant,
                connection=connection.id,
                heartbeat_s=self.config.limits.heartbeat_s,
                ice_servers=ice.servers,
                ice_transport_policy=self.config.turn.ice_transport_policy,
                ice_expires_at=ice.expires_at,
                name=name,
            )
        )

    def _claims(self, hello: Hello) -> Claims:
        """Return what a hello's token says; raises auth.errors.AuthError."""
        return tokens.verify(
            self._consults.ring,
            hello.token,
            audience=Audience.SESSION,
            or_audience=Audience.RELAY,
            now=now(),
        )

    def _pace(self, claims: Claims) -> None:
        """Count a hello; raises auth.errors.Throttled. Relays are ours."""
        # Whoever was displaced or signed out has been refused before: they can't make the one who is let in wait.
        if claims.role is not Role.RELAY:
            self._hellos.charge(claims.sub, now())

    async def _whose(self, claims: Claims, hello: Hello) -> tuple[Consult | None, str]:
        """Return the consult and the name of who comes; raises Refused for who may not (any more)."""
        if (claims.role is Role.RELAY) is not (claims.audience is Audience.RELAY):
            raise TokenInvalid
        if claims.role is Role.RELAY:
            return None, claims.sub
        if claims.role is Role.PATIENT:
            return await self._consults.of_session(claims), ""
        account = self._house.account(AccountId(claims.sub))
        if account is None or not account.lets_in(claims):
            raise Refused(Code.SIGNED_OUT)
        if account.role is not Role.SPECIALIST:
            return None, account.name
        who = await self._ledger.presence(account.id)
        if who.state is SpecialistState.IN_CALL and who.consult is not None:
            return await self._ledger.consult(who.consult), account.name
        return await self._just_over(account.id, hello.consult), account.name

    async def _just_over(self, account: AccountId, consult_id: str | None) -> Consult | None:
        """Return the call that a specialist's page is still in, if it ended while the page was away."""
        if consult_id is None:
            return None
        try:
            consult = await self._ledger.consult(ConsultId(consult_id))
        except Refused:
            return None
        missed = (consult.ended_at or 0.0) > now() - self._ledger.policy.keep_s
        return consult if missed and consult.specialist == account else None

    async def _brief(self, connection: Connection, consult: Consult | None) -> None:
        """Tell a new connection where things stand, and everybody else that it is here."""
        if may(connection.role, Action.WATCH_BOARD):
            self._push.board(connection)
            return
        if connection.role is Role.SPECIALIST:
            self._push.desk(connection)
        if consult is None:
            self._legs.came(connection)
            return
        await self._ledger.commit(consult.id, lambda c: rota.side_back(c, connection.role))
        await self._push.sync(connection)
        self._push.announce(connection, self._ledger.known(consult.id) or consult)
        self._legs.came(connection)

    # -- going -------------------------------------------------------------------------------------------------------

    def _gone(self, connection: Connection) -> None:
        code = connection.socket.close_code
        reason = next((c for c, info in CODES.items() if info.close == code), None)
        self.metrics.connection_closed(connection.role, reason or "none")
        if connection.role is Role.RELAY:
            self._legs.relays.gone(connection)
        self.spawn(self._forget(connection))

    async def _forget(self, connection: Connection) -> None:
        """A participant who is not back after a reload's time is away."""
        if not await self._connections.remove(connection):
            return
        consult_id = connection.consult
        if consult_id is not None:
            self._tell_gone(connection, consult_id)
        consult = self._ledger.known(consult_id) if consult_id is not None else None
        done = connection.role is Role.PATIENT and consult is not None and consult.over
        if self.draining or done or connection.role is Role.RELAY:
            return  # nobody will look for this patient, so the lease may just run out
        grace_s = self._ledger.policy.away_grace_s
        if not await self._connections.stays_away(connection, grace_s):
            return
        if connection.role is Role.SPECIALIST:
            account = AccountId(connection.participant)
            await self._ledger.commit_presence(account, rota.roll_over)
        if consult_id is not None and connection.role in (Role.PATIENT, Role.SPECIALIST):
            with contextlib.suppress(Refused):
                await self._ledger.commit(
                    consult_id, lambda c: _lost(c, connection.role, connection.account)
                )
            if await self._connections.elsewhere(connection.participant):
                # Back while this was written: their hello found nothing to take back.
                await self._ledger.commit(
                    consult_id, lambda c: _back(c, connection.role, connection.account)
                )
                return
        if connection.role is Role.PATIENT:
            await self._connections.release(connection.participant)

    async def _regained(self, connection: Connection) -> None:
        """Take back what was said of a participant while this node could not renew the lease."""
        if connection.consult is not None and connection.role in (Role.PATIENT, Role.SPECIALIST):
            await self._ledger.refresh(connection.consult)
            await self._ledger.commit(
                connection.consult, lambda c: _back(c, connection.role, connection.account)
            )

    def _on_account(self, account: Account) -> None:
        """A password that is no longer good ends its sessions; a closed account leaves the rota and its call too."""
        self._push.accounts_changed()
        connection = self._connections.get(ParticipantId(account.id))
        if connection is not None and (account.disabled or connection.binding != account.binding):
            connection.socket.close(Code.SIGNED_OUT)
        if account.disabled and account.role is Role.SPECIALIST:
            self.spawn(self._off_duty(account.id))

    async def _off_duty(self, account: AccountId) -> None:
        who = await self._ledger.commit_presence(account, lambda w: rota.off_call(w, lapsed=False))
        if who.state is SpecialistState.IN_CALL and who.consult is not None:
            await self._ledger.commit(who.consult, lambda c: rota.hand_over(c, account))

    def _tell_gone(self, connection: Connection, consult_id: ConsultId) -> None:
        """The other side sees at once that the page is gone, long before it counts as away."""
        consult = self._ledger.known(consult_id)
        peer = peer_of(consult, connection.role) if consult is not None else None
        if peer is None:
            return
        local = self._connections.get(peer)
        if local is not None:
            self._push.refresh(local, consult_id)
        else:
            gone = Gone(consult_id, connection.participant)
            self.spawn(self._tell(peer, gone))

    async def _tell(self, peer: ParticipantId, gone: Gone) -> None:
        await self._connections.tell(peer, gone)

    # -- keeping -----------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Every heartbeat: ping everybody, drop who was silent for two, and who reads too slowly. For ever."""
        limits = self.config.limits
        loop = asyncio.get_running_loop()
        rounds = 0
        while True:
            step_s = min(limits.heartbeat_s / 3, limits.outgoing_high_s / 2)
            await asyncio.sleep(step_s)
            rounds += 1
            beat = rounds * step_s >= limits.heartbeat_s
            rounds = 0 if beat else rounds
            for visitor in list(self._visitors):
                self._check(visitor.socket, loop.time(), beat=beat)

    def _check(self, socket: Socket, at: float, *, beat: bool) -> None:
        limits = self.config.limits
        waiting = socket.buffered_bytes
        if waiting < limits.outgoing_high_bytes:
            socket.over_since = None
        elif socket.over_since is None:
            socket.over_since = at
        if socket.over_since is not None and at - socket.over_since > limits.outgoing_high_s:
            socket.close(Code.SLOW_READER)
        elif beat:
            if socket.silent_beats >= 2:
                socket.cut()
                return
            socket.silent_beats = 0 if socket.heard else socket.silent_beats + 1
            socket.heard = False
            socket.ping()

    async def drain(self) -> None:
        """Ask everybody to connect elsewhere (or again), and wait for what is being done."""
        self.draining = True
        for visitor in list(self._visitors):
            visitor.socket.close(Code.RESTARTING)
        await self.contents.flush()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.config.server.shutdown_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run a piece of work to its end; its failure is logged, not lost."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, StoreError | Refused):
            log.warning("task_refused", extra={"code": refusal(error).code})
        else:
            log.error("task_failed", exc_info=error)


def _lost(consult: Consult, role: str, account: AccountId | None) -> list[ev.Event]:
    """A specialist's side is theirs only while they are in the call."""
    if role == ev.SPECIALIST and consult.specialist != account:
        return []
    return rota.side_lost(consult, role)


def _back(consult: Consult, role: str, account: AccountId | None) -> list[ev.Event]:
    """The same the other way round."""
    if role == ev.SPECIALIST and consult.specialist != account:
        return []
    return rota.side_back(consult, role)
