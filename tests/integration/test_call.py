# SPDX-License-Identifier: Apache-2.0
"""A consult from the link to the summary, over real sockets."""

from tests.support.clinic import Clinic
from tests.support.peer import SDP


async def test_a_whole_call(clinic: Clinic) -> None:
    """Invited, joined, waiting, rung, in call with descriptions and chat both ways, ended with a summary."""
    call = await clinic.call()
    patient, specialist = call.patient, call.specialist
    await specialist.send(
        "description", consult=call.consult, description={"type": "offer", "sdp": SDP}
    )
    offer = await patient.wait_for(lambda m: m["type"] == "description")
    assert (offer["sender"], offer["instance"]) == (specialist.account, specialist.instance)
    assert offer["description"]["sdp"] == SDP
    await patient.chat("halo dok")
    await specialist.chat("selamat pagi")
    for side in (patient, specialist):
        await side.wait_until(lambda s=side: s.said == ["halo dok", "selamat pagi"])
    await specialist.done("end", consult=call.consult, outcome="advice", summary="Minum air")
    view = await patient.until_state("ended")
    assert (view["outcome"], view["summary"]) == ("advice", "Minum air")
    await specialist.until_desk("available")
    assert clinic.metric("joins_total") == 1
    assert clinic.metric("rings_total", outcome="answered") == 1
    assert clinic.metric("consults_ended_total", ending="advice") == 1
    assert clinic.metric("chat_lines_total") == 2
