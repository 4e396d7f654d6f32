# SPDX-License-Identifier: Apache-2.0
"""Every error that ``auth`` raises.

::

    AuthError
    ├── TokenInvalid        token_invalid        malformed, forged, for somebody else, not ours
    │   └── KeyUnknown      token_invalid        signed with a key that the ring doesn't hold
    ├── TokenExpired        token_expired        was good once
    ├── CodeInvalid         code_invalid         no short code, or its check symbol is wrong
    ├── Throttled           throttled            too many wrong tries; has ``retry_after_s``
    ├── PermissionDenied    forbidden            this role may not do that
    ├── OriginRefused       origin_forbidden     the request comes from another site
    ├── PasswordWrong       credentials_invalid  unknown account or wrong password, never which
    ├── PasswordRefused     password_weak        a new password breaks a rule; has ``rule``
    ├── PasswordHashBroken  internal             the stored hash can't be read
    ├── SealBroken          internal             content was altered or moved, or another's key
    └── KeysUnusable        internal             the key file is damaged, or no key may sign

``code`` is stable and goes on the wire. The texts are for the log: they never contain the token,
the code, the password or an address that was refused, and they don't say more to an attacker than
the code does.
"""

from __future__ import annotations

from typing import ClassVar


class AuthError(Exception):
    """The root. ``code`` is the stable identifier which goes on the wire."""

    code: ClassVar[str] = "internal"


class TokenInvalid(AuthError):
    """The token is malformed, forged, meant for another audience, or misses a claim."""

    code = "token_invalid"


class KeyUnknown(TokenInvalid):
    """The token names a key that the ring doesn't hold: forged, or older than the key's expiry.

    The same ``code`` as its parent, since a stranger has no business knowing which keys exist; a
    class of its own, since an operator who sees many of these has nodes with different key files.
    """


class TokenExpired(AuthError):
    """The token was genuine, but its time is over."""

    code = "token_expired"


class CodeInvalid(AuthError):
    """The text is not a short code, or its check symbol is wrong."""

    code = "code_invalid"


class Throttled(AuthError):
    """Too many wrong tries; the next one is allowed after ``retry_after_s`` seconds."""

    code = "throttled"

    def __init__(self, retry_after_s: float) -> None:
        """Remember how long to wait, in seconds."""
        super().__init__("too many wrong tries")
        self.retry_after_s = retry_after_s


class PermissionDenied(AuthError):
    """The role may not do this."""

    code = "forbidden"


class OriginRefused(AuthError):
    """A browser sent this request on behalf of another site."""

    code = "origin_forbidden"


class PasswordWrong(AuthError):
    """The account is unknown or the password is wrong; the caller must not learn which."""

    code = "credentials_invalid"


class PasswordRefused(AuthError):
    """A new password breaks the rule named by ``rule`` (a ``passwords.Rule`` value)."""

    code = "password_weak"

    def __init__(self, rule: str) -> None:
        """Remember which rule was broken."""
        super().__init__(f"password breaks rule {rule}")
        self.rule = rule


class PasswordHashBroken(AuthError):
    """The stored hash is no argon2 hash: our data is damaged, the person did nothing wrong."""


class SealBroken(AuthError):
    """Sealed content can't be opened: altered, moved to another place, or for another key."""


class KeysUnusable(AuthError):
    """The key file can't be read as a key ring, or no key in it may sign now."""
