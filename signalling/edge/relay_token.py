# SPDX-License-Identifier: Apache-2.0
"""Tokens with which media relays say hello, and the files that they lie in."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from auth.keys import KeyRing
from auth.roles import Role
from auth.tokens import Audience, Claims, issue


def relay_token(ring: KeyRing, name: str, now: float, lifetime_s: float) -> str:
    """Return a token for the relay of this name.

    Raises:
        ValueError: the name or the lifetime can't be in a token (``auth.tokens.issue``).
        KeysUnusable: no key of the ring may sign now.
    """
    claims = Claims(
        sub=name,
        role=Role.RELAY,
        audience=Audience.RELAY,
        jti=secrets.token_urlsafe(12),
        expires_at=now + lifetime_s,
    )
    return issue(ring, claims, now)


def write_private(path: Path, text: str) -> None:
    """Put a line into a file that only its owner may read; whoever reads meanwhile sees the old one whole.

    Raises:
        OSError: it can't be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
