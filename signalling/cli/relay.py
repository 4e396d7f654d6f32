# SPDX-License-Identifier: Apache-2.0
"""`selat relay`: be a media relay of a signalling server, on this machine or another."""

from __future__ import annotations

import errno
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
import uvloop

from signalling import collector, logs
from signalling.cli.relay_addresses import public_addresses
from signalling.cli.shell import AsJson, fail, settings, show_json
from signalling.config import Config

if TYPE_CHECKING:
    from media.app import RelaySettings
    from media.control import ControlSettings

LOCK_TAKEN = 75
"""Exit code (EX_TEMPFAIL of sysexits.h): another process is this relay."""
_INSTANCE_BYTES = 12


def relay(
    context: typer.Context,
    server: Annotated[
        str, typer.Option(help="The signalling server, wss://name or wss://name:port.")
    ],
    token_file: Annotated[
        Path, typer.Option(help="File with a relay token (`selat keys relay NAME`).")
    ],
    slot: Annotated[
        int, typer.Option(min=0, max=255, help="Which relay of this machine: added to all ports.")
    ] = 0,
    certificate: Annotated[
        Path | None,
        typer.Option(
            help="PEM certificate that the server must have, if no authority vouches for it."
        ),
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="What the server calls itself, if that is not --server.")
    ] = None,
    lock_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Run a media relay until SIGTERM, which lets its calls move away first; the second SIGTERM ends it at once."""
    from media.app import Ready, SlotTaken, run
    from media.control import ControlSettings

    config = settings(context)
    if urlsplit(server).scheme not in ("wss", "ws") or not urlsplit(server).hostname:
        fail("--server must look like wss://name or wss://name:port", 2)
    logs.configure(config.log)
    control = ControlSettings(
        server=server,
        token_file=token_file,
        instance=secrets.token_urlsafe(_INSTANCE_BYTES),
        certificate=certificate,
        origin=origin,
    )
    chosen = _settings(config, control, slot, lock_file)

    def ready(facts: Ready) -> None:
        collector.settle()
        if as_json:
            show_json(facts)
        else:
            where = ", ".join(chosen.port.public_addresses)
            typer.echo(f"Relay at {where}: UDP {facts.udp_port}, TCP {facts.tcp_port}")

    with logs.context(relay=str(slot)):
        try:
            uvloop.run(run(chosen, ready))
        except SlotTaken:
            fail("another process is this relay", LOCK_TAKEN)
        except OSError as error:
            fail(_why(error, config, slot))


def _settings(
    config: Config, control: ControlSettings, slot: int, lock_file: Path | None
) -> RelaySettings:
    from media.app import RelaySettings
    from media.relay.port import PortSettings

    media = config.media
    return RelaySettings(
        control=control,
        port=PortSettings(
            host=media.host,
            udp_port=_numbered(media.udp_port, slot),
            tcp_port=_numbered(media.tcp_port, slot),
            public_addresses=public_addresses(config),
            legs_max=media.legs_max,
            video_codecs=("VP8", "VP9") if media.vp9 else ("VP8",),
        ),
        metrics_host=media.metrics_host,
        metrics_port=_numbered(media.metrics_port, slot),
        drain_s=media.drain_s,
        lock_file=lock_file,
        trace_file=Path(f"{media.trace}.{slot}") if media.trace else None,
    )


def _numbered(base: int, slot: int) -> int:
    return base + slot if base else 0


def _why(error: OSError, config: Config, slot: int) -> str:
    media = config.media
    ports = ", ".join(
        str(_numbered(base, slot)) for base in (media.udp_port, media.tcp_port, media.metrics_port)
    )
    match error.errno:
        case errno.EADDRINUSE:
            return f"one of the ports {ports} is in use; `selat check` says which"
        case errno.EADDRNOTAVAIL:
            return "this machine doesn't have media.host or media.metrics_host"
        case _:
            return f"{error.strerror or type(error).__name__}; `selat check` says more"
