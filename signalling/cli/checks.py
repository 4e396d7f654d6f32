# SPDX-License-Identifier: Apache-2.0
"""What `selat check` looks at. Each check returns what it found, and for what is wrong how to mend it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import ipaddress
import resource
import secrets
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
from aioice import stun

from auth.roles import Role
from auth.turn import credentials
from signalling.cli import desk
from signalling.cli.findings import Finding, Level, error, ok, warning
from signalling.cli.relay_addresses import own_relays, public_addresses
from signalling.cli.turn_probe import allocate, parse_address, refusal_code
from signalling.config import Config, ConfigError, read_turn_secret
from signalling.edge import control
from signalling.edge.certificate import certificate_files, read_certificate, server_context
from signalling.edge.clock import now
from signalling.edge.keyfile import KeyFile, SecretsUnusable, prepare_data_dir, read_master_key
from signalling.edge.pages import Pages
from signalling.errors import Refused
from signalling.store.base import StoreUnavailable
from signalling.store.open import open_store

DEADLINE_S = 10.0
"""Of one check: three times the round trip of the worst link, and room for a slow disk."""
CLOCK_FROM = 1_793_000_000.0
"""October 2026: this version didn't exist before."""
CLOCK_APART_S = 5.0
"""Tokens allow 30 s between nodes (``auth.tokens.LEEWAY_S``); long before that something is wrong."""
EXPIRY_WARNING_S = 14 * 86_400.0
"""Certificates are renewed 30 days before their end by the usual clients: at 14 the renewal has failed."""
DISK_WARNING_BYTES = 1_000_000_000
"""A consult takes some 10 KB; below a gigabyte something else is filling the disk."""
DESCRIPTORS_BESIDE = 500
"""File descriptors that a node needs beside its connections: listeners, store, TURN, and calls to them."""
TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""


async def check_clock(_config: Config) -> list[Finding]:
    """Look at this machine's clock: tokens, TURN credentials and certificates depend on it."""
    if now() < CLOCK_FROM:
        return [
            error(
                "clock", "the clock is before this version was made", "set it, and run NTP (chrony)"
            )
        ]
    if _adjtimex() == TIME_ERROR:
        mend = "run NTP: apt install chrony (in a container: on its host)"
        return [warning("clock", "the kernel says that nothing keeps the clock right", mend)]
    return [ok("clock", "synchronised")]


def _adjtimex() -> int:
    """Return the kernel's verdict on the clock; 0 where it can't be asked."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # struct timex is 208 bytes on 64-bit Linux; modes = 0 (its first field) only reads.
        return int(libc.adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError):
        return 0


async def check_data(config: Config) -> list[Finding]:
    """Look at the data directory and the keys in it."""
    data_dir = config.server.data_dir
    try:
        prepare_data_dir(data_dir)
        read_master_key(data_dir)
        KeyFile(data_dir, now())
        free = shutil.disk_usage(data_dir).free
    except (SecretsUnusable, OSError) as problem:
        return [error("data", str(problem), "see above; SELAT_DATA_DIR names the directory")]
    if free < DISK_WARNING_BYTES:
        mend = "make room, or move SELAT_DATA_DIR to a larger disk"
        return [warning("data", f"only {free // 1_000_000} MB are free in {data_dir}", mend)]
    return [
        ok("data", f"{data_dir} can be written to, keys are there, {free // 1_000_000_000} GB free")
    ]


async def check_limits(config: Config) -> list[Finding]:
    """Look at how many connections the system allows this process."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = config.limits.max_connections + DESCRIPTORS_BESIDE
    if allowed < wanted:
        text = f"{allowed} open files are allowed, limits.max_connections needs {wanted}"
        mend = f"LimitNOFILE={wanted} in the unit, or `ulimit -n {wanted}`, or a smaller max_connections"
        return [warning("limits", text, mend)]
    return [ok("limits", f"{config.limits.max_connections} connections fit")]


