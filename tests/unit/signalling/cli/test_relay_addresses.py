# SPDX-License-Identifier: Apache-2.0
"""What relays are announced as, and how many a node starts."""

import pytest

from signalling.cli import relay_addresses as module
from signalling.config import Config, MediaConfig, ServerConfig


@pytest.fixture
def routed(monkeypatch):
    """A machine with an address in each network, and IPv6."""
    monkeypatch.setattr(module, "routed_addresses", lambda: ["198.51.100.7", "2001:db8::7"])
    monkeypatch.setattr(module.socket, "has_dualstack_ipv6", lambda: True)


PUBLIC = ServerConfig(public_url="https://selat.example.org")


@pytest.mark.parametrize(
    ("server", "media", "expected"),
    [
        (PUBLIC, MediaConfig(), ("198.51.100.7", "2001:db8::7")),
        (ServerConfig(), MediaConfig(), ("198.51.100.7", "2001:db8::7", "127.0.0.1", "::1")),
        (PUBLIC, MediaConfig(host="0.0.0.0"), ("198.51.100.7",)),
        (PUBLIC, MediaConfig(host="10.1.2.3"), ("10.1.2.3",)),
        (PUBLIC, MediaConfig(public_addresses=("9.9.9.9",)), ("9.9.9.9",)),
        (ServerConfig(), MediaConfig(host="0.0.0.0", public_addresses=("9.9.9.9",)), ("9.9.9.9",)),
    ],
)
def test_addresses(routed, server, media, expected) -> None:
    """Declared ones win; else the machine's own, of the versions that it listens on, and the loopback without a public URL."""
    assert module.public_addresses(Config(server=server, media=media)) == expected


def test_without_a_network_the_loopback_is_announced(routed, monkeypatch) -> None:
    """A relay is always announced as something."""
    monkeypatch.setattr(module, "routed_addresses", list)
    assert module.public_addresses(Config(server=PUBLIC)) == ("127.0.0.1", "::1")


def test_found_addresses_are_addresses_of_this_machine() -> None:
    """What the kernel would send from can be listened on; nothing is sent to find out."""
    for text in module.routed_addresses():
        family = module.socket.AF_INET6 if ":" in text else module.socket.AF_INET
        with module.socket.socket(family, module.socket.SOCK_DGRAM) as probe:
            probe.bind((text, 0))


@pytest.mark.parametrize(
    ("cores", "media", "expected"),
    [
        (1, MediaConfig(), 1), (2, MediaConfig(), 1), (8, MediaConfig(), 7), (8, MediaConfig(relays=0), 0),
        (1, MediaConfig(relays=3), 3), (8, MediaConfig(route="direct", relays=3), 0),
    ],
)  # fmt: skip
def test_own_relays(monkeypatch, cores, media, expected) -> None:
    """One per core but one, at least one; as set where it is set; none for route direct."""
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(cores)))
    assert module.own_relays(media) == expected
