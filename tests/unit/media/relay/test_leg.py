# SPDX-License-Identifier: Apache-2.0
"""A leg and its addresses, at a clock of the test; the port's sockets stay closed."""

import pytest

from media.relay.drops import Drop
from media.relay.ice import Check
from media.relay.leg import HELD_S
from media.relay.port import PortSettings, RelayPort


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
