# SPDX-License-Identifier: Apache-2.0
"""A relay process's transport as one thing: a UDP port, a TCP port, a certificate, and the legs that they carry."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from media.relay import description, ice
from media.relay.demux import Demultiplexer
from media.relay.description import Answer, AudioOffer, Extension, Offer, VideoCodec, VideoOffer
from media.relay.drops import Drop, Drops
from media.relay.dtls import Certificate
from media.relay.leg import Ending, Leg
from media.relay.tcp import TcpPort
from media.relay.udp import UdpPort

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

SWEEP_S = 0.5
"""How often silent legs and unconfirmed addresses are looked at."""
SPARES = 6
"""Restarts with credentials of their own; then the page begins again with the first (Chromium accepts any)."""
EXTENSIONS: tuple[Extension, ...] = (
    "mid", "abs-send-time", "transport-cc", "audio-level", "playout-delay", "orientation",
)  # fmt: skip


class PortFull(Exception):
    """There are as many legs as this process may carry."""


@dataclass(frozen=True, slots=True)
class PortSettings:
    """Where a relay process listens and how it is reached."""

    host: str = "::"
    """An address of this machine; ``::`` is all of them, IPv4 and IPv6."""
    udp_port: int = 0
    """0: the kernel chooses."""
    tcp_port: int | None = 0
    """None: no TCP."""
    public_addresses: tuple[str, ...] = ("127.0.0.1",)
    """What browsers are told to send to; behind 1:1 NAT not the machine's own."""
    legs_max: int = 1_000
    video_codecs: tuple[VideoCodec, ...] = ("VP8", "VP9")
    """VP8 comes first: every browser has it, and sends it until all who look are known."""


@dataclass(slots=True)
class MediaWanted:
    """What a leg is offered beyond its credentials; the controller's choice."""

    audio: dict[str, object] = field(default_factory=dict)
    """Fields of ``AudioOffer`` but the SSRC."""
    video: dict[str, object] = field(default_factory=dict)
    """Fields of ``VideoOffer`` but the SSRCs."""
    extensions: tuple[Extension, ...] = EXTENSIONS
    transport_cc: bool = True
    """What browsers say of each packet makes the down-link's estimate: within 10 % where reports alone are off by half (tested
    in virtual time on 64 kbit/s with jitter)."""
    remb: bool = False


class RelayPort:
    """Opens the sockets, mints legs with their offers, and lets go of them. Make it in a running loop."""

    def __init__(
        self, settings: PortSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.drops = Drops()
        self.demux = Demultiplexer(self.drops)
        self.udp = UdpPort(self.demux, self.drops)
        self.tcp = TcpPort(self.demux, self.drops)
        self.certificate = Certificate.make(datetime.datetime.now(datetime.UTC))  # noqa: TID251 the edge: validity dates
        self.legs: set[Leg] = set()
        self.udp_port: int | None = None
        self.tcp_port: int | None = None
        self._settings = settings
        self._clock = clock
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: an address is not ours or a port is taken.
        """
        settings = self._settings
        self.udp_port = self.udp.open(settings.host, settings.udp_port)
        if settings.tcp_port is not None:
            self.tcp_port = await self.tcp.open(settings.host, settings.tcp_port)
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def close(self) -> None:
        """Close every leg and the sockets. May be called twice."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        for leg in list(self.legs):
            await self.release(leg)
        await self.tcp.close()
        self.udp.close()

    def mint(self, wanted: MediaWanted | None = None) -> tuple[Leg, Offer]:
        """Make a leg and what it offers; it costs little until a browser's first check comes.

        Raises:
            PortFull: there are ``legs_max`` already.
        """
        if len(self.legs) >= self._settings.legs_max:
            raise PortFull
        wanted = wanted or MediaWanted()
        size = ice.UFRAG_BYTES + ice.PWD_BYTES
        while True:
            pairs = [ice.Credentials.of(secrets.token_bytes(size)) for _ in range(1 + SPARES)]
            leg = Leg(
                pairs,
                self.certificate,
                self.demux,
                self.drops,
                now=self._clock(),
                clock=self._clock,
            )
            if self.demux.add(
                leg, leg.credentials
            ):  # 48 bits: a second turn is as good as impossible
                break
        self.legs.add(leg)
        codecs = list(self._settings.video_codecs)
        voice, picture, again = (secrets.randbelow(0xFFFFFFFE) + 1 for _ in range(3))
        offer = Offer(
            ice=[str(pair) for pair in pairs],
            fingerprint=self.certificate.fingerprint,
            candidates=description.candidates(
                self._settings.public_addresses, self.udp_port, self.tcp_port
            ),
            audio=AudioOffer(ssrc=voice, **wanted.audio),  # type: ignore[arg-type] # the struct judges
            video=VideoOffer(ssrc=picture, rtx_ssrc=again, **{"codecs": codecs} | wanted.video),  # type: ignore[arg-type] # the same
            extensions=list(wanted.extensions),
            transport_cc=wanted.transport_cc,
            remb=wanted.remb,
        )
        return leg, offer

    def accept(self, leg: Leg, answer: Answer) -> None:
        """Give a leg its browser's answer."""
        leg.accept(answer.fingerprints, answer.ssrcs, self._clock(), ice=answer.ice)

    async def release(self, leg: Leg, ending: Ending = Ending.ASKED) -> None:
        """Close a leg and forget it."""
        self.legs.discard(leg)
        await leg.close(ending)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            await self._look_after(self._clock())

    async def _look_after(self, now: float) -> None:
        for leg in list(self.legs):
            try:
                if leg.sweep(now):
                    await self.release(leg, Ending.SILENT)
                elif leg.ending is not None:
                    self.legs.discard(leg)
            except Exception as error:  # noqa: BLE001 one leg's defect must not end the looking after all others
                self.drops[Drop.FAULT] += 1
                _log.error("looking after a leg failed: %s", type(error).__name__)
