# SPDX-License-Identifier: Apache-2.0
"""`make island`: a server that is reached from here, a patient's browser behind the link, and commands for the link."""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.link.island import obey, profiles
from tests.link.lab import Lab
from tests.link.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[2]


def test_links_are_listed() -> None:
    """Without a profile all links are listed with their figures."""
    listed = profiles()
    for name in PROFILES:
        assert f"  {name} " in listed
    assert "64/48, 500 ms, jitter 80 ms, 6% lost in bursts, queue 4 s" in listed


@pytest.mark.link
def test_commands_change_the_link() -> None:
    """What is typed happens to the link; what is no command, or no number, is answered with the list of them."""
    profile = PROFILES["blackout_20"]
    with Lab("city", seed=1) as lab:
        assert lab.log is not None
        for words in (
            ["rate", "64", "48"],
            ["loss", "0.05"],
            ["delay", "300"],
            ["blackout", "2"],
            ["play"],
        ):
            assert obey(lab, profile, words)
        assert "nothing" in obey(lab, profile, ["status"])
        for words in (["rate", "much", "48"], ["rate", "64"], ["explode"]):
            with pytest.raises(ValueError, match="blackout SECONDS"):
                obey(lab, profile, words)
        with pytest.raises(ValueError, match="blackout SECONDS"):
            obey(lab, PROFILES["edge"], ["play"])
        steps = [json.loads(line) for line in lab.log.read_text().splitlines()]
        changes = [step.get("changes") for step in steps if step["event"] == "step"]
        assert changes[:4] == [{"rate_bps": 64_000}, {"rate_bps": 48_000}, {"loss_ratio": 0.05}, {"delay_ms": 300}]  # fmt: skip


@pytest.mark.slow
@pytest.mark.link
@pytest.mark.browser
@pytest.mark.timeout(120)
def test_island_without_a_display() -> None:
    """The server answers at the printed address, the headless page is there for chrome://inspect, and `quit` ends it all."""
    env = {
        key: value for key, value in os.environ.items() if key not in {"DISPLAY", "WAYLAND_DISPLAY"}
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.link.island", "hspa", "--lasts", "90"],
        cwd=ROOT, env=env | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:  # the test's own time limit is the deadline
            said += line
            if line.startswith("Commands:"):
                break
        deadline = time.monotonic() + 60
        assert "NO DISPLAY" in said
        url = re.search(r"https://\S+/specialist", said)
        assert url is not None
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(url[0], context=trusting, timeout=10) as answer:
            assert answer.status == 200
        port = re.search(r"add 127\.0\.0\.1:(\d+)", said)
        assert port is not None
        pages: list[dict[str, str]] = []
        while not any(
            "data:" not in page["url"] and page["url"].startswith("https") for page in pages
        ):
            assert time.monotonic() < deadline, pages
            with (
                contextlib.suppress(OSError),  # the browser is not up yet
                urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/json", timeout=10) as answer,
            ):
                pages = json.load(answer)
            time.sleep(0.2)
        process.stdin.write("rate 64 48\nquit\n")
        process.stdin.flush()
        rest, _ = process.communicate(timeout=30)
        assert "64/48 kbit/s from now on." in rest
        assert process.returncode == 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=15)
    left = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert f"selat{process.pid % 100_000}" not in left
