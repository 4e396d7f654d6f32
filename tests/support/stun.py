# SPDX-License-Identifier: Apache-2.0
"""What a browser's ICE agent answers to a check."""

from __future__ import annotations

import struct

from aioice import stun


def reply(data: bytes, password: str) -> bytes:
    """Return the answer; an error where there is something that it must understand and doesn't."""
    kind = stun.Class.ERROR if struct.pack("!HH", 0x7FFE, 0) in data else stun.Class.RESPONSE
    message = stun.Message(
        message_method=stun.Method.BINDING, message_class=kind, transaction_id=data[8:20]
    )
    message.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", 9)
    message.add_message_integrity(password.encode())
    return bytes(message)
