# SPDX-License-Identifier: Apache-2.0
"""The relay's UDP socket itself."""

import asyncio
import itertools
import socket
import time

import pytest

from media.relay import udp
from media.relay.datagrams import Singles
from media.relay.drops import Drop
from media.relay.path import Weight
from media.relay.port import PortSettings
from tests.support.relay_peer import LOOPBACK, connected, relay, rtp
from tests.support.until import until

SOME = 2_000


async def test_a_busy_socket_is_read_in_a_rhythm_and_a_quiet_one_when_something_comes():
    """It goes over to a rhythm under load and back when the load ends; every packet is read."""
    async with relay() as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(("127.0.0.1", port.udp_port))
            sent = 0
            while not port.udp.gathers and sent < SOME:
                stranger.send(bytes([255]) * 20)
                sent += 1
                await asyncio.sleep(0)
            assert port.udp.gathers
            stranger.send(bytes([255]) * 20)
            await until(lambda: port.drops[Drop.NOT_OURS] == sent + 1)
            await until(lambda: not port.udp.gathers)
            stranger.send(bytes([255]) * 20)
            await until(lambda: port.drops[Drop.NOT_OURS] == sent + 2)


async def test_a_busy_socket_may_be_closed():
    """Nothing reads it any more; closing twice is closing once."""
    async with relay() as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(("127.0.0.1", port.udp_port))
            for _ in range(SOME):
                stranger.send(bytes([255]) * 20)
                await asyncio.sleep(0)
                if port.udp.gathers:
                    break
            assert port.udp.gathers
            port.udp.close()
            port.udp.close()
            assert not port.udp.gathers


async def test_what_is_read_late_is_told_with_the_time_that_it_came():
    """While links are measured: three answers 40 ms apart, read at once by a loop that was held up, stay 40 ms apart."""
    async with relay() as port:
        came = []
        port.demux.receive = lambda data, path, at: came.append((data[:1], at))
        port.udp._demux = port.demux
        port.udp.exact = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as browser:
            browser.connect(("127.0.0.1", port.udp_port))
            for _ in range(3):
                browser.send(bytes([1, 1]) + bytes(30))
                time.sleep(0.04)
            browser.send(bytes([128]) * 20)
            await until(lambda: len(came) == 4)
        answers = [at for kind, at in came if kind == b"\x01"]
        assert [later - at >= 0.039 for at, later in itertools.pairwise(answers)] == [True, True]
        assert answers[-1] - answers[0] < 0.5
        assert came[-1][1] >= answers[-1] + 0.039, "all else is handled at the time of being read"


@pytest.mark.parametrize("settings", [LOOPBACK, PortSettings()])
async def test_a_system_without_batches_carries_a_leg_all_the_same(monkeypatch, settings):
    """One datagram per call: checks, the handshake and media work, on a socket of both kinds too."""
    monkeypatch.setattr(udp, "wire", Singles)
    heard: list[bytes] = []
    async with relay(settings) as port, connected(port) as (leg, offer, peer):
        assert isinstance(port.udp.wire, Singles)
        leg.on_rtp = lambda leg, data, now: heard.append(data)
        peer.rtp(rtp(peer.ssrcs[0], 1))
        await until(lambda: len(heard) == 1)
        assert leg.send_rtp(rtp(offer.audio.ssrc, 1), Weight.VOICE)
        await until(lambda: len(peer.rtp_in) == 1)
        assert leg.path.source[0] == "127.0.0.1"
