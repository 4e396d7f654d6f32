# SPDX-License-Identifier: Apache-2.0
"""A room is one consult at a relay: who sees and hears whom, and what each may send.

Nothing is forwarded before it was said between whom. Of one participant's legs the newest that sends is the
source; all of them receive. `tick` is called every 10 ms while `awake`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from media.core.codecs import codec_for
from media.core.ladder import is_calm, next_bps
from media.core.limits import START_BPS, Limits
from media.core.rungs import Wish
from media.relay.counts import TOTALS, LegCounts, RoomCounts, StreamCounts, of_leg, of_source
from media.relay.flow import LIVE_S, Kind, Source
from media.relay.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from media.core.fit import Path
    from media.core.ladder import Move, Reason
    from media.core.link_probe import Start
    from media.core.rungs import Rung
    from media.relay.description import Answer, Offer
    from media.relay.drops import Drops
    from media.relay.leg import Leg
    from media.relay.trace import Trace

LOOK_S: Final = 0.1
"""How often feedback is written and estimates are asked; less often for what changes slowly."""
LIMITS_EVERY: Final = 2
CALM_EVERY: Final = 4
"""Instead, while all ways are calm: looking after them is a quarter of what a call costs (measured with 20 of them)."""
REPORTS_EVERY: Final = 10
"""In turns of `LOOK_S`. A report a second costs 1 kbit/s; browsers do the same."""
DEAD_S: Final = 3.0
"""A leg silent for so long says nothing of what its participant can take, if there is a newer one."""
AHEAD_RATIO: Final = 1.5
"""A way down is asked for more only while the sender's own is not far behind: nothing would come to fill it."""
PROBE_MAX_BPS: Final = 2_000_000.0
"""More opens no further rung."""


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
        trace: Trace | None = None,
    ) -> None:
        """Make an empty room.

        Args:
            consult: its id; not looked at.
            clock: monotonic seconds, the one that packets are stamped with.
            drops: of the process.
            on_limits: called with a leg and what its page may send from now on; before anything of it is forwarded.
            on_flowing: called with a leg when the first forwarded voice went out to it.
            start_bps: of links that nothing is known of.
            trace: takes the ladder's decisions.
        """
        self.consult = consult
        self.clock = clock
        self.drops = drops
        self.start_bps = start_bps
        self.trace = trace
        self.moves: Counter[tuple[Rung, Reason]] = Counter()
        """By the rung that was moved to, and why."""
        self.busy = False
        """Whether something waits for the next tick."""
        self.paces = False
        """Whether some picture does, for its link."""
        self.report_soon = False
        self._on_limits = on_limits
        self._on_flowing = on_flowing
        self._seats: dict[str, Seat] = {}
        self._open: list[Seat] = []
        self._between: frozenset[str] = frozenset()
        self._wishes: dict[str, Wish] = {}
        self._order = 0
        self._look_at = 0.0
        self._turn = 0
        self._calm = False
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
        seat.direction.wish = self._wish_for(participant)
        seat.close()

    def answer(self, leg_id: str, answer: Answer) -> None:
        """Take what a leg's browser answered; its first limits are told. A second answer changes nothing."""
        seat = self._seats.get(leg_id)
        if seat is None or seat.answered:
            return
        now = self.clock()
        seat.accept(answer, now)
        self._choose_codecs()
        self._open_seats(now)
        self._begin_all(now)

    def known(self, leg_id: str, up: Start, down: Start) -> None:
        """Take what a leg's link was measured to carry; in its call that can only be more than it knows itself."""
        seat = self._seats.get(leg_id)
        if seat is None:
            return
        now = self.clock()
        if seat.is_open:
            seat.learn(up.bps, down.bps, now)
            return
        seat.begin_with(up, down, now)
        if seat.answered:
            self._begin_all(now)

    def talks(self, leg_id: str) -> bool:
        """Return whether a leg takes part in the call."""
        seat = self._seats.get(leg_id)
        return seat is not None and seat.is_open

    def unseat(self, leg_id: str) -> None:
        """Take a leg's place away."""
        seat = self._seats.pop(leg_id, None)
        if seat is None:
            return
        seat.close()
        now = self.clock()
        self._totals.update(of_leg(self._counts(seat, now)))
        self._open = [each for each in self._open if each is not seat]
        self._choose_codecs()
        self._begin_all(now)
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
        if self.paces:
            self._let_out(now)
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

    def _let_out(self, now: float) -> None:
        sinks = [seat.picture for seat in self._open if seat.picture is not None]
        waiting = [sink for sink in sinks if sink.let_out(now)]
        self.paces = bool(waiting)

    def _probe(self, seat: Seat, now: float) -> None:
        assert seat.probing is not None
        size = seat.probing.due(seat.pacer.octets, now)
        if size < 0:
            seat.probing = None
        elif size and seat.picture is not None and not len(seat.pacer):
            # What waits for its turn goes first: padding before it let a picture stand for seconds (in virtual time).
            seat.picture.probe(size, now)

    def _look(self, now: float) -> None:
        self._turn += 1
        even = self._turn % LIMITS_EVERY == 0
        for seat in self._open:
            if even or seat.is_fast:
                seat.feed_back(now)
        if self._turn % (CALM_EVERY if self._calm else LIMITS_EVERY) == 0:
            for seat in self._open:
                seat.look(now)
            self._limit_all(now)
        if self._turn % REPORTS_EVERY == 0 or self.report_soon:
            self.report_soon = False
            for seat in self._open:
                seat.report(now)

    # -- What each may send ----------------------------------------------------------------------------------------

    def _choose_codecs(self) -> None:
        """Let everybody send what all the others can decode, those included whose call has not begun."""
        sinks = {seat: seat.picture for seat in self._seats.values() if seat.picture is not None}
        for seat, sink in sinks.items():
            others = [o.codecs for s, o in sinks.items() if s.participant != seat.participant]
            seat.direction.codec = codec_for(sink.codecs, others)

    def wish(self, participant: str, wish: Wish) -> None:
        """Take what matters to one who looks, of all that the others send."""
        self._wishes.pop(participant, None)
        self._wishes[participant] = wish  # the last one counts
        self._calm = False
        for seat in self._seats.values():
            seat.direction.wish = self._wish_for(seat.participant)

    def _wish_for(self, participant: str) -> Wish:
        others = [wish for name, wish in self._wishes.items() if name != participant]
        return others[-1] if others else Wish.MOTION

    def carried_beside(self, participant: str, rate_bps: float) -> None:
        """Take what somebody's link carries up beside the media."""
        now = self.clock()
        for seat in self._seats.values():
            if seat.participant == participant:
                seat.up.carried_beside(rate_bps, now)

    def braked(self, leg_id: str) -> None:
        """Take a page's word that it has stopped its picture by itself."""
        seat = self._seats.get(leg_id)
        if seat is None or not seat.is_open:
            return
        now = self.clock()
        path, _ = self._path(seat, now)
        self._moved(seat, *seat.direction.braked(path, seat.rtt.base_s, now))

    def _path(self, sender: Seat, now: float) -> tuple[Path, list[Seat]]:
        """Return the links of what somebody sends, and who looks, in the same order after the sender's own."""
        watchers = self._watchers(sender, now)
        path = (sender.up_link(now), *(seat.down_link(now) for seat in watchers))
        return path, watchers

    def _limit_all(self, now: float) -> None:
        self._calm = True
        for seat in self._open:
            path, watchers = self._path(seat, now)
            direction = seat.direction
            if direction.talking:
                limits, move = direction.decide(path, seat.rtt.base_s, now)
            else:
                direction.talking = True
                limits, move = self._begun(seat, path, watchers, now), None
            self._moved(seat, limits, move)
            if move is not None and move.after < move.before:
                for watcher in watchers:
                    watcher.fell(now)
            self._serve(seat, path, watchers, now)

    def _serve(self, sender: Seat, path: Path, watchers: list[Seat], now: float) -> None:
        """Let the watchers' ways have what they need for what is sent now, and find out whether they take more."""
        direction = sender.direction
        state = direction.state
        assert state is not None
        wire_bps = direction.wire_bps(path)
        self._calm = self._calm and is_calm(state, path, wire_bps)
        for index, (watcher, link) in enumerate(zip(watchers, path[1:], strict=True), 1):
            watcher.set_down_rate(max(link.usable_bps, link.rate_bps, wire_bps), now)
            copies = state.protected[index] if index < len(state.protected) else False
            watcher.protect(link, state.sending, now, wanted=copies and not state.silent)
            if link.rate_bps < path[0].rate_bps * AHEAD_RATIO:
                wanted_bps = min(PROBE_MAX_BPS, next_bps(state, link, copy=copies))
                watcher.probe(wanted_bps, state.sending.wire_bps(link, int(copies)), now)

    def _moved(self, seat: Seat, limits: Limits | None, move: Move | None) -> None:
        if move is not None:
            self.moves[move.after, move.reason] += 1
        if limits is not None:
            self._on_limits(seat.leg_id, limits)

    def _watchers(self, sender: Seat, now: float) -> list[Seat]:
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

    def _begin_all(self, now: float) -> None:
        """Tell the legs that wait what they may send once the call begins, by all links that are known by now.

        So the first frame is what the call goes on with: one that is made larger or smaller costs a key frame.
        """
        seats = [seat for seat in self._seats.values() if seat.answered]
        for seat in seats:
            direction = seat.direction
            if seat.is_open or direction.talking:
                continue
            others = [each for each in seats if each.participant != seat.participant]
            path = (seat.up_link(now), *(each.down_link(now) for each in others))
            self._moved(seat, self._begun(seat, path, others, now), None)

    def _begun(self, seat: Seat, path: Path, watchers: list[Seat], now: float) -> Limits | None:
        """Begin a direction; return what is to be told, None if it was."""
        direction = seat.direction
        told = direction.told
        rung = min((seat.up_rung, *(each.down_rung for each in watchers)))
        limits = direction.begin(rung, path, seat.rtt.base_s, now)
        if (
            told is None
            or limits.differs(told)
            or limits.drifted(told)
            or limits.brake != told.brake
        ):
            return limits
        direction.told = told
        return None

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

    def rungs(self) -> list[Rung]:
        """Return where each leg is that takes part in the call."""
        return [seat.direction.rung for seat in self._open]

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
            limits=seat.direction.told,
        )
