# SPDX-License-Identifier: Apache-2.0
"""Network namespaces, TUN devices in them, and sockets in them.

All names begin with `selat-`, then the maker's process id and its start time, so that a later run
recognises what a killed one left behind (`sweep`) and never touches anybody else's.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_NETNS_DIR = Path("/run/netns")  # where iproute2 keeps the handles of named namespaces
_NAME = re.compile(r"^selat-(\d+)-(\d+)-\d+-[a-z]+$")
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN_NO_PI = 0x0001 | 0x1000  # linux/if_tun.h: IP packets without a header of the driver's own
_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}  # linux/capability.h

_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count(1)


class LabUnavailableError(RuntimeError):
    """This machine or this user cannot make network namespaces; says what is missing."""


def require_privileges() -> None:
    """Raise LabUnavailableError, with what is missing, unless namespaces and TUN can be made."""
    status = Path("/proc/self/status").read_text("ascii")
    effective = int(re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)[1], 16)  # type: ignore[index]
    missing = [name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1]
    if not Path("/dev/net/tun").exists():
        missing.append("/dev/net/tun")
    if shutil.which("ip") is None:
        missing.append("the ip command (iproute2)")
    if missing:
        raise LabUnavailableError(
            "THE LINK LAB CANNOT RUN, so nothing about links was proven. Run it as root; "
            f"missing: {', '.join(missing)}"
        )


def _start_time(pid: int) -> str | None:
    """Return when a process started, in kernel ticks since boot, or None if it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]  # field 22 of proc_pid_stat(5)


def new_name(role: str) -> str:
    """Return a namespace's name that nobody else has; `role` is lower-case letters."""
    pid = os.getpid()
    return f"selat-{pid}-{_start_time(pid)}-{next(_serial)}-{role}"


def ip(*arguments: str, namespace: str | None = None, batch: str | None = None) -> str:
    """Run iproute2 and return what it prints; raises RuntimeError with its own words."""
    command = ["ip", *(["-n", namespace] if namespace else []), *arguments]
    if batch is not None:
        command += ["-batch", "-"]
    done = subprocess.run(
        command, input=batch, capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def create(name: str, *, forwards: bool = False) -> None:
    """Make a namespace with a loopback, without IPv6, and as a router if it `forwards`."""
    ip("netns", "add", name)

    def settle() -> None:
        # Router solicitations and duplicate detection would be strangers on a thin link.
        for scope in ("all", "default"):
            setting = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
            if setting.exists():
                setting.write_text("1")
        if forwards:
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    inside(name, settle)
    ip("link", "set", "lo", "up", namespace=name)


def inside(name: str, work: Callable[[], T]) -> T:
    """Run `work` in a namespace and return its result.

    It runs in a thread that ends with it: the namespace of a thread is the only one that changes,
    so the calling program is never in the wrong place, whatever goes wrong.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            handle = os.open(_NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(handle, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {name}")
            finally:
                os.close(handle)
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=run, name=f"in {name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def open_socket(name: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return an IPv4 socket that lives in a namespace and can be used from here."""
    return inside(name, lambda: socket.socket(socket.AF_INET, kind))


def open_tun(name: str, interface: str) -> int:
    """Make a TUN device in a namespace; return its non-blocking descriptor.

    The device lives as long as the descriptor is open.
    """

    def make() -> int:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            request = struct.pack("16sH22x", interface.encode("ascii"), _IFF_TUN_NO_PI)
            fcntl.ioctl(tun, _TUNSETIFF, request)
        except OSError:
            os.close(tun)
            raise
        return tun

    return inside(name, make)


def processes(name: str) -> list[int]:
    """Return the processes that live in a namespace; none if it does not exist."""
    if not (_NETNS_DIR / name).exists():
        return []
    try:
        return [int(pid) for pid in ip("netns", "pids", name).split()]
    except RuntimeError:  # gone between the two looks
        return []


def destroy(name: str, timeout_s: float = 5.0) -> None:
    """End every process in a namespace and remove it; nothing happens if it does not exist.

    Raises TimeoutError when a process outlives SIGKILL by `timeout_s`.
    """
    if not (_NETNS_DIR / name).exists():
        return
    deadline = time.monotonic() + timeout_s
    while pids := processes(name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name}: processes {pids} do not end")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    with contextlib.suppress(RuntimeError):  # somebody's sweep may have been faster
        ip("netns", "del", name)


def sweep() -> list[str]:
    """Destroy what runs that no longer exist have left behind; return the names."""
    left = []
    for handle in sorted(_NETNS_DIR.glob("selat-*")) if _NETNS_DIR.exists() else []:
        match = _NAME.match(handle.name)
        if match and _start_time(int(match[1])) != match[2]:
            destroy(handle.name)
            left.append(handle.name)
    return left
