# SPDX-License-Identifier: Apache-2.0
"""`make island PROFILE=edge`: Selat in the city, a patient's browser on the island, and the link between them, to be felt.

The browser is in a network namespace behind the emulated link. With a display it is visible; without one it is headless and its
debugging port is brought out, so that any Chromium's ``chrome://inspect`` shows the page and takes taps and keys. The server is
reached without the link from this machine's own browser, at an address that is printed: there sits the specialist.

Commands are read while it runs: ``blackout 20``, ``address``, ``rate 64 48``, ``loss 0.05``, ``delay 300``, ``play`` (what the
profile has planned), ``status``, ``quit``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests import media_files
from tests.browser.scene import CHROMIUM, Server
from tests.link import namespaces
from tests.link.compare import link_of
from tests.link.lab import Lab, chromium_flags
from tests.link.profiles import PROFILES, Profile

PORT = 8_443
DEBUGGING_PORT = 9_222
DOOR = ("10.76.0.1", "10.76.0.2")
"""This machine's end and the city's end of the wire between them, beside the lab's own networks."""
HELP = "blackout SECONDS | address | rate DOWN UP (kbit/s) | loss SHARE | delay MS (one way) | play | status | quit"


def profiles() -> str:
    """Return the list of links in words."""
    lines = [
        "Links for `make island PROFILE=…` (down/up kbit/s, round trip ms, what is lost, the queue):",
        "",
    ]
    for name, profile in PROFILES.items():
        lines.append(f"  {name:24}{_words(profile)}")
    lines += [
        "",
        "A file of a recorded link (CSV, JSON lines, Mahimahi) can be given instead of a name.",
    ]
    return "\n".join(lines)


def _words(profile: Profile) -> str:
    down, up = profile.down, profile.up
    words = [
        f"{down.rate_bps / 1_000:g}/{up.rate_bps / 1_000:g}",
        f"{down.delay_ms + up.delay_ms:g} ms",
    ]
    words += [f"jitter {down.jitter_ms:g} ms"] if down.jitter_ms else []
    words += [f"{down.loss_ratio:.0%} lost"] if down.loss_ratio else []
    words += [f"{down.burst_loss_ratio:.0%} lost in bursts"] if down.burst_loss_ratio else []
    words += [f"queue {down.queue_ms / 1_000:g} s"]
    words += [f"then {len(profile.schedule)} event(s)"] if profile.schedule else []
    return ", ".join(words)


@contextlib.contextmanager
def _door(lab: Lab) -> Iterator[None]:
    """Lay a wire from this machine into the city, which goes with the city."""
    here, there = f"selat{os.getpid() % 100_000}", "door"
    city = lab._city
    namespaces.ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", city)
    try:
        namespaces.ip("addr", "add", f"{DOOR[0]}/30", "dev", here)
        namespaces.ip("link", "set", here, "up")
        namespaces.ip("addr", "add", f"{DOOR[1]}/30", "dev", there, namespace=city)
        namespaces.ip("link", "set", there, "up", namespace=city)
        # Replaced: what a killed run has left goes with its namespace, which takes a moment.
        namespaces.ip("route", "replace", f"{lab.city_address}/32", "via", DOOR[1], "dev", here)
        yield
    finally:
        with contextlib.suppress(RuntimeError):
            namespaces.ip("link", "del", here)


@contextlib.contextmanager
def _brought_out(lab: Lab, port: int) -> Iterator[int]:
    """Make a port of the island's loopback one of this machine's loopback; yields its number."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.3)
    ended = threading.Event()

    def carry(one: socket.socket) -> None:
        with one, lab.open_socket("island") as other, contextlib.suppress(OSError):
            other.connect(("127.0.0.1", port))
            ends = {one: other, other: one}
            while not ended.is_set():
                for ready in select.select(list(ends), [], [], 0.5)[0]:
                    data = ready.recv(65_536)
                    if not data:
                        return
                    ends[ready].sendall(data)

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                one, _ = listener.accept()
                threading.Thread(target=carry, args=(one,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        ended.set()
        thread.join()
        listener.close()


def _browser(lab: Lab, url: str, folder: Path, *, visible: bool) -> subprocess.Popen[Any]:
    """Start Chromium on the island: with this machine's camera if it is visible and there is one."""
    camera = visible and any(Path("/dev").glob("video*"))
    flags = chromium_flags(
        speech=None if camera else media_files.speech("island"),
        picture=None if camera else media_files.picture("island"),
    )
    if camera:
        flags = [flag for flag in flags if not flag.startswith("--use-fake")]
    if visible:
        flags.remove("--headless=new")
    else:
        flags += [f"--remote-debugging-port={DEBUGGING_PORT}", "--remote-allow-origins=*"]
    profile = f"--user-data-dir={folder / 'browser'}"
    with (folder / "browser.log").open("ab") as log:
        return lab.popen_island(
            [
                CHROMIUM,
                profile,
                "--ignore-certificate-errors",
                "--window-size=420,860",
                *flags,
                url,
            ],
            stdout=log,
            stderr=log,
        )


