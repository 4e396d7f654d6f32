# SPDX-License-Identifier: Apache-2.0
"""Every setting of a node, with its default, its unit and where its number comes from.

``load`` puts three sources over each other: the defaults here, a TOML file, the environment. A key that nobody knows, a
value of the wrong type or out of bounds stops the start with the key's name: a typing error must never run as a
default. Values are not repeated in errors, since one of them may be a password.

``docs/configuration.md`` and ``deploy/selat.example.toml`` are generated from this file (``signalling.reference``).
"""

from __future__ import annotations

import ipaddress
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

from signalling.core.policy import ConsultPolicy

PREFIX = "SELAT_"
CONFIG_FILE_VARIABLE = "SELAT_CONFIG"
"""Names the TOML file for the command line; not a setting."""

ALIASES: Mapping[str, tuple[str, str]] = {
    "SELAT_PUBLIC_URL": ("server", "public_url"),
    "SELAT_HTTP_HOST": ("server", "host"),
    "SELAT_HTTP_PORT": ("server", "port"),
    "SELAT_TLS": ("server", "tls"),
    "SELAT_DATA_DIR": ("server", "data_dir"),
    "SELAT_METRICS_HOST": ("server", "metrics_host"),
    "SELAT_METRICS_PORT": ("server", "metrics_port"),
}
"""Shorter names of the variables that are set most often."""

REDIS_SCHEMES = ("redis", "rediss", "unix")

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=31_536_000.0)]
Bytes = Annotated[int, msgspec.Meta(ge=1_024, le=1_073_741_824)]


class ConfigError(Exception):
    """A setting can't be used; ``key`` is its dotted name, the text says what is wrong and how to mend it."""

    def __init__(self, key: str, problem: str) -> None:
        """Carry the key and the problem; never the value."""
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the node listens, and under which address people reach it."""

    public_url: str = ""
    """Address that links carry, e.g. `https://selat.example.org`; empty = `https://localhost:<port>`."""
    host: str = "0.0.0.0"
    """Address to listen on for pages, API and WebSockets."""
    port: Port = 8443
    """Port to listen on; 0 = any free one (printed at the start)."""
    tls: bool = True
    """Whether this node speaks HTTPS itself; false = plain HTTP behind a proxy that does."""
    certificate_file: Path | None = None
    """PEM certificate chain; empty = a development certificate is made in `data_dir`."""
    key_file: Path | None = None
    """PEM private key of `certificate_file`."""
    data_dir: Path = Path("data")
    """Directory of the embedded store, the keys, the development certificate and the control socket; nodes that share a
    Redis share the keys, and so this directory."""
    metrics_host: str = "127.0.0.1"
    """Address of the listener for `/metrics`; it has no sign-in, so it never listens where strangers are."""
    metrics_port: Port = 9108
    """Port of `/metrics`; 0 = any free one."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies in front, e.g. `10.0.0.0/8`. From them alone `X-Forwarded-For` is believed: the
    client is the rightmost address in it that is not one of these."""
    shutdown_s: Seconds = 5.0
    """How long a stopping node waits for clients to take the notice that it restarts."""

    @property
    def scheme(self) -> str:
        """``https`` or ``http``, as this node itself speaks."""
        return "https" if self.tls else "http"

    @property
    def url(self) -> str:
        """The address that links carry, without a slash at the end."""
        return self.public_url or f"{self.scheme}://localhost:{self.port}"

    @property
    def control_socket(self) -> Path:
        """The Unix socket on which the running node takes commands from `selat`."""
        return self.data_dir / "control.sock"


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where everything durable lives."""

    url: str = ""
    """Empty = the embedded store in `data_dir` (one node); `redis://[:password@]host[:port][/db]`, `rediss://…` (TLS)
    or `unix:///path` = Redis (two and more nodes)."""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """Embedded store only. FULL: an acknowledged event survives a power cut. NORMAL: it survives the death of the
    process, but a power cut may take the last moments; faster on slow disks (SQLite `PRAGMA synchronous`)."""


