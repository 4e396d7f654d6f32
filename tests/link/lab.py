# SPDX-License-Identifier: Apache-2.0
"""The link lab: an island, a city and the link between them, for the length of a `with` block.

    with Lab("island_256", seed=7) as lab:
        server = lab.popen_city([...])          # or a socket of this process: lab.listen_city()
        browser = playwright.chromium.launch(
            executable_path=lab.chromium_wrapper("island"),
            args=chromium_flags(origins=[lab.origin(8443)]), ...)
        lab.blackout(20)

*Island* and *city* are network namespaces; the program that makes the lab stays where it is. Three
things cross: `ip netns exec` (programs), sockets (`lab.open_socket`, `lab.listen_city`: a socket keeps
the namespace that it was made in, whoever uses it) and everything that is no network: pipes, files
and Unix sockets. Playwright drives a browser over a pipe, so it needs nothing special; a Redis in
the root namespace is reached from the city through its Unix socket.

Getting a microphone needs a secure origin. Plain HTTP from the city's address is made one by the
flag in `chromium_flags`; HTTPS with `ignore_https_errors=True` works too. Two browsers that have both
not been given the microphone yet know each other's host candidates only as multicast names, which do
not cross the link: as in life, such a pair needs a STUN or TURN server in the city.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tests.link import namespaces
from tests.link.emulator import FIRST_NETWORK, NETWORKS
from tests.link.profiles import PROFILES, Direction, Profile, Step

if TYPE_CHECKING:
    from types import TracebackType

Place = Literal["island", "city"]

_ROOT = Path(__file__).resolve().parents[2]
_ANSWER_S = 15.0  # an emulator that is silent for so long is broken, also on a busy machine
_CHROMIUM = "/usr/bin/chromium"

Permission = Literal["remembered", "asked", "refused"]
"""Camera and microphone: given on an earlier visit (the page knows its addresses at once), given at
the first getUserMedia (until then host candidates are multicast names and sockets are bound to any
address), or not given (NotAllowedError at once)."""

_PERMISSION_FLAGS: dict[Permission, str] = {
    "remembered": "--use-fake-ui-for-media-stream",
    "asked": "--auto-accept-camera-and-microphone-capture",
}


class Lab:
    """One link with a namespace at each end. Use as a context manager, plain or async.

    Everything is removed at the end, also after an exception; what a killed run has left behind is
    removed at the next start. Raises LabUnavailableError where namespaces cannot be made.
    """

    def __init__(
        self, profile: Profile | str, seed: int | str = 0, *, city_of: Lab | None = None
    ) -> None:
        """Describe a lab; nothing is made before it is entered.

        With `city_of` a second island (or a specialist behind a thin link) joins the city of
        another lab, which must be entered before and left after this one.
        """
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.seed = seed
        self.log: Path | None = None
        """JSON lines of the emulator; in a temporary folder that goes with the lab."""
        self.island_address = ""
        """The island's present address; changes with `change_address`."""
        self._host = city_of
        self._joined = 0  # how many labs share this lab's city
        self._network = FIRST_NETWORK
        self._island = ""
        self._city = ""
        self._folder: Path | None = None
        self._emulator: subprocess.Popen[bytes] | None = None
        self._answers = b""
        self._children: list[subprocess.Popen[Any]] = []
        self._final: dict[str, Any] | None = None

    # --- life -----------------------------------------------------------------------------

    def start(self) -> Self:
        """Make namespaces and link; raises LabUnavailableError, or RuntimeError with the cause."""
        namespaces.require_privileges()
        namespaces.sweep()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def _build(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="selat-link-"))
        self.log = self._folder / "link.jsonl"
        if self._host is None:
            self._city = namespaces.new_name("city")
            namespaces.create(self._city, forwards=True)
        else:
            self._host._joined += 1
            if self._host._joined >= NETWORKS:
                raise ValueError(f"a city has at most {NETWORKS} links")
            self._city = self._host._city
            self._network = FIRST_NETWORK + self._host._joined
        self._island = namespaces.new_name("island")
        namespaces.create(self._island)
        self._emulator = subprocess.Popen(
            [sys.executable, "-m", "tests.link.emulator", str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        self._send(
            {
                "profile": self.profile.as_dict(),
                "seed": self.seed,
                "island": self._island,
                "city": self._city,
                "network": self._network,
            }
        )
        self.island_address = f"10.{self._network}.1.2"

    def close(self) -> None:
        """End programs and emulator and remove the namespaces. May be called again."""
        if self._emulator is not None and self._emulator.poll() is None:
            with contextlib.suppress(RuntimeError, OSError):
                self._final = self._send({"do": "report"})["report"]
                self._send({"do": "quit"})
        _end(self._children)
        self._children.clear()
        if self._emulator is not None:
            _end([self._emulator])
            self._emulator = None
        for name in (self._island, self._city if self._host is None else ""):
            if name:
                namespaces.destroy(name)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        """Start; see `start`."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove everything; see `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        """Start without holding up the event loop."""
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove everything without holding up the event loop."""
        await asyncio.to_thread(self.close)

    # --- what happens to the link -------------------------------------------------------------

    def set(self, direction: Direction | None = None, **changes: Any) -> None:
        """Change link parameters now, in one direction or (None) both; raises RuntimeError."""
        self._send({"do": "step", "step": {"at_s": 0, "direction": direction, "changes": changes}})

    def blackout(self, duration_s: float, direction: Direction | None = None) -> None:
        """Let nothing through for `duration_s` from now on. Returns at once; 0 ends it."""
        self._send(
            {"do": "step", "step": {"at_s": 0, "direction": direction, "blackout_s": duration_s}}
        )

    def change_address(self, gap_s: float = 1.0) -> str:
        """Remove the island's interface; another one comes `gap_s` later. Returns at once.

        Returns the new address; `wait_address` waits until it is there.
        """
        answer = self._send({"do": "step", "step": {"at_s": 0, "change_address_gap_s": gap_s}})
        self.island_address = answer["island_address"]
        return self.island_address

    def wait_address(self, timeout_s: float = 10.0) -> str:
        """Wait until the island has the address that it should have; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            # Asked for afresh: a schedule may have changed it.
            self.island_address = self._send({"do": "report"})["island_address"]
            shown = namespaces.ip("-o", "-4", "addr", "show", "up", namespace=self._island)
            if f" {self.island_address}/" in shown:
                return self.island_address
            time.sleep(0.02)
        raise TimeoutError(f"the island has no address {self.island_address}")

    def wait_idle(self, timeout_s: float = 10.0) -> dict[str, Any]:
        """Wait until nothing is on its way and return the report; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            report = self.report()
            if not report["in_transit_packets"]:
                return report
            time.sleep(0.02)
        raise TimeoutError("the link does not come to rest")

    def play(self, schedule: Iterable[Step]) -> None:
        """Let a schedule happen, its times counted from now. Returns at once."""
        steps = [
            {
                "at_s": step.at_s,
                "direction": step.direction,
                "changes": dict(step.changes),
                "blackout_s": step.blackout_s,
                "change_address_gap_s": step.change_address_gap_s,
            }
            for step in schedule
        ]
        self._send({"do": "play", "steps": steps})

    def report(self) -> dict[str, Any]:
        """Return what was carried, lost by cause and delayed so far, per direction.

        After the end it is the last state. `lateness_ms` is the emulator's own fault: when its p99
        is more than a few milliseconds the machine was too busy and the figures are worth less.
        """
        if self._emulator is None:
            if self._final is None:
                raise RuntimeError("the lab has not run")
            return self._final
        report: dict[str, Any] = self._send({"do": "report"})["report"]
        return report

    # --- programs and sockets -----------------------------------------------------------------

    @property
    def city_address(self) -> str:
        """The city's address, as everybody sees it."""
        return f"10.{FIRST_NETWORK}.0.1" if self._host else f"10.{self._network}.0.1"

    def origin(self, port: int, scheme: str = "http") -> str:
        """Return the origin of a server at the city's address."""
        return f"{scheme}://{self.city_address}:{port}"

    def _prefix(self, place: Place) -> list[str]:
        return ["ip", "netns", "exec", self._name(place)]

    def _name(self, place: Place) -> str:
        return self._island if place == "island" else self._city

    def exec_island(
        self, command: Sequence[str], timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the island to its end; raises CalledProcessError, TimeoutExpired."""
        return self._exec("island", command, timeout_s)

    def exec_city(
        self, command: Sequence[str], timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the city to its end; raises CalledProcessError, TimeoutExpired."""
        return self._exec("city", command, timeout_s)

    def _exec(
        self, place: Place, command: Sequence[str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._prefix(place), *command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
        )

    def popen_island(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on the island; it is ended with the lab at the latest."""
        return self._popen("island", command, options)

    def popen_city(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the city; it is ended with the lab at the latest."""
        return self._popen("city", command, options)

    def _popen(
        self, place: Place, command: Sequence[str], options: dict[str, Any]
    ) -> subprocess.Popen[Any]:
        child = subprocess.Popen([*self._prefix(place), *command], **options)
        self._children.append(child)
        return child

    def open_socket(
        self, place: Place, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> socket.socket:
        """Return a blocking IPv4 socket of one end for use in this process; the caller closes it."""
        return namespaces.open_socket(self._name(place), kind)

    def listen_city(self, port: int = 0) -> socket.socket:
        """Return a listening TCP socket at any of the city's addresses; the caller closes it.

        With aiohttp: `web.SockSite(runner, lab.listen_city())`.
        """
        listener = self.open_socket("city")
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen(128)
        return listener

    def chromium_wrapper(self, place: Place, executable: str = _CHROMIUM) -> str:
        """Return the path of a program that is Chromium at one end, for Playwright.

        Playwright's default transport is a pair of pipes, which do not care about namespaces.
        """
        if self._folder is None:
            raise RuntimeError("the lab is not running")
        script = self._folder / f"chromium-{place}"
        command = shlex.join([*self._prefix(place), executable])
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
        script.chmod(0o755)
        return str(script)

    # --- the emulator -------------------------------------------------------------------------

    def _send(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send one line and wait for the answer; raises RuntimeError with the emulator's words."""
        emulator = self._emulator
        if emulator is None or emulator.stdin is None or emulator.stdout is None:
            raise RuntimeError("the lab is not running")
        try:
            emulator.stdin.write(json.dumps(command).encode() + b"\n")
            emulator.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError("the link emulator has ended") from None
        deadline = time.monotonic() + _ANSWER_S
        while b"\n" not in self._answers:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([emulator.stdout], [], [], left_s)[0]:
                raise RuntimeError("the link emulator does not answer")
            data = os.read(emulator.stdout.fileno(), 65536)
            if not data:
                raise RuntimeError("the link emulator has ended")
            self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise RuntimeError(answer["error"])
        return answer


def chromium_flags(
    *,
    origins: Iterable[str] = (),
    speech: Path | None = None,
    picture: Path | None = None,
    permission: Permission = "remembered",
) -> list[str]:
    """Return the flags for a headless Chromium in the lab, run as root, with a fake camera.

    Seen with Chromium 156: `origins` are plain HTTP origins that shall count as secure (getUserMedia, wake lock, service
    workers). `speech` (WAV) and `picture` (Y4M; MJPEG plays at 30/s) replace Chromium's beeps and
    its pattern; both repeat for ever.
    """
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
    ]
    if permission != "refused":
        flags.append(_PERMISSION_FLAGS[permission])
    if secure := ",".join(origins):
        flags.append(f"--unsafely-treat-insecure-origin-as-secure={secure}")
    if speech is not None:
        flags.append(f"--use-file-for-fake-audio-capture={speech}")
    if picture is not None:
        flags.append(f"--use-file-for-fake-video-capture={picture}")
    return flags


def _end(children: Sequence[subprocess.Popen[Any]], grace_s: float = 3.0) -> None:
    """Ask programs to end, then make them."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + grace_s
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(grace_s)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not flushed is lost with its reader
                    pipe.close()