async def check_ports(config: Config) -> list[Finding]:
    """Look whether the listeners can be bound."""
    if await _is_running(config):
        return [ok("ports", "a node is running and has them")]
    server = config.server
    found = []
    for name, host, port in (
        ("pages", server.host, server.port),
        ("metrics", server.metrics_host, server.metrics_port),
    ):
        problem = await asyncio.to_thread(_bind, host, port)
        if problem is None:
            found.append(ok("ports", f"{name}: {host}:{port} is free"))
            continue
        variable = "SELAT_HTTP_PORT" if name == "pages" else "SELAT_METRICS_PORT"
        found.append(_taken("ports", name, host, port, problem, variable))
    return found


async def check_media(config: Config) -> list[Finding]:
    """Look whether relays of this machine can listen, and whether browsers can reach them."""
    media = config.media
    if media.route == "direct":
        return [ok("media", "from browser to browser, by media.route")]
    count = own_relays(media)
    if count == 0:
        mend = (
            "see selat_relays in this node's metrics; without one, calls go from browser to browser"
        )
        return [warning("media", "no relays of this node's own: others must dial it", mend)]
    found = [] if await _is_running(config) else await asyncio.to_thread(_check_relay_ports, config)
    addresses = public_addresses(config)
    where = ", ".join(addresses)
    private = all(not ipaddress.ip_address(each).is_global for each in addresses)
    if config.server.public_url and private:
        mend = "set SELAT_MEDIA_PUBLIC_ADDRESSES to the address that the Internet knows this machine by"
        found.append(warning("media", f"only this network reaches {where}", mend))
    elif not any(each.level is Level.ERROR for each in found):
        found.append(ok("media", f"{count} relays, announced as {where}"))
    return found


def _check_relay_ports(config: Config) -> list[Finding]:
    media = config.media
    found = []
    for slot in range(own_relays(media)):
        for host, base, kind, variable in (
            (media.host, media.udp_port, socket.SOCK_DGRAM, "SELAT_MEDIA_UDP_PORT"),
            (media.host, media.tcp_port, socket.SOCK_STREAM, "SELAT_MEDIA_TCP_PORT"),
            (
                media.metrics_host,
                media.metrics_port,
                socket.SOCK_STREAM,
                "SELAT_MEDIA_METRICS_PORT",
            ),
        ):
            port = base + slot if base else 0
            problem = _bind(host, port, kind)
            if problem is not None and problem.errno == errno.EADDRNOTAVAIL:
                mend = "media.host is an address of this machine; what browsers use goes into media.public_addresses"
                return [error("media", f"this machine doesn't have {host}", mend)]
            if problem is not None:
                found.append(_taken("media", f"relay {slot}", host, port, problem, variable))
    return found


def _taken(check: str, name: str, host: str, port: int, problem: OSError, variable: str) -> Finding:
    mend = f"stop what listens there (`ss -tulnp sport = :{port}`), or set {variable}"
    if problem.errno == errno.EACCES:
        mend = f"ports below 1024 need rights: set {variable} above 1023, and a proxy in front"
    return error(check, f"{name}: {host}:{port}: {problem.strerror}", mend)


