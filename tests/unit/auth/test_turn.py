# SPDX-License-Identifier: Apache-2.0
"""TURN credentials by the shared-secret scheme."""

import base64
import hashlib
import hmac

import pytest

from auth.turn import DEFAULT_LIFETIME_S, credentials

NOW = 1_790_000_000.0


def test_the_scheme_is_the_drafts() -> None:
    """Username ``expiry:id``, credential base64(HMAC-SHA1(secret, username)), checked by hand.

    The credential was computed with ``openssl dgst -sha1 -hmac``.
    """
    made = credentials("north", "p_1", NOW)
    assert made.username == "1790000300:p_1"
    assert made.credential == "hlK2TUoiQljHxSvNegYZuOfe/HM="
    assert made.expires_at == NOW + DEFAULT_LIFETIME_S == NOW + 300


def test_lifetime_and_rounding() -> None:
    """The expiry is in whole seconds, never earlier than asked for."""
    made = credentials("north", "p_1", NOW + 0.2, lifetime_s=60.5)
    assert made.username.startswith("1790000061:")
    assert made.expires_at == NOW + 61


def test_a_secret_in_bytes_is_the_same() -> None:
    """A secret that was read from a file as bytes gives what its text gives."""
    assert credentials(b"north", "p_1", NOW) == credentials("north", "p_1", NOW)
    assert credentials("südwärts", "p_1", NOW).credential == base64.b64encode(
        hmac.digest("südwärts".encode(), b"1790000300:p_1", hashlib.sha1)
    ).decode("ascii")


@pytest.mark.parametrize(
    "participant_id",
    ["", "Siti Rahma", "siti@example.org", "+628120000001", "a:b", "x" * 65, "é", "p_1\n"],
)
def test_names_never_become_usernames(participant_id: str) -> None:
    """Whatever isn't an opaque id is refused: usernames cross the network in the clear."""
    with pytest.raises(ValueError, match="opaque"):
        credentials("north", participant_id, NOW)


@pytest.mark.parametrize(("secret", "lifetime_s"), [("", 300.0), (b"", 300.0), ("north", 0.0)])
def test_nothing_is_made_from_nothing(secret: str | bytes, lifetime_s: float) -> None:
    """Without a secret, or without a lifetime, there are no credentials."""
    with pytest.raises(ValueError, match="secret and a lifetime"):
        credentials(secret, "p_1", NOW, lifetime_s)


def test_the_credential_is_not_shown() -> None:
    """The repr has no credential in it."""
    made = credentials("north", "p_1", NOW)
    assert made.credential not in repr(made)
