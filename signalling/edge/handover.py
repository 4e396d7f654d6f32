# SPDX-License-Identifier: Apache-2.0
"""What relays last said of people's links, for the relay that takes a call over: it would have to find all of it out again.

Kept here, where the relays' own words are, and nowhere else: a node that has no word of a link hands none over.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from signalling.wire import legs as wire

if TYPE_CHECKING:
    from signalling.edge.relays import Relay, Seated
    from signalling.wire.ids import ConsultId, InstanceId, LegId, ParticipantId
    from signalling.wire.quality import LegLink

KEPT: Final = 4_096
"""Links: two for each call, ten times those of a large node."""
OLD_S: Final = 30.0
"""A word older than this says nothing of a link that moves; in a call there is a new one every 5 s, and a call whose relay died is
on another one within 4."""


@dataclass(frozen=True, slots=True)
class Word:
    """The last one of somebody's link."""

    link: LegLink
    rung: wire.RungName
    """What that page may send; ``open`` where nobody has said: the rates decide."""
    instance: InstanceId
    leg: LegId
    at: float


class Handover:
    """One per node."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: OrderedDict[tuple[ConsultId, ParticipantId], Word] = OrderedDict()

    def noted(self, seat: Seated, link: LegLink, now: float) -> None:
        """Keep what a relay said of a leg's link."""
        key = seat.consult, seat.participant
        rung = seat.peer_link.rung if seat.peer_link is not None else "open"
        self._words[key] = Word(link, rung, seat.instance, seat.leg, now)
        self._words.move_to_end(key)
        if len(self._words) > KEPT:
            self._words.popitem(last=False)

    def tell(self, relay: Relay, seat: Seated, now: float) -> None:
        """Tell a relay what is known of the link of a leg that was just seated, or is about to be used.

        Another page load may be another device, on another link.
        """
        word = self._words.get((seat.consult, seat.participant))
        if word is None or word.instance != seat.instance or now - word.at > OLD_S:
            return
        link = word.link
        if word.leg != seat.leg and link.rtt_ms and link.up_known_bps and link.down_known_bps:
            relay.send(
                wire.LegKnown(
                    seat.leg,
                    word.rung,
                    link.up_known_bps,
                    link.down_known_bps,
                    link.rtt_ms,
                )
            )
