# SPDX-License-Identifier: Apache-2.0
"""A call by way of the relay goes on: after blackouts, with a new address, without the node, with another relay."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.flow import back_after_s, flow, watch
from tests.browser.scene import SELAT, Actor, Server, meet, scene
from tests.browser.turn import turn_server
from tests.link.lab import Lab
from tests.link.profiles import link

pytestmark = [pytest.mark.browser, pytest.mark.link, pytest.mark.timeout(300)]

SAMPLING_S = 0.25
"""What is measured in steps of 50 ms, by getStats, in browsers that share two cores, is so much late at worst (seen)."""


def rtt_lab(rtt_ms: float, loss_ratio: float = 0.0) -> Lab:
    """Return an island 384/128 kbit/s away."""
    name = f"rtt_{rtt_ms:.0f}"
    return Lab(link(name, 384, 128, rtt_ms, "the links of the aims", loss_ratio=loss_ratio), seed=5)


async def both_back(
    patient: Actor, specialist: Actor, since: float, within_s: float = 20.0
) -> dict[str, float]:
    """Return after how many seconds voice and picture were back at each end."""
    ends = {"island": patient.page, "city": specialist.page}
    kinds = ("voice", "picture")
    waits = {
        f"{kind} at the {end}": back_after_s(page, since, kind, within_s)
        for end, page in ends.items()
        for kind in kinds
    }
    return dict(zip(waits, await asyncio.gather(*waits.values()), strict=True))


ROOM = 2.0
"""The short set asks that calls come back, in twice the time that is aimed at: it must not fail because something else runs on
the machine. The long set, which is run alone, asks for the aim."""


def judge(back: dict[str, float], voice_s: float, picture_s: float, room: float = 1.0) -> None:
    """Compare what was measured with what is asked."""
    print({name: round(took, 2) for name, took in back.items()}, f"≤ {voice_s:.2f}/{picture_s:.2f}")
    for name, took in back.items():
        aim_s = voice_s if name.startswith("voice") else picture_s
        assert took <= aim_s * room + SAMPLING_S, back


STRICT = pytest.mark.slow
BLACKOUTS = [
    pytest.param(20, 650, 0.0, ROOM),
    pytest.param(20, 250, 0.0, 1.0, marks=STRICT),
    pytest.param(20, 650, 0.0, 1.0, marks=STRICT),
    pytest.param(20, 650, 0.03, 1.0, marks=STRICT),
    pytest.param(60, 250, 0.0, 1.0, marks=STRICT),
    pytest.param(60, 650, 0.03, 1.0, marks=STRICT),
    pytest.param(300, 250, 0.0, 1.0, marks=[STRICT, pytest.mark.timeout(600)]),
    pytest.param(300, 650, 0.03, 1.0, marks=[STRICT, pytest.mark.timeout(600)]),
]


@pytest.mark.parametrize(("dark_s", "rtt_ms", "loss", "room"), BLACKOUTS)
async def test_a_blackout(
    tmp_path: Path, dark_s: int, rtt_ms: int, loss: float, room: float
) -> None:
    """After it: voice within 2 round trips + 0.5 s, the picture within 2 round trips + 1.2 s, by itself."""
    with rtt_lab(rtt_ms, loss) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            patient, specialist = await stage.call()
            await meet(patient, specialist, within_s=40)
            await watch(patient.page, specialist.page)
            await asyncio.sleep(5)
            lab.blackout(dark_s)
            over = time.time() + dark_s
            await asyncio.sleep(dark_s)
            back = await both_back(patient, specialist, over)
            # A key frame that loses one of its packets waits for the repeated one.
            repeated_s = rtt_ms / 1_000 if loss else 0.0
            judge(back, 2 * rtt_ms / 1_000 + 0.5, 2 * rtt_ms / 1_000 + 1.2 + repeated_s, room)
            await meet(patient, specialist)
            print(json.dumps(lab.report()["up"]))


@pytest.mark.parametrize(
    ("rtt_ms", "permission", "room"),
    [
        (250, "asked", ROOM),
        pytest.param(250, "asked", 1.0, marks=STRICT),
        pytest.param(650, "asked", 1.0, marks=STRICT),
        pytest.param(250, "remembered", 1.0, marks=STRICT),
        pytest.param(650, "remembered", 1.0, marks=STRICT),
    ],
)
async def test_a_new_address(tmp_path: Path, rtt_ms: int, permission: str, room: float) -> None:
    """Wi-Fi to mobile: voice within 1 round trip + 0.5 s where the connection was made before permission was asked for, within
    2 round trips + 1.6 s where permission was remembered.
    """
    with rtt_lab(rtt_ms) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            specialist = await stage.specialist()
            patient = await stage.patient(permission=permission)  # type: ignore[arg-type]
            await specialist.state("ringing", within_s=15)
            await specialist.page.click("#accept")
            await meet(patient, specialist, within_s=40)
            await watch(patient.page, specialist.page)
            lab.change_address(gap_s=1.0)
            lab.wait_address()
            since = time.time()
            round_trip_s = rtt_ms / 1_000
            voice_s = round_trip_s + 0.5 if permission == "asked" else 2 * round_trip_s + 1.6
            back = await both_back(patient, specialist, since)
            judge(back, voice_s, voice_s + 2.0, room)
            await meet(patient, specialist)


async def test_the_node_is_killed_and_comes_back(tmp_path: Path) -> None:
    """SIGKILL of the signalling node in mid-call: no voice gap that anybody hears, and the same call afterwards."""
    async with scene(tmp_path) as stage:
        patient, specialist = await stage.call()
        await meet(patient, specialist)
        await watch(patient.page, specialist.page)
        begun = time.time()
        stage.server.kill()
        await asyncio.sleep(5)
        stage.server.start()
        for actor in (patient, specialist):
            await actor.state("in_call")
        await asyncio.sleep(8)  # long enough for a node that would mistake its relay for gone
        for actor in (patient, specialist):
            gap_s = (await flow(actor.page)).longest_gap_s(begun, time.time() - 0.2, "voice")
            assert gap_s <= 0.5
        await meet(patient, specialist)


def in_use(pids: list[int]) -> int:
    """Return the relay that spends the most CPU from now on: the one that forwards."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = {pid: ticks(pid) for pid in pids}
    time.sleep(2.0)
    return max(pids, key=lambda pid: ticks(pid) - before[pid])


