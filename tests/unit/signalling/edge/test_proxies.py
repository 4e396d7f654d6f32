# SPDX-License-Identifier: Apache-2.0
"""Addresses behind proxies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.edge.proxies import client_address

PROXIES = ("10.0.0.0/8", "fd00::/8", "127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.2", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.2", "6.6.6.6, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        ("10.0.0.2", "10.1.1.1, 10.0.0.1", "10.1.1.1"),
        ("10.0.0.2", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.2", "[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:10.0.0.2", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", "6.6.6.6, unknown", "fd00::1"),
        ("10.0.0.2", ", ", "10.0.0.2"),
        ("", "198.51.100.1", ""),
    ],
)
def test_only_proxies_are_believed(peer: str, header: str, expected: str) -> None:
    """The client is the rightmost address that no trusted proxy vouches away."""
    assert client_address(peer, header, PROXIES) == expected


def test_without_proxies_the_header_is_ignored() -> None:
    """A client can't choose its own address when no proxy is configured."""
    assert client_address("203.0.113.9", "198.51.100.1", ()) == "203.0.113.9"


@given(prefix=st.text(max_size=60))
def test_what_a_client_writes_left_of_its_address_never_counts(prefix: str) -> None:
    """Whatever a client puts into the header, the address that the proxy appended wins."""
    header = f"{prefix}, 198.51.100.7"
    assert client_address("10.0.0.2", header, PROXIES) == "198.51.100.7"
