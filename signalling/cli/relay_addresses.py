# SPDX-License-Identifier: Apache-2.0
"""Under which addresses browsers reach a relay of this machine, as far as the machine can know."""

from __future__ import annotations

import ipaddress
import os
import socket

from signalling.config import Config, MediaConfig

_OUTSIDE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849): a route is looked up, nothing is sent."""
_LOOPBACK = ("127.0.0.1", "::1")


def public_addresses(config: Config) -> tuple[str, ...]:
    """Return the declared addresses, else this machine's own towards the Internet.

    Without a public URL, which is on a developer's machine, the loopback is added: its browser must reach the relay also
    where there is no network.
    """
    media = config.media
    if media.public_addresses:
        return media.public_addresses
    host = ipaddress.ip_address(media.host)
    if not host.is_unspecified:
        return (media.host,)
    versions = (4, 6) if host.version == 6 and socket.has_dualstack_ipv6() else (4,)
    found = [text for text in routed_addresses() if ipaddress.ip_address(text).version in versions]
    if not config.server.public_url or not found:
        found += [text for text in _LOOPBACK if ipaddress.ip_address(text).version in versions]
    return tuple(dict.fromkeys(found))


def routed_addresses() -> list[str]:
    """Return the addresses with which this machine would speak to the Internet, IPv4 first."""
    found = []
    for family, outside in _OUTSIDE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((outside, 9))
                found.append(str(probe.getsockname()[0]).partition("%")[0])
        except OSError:  # no such network
            continue
    return [text for text in found if not ipaddress.ip_address(text).is_link_local]


def own_relays(media: MediaConfig) -> int:
    """Return how many relay processes a node starts: as set, else one per core but one, at least one."""
    if media.route == "direct":
        return 0
    if media.relays is not None:
        return media.relays
    return max(1, len(os.sched_getaffinity(0)) - 1)
