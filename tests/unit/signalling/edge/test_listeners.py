# SPDX-License-Identifier: Apache-2.0
"""The main listener, as a thin link needs it."""

import socket

from signalling.config import ServerConfig
from signalling.edge.listeners import listen
from signalling.edge.paced import SEGMENT_BYTES


async def test_a_first_flight_is_small() -> None:
    """Both ends of a connection send small segments, and the kernel paces them."""
    listener = await listen(ServerConfig(host="127.0.0.1", port=0))
    listener.listen()
    with listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            for end in (client, accepted):
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= SEGMENT_BYTES
            assert accepted.getsockopt(socket.SOL_SOCKET, 47) < 0xFFFFFFFF
