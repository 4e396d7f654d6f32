# SPDX-License-Identifier: Apache-2.0
"""A leg and its addresses, at a clock of the test; the port's sockets stay closed."""

import pytest

from media.relay.drops import Drop
from media.relay.ice import CHECKS_BURST, CHECKS_PER_S, Check
from media.relay.leg import HELD_S
from media.relay.port import PortSettings, RelayPort
from tests.support.relay_peer import check as signed


class PaperPath:
    """One address; remembers whose it is."""

    transport = "udp"
    source = ("192.0.2.1", 5_000)

    def __init__(self):
        self.leg = None
        self.sent = []

    def send(self, data, weight):
        self.sent.append(data)

    def adopted(self, leg):
        self.leg = leg

    def forgotten(self):
        self.leg = None


@pytest.fixture
async def port():
    """A port with a clock that stands."""
    port = RelayPort(PortSettings(), clock=lambda: 0.0)
    yield port
    await port.close()


def check(leg):
    ufrag, pair = next(iter(leg.credentials.items()))
    return Check(ufrag, pair.pwd, bytes(12), nominated=True, conflict=False)


async def test_an_address_in_use_is_not_given_to_another_leg(port):
    """A true check for one leg, with another's address written on it, takes nothing; when that is silent it may be."""
    (victim, _), (robber, _) = port.mint(), port.mint()
    path = PaperPath()
    victim.receive_check(check(victim), path, 1.0)
    answers = len(path.sent)
    robber.receive_check(check(robber), path, 1.0 + HELD_S * 0.9)
    assert path.leg is victim
    assert victim.path is path
    assert robber.path is None
    assert len(path.sent) == answers
    assert port.drops[Drop.STUN_UNAUTHENTIC] == 1
    robber.receive_check(check(robber), path, 1.0 + HELD_S * 1.1)
    assert path.leg is robber
    assert victim.path is None


def pair_of(leg):
    return next(iter(leg.credentials.values()))


async def test_checks_without_end_are_read_no_more(port):
    """A thousand true checks a second for 10 s: 50 a second are answered beside what comes at once; the others are counted."""
    leg, _ = port.mint()
    path, data = PaperPath(), bytes(signed(pair_of(leg)))
    for tick in range(10_000):
        port.demux.receive(data, path, tick / 1_000)
    assert leg.traffic.checks <= CHECKS_PER_S * 10 + 2 * CHECKS_BURST + 1
    assert leg.traffic.checks >= CHECKS_PER_S * 10
    assert port.drops[Drop.STUN_LIMIT] == 10_000 - leg.traffic.checks


async def test_no_browsers_checks_are_refused(port):
    """A minute of Chromium that can't connect, one each 48 ms over all its pairs, in queues of 4 s: all are answered."""
    leg, _ = port.mint()
    paths, data = [PaperPath() for _ in range(8)], bytes(signed(pair_of(leg)))
    for index in range(1_250):
        port.demux.receive(data, paths[index % 8], index // 84 * 84 * 0.048)
    assert leg.traffic.checks == 1_250


async def test_others_cannot_use_up_a_legs_checks(port):
    """Who knows the name alone, and who repeats true checks from elsewhere, keeps none from the path that it talks over."""
    leg, _ = port.mint()
    path, other = PaperPath(), PaperPath()
    true, forged = bytes(signed(pair_of(leg))), bytes(signed(pair_of(leg), key=b"guess"))
    port.demux.receive(true, path, 0.0)
    for _ in range(2_000):
        port.demux.receive(forged, path, 0.1)
        port.demux.receive(true, other, 0.1)
    assert port.drops[Drop.STUN_UNAUTHENTIC] == 2_000
    assert port.drops[Drop.STUN_LIMIT] > 1_000
    answers = len(path.sent)
    port.demux.receive(true, path, 0.1)
    assert len(path.sent) == answers + 1
