# SPDX-License-Identifier: Apache-2.0
"""What a leg needs of DTLS once it has its SRTP keys: to hear the peer say goodbye, and to say it itself.

OpenSSL keeps 64 KB for each association (measured, OpenSSL 4.0): buffers for records of 16 KB, and the handshake's last
flight. A data channel would need them; here nothing but a close_notify alert (RFC 5246 §7.2.1) ever follows the handshake. It is
one record of 39 octets, so its keys (RFC 5246 §6.3) are taken over and the association is let go.

Only for what every browser chooses of the relay's offer, DTLS 1.2 with AES-128-GCM (RFC 6347, RFC 5288); with anything else
the association stays.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION: Final = "DTLSv1.2"
CIPHER: Final = "ECDHE-ECDSA-AES128-GCM-SHA256"

_RECORD = struct.Struct("!B2s8sH")
"""Kind, version, epoch and sequence number, length (RFC 6347 §4.1)."""
_ALERT: Final = 21
_DTLS_1_2: Final = b"\xfe\xfd"
_WARNING, _FATAL = 1, 2
_CLOSE_NOTIFY: Final = 0
_KEY_BYTES, _SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 4, 8, 16
_NUMBER: Final = b"\0\1" + (1 << 20).to_bytes(6, "big")
"""Of our goodbye: beyond all that a handshake takes of its epoch, the first one that is encrypted."""
_RECORDS_MAX: Final = 8
"""In one datagram."""


class Farewell:
    """The keys of both directions, for alerts only."""

    __slots__ = ("_ours", "_theirs")

    def __init__(self, master: bytes, client_random: bytes, server_random: bytes) -> None:
        """Derive the keys of the client, which is the relay, and of the server."""
        seed = b"key expansion" + server_random + client_random
        block = _expanded(master, seed, 2 * (_KEY_BYTES + _SALT_BYTES))
        salts = block[2 * _KEY_BYTES :]
        self._ours = block[:_KEY_BYTES], salts[:_SALT_BYTES]
        self._theirs = block[_KEY_BYTES : 2 * _KEY_BYTES], salts[_SALT_BYTES:]

    def said(self) -> bytes:
        """Return our goodbye. The same number each time, but never the same nonce."""
        key, salt = self._ours
        nonce = secrets.token_bytes(_NONCE_BYTES)
        alert = bytes((_WARNING, _CLOSE_NOTIFY))
        sealed = AESGCM(key).encrypt(salt + nonce, alert, _bound(_NUMBER, len(alert)))
        length = _NONCE_BYTES + len(sealed)
        return _RECORD.pack(_ALERT, _DTLS_1_2, _NUMBER, length) + nonce + sealed

    def heard(self, data: bytes) -> bool:
        """Tell whether a datagram has the peer's authentic goodbye, or its verdict that all is over."""
        at = 0
        for _ in range(_RECORDS_MAX):
            if at + _RECORD.size > len(data):
                break
            kind, version, number, length = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            content = data[at : at + length]
            alert = kind == _ALERT and version == _DTLS_1_2 and len(content) == length
            if alert and self._ends(number, content):
                return True
            at += length
        return False

    def _ends(self, number: bytes, sealed: bytes) -> bool:
        key, salt = self._theirs
        size = len(sealed) - _NONCE_BYTES - _TAG_BYTES
        if size != 2:
            return False
        nonce = salt + sealed[:_NONCE_BYTES]
        try:
            level, what = AESGCM(key).decrypt(nonce, sealed[_NONCE_BYTES:], _bound(number, size))
        except InvalidTag:
            return False
        return level == _FATAL or what == _CLOSE_NOTIFY


def _bound(number: bytes, size: int) -> bytes:
    """Return what a record's tag covers beside its content (RFC 5246 §6.2.3.3)."""
    return number + bytes((_ALERT,)) + _DTLS_1_2 + size.to_bytes(2, "big")


def _expanded(secret: bytes, seed: bytes, size: int) -> bytes:
    """Return P_SHA256 (RFC 5246 §5)."""
    found, link = b"", seed
    while len(found) < size:
        link = hmac.digest(secret, link, hashlib.sha256)
        found += hmac.digest(secret, link + seed, hashlib.sha256)
    return found[:size]
