# SPDX-License-Identifier: Apache-2.0
"""Whose address a request counts for when proxies stand in front."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(peer: str, forwarded_for: str, trusted: tuple[str, ...]) -> str:
    """Return the address that a request counts for (limits per address).

    ``peer`` is the other end of the connection, ``forwarded_for`` the ``X-Forwarded-For`` headers joined by commas. A
    header is a claim: it is read from the right, and only as far as the claimants are ``trusted`` proxies
    (``server.trusted_proxies``). What a client writes into it itself stands left of that and is never reached.
    """
    address = _parse(peer)
    if address is None or not forwarded_for or not _is_trusted(address, trusted):
        return peer if address is None else str(address)
    for claim in reversed(forwarded_for.split(",")):
        claimed = _parse(claim)
        if claimed is None:
            break  # an unreadable claim: the last proxy that could be named is as far as we know
        address = claimed
        if not _is_trusted(address, trusted):
            break
    return str(address)


@lru_cache(maxsize=8)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(each, strict=False) for each in trusted)


def _is_trusted(address: Address, trusted: tuple[str, ...]) -> bool:
    return any(address in network for network in _networks(trusted))


def _parse(text: str) -> Address | None:
    """Read an address as proxies write it: bare, with a port, in brackets; IPv4 in IPv6 counts as IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
