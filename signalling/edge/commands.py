# SPDX-License-Identifier: Apache-2.0
"""What each message does: one table from message type to permission and handler.

Descriptions, candidates and pings are handled at once, in the callback that read them; everything durable waits for the
store and is answered by ``ok`` when it is safe. Handlers only raise; ``gate`` answers.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from auth import turn
from auth.errors import PermissionDenied
from auth.roles import Action, Role, may
from signalling.config import TurnConfig
from signalling.core import audience, coordinator, matching, triage
from signalling.core import events as ev
from signalling.core.lifecycle import CALL, Consult
from signalling.core.presence import Presence
from signalling.edge import rota
from signalling.edge.clock import now
from signalling.edge.connections import Connection, Connections, Forward, Route
from signalling.edge.consults import Consults, qr_svg
from signalling.edge.contents import Contents
from signalling.edge.history import History
from signalling.edge.house import House
from signalling.edge.ledger import Ledger, consult_owner
from signalling.edge.legs import Legs
from signalling.edge.paces import Paces
from signalling.edge.push import Push
from signalling.edge.quality import Quality
from signalling.edge.views import peer_of
from signalling.errors import Refused
from signalling.metrics import Metrics
from signalling.store.base import Content, ContentId
from signalling.wire import base, codec
from signalling.wire import content as wire_content
from signalling.wire import direct as wire_direct
from signalling.wire import legs as wire_legs
from signalling.wire import messages as m
from signalling.wire import quality as wire_quality
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId, ParticipantId, PostCode
from signalling.wire.terms import SPECIALIST_OUTCOMES, Outcome

PERMISSIONS: Mapping[type[base.FromClient], Action | None] = {
    m.Ping: None,
    m.Intake: Action.GIVE_INTAKE,
    m.Leave: Action.LEAVE,
    m.Chat: Action.CHAT,
    m.Description: Action.NEGOTIATE,
    m.Candidate: Action.NEGOTIATE,
    m.TurnRequest: Action.GET_TURN,
    m.OnCall: Action.GO_ON_CALL,
    m.Accept: Action.ANSWER_RING,
    m.Decline: Action.ANSWER_RING,
    m.CallBack: Action.ANSWER_RING,
    wire_content.CallbackAnswered: Action.ANSWER_RING,
    m.Transfer: Action.TRANSFER,
    m.Hold: Action.TRANSFER,
    m.Note: Action.WRITE_NOTE,
    m.End: Action.END_CONSULT,
    m.Invite: Action.INVITE,
    m.DecideTakeover: Action.APPROVE_TAKEOVER,
    m.HistoryRequest: Action.SEE_HISTORY,
    m.SetupReport: Action.REPORT,
    m.RestartReport: Action.REPORT,
    wire_content.ContentBegin: Action.CHAT,
    wire_content.ContentRead: Action.CHAT,
    wire_content.StillRequest: Action.CHAT,
    wire_content.MessagesRequest: Action.SEE_HISTORY,
    wire_quality.Reception: Action.REPORT,
    wire_quality.LegLinks: Action.SERVE_MEDIA,
    wire_legs.LegAnswered: Action.NEGOTIATE,
    wire_legs.LegTrouble: Action.NEGOTIATE,
    wire_legs.RelayStatus: Action.SERVE_MEDIA,
    wire_legs.LegsMinted: Action.SERVE_MEDIA,
    wire_legs.LegsSeated: Action.SERVE_MEDIA,
    wire_legs.LegState: Action.SERVE_MEDIA,
    wire_legs.LimitLeg: Action.SERVE_MEDIA,
    wire_legs.LegProbed: Action.SERVE_MEDIA,
    wire_legs.Braked: Action.NEGOTIATE,
    wire_legs.Wish: Action.NEGOTIATE,
    wire_direct.Way: Action.REPORT,
}
"""Who may send what, by way of ``auth.roles``; ``hello`` is the gate's."""
_PERMITTED: Mapping[Role, Collection[type]] = {
    role: frozenset(k for k, act in PERMISSIONS.items() if act is None or may(role, act))
    for role in Role
}


@dataclass(frozen=True, slots=True)
class IceServers:
    """What a browser needs to gather candidates."""

    servers: list[m.IceServer]
    expires_at: float | None