def _bind(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> OSError | None:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=kind, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as listener:
            if kind is socket.SOCK_STREAM:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as problem:
        return problem
    return None


async def _is_running(config: Config) -> bool:
    try:
        await control.ask(config.server.control_socket, control.ListAccounts(), DEADLINE_S)
    except (control.Unreachable, OSError):
        return False
    except Refused:
        return True
    return True


async def check_certificate(config: Config) -> list[Finding]:
    """Look at the certificate, or at what stands in for it."""
    server = config.server
    public = urlsplit(server.url)
    if not server.tls:
        if public.scheme == "https" or public.hostname in ("localhost", "127.0.0.1", "::1"):
            return [ok("certificate", "plain HTTP here; the proxy in front has the certificate")]
        mend = "set SELAT_TLS=on, or put a proxy with TLS in front and its address into SELAT_PUBLIC_URL=https://…"
        return [
            error(
                "certificate",
                "browsers give no camera or microphone to pages over plain HTTP",
                mend,
            )
        ]
    try:
        files = certificate_files(server, now())
        facts = read_certificate(files.certificate)
        server_context(files)
    except (OSError, ValueError, ssl.SSLError) as problem:
        reason = (
            getattr(problem, "strerror", None)
            or getattr(problem, "reason", None)
            or "no certificate in it"
        )
        mend = "server.certificate_file and server.key_file take PEM files that belong together and can be read"
        return [error("certificate", f"can't be used ({reason})", mend)]
    left_days = int((facts.not_after - now()) // 86_400)
    if now() >= facts.not_after or now() < facts.not_before:
        return [error("certificate", "is not valid now", "renew it, or mend the clock")]
    if not facts.covers(public.hostname or ""):
        text = f"is not valid for {public.hostname}"
        return [error("certificate", text, "get one for that name, or mend SELAT_PUBLIC_URL")]
    if files.self_made:
        text = f"made here for development, {left_days} days left"
        if server.public_url:
            mend = "set SELAT_SERVER_CERTIFICATE_FILE and SELAT_SERVER_KEY_FILE, or use a proxy"
            return [warning("certificate", text + "; patients' browsers warn of it", mend)]
        return [ok("certificate", text + "; browsers warn once")]
    if facts.not_after - now() < EXPIRY_WARNING_S:
        return [
            warning("certificate", f"ends in {left_days} days", "renew it, then restart the node")
        ]
    return [ok("certificate", f"valid for {public.hostname}, {left_days} days left")]


async def check_store(config: Config) -> list[Finding]:
    """Look at the store: can it be opened, how fast is it, what could it lose; and are there accounts."""
    found = (
        [] if config.database_file and await _is_running(config) else await _store_itself(config)
    )
    if any(each.level is Level.ERROR for each in found):
        return found
    if not found:
        found.append(ok("store", "the running node has it open"))
    try:
        accounts = await desk.ask(config, control.ListAccounts(), list[control.AccountView])
    except (Refused, StoreUnavailable, SecretsUnusable) as problem:
        return [*found, error("accounts", f"can't be read ({problem})", "see the node's log")]
    roles = [each.role for each in accounts if not each.disabled]
    missing = [role.value for role in (Role.OPERATOR, Role.SPECIALIST) if role not in roles]
    if missing:
        mend = f"selat account add LOGIN --role {missing[0]} (a first `selat serve` without a public address makes both)"
        found.append(warning("accounts", f"there is no {' and no '.join(missing)}", mend))
    else:
        found.append(ok("accounts", f"{len(roles)} open accounts"))
    return found


async def _store_itself(config: Config) -> list[Finding]:
    url = config.store.url or str(config.database_file)
    where = (urlsplit(url).hostname or urlsplit(url).path) if config.store.url else url
    mend = (
        "is Redis running, and SELAT_STORE_URL right?" if config.store.url else "see the sentence"
    )
    try:
        master_key = read_master_key(config.server.data_dir)
        store = await open_store(url, master_key, synchronous=config.store.synchronous)
    except (StoreUnavailable, SecretsUnusable, ValueError, OSError) as problem:
        return [error("store", f"{where}: {problem}", mend)]
    try:
        ping_s = await store.ping()
        said = await store.durability()
    finally:
        await store.close()
    found = [ok("store", f"{where} answers in {ping_s * 1_000:.1f} ms")]
    if said:
        mend = "appendonly yes, appendfsync always, maxmemory-policy noeviction in redis.conf"
        found.append(
            warning("store", said, mend if config.store.url else "SELAT_STORE_SYNCHRONOUS=FULL")
        )
    return found


async def check_turn(config: Config) -> list[Finding]:
    """Make an allocation on each TURN server, as a browser would, over each way that is configured."""
    if not any(url.startswith("turn") for url in config.turn.urls):
        mend = "set SELAT_TURN_URLS and SELAT_TURN_SECRET_FILE (deploy/coturn)"
        return [
            warning("turn", "none: calls fail where a NAT or firewall keeps browsers apart", mend)
        ]
    try:
        secret = read_turn_secret(config.turn) or ""
    except ConfigError as problem:
        return [
            error(
                "turn",
                str(problem),
                "write the same secret there as into coturn's static-auth-secret",
            )
        ]
    return [
        await _check_turn_url(url, secret) for url in config.turn.urls if url.startswith("turn")
    ]


async def _check_turn_url(url: str, secret: str) -> Finding:
    address = parse_address(url)
    where = f"{address.host}:{address.port} over {'TLS' if address.secure else address.transport.upper()}"
    by = credentials(secret, f"check-{secrets.token_hex(4)}", now())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await allocate(address, by)
    except stun.TransactionFailed as refused:
        code = refusal_code(refused)
        mend = {
            401: "the secrets differ, or the clocks do: compare SELAT_TURN_SECRET_FILE with coturn's static-auth-secret",
            486: "coturn's user-quota or total-quota is used up",
            508: "coturn has no free relay port: widen min-port..max-port",
        }.get(code, "see coturn's log")
        return error("turn", f"{where} refused with {code}", mend)
    except ssl.SSLCertVerificationError:
        mend = "give coturn (cert, pkey) a certificate for that name from a known authority; browsers refuse others"
        return error("turn", f"{where}: its certificate is not trusted", mend)
    except (OSError, stun.TransactionError) as problem:
        reason = getattr(problem, "strerror", None) or "no answer"
        return error(
            "turn", f"{where}: {reason}", "is coturn running, the name right, the port open?"
        )
    except NotImplementedError:
        return warning(
            "turn", f"{where}: TURN over DTLS can't be checked", "browsers don't use it either"
        )
    return ok("turn", f"{where} gave a relayed address")


async def check_pages(_config: Config) -> list[Finding]:
    """Render all pages in all languages, and look for texts without a translation."""
    try:
        pages = await asyncio.to_thread(Pages)
    except Exception as problem:  # noqa: BLE001 - whatever is wrong with a page, here it is a finding
        return [
            error(
                "pages",
                f"can't be rendered ({type(problem).__name__})",
                "install this version again",
            )
        ]
    missing = {
        code: sum(1 for message in language.catalog if message.id and not message.string)
        for code, language in pages.languages.items()
        if code != "en"
    }
    if untranslated := {code: count for code, count in missing.items() if count}:
        listed = ", ".join(f"{code}: {count}" for code, count in untranslated.items())
        mend = "translate them in signalling/web/locale; English is shown meanwhile"
        return [warning("pages", f"texts without translation: {listed}", mend)]
    return [ok("pages", f"rendered in {', '.join(pages.languages)}")]


async def check_public(config: Config) -> list[Finding]:
    """Ask the public address whether this service is behind it, and compare the clocks on the way."""
    url = config.server.public_url
    if not url or not await _is_running(config):
        return []
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/healthz", allow_redirects=False) as response,
        ):
            status, date = response.status, response.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError, OSError) as problem:
        mend = "does its name lead here, is the proxy running, is the port open?"
        return [error("public address", f"{url} can't be reached ({type(problem).__name__})", mend)]
    if status != 200:
        mend = "the proxy must hand everything to the node, with WebSockets"
        return [error("public address", f"{url}/healthz answers {status}", mend)]
    with contextlib.suppress(ValueError):
        apart_s = abs(parsedate_to_datetime(date).timestamp() - now())
        if apart_s > CLOCK_APART_S:
            text = f"its clock and this one are {apart_s:.0f} s apart"
            return [error("public address", text, "run NTP on both machines")]
    return [ok("public address", f"{url} leads here")]


CHECKS: tuple[Callable[[Config], Awaitable[list[Finding]]], ...] = (
    check_clock,
    check_data,
    check_limits,
    check_ports,
    check_certificate,
    check_store,
    check_turn,
    check_media,
    check_pages,
    check_public,
)


async def check_all(config: Config) -> list[Finding]:
    """Run all checks, one after the other; one that hangs is a finding too."""
    findings: list[Finding] = []
    for each in CHECKS:
        name = each.__name__.removeprefix("check_")
        try:
            async with asyncio.timeout(DEADLINE_S * 4):
                findings += await each(config)
        except TimeoutError:
            findings.append(
                error(name, "did not come to an end", "see what it waits for: store, network")
            )
    return findings