@dataclass(frozen=True, slots=True)
class IdentityConfig:
    """How long proofs of identity hold."""

    session_s: Annotated[float, msgspec.Meta(ge=60.0, le=86_400.0)] = 900.0
    """Seconds that a session token for the WebSocket lives; a page asks for a new one whenever it reconnects later."""
    web_s: Annotated[float, msgspec.Meta(ge=300.0, le=2_592_000.0)] = 43_200.0
    """Seconds that a specialist or operator stays signed in: one shift."""
    key_rotation_s: Annotated[float, msgspec.Meta(ge=3_600.0, le=31_536_000.0)] = 2_592_000.0
    """Seconds after which a new signing key takes over; the old one verifies until what it signed has expired."""


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What one client may cost."""

    max_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """WebSockets on this node at a time; an idle one costs about 25 KB."""
    messages_per_s: Annotated[float, msgspec.Meta(gt=0.0, le=100_000.0)] = 50.0
    """Messages per second that one connection may send for long; a call's set-up is about 12 in a second."""
    message_burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    """Messages that one connection may send at once: a set-up, an ICE restart and a reload together stay below 100."""
    hello_timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=120.0)] = 10.0
    """Seconds within which a connection must say who it is; three round trips of the worst satellite link are 3 s."""
    heartbeat_s: Annotated[float, msgspec.Meta(ge=0.2, le=300.0)] = 15.0
    """Seconds between pings; below the 30 s after which mobile NATs forget a quiet connection."""
    outgoing_high_bytes: Bytes = 65_536
    """Bytes that may wait for one client for `outgoing_high_s` before it counts as a slow reader."""
    outgoing_high_s: Seconds = 5.0
    """Seconds above `outgoing_high_bytes` before the connection is closed."""
    outgoing_max_bytes: Bytes = 1_048_576
    """Bytes waiting for one client at which it is cut off at once."""
    max_body_bytes: Bytes = 65_536
    """Largest body of an HTTP request."""


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """The TURN server that carries media where browsers can't reach each other."""

    urls: tuple[str, ...] = ()
    """`turn:host:3478?transport=udp`, `turn:host:3478?transport=tcp`, `turns:host:443?transport=tcp`, `stun:host:3478`
    (RFC 7064, RFC 7065)."""
    secret_file: Path | None = None
    """File with coturn's `static-auth-secret`, from which credentials are made; needed with any `turn:` address."""
    lifetime_s: Annotated[float, msgspec.Meta(ge=60.0, le=86_400.0)] = 300.0
    """Seconds that TURN credentials can start an allocation; pages renew them before that."""
    ice_transport_policy: Literal["all", "relay"] = "all"
    """`relay` makes every browser use TURN only (W3C webrtc §4.2.5): hides addresses, and tests TURN."""


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """How voice and picture travel, and the media relays that this node starts; `selat relay` reads the same."""

    route: Literal["relayed", "direct"] = "relayed"
    """`relayed` = by way of a media relay that has room, else from browser to browser; `direct` = always the latter."""
    relays: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    """Relay processes that this node starts and looks after; empty = one per core but one, at least one; 0 = none: they
    run elsewhere (`selat relay`)."""
    host: str = "::"
    """Address that a relay listens on; `::` = all, IPv4 and IPv6. A machine with several addresses should name the one
    that it announces: answers leave by the address that the route chooses."""
    udp_port: Port = 8444
    """UDP port of the first relay, the next one's is one higher; open twice as many as there are relays, since one that
    drains keeps its port while its successor has the next. 0 = any free one."""
    tcp_port: Port = 8444
    """TCP port of the first relay, counted like `udp_port`: for networks that block UDP."""
    public_addresses: Annotated[tuple[str, ...], msgspec.Meta(max_length=4)] = ()
    """IP addresses under which browsers reach the relays, e.g. the outer one behind 1:1 NAT; empty = this machine's own
    towards the Internet, and without a public URL the loopback as well."""
    metrics_host: str = "127.0.0.1"
    """Address of the relays' listeners for `/metrics`."""
    metrics_port: Port = 9110
    """Port of the first relay's `/metrics`, counted like `udp_port`; 0 = any free one."""
    legs_max: Annotated[int, msgspec.Meta(ge=2, le=2_000)] = 480
    """Participants that one relay carries: 120 calls to a core, each with two legs, and as many again that are warm."""
    vp9: bool = True
    """Let people send VP9 where everybody in the call has it (and their machine more than four cores): a quarter less for the
    same picture. Without it all send VP8."""
    drain_s: Seconds = 900.0
    """How long a relay that was told to end goes on for the calls that it has: as long as a consult is kept."""
    trace: str = ""
    """File to which relays append what the ladder was asked and what it decided, a JSON line each, about 1 KB a second
    for each call; nothing personal is in it. Empty = no trace. Of several relays each appends to its own: the slot is
    added to the name."""


