# SPDX-License-Identifier: Apache-2.0
"""What a node is told by another one, and what of it goes on: only what there is room for."""

import msgspec
import pytest

from auth.roles import Role
from signalling.edge.connections import Connection, Connections, Forward, Taken
from signalling.wire.ids import ConnectionId, InstanceId, ParticipantId


class Socket:
    """Remembers what was sent."""

    def __init__(self, buffered_bytes: int) -> None:
        self.buffered_bytes = buffered_bytes
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)


@pytest.mark.parametrize(
    ("waiting", "size", "goes"),
    [(0, 60_000, True), (1, 60_000, False), (10_000, 2_000, True), (32_000, 2_000, False)],
)
def test_what_another_node_forwards_needs_room(waiting: int, size: int, goes: bool) -> None:
    """With nothing waiting all goes; else no more than half of what makes a slow reader."""
    socket = Socket(waiting)
    connection = Connection(
        id=ConnectionId("c"),
        socket=socket,  # type: ignore[arg-type]
        role=Role.SPECIALIST,
        participant=ParticipantId("a_1"),
        instance=InstanceId("i"),
        consult=None,
        binding="",
    )
    payload = b'"' + b"x" * (size - 2) + b'"'
    Connections(None, 60.0)._take(connection, Forward(msgspec.Raw(payload)))  # type: ignore[arg-type]
    assert socket.sent == ([payload] if goes else [])


def test_a_return_that_is_told_late_is_none() -> None:
    """Who connected and is gone again before that is heard is still away; another connection's word is a return."""
    connections, participant = Connections(None, 60.0), ParticipantId("p_1")  # type: ignore[arg-type]
    connections._left[participant] = ConnectionId("c1")
    connections._back(participant, Taken("c1", "i"))
    assert participant in connections._left
    connections._back(participant, Taken("c2", "i"))
    assert participant not in connections._left
    connections._back(participant, Taken("c2", "i"))  # told twice
