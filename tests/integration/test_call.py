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


async def test_reports_count_in_a_call_alone(clinic: Clinic) -> None:
    """How a call came up or back is counted from its own two pages, while it lasts; anything else is ignored, with a count."""
    call = await clinic.call()
    stranger = await clinic.patient()
    colleague = await clinic.specialist()
    up = {"consult": call.consult, "connectedMs": 900}
    back = {"consult": call.consult, "trigger": "online", "recoveredMs": 700}

    def counted() -> tuple[float, float]:
        restarts = clinic.metric("ice_restarts_total", trigger="online", recovered="yes")
        return clinic.metric("setup_seconds_count", role="patient", phase="connected"), restarts

    for peer in (stranger, colleague):
        await peer.send("setup_report", **up)
        await peer.send("restart_report", **back)
        await peer.send("setup_report", **{**up, "consult": "no-such-consult"})
        await peer.ping()
    assert counted() == (0, 0)
    assert clinic.metric("reports_ignored_total") == 6
    await call.patient.send("setup_report", **up)
    await call.specialist.send("restart_report", **back)
    await call.patient.ping()
    await call.specialist.ping()
    assert counted() == (1, 1)
    await call.specialist.done("end", consult=call.consult, outcome="advice")
    await call.patient.until_state("ended")
    await call.patient.send("restart_report", **back)
    await call.patient.ping()
    assert counted() == (1, 1)
    assert clinic.metric("reports_ignored_total") == 7
