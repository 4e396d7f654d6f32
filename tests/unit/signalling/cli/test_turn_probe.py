# SPDX-License-Identifier: Apache-2.0
"""Addresses of TURN servers."""

import pytest

from signalling.cli.turn_probe import TurnAddress, parse_address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("turn:t.example", TurnAddress("turn", "t.example", 3478, "udp")),
        ("turn:t.example:80?transport=tcp", TurnAddress("turn", "t.example", 80, "tcp")),
        ("turns:t.example", TurnAddress("turns", "t.example", 5349, "tcp")),
        ("turns:t.example:443?transport=tcp", TurnAddress("turns", "t.example", 443, "tcp")),
        ("turn:[2001:db8::1]:3478?transport=udp", TurnAddress("turn", "2001:db8::1", 3478, "udp")),
        ("stun:t.example:3478", TurnAddress("stun", "t.example", 3478, "udp")),
    ],
)
def test_addresses_have_the_scheme_s_defaults(url: str, expected: TurnAddress) -> None:
    """Port and transport that an address leaves out are those of its scheme (RFC 7065 §3.2)."""
    assert parse_address(url) == expected


def test_what_is_asked_and_how_follows_from_the_scheme() -> None:
    """Only turn and turns relay; only turns goes through TLS."""
    assert [parse_address(f"{scheme}:h").relays for scheme in ("turn", "turns", "stun")] == [
        True,
        True,
        False,
    ]
    assert [parse_address(f"{scheme}:h").secure for scheme in ("turn", "turns", "stun")] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "url", ["http://t.example", "turn:", "turn:t.example?transport=sctp", "t:1"]
)
def test_other_addresses_are_refused(url: str) -> None:
    """What is no TURN or STUN address is an error."""
    with pytest.raises(ValueError, match="no TURN address"):
        parse_address(url)
