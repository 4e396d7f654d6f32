# SPDX-License-Identifier: Apache-2.0
"""A room is one consult at a relay: who sees and hears whom, and what each may send.

Nothing is forwarded before it was said between whom. Of one participant's legs the newest that sends is the
source; all of them receive. `tick` is called every 10 ms while `awake`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from media.core.limits import PICTURE_MAX_BPS, START_BPS, Limits
from media.relay.counts import TOTALS, LegCounts, RoomCounts, StreamCounts, of_leg, of_source
from media.relay.flow import LIVE_S, Kind, Source
from media.relay.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from media.core.bwe.estimate import Estimate
    from media.relay.description import Answer, Offer
    from media.relay.drops import Drops
    from media.relay.leg import Leg

LOOK_S: Final = 0.1
"""How often feedback is written and estimates are asked; less often for what changes slowly."""
LIMITS_EVERY: Final = 2
REPORTS_EVERY: Final = 10
"""In turns of `LOOK_S`. A report a second costs 1 kbit/s; browsers do the same."""
DEAD_S: Final = 3.0
"""A leg silent for so long says nothing of what its participant can take, if there is a newer one."""
KNOWN_RATIO: Final = 1.12
THIN_RATIO: Final = 1.3
OPEN_RATIO: Final = 2.0
"""Over what a way is known to carry, at most, where its sender could send more. A limit takes a round trip and more to
be obeyed, and a thin queue holds 600 ms: so a way that was seen full lately is asked carefully, and a thin one too."""
THIN_BPS: Final = 150_000.0


class Room:
    """One consult."""

    def __init__(
        self,
        consult: str,
        *,
        clock: Callable[[], float],
        drops: Drops,
        on_limits: Callable[[str, Limits], None],
        on_flowing: Callable[[str], None],
        start_bps: float = START_BPS,
    ) -> None:
        """Make an empty room.

        Args:
            consult: its id; not looked at.
            clock: monotonic seconds, the one that packets are stamped with.
            drops: of the process.
            on_limits: called with a leg and what its page may send from now on; before anything of it is forwarded.
            on_flowing: called with a leg when the first forwarded voice went out to it.
            start_bps: of links that nothing is known of.
        """
        self.consult = consult
        self.clock = clock
        self.drops = drops
        self.start_bps = start_bps
        self.busy = False
        """Whether something waits for the next tick."""
        self.report_soon = False
        self._on_limits = on_limits
        self._on_flowing = on_flowing
        self._seats: dict[str, Seat] = {}
        self._open: list[Seat] = []
        self._between: frozenset[str] = frozenset()
        self._order = 0
        self._look_at = 0.0
        self._turn = 0
        self._routed_at = 0.0
        self._totals = Counter(dict.fromkeys(TOTALS, 0))
        """Of streams and legs that are gone."""

    @property
    def awake(self) -> bool:
        """Whether `tick` must be called."""
        return bool(self._open)

    @property
    def empty(self) -> bool:
        """Whether nobody has a seat."""
        return not self._seats

    def seat(self, leg_id: str, leg: Leg, offer: Offer, role: str, participant: str) -> None:
        """Give a leg a place. A participant may have several, the last one being the newest."""
        self._order += 1
        self._seats[leg_id] = seat = Seat(self, leg_id, leg, offer, role, participant, self._order)
        seat.close()

    def answer(self, leg_id: str, answer: Answer) -> None:
        """Take what a leg's browser answered; its first limits are told. A second answer changes nothing."""
        seat = self._seats.get(leg_id)
        if seat is None or seat.answered:
            return
        now = self.clock()
        seat.accept(answer, now)
        self._open_seats(now)
        self._limit(seat, self.start_bps, self.start_bps, 0.0, now)

    def unseat(self, leg_id: str) -> None:
        """Take a leg's place away."""
        seat = self._seats.pop(leg_id, None)
        if seat is None:
            return
        seat.close()
        now = self.clock()
        self._totals.update(of_leg(self._counts(seat, now)))
        self._open = [each for each in self._open if each is not seat]
        self.route(now)

    def forward(self, between: Collection[str]) -> None:
        """Let these participants see and hear each other from now on, legs that come later too; none: stop."""
        now = self.clock()
        self._between = frozenset(between)
        for seat in self._open:
            if seat.participant not in self._between:
                seat.close()
        self._open = [seat for seat in self._open if seat.is_open]
        self._open_seats(now)

    def _open_seats(self, now: float) -> None:
        for seat in self._seats.values():
            if seat.answered and not seat.is_open and seat.participant in self._between:
                seat.open(now)
                self._open.append(seat)
        self.route(now)
        self._limit_all(now)

    # -- Who watches whom ------------------------------------------------------------------------------------------

    def route(self, now: float) -> None:
        """Let every leg follow the newest leg of the others that sends."""
        self._routed_at = now
        for seat in self._open:
            for source in seat.sources.values():
                source.sinks = []
        for seat in self._seats.values():
            voice, picture = seat.voice, seat.picture
            if voice is not None:
                voice.follow(self._watched(seat, Kind.VOICE, voice.source, now), now)
                if voice.source is not None:
                    voice.source.sinks = [*voice.source.sinks, voice]
            if picture is not None:
                picture.follow(self._watched(seat, Kind.PICTURE, picture.source, now), now)
                if picture.source is not None:
                    picture.source.sinks = [*picture.source.sinks, picture]

    def _watched(
        self, watcher: Seat, kind: Kind, current: Source | None, now: float
    ) -> Source | None:
        if not watcher.is_open:
            return None
        found: list[Source] = [
            source
            for seat in self._open
            if seat.participant != watcher.participant
            and (source := seat.sources.get(kind)) is not None
        ]
        live = [source for source in found if now - source.heard_at < LIVE_S]
        if not live and current in found:
            return current
        return max(live or found, key=lambda source: source.seat.order, default=None)

    def unwatched(self, source: Source, now: float) -> None:
        """Ask whether somebody should watch a source after all: the newer leg may have fallen silent."""
        if now - self._routed_at >= LOOK_S:
            source.heard_at = now
            self.route(now)

    def retire(self, source: Source) -> None:
        """Note that a leg's stream is over."""
        source.sinks = []
        self._totals.update(of_source(source))

    def flows(self, seat: Seat) -> None:
        """Note the first voice to a leg."""
        self._on_flowing(seat.leg_id)

    # -- Time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what time asks for."""
        if self.busy:
            self._poll(now)
        if now >= self._look_at:
            self._look_at = max(self._look_at + LOOK_S, now + LOOK_S / 2)
            self._look(now)
        for seat in self._open:
            if seat.probing is not None:
                self._probe(seat, now)

    def _poll(self, now: float) -> None:
        restless = False
        for seat in self._open:
            for source in seat.sources.values():
                if source.stream.restless:
                    source.poll(now)
                    restless = restless or source.stream.restless
        self.busy = restless

    def _probe(self, seat: Seat, now: float) -> None:
        assert seat.probing is not None
        size = seat.probing.due(now)
        if size < 0:
            seat.probing = None
        elif size and seat.picture is not None:
            seat.picture.probe(size, now)

    def _look(self, now: float) -> None:
        self._turn += 1
        even = self._turn % LIMITS_EVERY == 0
        for seat in self._open:
            if even or seat.is_fast:
                seat.feed_back(now)
        if even:
            for seat in self._open:
                seat.look(now)
            self._limit_all(now)
        if self._turn % REPORTS_EVERY == 0 or self.report_soon:
            self.report_soon = False
            for seat in self._open:
                seat.report(now)

    # -- What each may send ----------------------------------------------------------------------------------------

    def _limit_all(self, now: float) -> None:
        for seat in self._open:
            up = seat.up.estimate(now)
            usable_bps, rate_bps = _careful(up), up.rate_bps
            for watcher in self._watchers(seat, now):
                down = watcher.downlink(now)
                red_bps = watcher.voice.red_bps if watcher.voice is not None else 0.0
                can_bps = _careful(down) - red_bps
                if can_bps < usable_bps:
                    watcher.probe(min(PICTURE_MAX_BPS, _most(down)), now)
                usable_bps = min(usable_bps, can_bps)
                rate_bps = min(rate_bps, down.rate_bps - red_bps)
                watcher.down_budget.set_rate(
                    max(down.usable_bps, down.rate_bps, seat.cap.wire_bps), now
                )
            self._limit(seat, usable_bps, rate_bps, up.loss_ratio, now)

    def _watchers(self, sender: Seat, now: float) -> Iterable[Seat]:
        """Return the legs that get what this one sends; of a participant's dead ones none that has a newer."""
        newest: dict[str, Seat] = {}
        others = [seat for seat in self._open if seat.participant != sender.participant]
        for seat in others:
            newest[seat.participant] = seat
        return [
            seat
            for seat in others
            if now - seat.heard_at < DEAD_S or newest[seat.participant] is seat
        ]

    def _limit(
        self, seat: Seat, usable_bps: float, rate_bps: float, loss_ratio: float, now: float
    ) -> None:
        limits = seat.cap.update(usable_bps, rate_bps, loss_ratio, now)
        if limits is not None:
            self._on_limits(seat.leg_id, limits)

    # -- What is known ---------------------------------------------------------------------------------------------

    def metrics(self) -> RoomCounts:
        """Return the counters of every leg and stream as of now."""
        now = self.clock()
        legs = tuple(self._counts(seat, now) for seat in self._seats.values())
        totals = self._totals.copy()
        for leg in legs:
            totals.update(of_leg(leg))
        for seat in self._open:
            for source in seat.sources.values():
                totals.update(of_source(source))
        return RoomCounts(legs, totals)

    def _counts(self, seat: Seat, now: float) -> LegCounts:
        picture, voice = seat.picture, seat.voice
        return LegCounts(
            leg_id=seat.leg_id,
            role=seat.role,
            rtt_s=seat.rtt.latest_s,
            up=seat.up.estimate(now),
            down=seat.downlink(now),
            received=tuple(StreamCounts.of(source) for source in seat.sources.values()),
            nacks=seat.nacks,
            key_frame_requests=seat.key_frame_requests,
            voice_sent=voice.out.rewriter.packet_count if voice is not None else 0,
            picture_sent=picture.out.rewriter.packet_count if picture is not None else 0,
            resent=picture.out.resent if picture is not None else 0,
            repeats=picture.cache.repeats if picture is not None else 0,
            withheld=picture.out.withheld if picture is not None else 0,
            redundancy=voice.out.red.distances if voice is not None else (),
            limits=seat.cap.told,
        )


def _most(estimate: Estimate) -> float:
    """Return what a way may be asked for."""
    if estimate.confident:
        return estimate.rate_bps * KNOWN_RATIO
    return estimate.rate_bps * (THIN_RATIO if estimate.rate_bps < THIN_BPS else OPEN_RATIO)


def _careful(estimate: Estimate) -> float:
    """Return what a way may be given now."""
    return min(estimate.usable_bps, _most(estimate))