def obey(lab: Lab, profile: Profile, words: Sequence[str]) -> str:
    """Do what was typed and return what to print.

    Raises:
        ValueError: it is no command; with the list of them.
        RuntimeError: the link refuses it.
    """
    try:
        match list(words):
            case ["blackout", seconds]:
                lab.blackout(float(seconds))
                return f"Nothing gets through for {seconds} s."
            case ["address"]:
                return f"The island will be {lab.change_address(gap_s=1.0)} in a second."
            case ["rate", down, up]:
                lab.set("down", rate_bps=float(down) * 1_000)
                lab.set("up", rate_bps=float(up) * 1_000)
                return f"{down}/{up} kbit/s from now on."
            case ["loss", share]:
                lab.set(loss_ratio=float(share))
                return f"{float(share):.1%} is lost in each direction from now on."
            case ["delay", milliseconds]:
                lab.set(delay_ms=float(milliseconds))
                return f"{milliseconds} ms each way from now on."
            case ["play"] if profile.schedule:
                lab.play(profile.schedule)
                return f"{len(profile.schedule)} event(s) in {profile.schedule[-1].at_s:g} s."
            case ["status"]:
                return _status(lab.report())
    except ValueError as error:
        raise ValueError(f"{error}. {HELP}") from error
    raise ValueError(HELP)


def _status(report: dict[str, Any]) -> str:
    lines = []
    for direction in ("down", "up"):
        tally = report[direction]
        lost = ", ".join(
            f"{count} {cause}" for cause, count in tally["lost_packets"].items() if count
        )
        waited = tally["queue_delay_ms"].get("p90", 0)
        lines.append(
            f"{direction:5}{tally['delivered_bytes'] / 1_000:.0f} kB of {tally['offered_bytes'] / 1_000:.0f}, "
            f"90 % waited under {waited} ms; lost: {lost or 'nothing'}"
        )
    return "\n".join(lines)


def _attend(lab: Lab, profile: Profile, browser: subprocess.Popen[Any], lasts_s: float) -> None:
    """Take commands until told to end, the browser is closed, or the time is over."""
    until = time.monotonic() + lasts_s
    listening = True
    while browser.poll() is None and time.monotonic() < until:
        ready = select.select([sys.stdin] if listening else [], [], [], 0.5)[0]
        line = sys.stdin.readline() if ready else " "
        if not line:  # nobody types: it goes on until it is interrupted
            listening = False
            continue
        words = line.split()
        if words == ["quit"]:
            return
        if words:
            try:
                print(obey(lab, profile, words), flush=True)
            except (ValueError, RuntimeError) as error:
                print(error, flush=True)


def run(profile: Profile, seed: int, lasts_s: float) -> None:
    """Build it, say how to use it, and keep it until somebody ends it."""
    visible = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    # A recorded link is as recorded from its beginning; events are for a call that stands.
    planned = profile.name in PROFILES
    calm = replace(profile, schedule=()) if planned else profile
    folder = Path(tempfile.mkdtemp(prefix="selat-island-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        lab = stack.enter_context(Lab(calm, seed=seed))
        stack.enter_context(_door(lab))
        data = folder / "data"
        data.mkdir()
        server = Server(data, port=PORT, host=lab.city_address, lab=lab)
        stack.callback(server.stop)
        server.start()
        browser = _browser(lab, server.facts["patient_url"], folder, visible=visible)
        _explain(profile, server, visible=visible)
        if not visible:
            port = stack.enter_context(_brought_out(lab, DEBUGGING_PORT))
            print(f"""
NO DISPLAY: the patient's browser is headless. To see and use it, from a Chromium on this machine (or over
`ssh -L {port}:127.0.0.1:{port} …` from another one): open chrome://inspect, Configure…, add 127.0.0.1:{port},
and choose "inspect" below the page; or open http://127.0.0.1:{port}/json to see that it is there.
Camera and microphone are a recorded picture and a recorded voice.""")
        print(f"\nCommands: {HELP}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            _attend(lab, profile, browser, lasts_s)
        print(_status(lab.report()))


def _explain(profile: Profile, server: Server, *, visible: bool) -> None:
    account = next(a for a in server.facts["accounts"] if a["role"] == "specialist")
    planned = [
        json.dumps({"at_s": step.at_s, **dict(step.changes)}) for step in profile.schedule[:3]
    ]
    print(f"""
{profile.name}: {_words(profile)}
{profile.source}
{"On `play`: " + ", ".join(planned) if planned and profile.name in PROFILES else ""}
The patient is on the island{": the window that opened" if visible else ""}. You are the specialist, in the city, in your own
browser on this machine (the certificate is the server's own: go on past the warning):

  {server.url}/specialist   name {account["login"]}, password {account["password"]}
""")


def main() -> None:
    """Read the command line; without a profile list them."""
    parser = argparse.ArgumentParser(prog="tests.link.island", description=__doc__)
    parser.add_argument("profile", nargs="?", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--lasts", type=float, default=4 * 3_600, help="seconds after which it ends by itself"
    )
    wanted = parser.parse_args()
    if not wanted.profile:
        print(profiles())
        return
    profile = link_of(wanted.profile)
    try:
        namespaces.require_privileges()
    except namespaces.LabUnavailableError as error:
        print(
            f"\n*** {error}\n*** make island: NOT DONE. Try: sudo -E make island PROFILE={wanted.profile}\n",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that everything is taken down
    run(profile, wanted.seed, wanted.lasts)


if __name__ == "__main__":
    main()
