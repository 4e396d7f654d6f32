# SPDX-License-Identifier: Apache-2.0
"""Who sits where: the legs of a relay process, from the pool to a seat in a consult's room and out again.

The node decides, by message; this keeps what it decided, and tells what becomes of it. All of it stays when the node is
gone, for ``CONTROL_LOST_S``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf

from media.control import Order
from media.core.ladder import Reason
from media.core.limits import Limits
from media.core.link_probe import Confidence, Mode, Start, outlook
from media.core.link_probe import start as beginning
from media.core.rungs import Rung, Wish
from media.relay.counts import TOTALS, LegCounts
from media.relay.description import Answer, Offer
from media.relay.leg import Leg
from media.relay.leg import LegState as Stage
from media.relay.port import PortFull, RelayPort
from media.relay.room import Room
from media.relay.survey import DARK_S, Known, Survey
from media.relay.ticker import Ticker
from media.relay.trace import Trace
from media.told_limits import BY_NAME, on_wire, whole_ms
from signalling.wire.base import FromClient
from signalling.wire.legs import (
    CarriedBeside,
    CloseLeg,
    Forwarding,
    LegBraked,
    LegKnown,
    LegProbed,
    LegSeated,
    LegsMinted,
    LegsSeated,
    LegState,
    LimitLeg,
    MintedLeg,
    RelayAnswer,
    Seat,
    Wished,
)
from signalling.wire.quality import LINKS_MAX, LegLink, LegLinks

_log = logging.getLogger(__name__)

POOL = 8
"""Legs that the node may hand out without asking: as many as one second of calls at a busy hour."""
RETIRED_S = 60.0
"""A leg that an earlier connection may have handed out waits so long for its seat."""
SURVEYED_S = 2.5
"""A survey that goes on has told most by then: the call may begin before it ends."""
CONTROL_LOST_S = 15 * 60.0
"""How long calls go on without a node: as long as it keeps a consult."""
CONSULTS_MAX = 2_000
"""Consults that forwarding was asked for before anybody sat in them."""
LINKS_S = 5
"""Between two messages about a leg's link, in sweeps: a word about a call is made of 5 s."""
SEATS_PER_MESSAGE = 64

_SOMETIME = 1
"""A message's id is given when it is sent."""


@dataclass(slots=True)
class Seated:
    """A leg that somebody has."""

    leg: Leg
    offer: Offer
    seat: Seat
    answer: Answer | None = None
    survey: Survey | None = None
    """Under way."""
    known: Known | None = None
    """What the last one told."""
    moves: int = 0
    """Of the leg's address, when that was."""
    handed: bool = False
    """Another relay has told what its link carries: its call goes on here."""
    dark: bool = False
    """Nothing came from it for a while: its link may be another one afterwards."""

    @property
    def answered(self) -> bool:
        """Whether its browser has answered."""
        return self.answer is not None


@dataclass(slots=True)
class Totals:
    """What the legs that are gone have counted; the living ones are added when somebody asks."""

    rtp_received: int = 0
    rtp_received_bytes: int = 0
    rtp_sent: int = 0
    rtp_sent_bytes: int = 0
    checks: int = 0
    restarts: int = 0
    moves: int = 0
    endings: Counter[str] = field(default_factory=Counter)

    def add(self, leg: Leg) -> None:
        """Take over what a leg counted."""
        traffic = leg.traffic
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(traffic, name))


COUNTED = (
    "rtp_received", "rtp_received_bytes", "rtp_sent", "rtp_sent_bytes", "checks", "restarts", "moves",
)  # fmt: skip
"""Fields that ``media.relay.leg.Traffic`` and ``Totals`` share."""