@pytest.mark.parametrize(
    ("how", "room"),
    [
        ("killed", ROOM),
        pytest.param("killed", 1.0, marks=STRICT),
        pytest.param("stopped", 1.0, marks=STRICT),
    ],
)
async def test_a_relay_dies(tmp_path: Path, how: str, room: float) -> None:
    """SIGKILL or SIGSTOP of the relay: noticed within 3 s, and both talk again within 3 round trips + 0.5 s of that."""
    rtt_s = 0.25
    with rtt_lab(rtt_s * 1_000) as lab:
        async with scene(tmp_path, lab=lab, settings={"SELAT_MEDIA_RELAYS": "2"}) as stage:
            patient, specialist = await stage.call()
            await meet(patient, specialist, within_s=40)
            await watch(patient.page, specialist.page)
            victim = await asyncio.to_thread(in_use, stage.server.relays())
            since = time.time()
            os.kill(victim, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            try:
                await asyncio.sleep(0.5)  # what was on its way has arrived
                back = await both_back(patient, specialist, since + 0.5)
                judge(back, 2.5 + 3 * rtt_s + 0.5, 2.5 + 3 * rtt_s + 1.7, room)
                await meet(patient, specialist)
            finally:
                if how == "stopped":
                    os.kill(victim, signal.SIGKILL)


@pytest.mark.slow
async def test_a_relay_is_cut_off(tmp_path: Path) -> None:
    """The network of a relay's media fails while its node still hears it: both talk again by the other relay, as soon."""
    rtt_s = 0.25
    with rtt_lab(rtt_s * 1_000) as lab, contextlib.ExitStack() as stack:
        async with scene(tmp_path, lab=lab, settings={"SELAT_MEDIA_RELAYS": "0"}) as stage:
            network = lab.city_address.rpartition(".")[0]
            addresses = [f"{network}.{number}" for number in (51, 52)]
            relays = {}
            for address in addresses:
                lab.exec_city(["ip", "address", "add", f"{address}/32", "dev", "lo"])
                relays[stack.enter_context(extra_relay(lab, stage.server, address))] = address
            patient, specialist = await stage.call()
            await meet(patient, specialist, within_s=40)
            await watch(patient.page, specialist.page)
            victim = relays[await asyncio.to_thread(in_use, list(relays))]
            since = time.time()
            lab.exec_city(["ip", "address", "del", f"{victim}/32", "dev", "lo"])
            await asyncio.sleep(0.5)  # what was on its way has arrived
            back = await both_back(patient, specialist, since + 0.5)
            judge(back, 2.5 + 3 * rtt_s + 0.5, 2.5 + 3 * rtt_s + 1.7)
            await meet(patient, specialist)


@contextlib.contextmanager
def extra_relay(lab: Lab, server: Server, address: str) -> Iterator[int]:
    """Run a relay of its own at another address of the city; yield its process id."""
    name = f"relay-{address.rpartition('.')[2]}"
    token = server.data_dir / f"{name}.token"
    server.cli("keys", "relay", name, "--out", str(token))
    environment = os.environ | {
        "SELAT_DATA_DIR": str(server.data_dir / name),
        "SELAT_MEDIA_HOST": address,
        "SELAT_MEDIA_PUBLIC_ADDRESSES": address,
        "SELAT_MEDIA_UDP_PORT": "0",
        "SELAT_MEDIA_TCP_PORT": "0",
        "SELAT_MEDIA_METRICS_PORT": "0",
    }
    url = server.url.replace("https", "wss")
    command = [SELAT, "relay", "--json", "--server", url, "--token-file", str(token)]
    command += ["--certificate", str(server.data_dir / "dev-certificate.pem")]
    with (server.data_dir / f"{name}.log").open("ab") as log:
        process = lab.popen_city(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), (server.data_dir / f"{name}.log").read_text()[-2_000:]
        yield process.pid
    finally:
        process.kill()
        process.wait(5)


@pytest.mark.slow
async def test_the_last_relay_dies(tmp_path: Path) -> None:
    """With no other relay the call goes on from browser to browser, or by the relay that is started anew, by itself."""
    async with scene(tmp_path, settings={"SELAT_MEDIA_RELAYS": "1"}) as stage:
        patient, specialist = await stage.call()
        await meet(patient, specialist)
        await watch(patient.page, specialist.page)
        os.kill(stage.server.relays()[0], signal.SIGKILL)
        since = time.time() + 0.5
        back = await both_back(patient, specialist, since)
        judge(back, 6.0, 8.0)
        await meet(patient, specialist)


async def test_a_relay_is_drained(tmp_path: Path) -> None:
    """SIGTERM of a relay with a call: the call moves to the other without a gap of voice above 500 ms."""
    settings = {"SELAT_MEDIA_RELAYS": "2", "SELAT_MEDIA_DRAIN_S": "30"}
    async with scene(tmp_path, settings=settings) as stage:
        patient, specialist = await stage.call()
        await meet(patient, specialist)
        await watch(patient.page, specialist.page)
        victim = await asyncio.to_thread(in_use, stage.server.relays())
        begun = time.time()
        os.kill(victim, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{victim}").exists():
            assert time.monotonic() < deadline, "the drained relay does not end"
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        for actor in (patient, specialist):
            gap_s = (await flow(actor.page)).longest_gap_s(begun, time.time() - 0.2, "voice")
            print(round(gap_s, 2))
            assert gap_s <= 0.5
        await meet(patient, specialist)


async def test_without_udp(tmp_path: Path) -> None:
    """Where a firewall lets no UDP through, the call goes by TCP to the relay, by itself."""
    with rtt_lab(250) as lab:
        lab.set(udp_blocked=True)
        async with scene(tmp_path, lab=lab) as stage:
            patient, specialist = await stage.call()
            await meet(patient, specialist, within_s=40)
            await watch(patient.page, specialist.page)


async def test_where_only_tls_passes(tmp_path: Path) -> None:
    """Where a firewall lets HTTPS ports through and nothing else, the call goes by TURN over TLS to the relay, by itself."""
    with rtt_lab(250) as lab:
        lab.set(tcp_ports_only=[8_443, 443])
        city = lab.city_address
        command, settings = turn_server(tmp_path, city, tls_port=443)
        process = lab.popen_city(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            async with scene(tmp_path, lab=lab, settings=settings) as stage:
                patient, specialist = await stage.call()
                await meet(patient, specialist, within_s=60)
                assert await patient.candidate_types() == {"relay"}
                assert await specialist.candidate_types() != {"relay"}
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.slow
async def test_800_ms_for_three_minutes(tmp_path: Path) -> None:
    """At 800 ms of round trip the call comes up and is there three minutes later."""
    with rtt_lab(800, 0.01) as lab:
        async with scene(tmp_path, lab=lab) as stage:
            patient, specialist = await stage.call()
            await meet(patient, specialist, within_s=40)
            await watch(patient.page, specialist.page)
            begun = time.time()
            while time.time() - begun < 180:
                await asyncio.gather(patient.state("in_call"), specialist.state("in_call"))
                await asyncio.gather(patient.sees(10, 2), specialist.sees(10, 2))
                await asyncio.sleep(5)
            for actor in (patient, specialist):
                gap_s = (await flow(actor.page)).longest_gap_s(begun, begun + 180, "voice")
                assert gap_s <= 1.0, gap_s
            await meet(patient, specialist)
