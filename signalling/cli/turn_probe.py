# SPDX-License-Identifier: Apache-2.0
"""A real allocation on a TURN server, as a browser makes one: does the address, the way and the secret work?"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass

from aioice import stun, turn

from auth.turn import TurnCredentials

ALLOCATION_S = 60
"""The probe's allocation is given back at once; if that fails, it ends by itself after a minute."""

_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>\[[^\]]+\]|[^:?]+)(?::(?P<port>\d+))?(?:\?transport=(?P<transport>udp|tcp))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TurnAddress:
    """A parsed ``turn:``, ``turns:`` or ``stun:`` address (RFC 7065 §3.1, RFC 7064 §3.1)."""

    scheme: str
    host: str
    port: int
    transport: str
    """``udp`` or ``tcp``."""

    @property
    def relays(self) -> bool:
        """Whether it names a TURN server, not a STUN server."""
        return self.scheme.startswith("turn")

    @property
    def secure(self) -> bool:
        """Whether it goes through TLS (over UDP: DTLS)."""
        return self.scheme.endswith("s")


def parse_address(url: str) -> TurnAddress:
    """Return the parts of an address; a missing port and transport are the scheme's.

    Raises:
        ValueError: it is no such address.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("no TURN address")
    secure = match["scheme"].endswith("s")
    port = int(match["port"]) if match["port"] else 5_349 if secure else 3_478
    transport = match["transport"] or ("tcp" if secure else "udp")
    return TurnAddress(match["scheme"], match["host"].strip("[]"), port, transport)


async def allocate(
    address: TurnAddress, by: TurnCredentials, tls: ssl.SSLContext | None = None
) -> tuple[str, int]:
    """Make an allocation and give it back; return the relayed address.

    Raises:
        stun.TransactionFailed: the server refused; it has the error code.
        stun.TransactionTimeout, TimeoutError: it did not answer.
        OSError (with ssl.SSLError): it can't be reached.
        NotImplementedError: TURN over DTLS.
    """
    loop = asyncio.get_running_loop()
    server = (address.host, address.port)
    client: turn.TurnClientProtocol
    if address.transport == "udp":
        if address.secure:
            raise NotImplementedError("TURN over DTLS")
        _, client = await loop.create_datagram_endpoint(
            lambda: turn.TurnClientUdpProtocol(
                server, by.username, by.credential, ALLOCATION_S, ALLOCATION_S
            ),
            remote_addr=server,
        )
    else:
        _, client = await loop.create_connection(
            lambda: turn.TurnClientTcpProtocol(
                server, by.username, by.credential, ALLOCATION_S, ALLOCATION_S
            ),
            *server,
            ssl=(tls or ssl.create_default_context()) if address.secure else None,
        )
    try:
        relayed = await client.connect()
    except BaseException:
        client.transport.close()
        raise
    await client.delete()
    return relayed


def refusal_code(error: stun.TransactionFailed) -> int:
    """Return the STUN error code of a refusal (RFC 8489 §14.8), 0 if it carries none."""
    return error.response.error_code or 0
