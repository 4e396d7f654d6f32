# SPDX-License-Identifier: Apache-2.0
"""The lab's link really does what its profile says, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.link import namespaces
from tests.link.lab import Lab
from tests.link.profiles import Step
from tests.link.traffic import receiving, round_trips_s, send_evenly, stream_bps

pytestmark = pytest.mark.link

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A fresh island link with a fixed seed."""
    with Lab("island_256", seed=11) as lab:
        yield lab


def test_round_trip(lab: Lab) -> None:
    """Small packets take the profile's 650 ms ± jitter there and back, and the emulator is on time."""
    trips_s = round_trips_s(lab, count=40, every_s=0.03, timeout_s=1.0)
    assert len(trips_s) >= 36
    # 32 bytes take 1 and 2 ms to send; a jitter of ±20 ms each way averages out to ±2 ms.
    assert median(trips_s) == pytest.approx(0.653, abs=0.012)
    # Never sooner; later only when the machine let this test's own threads wait.
    assert min(trips_s) >= 0.61
    assert sorted(trips_s)[len(trips_s) * 3 // 4] <= 0.71
    assert lab.report()["lateness_ms"]["p50"] < 2


def test_rate_and_losses(lab: Lab) -> None:
    """Both directions at once carry their own rate within 2 %, and every loss is accounted for."""
    with receiving(lab, "island", 9) as down, receiving(lab, "city", 9) as up:
        sent = {}

        def send_down() -> None:
            sent["down"] = send_evenly(
                lab, "city", (lab.island_address, 9),
                rate_bps=400_000, packet_bytes=400, duration_s=3,
            )  # fmt: skip

        thread = threading.Thread(target=send_down)
        thread.start()
        sent["up"] = send_evenly(
            lab, "island", (lab.city_address, 9), rate_bps=200_000, packet_bytes=200, duration_s=3
        )
        thread.join()
        report = lab.wait_idle()
    for direction, arrivals, rate_bps in (("down", down, 256_000), ("up", up, 128_000)):
        lost = report[direction]["lost_packets"]
        assert report[direction]["offered_packets"] == sent[direction]
        assert len(arrivals.numbers) == sent[direction] - sum(lost.values())
        assert arrivals.numbers == sorted(arrivals.numbers)
        assert report[direction]["queue_loss_ratio"] > 0.15
        assert report[direction]["queue_delay_ms"]["p90"] <= 600
        # What was lost in the air has used the link too.
        carried_bps = arrivals.rate_bps() / (1 - report[direction]["air_loss_ratio"])
        assert carried_bps == pytest.approx(rate_bps, rel=0.02)


def test_tcp_at_city_rate() -> None:
    """One TCP connection gets most of 50 Mbit/s, and the emulator keeps up with it."""
    with Lab("city", seed=5) as lab:
        carried_bps = stream_bps(lab, "city", duration_s=2)
        report = lab.report()
    assert 40e6 <= carried_bps <= 50e6
    assert report["lateness_ms"]["p90"] < 5
    assert report["cpu_s"] < report["lived_s"]


def test_random_loss_is_the_profiles() -> None:
    """Over 4000 packets the share that is lost singly is the profile's, within three sigma."""
    with Lab("city", seed=4) as lab, receiving(lab, "island", 9) as arrivals:
        lab.set("down", loss_ratio=0.03)
        sent = send_evenly(
            lab, "city", (lab.island_address, 9), rate_bps=1e6, packet_bytes=60, duration_s=1.92
        )
        report = lab.wait_idle()
    assert sent == 4000
    assert report["down"]["air_loss_ratio"] == pytest.approx(0.03, abs=0.008)
    assert sent - len(arrivals.numbers) == report["down"]["lost_packets"]["random"]


def test_blackout(lab: Lab) -> None:
    """In a blackout nothing arrives, for exactly as long, and afterwards the link is as before."""
    with receiving(lab, "city", 9) as arrivals:
        lab.play([Step(at_s=0.7, blackout_s=1.0)])
        send_evenly(
            lab, "island", (lab.city_address, 9), rate_bps=40_000, packet_bytes=100, duration_s=2.2
        )
        report = lab.wait_idle()
    assert 0.95 <= arrivals.longest_gap_s() <= 1.2
    assert report["up"]["lost_packets"]["blackout"] == pytest.approx(50, abs=5)
    assert report["up"]["lost_packets"]["queue"] == 0


def test_change_while_running(lab: Lab) -> None:
    """New parameters hold from the next packet on; a wrong one is refused in words."""
    lab.set(delay_ms=20, jitter_ms=0)
    trips_s = round_trips_s(lab, count=10, every_s=0.02, timeout_s=0.5)
    assert median(trips_s) == pytest.approx(0.043, abs=0.008)
    with pytest.raises(RuntimeError, match="no such link parameter: speed"):
        lab.set("up", speed=1)
    with pytest.raises(RuntimeError, match="no such direction"):
        lab.set("sideways", rate_bps=1)  # type: ignore[arg-type]


def test_address_change(lab: Lab) -> None:
    """The old interface goes, for a second there is none, then packets come from a new address."""
    old = lab.island_address
    with receiving(lab, "city", 9) as arrivals:
        thread = threading.Thread(
            target=send_evenly,
            args=(lab, "island", (lab.city_address, 9)),
            kwargs={"rate_bps": 40_000, "packet_bytes": 100, "duration_s": 2.0},
        )
        thread.start()
        threading.Event().wait(0.5)  # some packets from the old address first
        new = lab.change_address(gap_s=1.0)
        without = lab.exec_island(["ip", "-o", "-4", "addr", "show", "scope", "global"]).stdout
        assert lab.wait_address() == new
        thread.join()
        lab.wait_idle()
    assert without == ""
    assert old not in lab.exec_island(["ip", "addr"]).stdout
    assert list(dict.fromkeys(arrivals.senders)) == [old, new]
    assert 0.95 <= arrivals.longest_gap_s() <= 1.4
    assert len(round_trips_s(lab, count=5, every_s=0.02, timeout_s=1.0)) >= 4


def test_strangers_stay_out(lab: Lab) -> None:
    """What is not for the other end (name servers, multicast) costs the link nothing."""
    for target in ("192.0.2.53", "224.0.0.251"):
        send_evenly(lab, "island", (target, 53), rate_bps=1e6, packet_bytes=100, duration_s=0.01)
    report = lab.wait_idle()
    assert report["stranger_packets"] == 24
    assert report["up"]["offered_packets"] == 0


def test_second_island() -> None:
    """Two islands, each behind its own link, reach one city and each other through it."""
    with Lab("hspa", seed=1) as lab, Lab("starlink", seed=2, city_of=lab) as other:
        assert other.city_address == lab.city_address
        assert other.island_address != lab.island_address
        assert median(round_trips_s(other, 5, 0.02, 0.5)) == pytest.approx(0.125, abs=0.02)
        with receiving(lab, "island", 9) as arrivals:
            send_evenly(
                other, "island", (lab.island_address, 9),
                rate_bps=40_000, packet_bytes=100, duration_s=0.4,
            )  # fmt: skip
            other.wait_idle()
            lab.wait_idle()
        assert set(arrivals.senders) == {other.island_address}


def _gone(pid: int) -> bool:
    """Tell whether a process has ended (it may still wait to be reaped)."""
    try:
        return "Z (zombie)" in Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return True


def test_nothing_is_left_after_an_exception() -> None:
    """An exception in the block ends programs and emulator and removes the namespaces."""
    names: list[str] = []
    pids: list[int] = []
    lab = Lab("city")

    def fail_inside() -> None:
        with lab:
            lab.popen_island(["sleep", "60"])
            # A grandchild that the lab does not know of, as a browser has many.
            lab.exec_city(["sh", "-c", "sleep 60 >/dev/null 2>&1 &"])
            names.extend([lab._island, lab._city])
            pids.extend(pid for name in names for pid in namespaces.processes(name))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert len(pids) == 2
    assert all(_gone(pid) for pid in pids)
    assert not [name for name in names if Path("/run/netns", name).exists()]
    assert lab.report()["down"]["offered_packets"] == 0  # still known afterwards


def test_leftovers_of_a_killed_run_are_swept() -> None:
    """What a run that was killed has left behind goes when the next lab starts; others' stays."""
    code = (
        "import time; from tests.link.lab import Lab\n"
        "with Lab('city') as lab:\n print(lab._island, lab._city, flush=True); time.sleep(60)"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    names = killed.stdout.readline().split()
    killed.send_signal(signal.SIGKILL)
    killed.wait(5)
    killed.stdout.close()
    with Lab("city") as lab:
        assert len(names) == 2
        assert not [name for name in names if Path("/run/netns", name).exists()]
        assert namespaces.sweep() == []
        assert Path("/run/netns", lab._island).exists()


def test_without_privileges_it_says_so() -> None:
    """Without the capabilities the lab refuses loudly and names what is missing."""
    code = "from tests.link.lab import Lab\nLab('city').start()"
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode != 0
    assert "THE LINK LAB CANNOT RUN" in done.stderr
    assert "CAP_NET_ADMIN" in done.stderr
