# SPDX-License-Identifier: Apache-2.0
"""Which leg a datagram is for; hostile datagrams: no exception, no state."""

import os
import random
from typing import Any

import pytest

from media.relay.demux import Demultiplexer
from media.relay.drops import Drop, Drops
from media.relay.ice import Credentials
from tests.support.relay_peer import check, rtp

PAIR = Credentials.of(bytes(range(24)))
OTHER = Credentials.of(bytes(range(1, 25)))


class Nobody:
    """A path of nobody's."""

    leg: Any = None
    source = ("192.0.2.1", 5)
    transport = "udp"


class Recorder:
    """A leg that notes what it gets."""

    def __init__(self, *pairs: Credentials) -> None:
        self.credentials = {pair.ufrag: pair for pair in pairs}
        self.got: list[tuple[str, bytes]] = []

    def may_check(self, path: Any, now: float) -> bool:
        return True

    def receive_check(self, read: Any, path: Any, now: float) -> None:
        self.got.append(("check", read.ufrag.encode()))

    def receive_rtp(self, data: bytes, path: Any, now: float) -> None:
        self.got.append(("rtp", data))

    def receive_rtcp(self, data: bytes, now: float) -> None:
        self.got.append(("rtcp", data))

    def receive_dtls(self, data: bytes) -> None:
        self.got.append(("dtls", data))


@pytest.fixture
def drops() -> Drops:
    return Drops()


@pytest.fixture
def demux(drops: Drops) -> Demultiplexer:
    return Demultiplexer(drops)


@pytest.fixture
def leg(demux: Demultiplexer) -> Any:
    made: Any = Recorder(PAIR, OTHER)
    assert demux.add(made, made.credentials)
    return made


RTP = rtp(0xABCD, 1) + bytes(16)
RTCP = bytes.fromhex("80c90001") + (0xABCD).to_bytes(4, "big") + bytes(24)
DTLS = b"\x16\xfe\xfd" + bytes(20)


def test_a_check_finds_its_leg_by_main_and_spare_ufrag(demux: Demultiplexer, leg: Any) -> None:
    """Every agreed pair leads to the leg, without anybody having said that it is used now."""
    for pair in (PAIR, OTHER):
        demux.receive(bytes(check(pair)), Nobody(), 0.0)  # type: ignore[arg-type]
    assert leg.got == [("check", PAIR.ufrag.encode()), ("check", OTHER.ufrag.encode())]


def test_the_first_byte_decides_on_a_known_path(demux: Demultiplexer, leg: Any) -> None:
    """RFC 7983: DTLS, RTP and RTCP each go where they belong; anything else is nobody's."""
    path: Any = Nobody()
    path.leg = leg
    for data in (RTP, RTCP, DTLS, b"\x40" + bytes(20), b"\xff" + bytes(20)):
        demux.receive(data, path, 0.0)
    assert leg.got == [("rtp", RTP), ("rtcp", RTCP), ("dtls", DTLS)]
    assert demux.drops[Drop.NOT_OURS] == 2


def test_an_unknown_address_finds_its_leg_by_a_known_ssrc_alone(
    demux: Demultiplexer, leg: Any, drops: Drops
) -> None:
    """SSRC that an answer named or SRTP proved: the leg gets to try; others, and DTLS, are dropped."""
    demux.receive(RTP, Nobody(), 0.0)  # type: ignore[arg-type]
    demux.receive(DTLS, Nobody(), 0.0)  # type: ignore[arg-type]
    assert drops[Drop.UNKNOWN_SOURCE] == 2
    demux.learn(leg, (0xABCD).to_bytes(4, "big"))
    for data in (RTP, RTCP):
        demux.receive(data, Nobody(), 0.0)  # type: ignore[arg-type]
    assert [kind for kind, _ in leg.got] == ["rtp", "rtcp"]


def test_ufrags_and_ssrcs_belong_to_the_first(demux: Demultiplexer, leg: Any) -> None:
    """A taken ufrag is refused, a taken SSRC stays where it was; both are free after their leg has gone."""
    second: Any = Recorder(PAIR)
    assert not demux.add(second, second.credentials)
    ssrc = (0xABCD).to_bytes(4, "big")
    demux.learn(leg, ssrc)
    demux.learn(second, ssrc)
    demux.remove(second, second.credentials, [ssrc])
    assert demux.sizes() == (2, 1)
    demux.remove(leg, leg.credentials, [ssrc])
    assert demux.sizes() == (0, 0)


def test_lengths_are_bounded(demux: Demultiplexer, leg: Any, drops: Drops) -> None:
    """Shorter than an RTP header and longer than 1,500 bytes: dropped unread."""
    path: Any = Nobody()
    path.leg = leg
    for data in (b"", b"\x80", bytes(11), b"\x80" + bytes(1_500)):
        demux.receive(data, path, 0.0)
    assert not leg.got
    assert (drops[Drop.NOT_OURS], drops[Drop.TOO_LONG]) == (3, 1)


@pytest.mark.parametrize("seed", range(4))
def test_hostile_datagrams_cost_nothing(
    demux: Demultiplexer, leg: Any, drops: Drops, seed: int
) -> None:
    """Two thousand datagrams of noise and broken checks: all counted, no entry made, no leg reached."""
    chance = random.Random(seed)
    signed = bytes(check(PAIR))
    for _ in range(2_000):
        if chance.random() < 0.5:
            data = os.urandom(chance.randrange(200))
        else:
            broken = bytearray(signed)
            broken[chance.randrange(4, len(broken))] ^= 1 << chance.randrange(8)
            data = bytes(broken)
        demux.receive(data, Nobody(), 0.0)  # type: ignore[arg-type]
    assert demux.sizes() == (2, 0)
    assert leg.got == []
    assert sum(drops.values()) == 2_000
    assert not drops[Drop.FAULT]


def test_a_defect_of_ours_is_counted_and_said_once(
    demux: Demultiplexer, leg: Any, drops: Drops, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception below never leaves the handler: it is counted each time and logged once, without content."""

    def broken(data: bytes, path: Any, now: float) -> None:
        raise KeyError("secret")

    leg.receive_rtp = broken
    path: Any = Nobody()
    path.leg = leg
    for _ in range(3):
        demux.receive(RTP, path, 0.0)
    assert drops[Drop.FAULT] == 3
    assert [record.getMessage() for record in caplog.records] == [
        "handling a packet failed: KeyError"
    ]
