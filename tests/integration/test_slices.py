# SPDX-License-Identifier: Apache-2.0
"""What was written is shown in slices: nobody is cut off because much was written."""

import json
import socket
from typing import Any

from signalling.config import LimitsConfig
from signalling.core.policy import ConsultPolicy
from signalling.edge import keys, push, readings
from signalling.edge.gate import Gate
from tests.integration.conftest import OpenNode
from tests.support.clinic import Clinic
from tests.support.peer import Peer
from tests.support.until import until

LINES = 28
"""As many as may be written at once."""
LONGEST = "\U0001f33f" * 1_990
"""Nearly 8 KB on the wire: four bytes for each character."""
PROMISES = ConsultPolicy(away_grace_s=0.3, nobody_s=0.3)


async def write(patient: Peer) -> list[str]:
    """Write the longest lines; return them."""
    lines = [f"{n:03} {LONGEST}" for n in range(LINES)]
    for line in lines:
        await patient.chat(line)
    return lines


async def test_messages_come_in_slices(open_node: OpenNode) -> None:
    """Long lines are answered some at a time, each answer small; whoever asks on has them all, once and in order."""
    clinic = await open_node(consult=PROMISES)
    patient = await clinic.patient()
    await patient.until_state("callback")
    lines = await write(patient)
    doctor = await clinic.specialist(on_call=False)
    read: list[str] = []
    more, answers = True, 0
    while more:
        answer = await doctor.done("messages", consult=patient.consult, skip=len(read))
        assert answer["lines"]
        assert len(json.dumps(answer, ensure_ascii=False).encode()) < readings.SLICE_BYTES * 1.1
        read += [line["text"] for line in answer["lines"]]
        more, answers = answer.get("more", False), answers + 1
    assert read == lines
    assert answers >= LINES * 8_000 / readings.SLICE_BYTES
    beyond = await doctor.done("messages", consult=patient.consult, skip=len(read))
    assert (beyond["lines"], beyond.get("more")) == ([], None)


def narrow(clinic: Clinic, peer: Peer) -> None:
    """Let the kernel hold little of what goes to the connection that was dialled last."""
    gate: Gate = clinic.node.app[keys.GATE]
    (visitor,) = [v for v in gate._visitors if v.connection is None]
    transport: Any = visitor.socket._transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    mine: Any = peer._socket._response.connection  # type: ignore[union-attr]
    mine.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)


async def test_a_timeline_waits_for_who_reads_slowly(open_node: OpenNode) -> None:
    """A page that is loaded anew and takes nothing for a while is not cut off for the lines that the server has for it."""
    limits = LimitsConfig(outgoing_max_bytes=65_536)
    clinic = await open_node(limits=limits)
    patient = await clinic.patient()
    lines = await write(patient)
    page = clinic.peer(patient.token, patient.consult)
    await page.dial()
    narrow(clinic, page)
    page.stop_reading()
    await page.send("hello", protocols=[1], token=page.token, instance=page.instance)
    gate: Gate = clinic.node.app[keys.GATE]

    def waiting() -> int:
        return max((c.socket.buffered_bytes for c in gate._connections), default=0)

    await until(lambda: waiting() > push.SLICE_BYTES or clinic.refusals("slow_reader"))
    assert waiting() < push.SLICE_BYTES + 10_000
    await patient.until_closed()  # its place was taken
    page.read_on()
    await page.wait_until(lambda: page.view)
    assert [line for line in page.said if LONGEST in line] == lines
    assert not clinic.refusals("slow_reader")
