# SPDX-License-Identifier: Apache-2.0
"""Settings: three sources, and no typing error that runs."""

from dataclasses import fields
from pathlib import Path

import pytest

from signalling import config
from signalling.config import ConfigError, load, read_turn_secret
from signalling.wire.terms import Urgency


@pytest.fixture
def toml(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "selat.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_environment_over_file_over_default(toml) -> None:
    """The environment wins over the file, the file over the default."""
    path = toml("[server]\nhost='127.0.0.1'\nport=1111\n")
    loaded = load(path, {"SELAT_HTTP_PORT": "2222", "PATH": "/bin"})
    assert (loaded.server.host, loaded.server.port) == ("127.0.0.1", 2222)
    assert loaded.server.metrics_port == 9108
    assert loaded.store == config.StoreConfig()


def test_environment_reads_every_type() -> None:
    """Booleans, numbers, lists, tables, paths and words can all be given as text."""
    loaded = load(
        None,
        {
            "SELAT_TLS": "off",
            "SELAT_LIMITS_MESSAGES_PER_S": "12.5",
            "SELAT_LIMITS_MAX_CONNECTIONS": "30_000",
            "SELAT_TURN_URLS": "turn:t.example:3478?transport=udp, stun:t.example:3478",
            "SELAT_TURN_SECRET_FILE": "secret",
            "SELAT_CONSULT_WAIT_MAX_S": "red=60",
            "SELAT_LOG_FORMAT": "json",
            "SELAT_SERVER_CERTIFICATE_FILE": "",
        },
    )
    assert loaded.server.tls is False
    assert loaded.server.certificate_file is None
    assert loaded.limits.messages_per_s == 12.5
    assert loaded.limits.max_connections == 30_000
    assert loaded.turn.urls == ("turn:t.example:3478?transport=udp", "stun:t.example:3478")
    assert loaded.turn.secret_file == Path("secret")
    assert loaded.consult.wait_max_s[Urgency.RED] == 60
    assert loaded.consult.wait_max_s[Urgency.GREEN] == 1_800, "the other colours keep theirs"
    assert loaded.log.format == "json"


REFUSED_FILES = {
    "serve.port": ("serve", "[serve]\nport=1"),
    "unknown key": ("server.prot", "[server]\nprot=1"),
    "no table": ("server", "server=1"),
    "type": ("server.port", "[server]\nport='8443'"),
    "bool is no int": ("server.tls", "[server]\ntls=1"),
    "range": ("limits.max_connections", "[limits]\nmax_connections=0"),
    "endless": ("limits.outgoing_high_s", "[limits]\noutgoing_high_s=inf"),
    "no number": ("limits.messages_per_s", "[limits]\nmessages_per_s=nan"),
    "span of the core": ("consult.ring_s", "[consult]\nring_s=-1"),
    "colour": ("consult.wait_max_s", "[consult]\nwait_max_s={orange=1}"),
    "span in a table": ("consult.wait_max_s", "[consult]\nwait_max_s={red=0}"),
    "word": ("store.synchronous", "[store]\nsynchronous='OFF'"),
    "path": ("server.data_dir", "[server]\ndata_dir=''"),
    "half a certificate": ("server.key_file", "[server]\ncertificate_file='a'"),
    "same port": ("server.metrics_port", "[server]\nport=9108"),
    "queue": ("limits.outgoing_max_bytes", "[limits]\noutgoing_max_bytes=2048"),
    "url with path": ("server.public_url", "[server]\npublic_url='https://a/b'"),
    "url without scheme": ("server.public_url", "[server]\npublic_url='a.example'"),
    "url with port word": ("server.public_url", "[server]\npublic_url='https://a:b'"),
    "network": ("server.trusted_proxies", "[server]\ntrusted_proxies=['proxy']"),
    "store": ("store.url", "[store]\nurl='postgres://a'"),
    "turn address": ("turn.urls", "[turn]\nurls=['t.example:3478']"),
    "turn without secret": ("turn.secret_file", "[turn]\nurls=['turn:t.example']"),
    "relay without turn": ("turn.ice_transport_policy", "[turn]\nice_transport_policy='relay'"),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_refused_file_names_the_key(toml, case: str) -> None:
    """An unknown, wrongly typed, impossible or contradicting setting stops the start and is named."""
    key, text = REFUSED_FILES[case]
    with pytest.raises(ConfigError) as caught:
        load(toml(text), {})
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"SELAT_PROT": "1"}, "SELAT_PROT"),
        ({"SELAT_SERVER_PROT": "1"}, "SELAT_SERVER_PROT"),
        ({"SELAT_HTTP_PORT": "http"}, "SELAT_HTTP_PORT"),
        ({"SELAT_TLS": "perhaps"}, "SELAT_TLS"),
        ({"SELAT_HTTP_PORT": "1", "SELAT_SERVER_PORT": "2"}, "SELAT_SERVER_PORT"),
        ({"SELAT_CONSULT_WAIT_MAX_S": "red"}, "SELAT_CONSULT_WAIT_MAX_S"),
    ],
)
def test_refused_variable_is_named(environ: dict[str, str], key: str) -> None:
    """An unknown or unreadable variable stops the start and is named."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    assert caught.value.key == key


@pytest.mark.parametrize("text", ["not toml", "\x00", "[server]\nport = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_named(toml, text: str) -> None:
    """A broken file is reported by its name, without a traceback."""
    path = toml(text)
    with pytest.raises(ConfigError, match="is not TOML"):
        load(path, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is asked for and is not there stops the start."""
    with pytest.raises(ConfigError, match=r"none\.toml: can't be read"):
        load(tmp_path / "none.toml", {})


def test_values_never_appear_in_errors(toml) -> None:
    """An error names the key and the rule; the value may be a password."""
    for text in (
        "[store]\nurl='hunter2'",
        "[store]\nsynchronous='hunter2'",
        "[store]\nurl=['hunter2']",
    ):
        with pytest.raises(ConfigError) as caught:
            load(toml(text), {})
        assert "hunter2" not in str(caught.value)


def test_addresses_follow_from_the_settings() -> None:
    """The links' address, the database file and the control socket follow from what is set."""
    plain = load(None, {"SELAT_TLS": "no", "SELAT_HTTP_PORT": "80", "SELAT_DATA_DIR": "d"})
    assert plain.server.url == "http://localhost:80"
    assert plain.server.control_socket == Path("d/control.sock")
    assert plain.database_file == Path("d/selat.db")
    public = load(None, {"SELAT_PUBLIC_URL": "https://a.example", "SELAT_STORE_URL": "redis://r"})
    assert public.server.url == "https://a.example"
    assert public.database_file is None


def test_turn_secret_is_read_or_refused(tmp_path: Path) -> None:
    """The secret comes from its file without the newline; a missing or empty file is named."""
    secret_file = tmp_path / "secret"
    turn = config.TurnConfig(urls=("turn:a",), secret_file=secret_file)
    with pytest.raises(ConfigError, match="can't be read"):
        read_turn_secret(turn)
    secret_file.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_turn_secret(turn)
    secret_file.write_text("north-wind\n")
    assert read_turn_secret(turn) == "north-wind"
    assert read_turn_secret(config.TurnConfig()) is None


def test_each_variable_sets_one_setting() -> None:
    """Each setting has a variable of its own, and an alias stands for an existing one."""
    names = config.variables()
    count = sum(len(fields(kind)) for kind in config.sections().values())
    assert len(names) == count + len(config.ALIASES)
    assert set(config.ALIASES.values()) <= {
        target for name, target in names.items() if name not in config.ALIASES
    }
