# SPDX-License-Identifier: Apache-2.0
"""Bytes to messages and back, within limits.

Whatever arrives, ``decode`` returns a client message or raises ``WireError`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from signalling.wire.base import FromServer
from signalling.wire.codes import Code
from signalling.wire.messages import MAX_MESSAGE_BYTES, ClientMessage


class WireError(Exception):
    """A message that can't be taken; ``code`` is what the sender is told."""

    def __init__(self, code: Code, request_id: int | None = None) -> None:
        """Carry the code, and the request's id where it could be read."""
        super().__init__(code.value)
        self.code = code
        self.request_id = request_id


class _Envelope(msgspec.Struct):
    """Just enough to answer a message that is otherwise wrong."""

    id: int = 0


_decode: Callable[[bytes], ClientMessage] = msgspec.json.Decoder(ClientMessage).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
encode: Callable[[FromServer], bytes] = msgspec.json.Encoder().encode
"""A server message as UTF-8 JSON."""


def decode(data: bytes) -> ClientMessage:
    """Return the message in ``data`` (UTF-8 JSON).

    msgspec checks UTF-8 also in fields that are only forwarded, refuses NaN, and bounds nesting by its schema: no
    message nests deeper than three objects, and skipping unknown fields is off.

    Raises:
        WireError: ``too_large`` above 64 KiB, ``malformed`` for everything else that is wrong.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(Code.TOO_LARGE)
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise WireError(Code.MALFORMED, _request_id(data)) from None


def _request_id(data: bytes) -> int | None:
    """Return the id of a message that could not be decoded, if that much can be read."""
    try:
        request_id = _decode_envelope(data).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return request_id if 0 < request_id < 2**53 else None
