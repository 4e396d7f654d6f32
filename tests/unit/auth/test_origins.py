# SPDX-License-Identifier: Apache-2.0
"""Requests of other sites are refused."""

import pytest

from auth.errors import OriginRefused
from auth.origins import canonical, require_origin, require_own_site

OURS = frozenset({"https://selat.example", "https://localhost:8443"})


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://selat.example", "https://selat.example"),
        ("https://SELAT.example", "https://selat.example"),
        ("HTTPS://selat.example", "https://selat.example"),
        ("https://selat.example:443", "https://selat.example"),
        ("http://selat.example:80", "http://selat.example"),
        ("http://selat.example:443", "http://selat.example:443"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://[::1]", "https://[::1]"),
        ("null", None),
        ("", None),
        ("selat.example", None),
        ("https://", None),
        ("https://selat.example/", None),
        ("https://selat.example/path", None),
        ("https://selat.example?x", None),
        ("https://selat.example#x", None),
        ("https://user@selat.example", None),
        ("https://selat.example:port", None),
        ("https://selat.example:99999", None),
        ("https://[::1", None),
        ("file://selat.example", None),
        ("chrome-extension://abcdef", None),
    ],
)
def test_origins_have_one_form(origin: str, expected: str | None) -> None:
    """Case and default ports don't matter; what isn't a web origin is none."""
    assert canonical(origin) == expected


@pytest.mark.parametrize(
    "origin", ["https://selat.example", "https://selat.example:443", "https://localhost:8443"]
)
def test_our_pages_may(origin: str) -> None:
    """An allowed origin opens a socket and may change things."""
    require_origin(origin, OURS)
    require_own_site("POST", origin, None, OURS)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "",
        "https://evil.example",
        "http://selat.example",
        "https://selat.example.evil.example",
        "https://selat.example@evil.example",
        "https://www.selat.example",
        "https://localhost",
    ],
)
def test_other_pages_may_not(origin: str | None) -> None:
    """Another origin, a look-alike, another scheme or port, or none at all is refused."""
    with pytest.raises(OriginRefused):
        require_origin(origin, OURS)
    with pytest.raises(OriginRefused):
        require_own_site("POST", origin, "cross-site", OURS)


def test_fetch_metadata_counts_only_without_an_origin() -> None:
    """``Sec-Fetch-Site`` stands in for a missing Origin and never overrules a wrong one."""
    require_own_site("POST", None, "same-origin", OURS)
    for site in ("same-site", "cross-site", "none", None):
        with pytest.raises(OriginRefused):
            require_own_site("POST", None, site, OURS)
    with pytest.raises(OriginRefused):
        require_own_site("DELETE", "https://evil.example", "same-origin", OURS)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_not_forgery(method: str) -> None:
    """Safe methods pass: people come to our pages by links from elsewhere."""
    require_own_site(method, None, "cross-site", OURS)
