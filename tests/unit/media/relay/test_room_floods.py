# SPDX-License-Identifier: Apache-2.0
"""A participant who sends more voice than anybody says, in virtual time; and honest ones whose links stall."""

import pytest

from media.core.budget import OVERHEAD_BYTES
from media.core.rungs import Voice, voice_wire_bps
from media.relay.drops import Drop
from media.relay.flow import VOICE_BPS, VOICE_BURST_S
from tests.support.room import House
from tests.support.rtp_packets import rtp

OPUS, RED = 111, 63


@pytest.fixture
def call():
    """Ana, who floods, and Ben, who listens."""
    house = House(start_bps=2_000_000)
    return house, *house.call()


def voice(ana, number, *, ticks, size=1_000, payload_type=OPUS, payload=None):
    ana.send(rtp(number & 0xFFFF, timestamp=ticks & 0xFFFFFFFF, ssrc=ana.ssrcs[0],
                 payload_type=payload_type, payload=payload or bytes(size)))  # fmt: skip


def on_the_wire(packets):
    return sum(len(packet.data) + OVERHEAD_BYTES for packet in packets)


def test_a_flood_of_voice_is_held_to_what_voices_take(call):
    """1,500 packets/s of 1,000 octets for 20 s are 12.6 Mbit/s; 200 kbit/s of them reach the other side, and the rest is counted."""
    house, ana, ben = call
    number = 0
    for _ in range(1_000):
        for _ in range(30):
            number += 1
            voice(ana, number, ticks=number * 32)
        house.pass_time(0.02)
    heard = ben.heard()
    most = VOICE_BPS / 8 * (20 + 2 * VOICE_BURST_S)
    assert 0.9 * VOICE_BPS / 8 * 20 < on_the_wire(heard) <= 1.02 * most
    assert house.drops[Drop.VOICE_LIMIT] == number - len(heard)


def test_copies_do_not_multiply_a_flood(call):
    """Packets of RED with eight frames that never came: what goes out as packets of their own is held to the rate as well."""
    house, ana, ben = call
    heads = b"".join(
        (0x80 << 24 | OPUS << 24 | back * 960 << 10 | 3).to_bytes(4, "big")
        for back in range(8, 0, -1)
    )
    payload = heads + bytes([OPUS]) + b"abc" * 9
    number = 0
    heard = 0
    for _ in range(1_500):
        for _ in range(10):
            number += 9
            voice(ana, number, ticks=number * 960, payload_type=RED, payload=payload)
        house.pass_time(0.02)
        heard += on_the_wire(ben.heard())
    assert house.drops[Drop.VOICE_LIMIT]
    # The first burst is taken before its copies are known: they are paid afterwards.
    assert heard <= 1.1 * VOICE_BPS / 8 * (30 + 10 * VOICE_BURST_S)


@pytest.mark.parametrize("stall_s", [0.6, 4.0])
@pytest.mark.parametrize(("frame_s", "copies"), [(0.02, 1), (0.01, 2)])
def test_a_stalled_link_costs_no_voice(call, stall_s, frame_s, copies):
    """The dearest coding there is, delivered for a minute in queues of 0.6 and 4 s: not one packet is refused."""
    house, ana, _ = call
    size = 32_000 * (1 + copies) / 8 * frame_s + 1 + 4 * copies + 16  # extensions
    number = 0
    for _ in range(int(60 / stall_s)):
        house.pass_time(stall_s)
        for _ in range(int(stall_s / frame_s)):
            number += 1
            voice(ana, number, ticks=int(number * frame_s * 48_000), size=int(size))
    assert not house.drops[Drop.VOICE_LIMIT]
    assert number > 2_900


def test_the_limit_is_above_what_is_asked_for():
    """The highest rung's voice in the shortest frames, with two copies: a fifth below."""
    shortest = voice_wire_bps(Voice(32_000, 10), 2)  # type: ignore[arg-type] # shorter than any rung's
    assert 0.6 * VOICE_BPS < shortest < 0.85 * VOICE_BPS
