# SPDX-License-Identifier: Apache-2.0
"""Whether a browser's request comes from our own pages.

Against cross-site request forgery and the hijacking of sockets.

Cookies are ``SameSite=Strict``, which already keeps them off other sites' requests; but a *site* is
more than an origin (every host under one registrable domain), and a WebSocket isn't bound by the
same-origin policy at all (RFC 6455 §10.2). So each door that changes something asks here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from auth.errors import OriginRefused

if TYPE_CHECKING:
    from collections.abc import Collection

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 §9.2.1; our routes change nothing on them."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def canonical(origin: str) -> str | None:
    """Return an origin as RFC 6454 §6.2 writes it (no default port); None when it is none."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.username is not None:
        return None
    if parts.path or parts.query or parts.fragment:
        return None
    bracketed = f"[{host}]" if ":" in host else host
    is_default = port is None or port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{bracketed}" + ("" if is_default else f":{port}")


def require_origin(origin: str | None, allowed: Collection[str]) -> None:
    """Return when ``Origin`` names one of the ``allowed`` origins (canonical). For WebSockets.

    Raises:
        OriginRefused: it names another one, ``null``, or is missing. Every browser sends it with a
            WebSocket.
    """
    if origin is None or canonical(origin) not in allowed:
        raise OriginRefused("another origin, or none")


def require_own_site(
    method: str, origin: str | None, fetch_site: str | None, allowed: Collection[str]
) -> None:
    """Return when an HTTP request that carries a cookie can't be another site's doing.

    Safe methods pass. Others need an allowed ``Origin``; without that header, ``Sec-Fetch-Site:
    same-origin`` (W3C Fetch Metadata), which a page can't forge.

    Raises:
        OriginRefused: otherwise.
    """
    if method in SAFE_METHODS:
        return
    if origin is None and fetch_site == "same-origin":
        return
    require_origin(origin, allowed)
