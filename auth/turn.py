# SPDX-License-Identifier: Apache-2.0
"""Time-limited credentials for coturn by its shared-secret scheme (``use-auth-secret``).

The scheme is draft-uberti-behave-turn-rest-00 §2.2: the username is ``<expiry>:<id>``, the
credential is base64(HMAC-SHA1(secret, username)). coturn checks both without asking us; SHA-1 is
the scheme's, and as an HMAC key derivation it isn't touched by SHA-1's collisions (RFC 6194 §3.3).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from dataclasses import dataclass, field
from typing import Final

DEFAULT_LIFETIME_S: Final = 300.0
"""Five minutes: longer than any ICE gathering takes on the links we know, short enough that a
leaked one is worthless. coturn checks it when an allocation is made *and refreshed*, so that
clients renew it during a call."""

_OPAQUE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TurnCredentials:
    """What a browser puts into ``RTCIceServer``. The credential isn't in its ``repr``."""

    username: str
    """``<expiry in epoch seconds>:<opaque id>``."""
    credential: str = field(repr=False)
    """base64(HMAC-SHA1(secret, username))."""
    expires_at: float
    """The TURN server refuses them from then on."""


def credentials(
    secret: str | bytes, participant_id: str, now: float, lifetime_s: float = DEFAULT_LIFETIME_S
) -> TurnCredentials:
    """Return credentials for one participant, good for ``lifetime_s`` seconds.

    ``participant_id`` *must* be opaque: TURN sends usernames in the clear, and coturn logs them.

    Raises:
        ValueError: the id isn't an opaque one (letters, digits, ``_``, ``-``; 64 at most), the
            secret is empty, or the lifetime isn't positive: our bug or the configuration's.
    """
    if not _OPAQUE_ID.fullmatch(participant_id):
        raise ValueError("a TURN username takes an opaque id only")
    if not secret or lifetime_s <= 0:
        raise ValueError("TURN credentials need a secret and a lifetime")
    expires_at = math.ceil(now + lifetime_s)
    username = f"{expires_at}:{participant_id}"
    key = secret.encode("utf-8") if isinstance(secret, str) else secret
    digest = hmac.new(key, username.encode("ascii"), hashlib.sha1).digest()
    return TurnCredentials(username, base64.b64encode(digest).decode("ascii"), float(expires_at))