class Seating:
    """Pool, seats and rooms of one relay process."""

    def __init__(
        self,
        port: RelayPort,
        tell: Callable[[FromClient], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        trace: Trace | None = None,
    ) -> None:
        """``tell`` says something to the node, if there is one; ``trace`` takes what the ladders decide."""
        self.port = port
        self.seats: dict[str, Seated] = {}
        self.rooms: dict[str, Room] = {}
        self.totals = Totals()
        self.room_totals: Counter[str] = Counter(dict.fromkeys(TOTALS, 0))
        """What the rooms that are gone have counted."""
        self.on_connected: Callable[[Leg], None] = _ignore
        """Called with each leg that came up."""
        self.faults = 0
        """Errors of ours in a room's timer."""
        self.moves: Counter[tuple[Rung, Reason]] = Counter()
        """The same of their ladders' moves."""
        self._trace = trace
        self._tell = tell
        self._clock = clock
        self._pool: dict[str, tuple[Leg, Offer]] = {}
        self._retired: dict[str, tuple[Leg, Offer, float]] = {}
        self._surveying: set[str] = set()
        """Legs whose links are being measured."""
        self._members: dict[str, set[str]] = {}
        """The legs of each room."""
        self._between: dict[str, frozenset[str]] = {}
        self._minting = False
        self._lost_at: float | None = clock()
        self._turn = 0
        self._ticker = Ticker(
            port.udp, lambda: list(self.rooms.values()), clock=clock, on_fault=self._failed,
            also=self._tick_surveys,
        )  # fmt: skip
        self._releasing: set[asyncio.Task[None]] = set()

    # -- the node ----------------------------------------------------------------------------------------------------

    def welcomed(self, *, minting: bool) -> None:
        """A connection stands: tell of all seats, and mint a pool for it unless the relay is going down."""
        self._lost_at = None
        self._minting = minting
        until = self._clock() + RETIRED_S
        self._retired |= {name: (*minted, until) for name, minted in self._pool.items()}
        self._pool.clear()
        for message in self.census():
            self._tell(message)
        self._fill()

    def census(self) -> Iterator[LegsSeated]:
        """Return all seats and forwarding consults, in as few messages as they fit into."""
        seats = [
            Seat(
                leg=name,
                consult=each.seat.consult,
                participant=each.seat.participant,
                instance=each.seat.instance,
                role=each.seat.role,
                connected=each.leg.state is Stage.CONNECTED,
            )
            for name, each in self.seats.items()
        ]
        forwarding = [name for name in self.rooms if self._between.get(name)]
        step = SEATS_PER_MESSAGE
        count = max(len(seats), len(forwarding), 1)
        for start in range(0, count, step):
            yield LegsSeated(
                id=_SOMETIME,
                legs=seats[start : start + step],
                forwarding=forwarding[start : start + step],
                more=start + step < count,
            )

    def lost(self) -> None:
        """The node is gone: what is forwarded goes on."""
        self._lost_at = self._clock()

    def drain(self) -> None:
        """Hand no more legs out."""
        self._minting = False

    def ordered(self, order: Order) -> None:
        """Do what the node says; what makes no sense is answered or passed over."""
        match order:
            case LegSeated():
                self._seat(order.seat)
            case RelayAnswer():
                self._answer(order.leg, order.answer)
            case Forwarding():
                self._forward(order.consult, frozenset(order.between))
            case CloseLeg():
                self._close(order.leg)
            case LegKnown():
                self._known(order)
            case LegBraked():
                if (seated := self.seats.get(order.leg)) is not None:
                    self.rooms[seated.seat.consult].braked(order.leg)
            case Wished() | CarriedBeside():
                self._told(order)

    def _told(self, said: Wished | CarriedBeside) -> None:
        """Tell a consult's room what somebody wishes, or what somebody's link carries beside the media."""
        if (room := self.rooms.get(said.consult)) is None:
            return
        if isinstance(said, Wished):
            room.wish(said.participant, Wish(said.wish))
        else:
            room.carried_beside(said.participant, said.bps)

    def _seat(self, seat: Seat) -> None:
        name = seat.leg
        if name in self.seats:
            return
        minted = self._pool.pop(name, None)
        if minted is None and (retired := self._retired.pop(name, None)) is not None:
            minted = retired[:2]
        if minted is None:
            self._tell(LegState(id=_SOMETIME, leg=name, state="closed"))
            return
        leg, offer = minted
        leg.timing.offered_at = now = self._clock()
        leg.heard_at = min(leg.heard_at, now)
        self.seats[name] = Seated(leg, offer, seat)
        room = self.rooms.get(seat.consult)
        if room is None:
            room = self._open(seat.consult)
        self._members[seat.consult].add(name)
        room.seat(name, leg, offer, seat.role, seat.participant)
        self._fill()
        if leg.state is Stage.CONNECTED:
            self._connected(name, leg)

    def _open(self, consult: str) -> Room:
        room = Room(
            consult,
            clock=self._clock,
            drops=self.port.drops,
            on_limits=self._limits,
            on_flowing=self._flowing,
            trace=self._trace,
        )
        if between := self._between.get(consult):
            room.forward(between)
        self.rooms[consult] = room
        self._members[consult] = set()
        return room

    def _answer(self, name: str, answer: Answer) -> None:
        seated = self.seats.get(name)
        if seated is None:
            self._tell(LegState(id=_SOMETIME, leg=name, state="closed"))
            return
        self.port.accept(seated.leg, answer)
        if seated.answer is None:
            seated.answer = answer
            self.rooms[seated.seat.consult].answer(name, answer)
            self._ticker.start()
        elif answer.ice != seated.answer.ice:
            seated.answer = answer  # it restarted ICE: its link may be another one
            seated.dark = True

    def _forward(self, consult: str, between: frozenset[str]) -> None:
        if between:
            if consult not in self._between and len(self._between) >= CONSULTS_MAX:
                self._forget_unused()
            self._between[consult] = between
        else:
            self._between.pop(consult, None)
        room = self.rooms.get(consult)
        if room is not None:
            for name in self._members[consult]:
                survey = self.seats[name].survey
                if survey is not None and self.seats[name].seat.participant in between:
                    self._surveyed(name, self._clock(), over=survey.is_thin)
            room.forward(between)
            self._ticker.start()

    def _forget_unused(self) -> None:
        for consult in [each for each in self._between if each not in self.rooms]:
            del self._between[consult]

    def _close(self, name: str) -> None:
        if name in self.seats:
            leg = self.seats[name].leg
            self._unseat(name)
            self._release(leg)
        else:
            for legs in (self._pool, self._retired):
                minted = legs.pop(name, None)
                if minted is not None:
                    self._release(minted[0])

    # -- the pool ----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Mint what is missing in the pool, and tell the node."""
        if not self._minting or self._lost_at is not None:
            return
        minted = []
        while len(self._pool) < POOL:
            try:
                leg, offer = self.port.mint()
            except PortFull:
                break
            name = secrets.token_urlsafe(9)
            leg.heard_at = inf  # nobody is to be heard yet: it is still offered after a quiet night
            leg.on_change = functools.partial(self._changed, name)
            self._pool[name] = (leg, offer)
            minted.append(MintedLeg(name, offer))
        if minted:
            self._tell(LegsMinted(id=_SOMETIME, legs=minted))

    # -- legs --------------------------------------------------------------------------------------------------------

    def _changed(self, name: str, leg: Leg) -> None:
        if leg.state is Stage.CLOSED:
            self.totals.add(leg)
            self.totals.endings[str(leg.ending)] += 1
            self._pool.pop(name, None)
            self._retired.pop(name, None)
            if name in self.seats:
                self._unseat(name)
                self._tell(LegState(id=_SOMETIME, leg=name, state="closed"))
        elif leg.state is Stage.CONNECTED and name in self.seats:
            self._connected(name, leg)

    # -- surveys -----------------------------------------------------------------------------------------------------

    def _survey(self, name: str, mode: Mode) -> None:
        """Ask what a leg's link carries, while it waits; of one that comes into a call, as long as it isn't a thin one."""
        seated = self.seats[name]
        answer = seated.answer
        if answer is None or seated.survey is not None or seated.handed:
            return
        if mode is Mode.AGAIN and self.rooms[seated.seat.consult].talks(name):
            return
        if answer.save_data:
            mode = Mode.SAVING
        theirs, _, password = answer.ice.partition(":")
        seated.moves = seated.leg.traffic.moves
        seated.survey = Survey(
            seated.leg,
            f"{theirs}:{seated.leg.ufrag}",
            password,
            self._clock(),
            mode,
            seated.known,
        )
        self._surveying.add(name)
        self.port.udp.exact = True
        self._ticker.start()

    def _surveyed(self, name: str, now: float, *, over: bool = True) -> None:
        """Take what a survey has told so far; where the call came first, it goes on into it."""
        seated = self.seats[name]
        survey = seated.survey
        if survey is None:
            return
        if over:
            survey.stop()
            seated.survey = None
        up, down = seated.known = survey.reading(now)
        least = min(up.confidence, down.confidence)
        if least is Confidence.NONE:
            seated.known = None
        room = self.rooms[seated.seat.consult]
        talks = room.talks(name)
        if not talks or least >= Confidence.FAIR:
            room.known(name, beginning(up), beginning(down))
        if talks:
            return
        rtt_s = down.rtt_s
        self._tell(
            LegProbed(
                id=_SOMETIME,
                leg=name,
                outlook=outlook(up, down).value,
                up_bps=int(up.rate_bps),
                down_bps=int(down.rate_bps),
                rtt_ms=_ms(rtt_s),
            )
        )

    def _known(self, said: LegKnown) -> None:
        """Begin where another relay was: what the survey has told until now is less."""
        seated = self.seats.get(said.leg)
        if seated is None:
            return
        seated.handed = True
        if seated.survey is not None:
            seated.survey.stop()
            seated.survey = None
        rtt_s = said.rtt_ms / 1e3
        up = Start(BY_NAME[said.rung], float(said.up_bps), 0.0, rtt_s)
        # What comes down is decided by who sends it.
        down = Start(Rung.OPEN, float(said.down_bps), 0.0, rtt_s)
        self.rooms[seated.seat.consult].known(said.leg, up, down)

    def _tick_surveys(self, now: float) -> bool:
        """Return whether some go on."""
        for name in list(self._surveying):
            seated = self.seats.get(name)
            if seated is None or seated.survey is None:
                self._surveying.discard(name)
                continue
            talks = self.rooms[seated.seat.consult].talks(name)
            over = not seated.survey.tick(now) or (talks and seated.survey.is_thin)
            if over or talks:
                self._surveyed(name, now, over=over)
            elif not seated.survey.told and now - seated.survey.begun_at >= SURVEYED_S:
                seated.survey.told = True
                up, down = seated.survey.reading(now)
                self.rooms[seated.seat.consult].known(name, beginning(up), beginning(down))
        self.port.udp.exact = bool(self._surveying)
        return self.port.udp.exact

    def _look_again(self, now: float) -> None:
        """Measure again, lightly, the links of those who wait whose address has changed or who were away."""
        for name, seated in self.seats.items():
            leg = seated.leg
            if leg.state is not Stage.CONNECTED or seated.survey is not None:
                continue
            if now - leg.heard_at > DARK_S:
                seated.dark = True
            elif seated.dark or leg.traffic.moves != seated.moves:
                seated.dark = False
                self._survey(name, Mode.AGAIN)

    def _connected(self, name: str, leg: Leg) -> None:
        self._survey(name, Mode.FULL)
        self.on_connected(leg)
        timing = leg.timing
        self._tell(
            LegState(
                id=_SOMETIME,
                leg=name,
                state="connected",
                ice_ms=_ms(timing.ice_s),
                dtls_ms=_ms(timing.dtls_s),
            )
        )

    def _unseat(self, name: str) -> None:
        consult = self.seats.pop(name).seat.consult
        self.rooms[consult].unseat(name)
        self._members[consult].discard(name)
        if not self._members[consult]:
            self.room_totals.update(self.rooms[consult].metrics().totals)
            self.moves.update(self.rooms[consult].moves)
            del self.rooms[consult], self._members[consult]
            self._between.pop(consult, None)

    def _release(self, leg: Leg) -> None:
        task = asyncio.get_running_loop().create_task(self.port.release(leg))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def _limits(self, name: str, limits: Limits) -> None:
        self._tell(LimitLeg(id=_SOMETIME, leg=name, limits=on_wire(limits, limits.whose)))

    def _flowing(self, name: str) -> None:
        self._tell(LegState(id=_SOMETIME, leg=name, state="flowing"))

    # -- time --------------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Once a second: close what nobody came for, and all seats when no node has been there for too long."""
        now = self._clock()
        for name, (leg, _, until) in list(self._retired.items()):
            if now >= until:
                del self._retired[name]
                self._release(leg)
        if self._lost_at is not None and self.seats and now - self._lost_at >= CONTROL_LOST_S:
            _log.warning("calls_given_up", extra={"legs": len(self.seats)})
            for name in list(self.seats):
                self._close(name)
        self._look_again(now)
        self._fill()
        self._tell_links()

    def _tell_links(self) -> None:
        """Say of a fifth of the calls what their links are like: each comes every ``LINKS_S``."""
        self._turn += 1
        if self._lost_at is not None:
            return
        rooms = [room for name, room in self.rooms.items() if self._between.get(name)]
        links = [
            _link(leg)
            for room in rooms[self._turn % LINKS_S :: LINKS_S]
            for leg in room.metrics().legs
        ]
        for start in range(0, len(links), LINKS_MAX):
            self._tell(LegLinks(id=_SOMETIME, links=links[start : start + LINKS_MAX]))

    @property
    def forwarding(self) -> int:
        """How many consults are forwarded."""
        return sum(1 for consult in self.rooms if self._between.get(consult))

    @property
    def alone_s(self) -> float:
        """How long no node has been there; 0 while one is."""
        return 0.0 if self._lost_at is None else self._clock() - self._lost_at

    def _failed(self, error: Exception) -> None:
        self.faults += 1
        if self.faults == 1:
            _log.error("a room's timer failed: %s", type(error).__name__)

    async def close(self) -> None:
        """End the timer and what is being released."""
        self._ticker.stop()
        self._minting = False
        if self._releasing:
            await asyncio.wait(self._releasing)


def _link(leg: LegCounts) -> LegLink:
    """Return what is known of a leg's link; of a rate, only what is no mere lower bound."""
    up, down = leg.up, leg.down
    return LegLink(
        leg=leg.leg_id,
        rtt_ms=_ms(leg.rtt_s),
        up_loss=round(min(1.0, max(0.0, up.loss_ratio)), 4),
        down_loss=round(min(1.0, max(0.0, down.loss_ratio)), 4),
        up_bps=round(up.rate_bps) if up.confident else 0,
        down_bps=round(down.rate_bps) if down.confident else 0,
        up_known_bps=round(up.rate_bps),
        down_known_bps=round(down.rate_bps),
    )


def _ms(span_s: float | None) -> int | None:
    return None if span_s is None else whole_ms(span_s)


def _ignore(leg: Leg) -> None:
    pass