class LogFormat(StrEnum):
    """How log lines are written."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What goes to standard error."""

    format: LogFormat = LogFormat.AUTO
    """`json` = one JSON object a line, `text` = for people, `auto` = text on a terminal and JSON elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, by subject."""

    server: ServerConfig = field(default_factory=ServerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    consult: ConsultPolicy = field(default_factory=ConsultPolicy)
    turn: TurnConfig = field(default_factory=TurnConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def database_file(self) -> Path | None:
        """The embedded store's file; None with Redis."""
        return None if self.store.url else self.server.data_dir / "selat.db"


def sections() -> dict[str, type]:
    """Return the sections by name, in order."""
    return dict(get_type_hints(Config))


def hints(section: type) -> dict[str, Any]:
    """Return the types of a section's settings, with their bounds, in order."""
    return get_type_hints(section, include_extras=True)


def default_of(setting: Field[Any]) -> object:
    """Return a setting's default."""
    if setting.default is not MISSING:
        return setting.default
    if setting.default_factory is not MISSING:
        return setting.default_factory()
    raise TypeError(setting.name)


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Return the settings: defaults, over them ``path`` (TOML), over that ``environ``.

    Raises:
        ConfigError: the file can't be read, a key is unknown, a value is of the wrong type or out of bounds, or two
            settings contradict each other. Nothing else is raised.
    """
    given: dict[str, dict[str, Any]] = {name: {} for name in sections()}
    if path is not None:
        _merge_file(given, path)
    _merge_environ(given, environ)
    built = {
        name: kind(**{key: _convert(name, key, value) for key, value in given[name].items()})
        for name, kind in sections().items()
    }
    config = Config(**built)
    _check(config)
    return config


def read_turn_secret(turn: TurnConfig) -> str | None:
    """Return the shared secret with the TURN server, or None if no ``turn:`` address needs one.

    Raises:
        ConfigError: the file can't be read or is empty.
    """
    if turn.secret_file is None:
        return None
    try:
        secret = turn.secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("turn.secret_file", f"can't be read ({_reason(error)})") from None
    if not secret:
        raise ConfigError("turn.secret_file", "is empty; put coturn's static-auth-secret into it")
    return secret


def _merge_file(given: dict[str, dict[str, Any]], path: Path) -> None:
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigError(str(path), f"can't be read ({_reason(error)})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"is not TOML ({error})") from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not TOML (not UTF-8)") from None
    for section, table in tables.items():
        if section not in given:
            raise ConfigError(
                section, f"unknown section in {path.name}; there are {_listed(given)}"
            )
        if not isinstance(table, dict):
            raise ConfigError(section, f"is a section: write [{section}] in {path.name}")
        known = hints(sections()[section])
        for key, value in table.items():
            if key not in known:
                raise ConfigError(
                    f"{section}.{key}", f"unknown key; [{section}] has {_listed(known)}"
                )
            given[section][key] = value


def _merge_environ(given: dict[str, dict[str, Any]], environ: Mapping[str, str]) -> None:
    names = variables()
    seen: dict[tuple[str, str], str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == CONFIG_FILE_VARIABLE:
            continue
        target = names.get(variable)
        if target is None:
            raise ConfigError(variable, "unknown variable; the form is SELAT_<SECTION>_<KEY>")
        if target in seen:
            raise ConfigError(variable, f"sets the same as {seen[target]}; keep one of them")
        seen[target] = variable
        section, key = target
        kind = hints(sections()[section])[key]
        given[section][key] = _from_text(variable, kind, environ[variable].strip())


def variables() -> dict[str, tuple[str, str]]:
    """Return every environment variable and the section and key that it sets."""
    names = {
        f"{PREFIX}{section}_{key}".upper(): (section, key)
        for section, kind in sections().items()
        for key in hints(kind)
    }
    return {**names, **ALIASES}


_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def _from_text(variable: str, kind: object, text: str) -> object:
    """Turn an environment variable's text into what TOML would have given."""
    base = plain_type(kind)
    if text == "" and type(None) in get_args(kind):
        return ""
    if base is bool:
        if text.lower() not in _WORDS:
            raise ConfigError(variable, "must be true or false")
        return _WORDS[text.lower()]
    if base in (int, float):
        try:
            return base(text.replace("_", ""))
        except ValueError:
            raise ConfigError(variable, "must be a number") from None
    if get_origin(base) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if get_origin(base) is Mapping:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {key.strip(): _from_text(variable, float, value.strip()) for key, _, value in pairs}
    return text


def plain_type(kind: object) -> Any:  # noqa: ANN401 - a type is any object
    """Return a setting's type without its bounds, and without the None of one that may be empty."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _convert(section: str, key: str, value: object) -> object:
    """Check one value against its type and bounds."""
    name = f"{section}.{key}"
    kind = hints(sections()[section])[key]
    if isinstance(value, Mapping) and get_origin(kind) is Mapping:
        value = _fill(section, key, value)
    if value == "" and type(None) in get_args(kind):
        return None
    try:
        converted = msgspec.convert(value, kind, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise ConfigError(name, _plain(str(error), kind)) from None
    numbers = converted.values() if isinstance(converted, Mapping) else [converted]
    for number in numbers:
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(name, "must be a finite number")
        # Settings of the core carry no bounds of their own: a span or a count is never nought or less there.
        if section == "consult" and isinstance(number, int | float) and number <= 0:
            raise ConfigError(name, "must be above 0")
    return converted


def _fill(section: str, key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Put the given entries of a table over its default ones, so that one colour can be set alone."""
    setting = next(each for each in fields(sections()[section]) if each.name == key)
    default = default_of(setting)
    assert isinstance(default, Mapping)
    return {**{str(name): entry for name, entry in default.items()}, **value}


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise TypeError("Expected a path")


def _check(config: Config) -> None:
    """Refuse settings that contradict each other."""
    server, limits = config.server, config.limits
    if (server.certificate_file is None) != (server.key_file is None):
        missing = "key_file" if server.key_file is None else "certificate_file"
        raise ConfigError(f"server.{missing}", "certificate_file and key_file go together")
    if server.port and server.port == server.metrics_port:
        raise ConfigError("server.metrics_port", "is the port of the pages; metrics have their own")
    if limits.outgoing_max_bytes < limits.outgoing_high_bytes:
        raise ConfigError("limits.outgoing_max_bytes", "must not be below outgoing_high_bytes")
    _check_public_url(server.public_url)
    for network in server.trusted_proxies:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ConfigError(
                "server.trusted_proxies", "takes addresses and networks only"
            ) from None
    if config.store.url and urlsplit(config.store.url).scheme not in REDIS_SCHEMES:
        raise ConfigError("store.url", "must be empty or begin with redis://, rediss:// or unix://")
    _check_turn(config.turn)
    _check_media(config.media)


def _check_public_url(url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or parts.path or parts.query or parts.fragment or parts.username:
        raise ConfigError(
            "server.public_url",
            "must be an origin: https://name or https://name:port, nothing after it",
        )


_TURN_URL = re.compile(r"(?:stuns?:[^?\s]+|turns?:[^?\s]+(?:\?transport=(?:udp|tcp))?)", re.ASCII)


def _check_turn(turn: TurnConfig) -> None:
    for url in turn.urls:
        if not _TURN_URL.fullmatch(url):
            raise ConfigError(
                "turn.urls",
                "must look like turn:host:3478?transport=udp, turns:… or stun:host:3478",
            )
    needs_secret = any(url.startswith("turn") for url in turn.urls)
    if needs_secret and turn.secret_file is None:
        raise ConfigError(
            "turn.secret_file",
            "is needed with a turn: address; it holds coturn's static-auth-secret",
        )
    if turn.ice_transport_policy == "relay" and not needs_secret:
        raise ConfigError(
            "turn.ice_transport_policy",
            "is relay, but turn.urls has no turn: address to relay through",
        )


def _check_media(media: MediaConfig) -> None:
    for key, texts in (("host", (media.host,)), ("public_addresses", media.public_addresses)):
        for text in texts:
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise ConfigError(f"media.{key}", "takes IP addresses only") from None
    if any(ipaddress.ip_address(text).is_unspecified for text in media.public_addresses):
        raise ConfigError("media.public_addresses", "must be addresses that browsers can reach")


def _plain(message: str, kind: object) -> str:
    """Turn msgspec's sentence into one that helps and does not show the value."""
    if choices := choices_of(kind):
        return f"must be one of {', '.join(choices)}"
    if message.startswith("Invalid enum value"):
        return f"has an unknown entry; there are {', '.join(choices_of(get_args(kind)[0]))}"
    return re.sub(r" - at .*", "", message).replace("Expected", "must be", 1).replace("`", "")


def choices_of(kind: object) -> tuple[str, ...]:
    """Return the words that a setting of a closed list may have; empty for every other type."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return tuple(kind)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)


def _reason(error: Exception) -> str:
    return (
        error.strerror or type(error).__name__
        if isinstance(error, OSError)
        else type(error).__name__
    )