class Commands:
    """The handlers. One per node."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        house: House,
        consults: Consults,
        connections: Connections,
        push: Push,
        legs: Legs,
        contents: Contents,
        metrics: Metrics,
        turn_config: TurnConfig,
        turn_secret: str,
        public_url: str,
    ) -> None:
        """``turn_secret`` is coturn's static-auth-secret; empty = no TURN."""
        self._ledger = ledger
        self._house = house
        self._consults = consults
        self._connections = connections
        self._push = push
        self._first_route = legs.first_route
        self._metrics = metrics
        self._turn = turn_config
        self._turn_secret = turn_secret
        self._public_url = public_url
        self._history = History(ledger)
        self.paces = Paces()
        self._at_once: Mapping[type, Callable[[Connection, Any], None]] = {
            m.Ping: self._ping,
            m.Description: self._description,
            m.Candidate: self._candidate,
            m.TurnRequest: self._turn_request,
            m.SetupReport: self._setup_report,
            m.RestartReport: self._restart_report,
            **legs.handlers(),
            **Quality(ledger, connections, push, legs.relays, metrics).handlers(),
            wire_content.StillRequest: contents.still,
        }
        self._durable: Mapping[type, Callable[[Connection, Any], Awaitable[None]]] = {
            m.Intake: self._intake,
            m.Leave: self._leave,
            m.Chat: self._chat,
            m.OnCall: self._on_call,
            m.Accept: self._accept,
            m.Decline: self._decline,
            m.CallBack: self._call_back,
            m.Transfer: self._transfer,
            m.Hold: self._hold,
            m.Note: self._note,
            m.End: self._end,
            m.Invite: self._invite,
            m.DecideTakeover: self._decide_takeover,
            m.HistoryRequest: self._past,
            wire_content.ContentBegin: contents.begin,
            wire_content.ContentRead: contents.readings.read,
            wire_content.MessagesRequest: contents.readings.messages,
            wire_content.CallbackAnswered: self._answered,
        }

    def at_once(self, connection: Connection, message: m.ClientMessage) -> bool:
        """Handle a message that needs no store; return False if it needs one. Raises what ``handle`` raises."""
        kind = type(message)
        if kind not in _PERMITTED[connection.role]:
            raise PermissionDenied(f"{connection.role} may not send {m.TAGS[kind]}")
        handler = self._at_once.get(kind)
        if handler is None:
            return False
        handler(connection, message)
        return True

    async def handle(self, connection: Connection, message: m.ClientMessage) -> None:
        """Handle a message that ``at_once`` passed on.

        Raises:
            Refused, InvalidTransition, StoreError: nothing was changed.
        """
        await self._durable[type(message)](connection, message)

    # -- at once -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _ping(connection: Connection, message: m.Ping) -> None:
        connection.send(m.Ok(message.id))

    def _description(self, connection: Connection, message: m.Description) -> None:
        """Hand a description to the other side, under the sender that we know."""
        forwarded = m.PeerDescription(
            message.consult, connection.participant, connection.instance, message.description
        )
        self._forward(connection, message, forwarded)
        self._metrics.message_forwarded("description")

    def _candidate(self, connection: Connection, message: m.Candidate) -> None:
        """Hand a candidate to the other side, under the sender that we know."""
        forwarded = m.PeerCandidate(
            message.consult, connection.participant, connection.instance, message.candidate
        )
        self._forward(connection, message, forwarded)
        self._metrics.message_forwarded("candidate")

    def _forward(
        self,
        connection: Connection,
        message: m.Description | m.Candidate,
        forwarded: m.PeerDescription | m.PeerCandidate,
    ) -> None:
        route = connection.route
        if route is None or route.consult is not self._ledger.consults.get(message.consult):
            route = connection.route = self._route(connection, message.consult)
        payload = codec.encode(forwarded)
        self.paces.forward(connection.participant, len(payload))
        local = self._connections.get(route.peer)
        if local is not None:
            if not local.has_room(len(payload)):
                # Not the sender's fault, maybe: their connection, and the call, go on.
                raise Refused(Code.PEER_ABSENT)
            local.socket.send(payload)
        else:
            self._push.spawn(self._post(connection, route.peer, payload, message.id))

    def _route(self, connection: Connection, consult_id: ConsultId) -> Route:
        """Return who is at the other end of the call that this connection is in; raises Refused if it is in none."""
        consult = self._in_call(connection, consult_id)
        peer = peer_of(consult, connection.role)
        if peer is None:
            raise Refused(Code.PEER_ABSENT)
        return Route(consult, peer)

    async def _post(
        self, sender: Connection, peer: ParticipantId, payload: bytes, request_id: int
    ) -> None:
        """Forward to another node; nobody there is an error for the sender, who negotiates again."""
        if not await self._connections.tell(peer, Forward(msgspec.Raw(payload))):
            self._metrics.refused(Code.PEER_ABSENT)
            sender.send(m.Error(code=Code.PEER_ABSENT, re=request_id))

    def _in_call(self, connection: Connection, consult_id: ConsultId) -> Consult:
        """Return the call that this connection is in; raises Refused for any other consult."""
        consult = self._ledger.consults.get(consult_id)
        if consult is None or not self._takes_part(connection, consult):
            raise Refused(Code.NOT_FOUND)
        if consult.state not in CALL:
            raise Refused(Code.WRONG_STATE)
        return consult

    @staticmethod
    def _takes_part(connection: Connection, consult: Consult) -> bool:
        if connection.role is Role.PATIENT:
            return connection.consult == consult.id
        account = connection.account
        return account is not None and consult.specialist == account and consult.state in CALL

    def _turn_request(self, connection: Connection, message: m.TurnRequest) -> None:
        ice = self.ice_servers(connection)
        connection.send(m.Ice(message.id, ice.servers, ice.expires_at))

    def ice_servers(self, connection: Connection) -> IceServers:
        """Return the STUN and TURN servers that are set up, these with fresh credentials for this connection."""
        plain = [url for url in self._turn.urls if not url.startswith(("turn:", "turns:"))]
        servers = [m.IceServer(plain)] if plain else []
        if len(plain) == len(self._turn.urls):
            return IceServers(servers, None)
        # The connection's id, not the participant's: coturn logs usernames.
        made = turn.credentials(self._turn_secret, connection.id, now(), self._turn.lifetime_s)
        self._metrics.turn()
        urls = [url for url in self._turn.urls if url not in plain]
        servers.append(m.IceServer(urls, made.username, made.credential))
        return IceServers(servers, made.expires_at)

    def _setup_report(self, connection: Connection, message: m.SetupReport) -> None:
        if self._reports(connection, message.consult):
            self._metrics.setup_report(connection.role, message)

    def _restart_report(self, connection: Connection, message: m.RestartReport) -> None:
        if self._reports(connection, message.consult):
            self._metrics.restart(message)

    def _reports(self, connection: Connection, consult_id: str) -> bool:
        """Return whether a report is of a call in which this page is; else it counts for nothing.

        A page may report a moment after its call ended: that is no mistake, so it is no refusal.
        """
        consult = self._ledger.known(ConsultId(consult_id))
        its_own = (
            consult is not None and consult.state in CALL and self._takes_part(connection, consult)
        )
        if not its_own:
            self._metrics.report_ignored()
        return its_own

    # -- the patient -------------------------------------------------------------------------------------------------

    async def _intake(self, connection: Connection, message: m.Intake) -> None:
        form = message.form
        if not form.consent:
            raise Refused(Code.CONSENT_MISSING)
        try:
            urgency = triage.assess(form)
        except ValueError:
            raise Refused(Code.MALFORMED) from None
        consult_id = self._own(connection)
        content_id = secrets.token_hex(8)

        def waits(consult: Consult) -> list[ev.Event]:
            at = now()
            return [
                ev.IntakeGiven(
                    at=at,
                    consult=consult.id,
                    urgency=urgency,
                    specialty=consult.specialty,
                    language=form.language,
                    content=content_id,
                    consent_at=at,
                ),
                *self._first_route(consult, at),
            ]

        await self._ledger.commit(
            consult_id, waits, [_content(consult_id, content_id, msgspec.json.encode(form))]
        )
        self._metrics.intake(urgency)
        connection.send(m.Ok(message.id))

    async def _leave(self, connection: Connection, message: m.Leave) -> None:
        def goes(consult: Consult) -> list[ev.Event]:
            at = now()
            if consult.over:
                return []
            if consult.state in CALL and consult.specialist is not None:
                return [
                    ev.Ended(
                        at=at,
                        consult=consult.id,
                        specialist=consult.specialist,
                        outcome=Outcome.PATIENT_LEFT,
                        role=ev.PATIENT,
                    )
                ]
            return [ev.Abandoned(at=at, consult=consult.id, specialist=consult.specialist)]

        await self._ledger.commit(self._own(connection), goes)
        connection.send(m.Ok(message.id))

    @staticmethod
    def _own(connection: Connection) -> ConsultId:
        """Return the patient's consult."""
        if connection.consult is None:
            raise Refused(Code.NOT_FOUND)
        return connection.consult

    # -- both --------------------------------------------------------------------------------------------------------

    async def _chat(self, connection: Connection, message: m.Chat) -> None:
        consult_id = ConsultId(message.consult)
        content_id = secrets.token_hex(8)
        body = message.text.encode()
        self.paces.line(connection.participant)

        def says(consult: Consult) -> list[ev.Event]:
            owed = audience.specialist_may_answer(consult, connection.account)
            if not owed and not self._takes_part(connection, consult):
                raise Refused(Code.NOT_FOUND)
            if message.key in consult.chat_keys:
                return []
            line = ev.ChatSent(
                at=now(),
                consult=consult_id,
                role=connection.role,
                key=message.key,
                content=content_id,
                digest=hashlib.sha256(body).hexdigest(),
                by=connection.account,
            )
            return coordinator.said(consult, line, self._ledger.policy)

        await self._ledger.commit(consult_id, says, [_content(consult_id, content_id, body)])
        self._metrics.chat_line()
        connection.send(m.Ok(message.id))

    async def _decide_takeover(self, connection: Connection, message: m.DecideTakeover) -> None:
        consult_id = ConsultId(message.consult)

        def decides(consult: Consult) -> list[ev.Event]:
            if connection.role is not Role.OPERATOR and not self._takes_part(connection, consult):
                raise Refused(Code.NOT_FOUND)
            return [
                ev.TakeoverDecided(
                    at=now(),
                    consult=consult_id,
                    request=message.request,
                    allow=message.allow,
                    by=connection.account or ev.PATIENT,
                )
            ]

        await self._ledger.commit(consult_id, decides)
        self._metrics.takeover("allowed" if message.allow else "refused")
        connection.send(m.Ok(message.id))

    # -- the specialist ----------------------------------------------------------------------------------------------

    async def _on_call(self, connection: Connection, message: m.OnCall) -> None:
        if message.on:
            self.paces.on_call(_account(connection))

        def switches(who: Presence) -> Sequence[ev.Event]:
            if not message.on:
                return rota.off_call(who, lapsed=False)
            return [] if who.on_call else [ev.WentOnCall(at=now(), specialist=who.id)]

        await self._ledger.commit_presence(_account(connection), switches)
        connection.send(m.Ok(message.id))

    async def _accept(self, connection: Connection, message: m.Accept) -> None:
        account = _account(connection)
        kept = reunited = False

        def accepts(consult: Consult) -> list[ev.Event]:
            nonlocal kept, reunited
            kept = consult.callback_by is not None
            reunited = consult.keeper == account
            return [ev.Accepted(at=now(), consult=consult.id, specialist=account)]

        await self._ledger.commit(ConsultId(message.consult), accepts)
        if kept:
            self._metrics.callback("kept")
        if reunited:
            self._metrics.hold("reunited")
        connection.send(m.Ok(message.id))

    async def _decline(self, connection: Connection, message: m.Decline) -> None:
        account = _account(connection)
        await self._ledger.commit(
            ConsultId(message.consult),
            lambda c: [
                ev.RingDeclined(at=now(), consult=c.id, specialist=account, reason=message.reason)
            ],
        )
        connection.send(m.Ok(message.id))

    async def _call_back(self, connection: Connection, message: m.CallBack) -> None:
        account = self._house.account(_account(connection))
        if account is None:
            raise Refused(Code.SIGNED_OUT)
        who = await self._ledger.presence(account.id)
        candidate = matching.Candidate(
            who, frozenset(account.specialties), frozenset(account.languages)
        )

        def rings(consult: Consult) -> list[ev.Event]:
            if ev.PATIENT in consult.away:
                raise Refused(Code.PEER_ABSENT)
            if consult.callback_by is None:
                raise Refused(Code.WRONG_STATE)  # one that was closed is refused by the table
            return [matching.ring(consult, candidate, now(), self._ledger.policy)]

        await self._ledger.commit(ConsultId(message.consult), rings)
        connection.send(m.Ok(message.id))

    async def _answered(
        self, connection: Connection, message: wire_content.CallbackAnswered
    ) -> None:
        account = _account(connection)
        await self._ledger.commit(
            ConsultId(message.consult),
            lambda c: [ev.Answered(at=now(), consult=c.id, specialist=account)],
        )
        connection.send(m.Ok(message.id))

    async def _transfer(self, connection: Connection, message: m.Transfer) -> None:
        account = _account(connection)
        consult_id = ConsultId(message.consult)
        content_id = secrets.token_hex(8) if message.reason else ""
        await self._ledger.commit(
            consult_id,
            lambda c: [
                ev.Transferred(
                    at=now(),
                    consult=c.id,
                    specialist=account,
                    specialty=message.specialty,
                    content=content_id,
                )
            ],
            [_content(consult_id, content_id, message.reason.encode())] if content_id else (),
        )
        connection.send(m.Ok(message.id))

    async def _hold(self, connection: Connection, message: m.Hold) -> None:
        account = _account(connection)
        await self._ledger.commit(
            ConsultId(message.consult),
            lambda c: [ev.Held(at=now(), consult=c.id, specialist=account)],
        )
        self._metrics.hold("put")
        connection.send(m.Ok(message.id))

    async def _note(self, connection: Connection, message: m.Note) -> None:
        consult_id = ConsultId(message.consult)
        content_id = secrets.token_hex(8)
        body = message.text.encode()
        self.paces.note(_account(connection), len(body))

        def writes(consult: Consult) -> list[ev.Event]:
            if not self._takes_part(connection, consult):
                raise Refused(Code.NOT_FOUND)
            return [ev.NoteWritten(at=now(), consult=consult_id, content=content_id)]

        await self._ledger.commit(consult_id, writes, [_content(consult_id, content_id, body)])
        connection.send(m.Ok(message.id))

    async def _end(self, connection: Connection, message: m.End) -> None:
        if message.outcome not in SPECIALIST_OUTCOMES:
            raise Refused(Code.MALFORMED)
        account = _account(connection)
        consult_id = ConsultId(message.consult)
        content_id = secrets.token_hex(8) if message.summary else ""
        await self._ledger.commit(
            consult_id,
            lambda c: [
                ev.Ended(
                    at=now(),
                    consult=c.id,
                    specialist=account,
                    outcome=message.outcome,
                    role=ev.SPECIALIST,
                    content=content_id,
                )
            ],
            [_content(consult_id, content_id, message.summary.encode())] if content_id else (),
        )
        connection.send(m.Ok(message.id))

    async def _past(self, connection: Connection, message: m.HistoryRequest) -> None:
        account = _account(connection)
        self.paces.history(account)
        consults, more = await self._history.of(account, message.before)
        connection.send(m.Past(message.id, consults, more))

    # -- staff -------------------------------------------------------------------------------------------------------

    async def _invite(self, connection: Connection, message: m.Invite) -> None:
        post = self._house.post(PostCode(message.post)) if message.post else None
        if message.post and post is None:
            raise Refused(Code.NOT_FOUND)
        account = _account(connection)
        self.paces.invite(account)
        made = await self._consults.invite(
            by=account,
            specialty=message.specialty,
            language=message.language or "",
            post=post.code if post else None,
        )
        url = patient_url(self._public_url, made.token, message.language)
        connection.send(
            m.Invited(
                re=message.id,
                consult=made.consult,
                url=url,
                code=made.code,
                qr=qr_svg(url),
                expires_at=made.expires_at,
            )
        )


def patient_url(public_url: str, token: str, language: str | None) -> str:
    """Return a patient's link: the token in the fragment, which no browser sends anywhere (RFC 3986 §3.5)."""
    page = (language or "").partition("-")[0]
    return f"{public_url}/{page}#{token}"


def _account(connection: Connection) -> AccountId:
    if connection.account is None:
        raise Refused(Code.FORBIDDEN)
    return connection.account


def _content(consult_id: ConsultId, content_id: str, body: bytes) -> Content:
    return Content(consult_owner(consult_id), ContentId(content_id), body)
