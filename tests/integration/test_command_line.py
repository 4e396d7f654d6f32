# SPDX-License-Identifier: Apache-2.0
"""The command line beside a running node and without one, on the real store."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import Result
from typer.testing import CliRunner

from signalling.cli.entry import app
from signalling.edge.control import PATH
from tests.support.serving import Serving, environment

EXAMPLE = Path(__file__).parents[2] / "deploy" / "posts.example.csv"
Command = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def selat(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process, with the settings of a test node."""
    for name in [name for name in os.environ if name.startswith("SELAT_")]:
        monkeypatch.delenv(name)

    def command(*arguments: str, text: str = "", **variables: str) -> Result:
        settings = {"SELAT_PUBLIC_URL": "https://selat.example", **variables}
        return CliRunner().invoke(app, arguments, input=text, env=environment(data_dir, **settings))

    return command


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Run one node for the tests that leave it as it is."""
    with Serving(tmp_path_factory.mktemp("demo") / "data") as serving:
        yield serving


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def sign_in(url: str, login: str, password: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/api/sign-in",
            json={"login": login, "password": password},
            headers={"Origin": url},
            ssl=False,
        ) as response,
    ):
        return response.status


@pytest.fixture(params=["running", "stopped"])
def node(request: pytest.FixtureRequest, data_dir: Path):
    """Give each command both ways: through a running node, and on the store itself."""
    serving = Serving(data_dir, "--no-demo")
    serving.start()
    if request.param == "stopped":
        serving.stop()
    yield serving
    serving.stop()


def test_commands_do_the_same_with_and_without_a_node(node: Serving, selat: Command) -> None:
    """Accounts, posts and invitations are made the same way through a running node and without one."""
    made = answer(selat("account", "add", "Sari", "--specialty", "obstetrics", "--json"))
    assert len(made["password"]) >= 12
    answer(selat("account", "add", "budi", "--role", "operator", "--json"))
    logins = {each["login"]: each for each in answer(selat("account", "list", "--json"))}
    assert logins["sari"]["specialties"] == ["obstetrics"]
    assert logins["budi"]["role"] == "operator"
    again = selat("account", "add", "SARI")
    assert again.exit_code == 1
    assert "account_exists" in again.stderr
    assert answer(selat("account", "disable", "sari", "--json"))["disabled"] is True
    assert answer(selat("account", "disable", "sari", "--undo", "--json"))["disabled"] is False
    assert answer(selat("account", "reset", "sari", "--json"))["password"] != made["password"]
    assert selat("account", "reset", "nobody").exit_code == 1

    assert answer(selat("posts", "import", str(EXAMPLE), "--json")) == {"changed": 12, "total": 12}
    assert answer(selat("posts", "import", str(EXAMPLE), "--json")) == {"changed": 0, "total": 12}
    assert len(answer(selat("posts", "list", "--json"))) == 12

    invited = answer(
        selat("invite", "--post", "EX-ENG", "--specialty", "surgery", "--language", "id", "--json")
    )
    assert "/id#ey" in invited["url"]
    assert len(invited["code"]) == 9
    assert selat("invite", "--post", "NOWHERE").exit_code == 1


def test_text_is_for_people(selat: Command) -> None:
    """Without --json a command answers in words: a table, a link with its code and QR code, a password shown once."""
    made = selat("account", "add", "sari")
    assert "Password  " in made.output
    assert "shown this once" in made.output
    assert selat("account", "list").output.splitlines()[1].startswith("sari")
    invited = selat("invite").output
    assert "Link   https://selat.example/#ey" in invited
    assert "█" in invited
    assert "█" not in selat("invite", "--no-qr").output
    assert "0 posts" not in selat("posts", "import", str(EXAMPLE)).output
    assert "EX-ENG" in selat("posts", "list").output
    assert "sari is disabled" in selat("account", "disable", "sari").output
    assert "signs" in selat("keys", "list").output


async def test_first_start_makes_accounts_that_can_sign_in(data_dir: Path) -> None:
    """The first start tells two accounts whose passwords work; a second start makes none and tells none."""
    with Serving(data_dir) as serving:
        first = serving.ready
        assert first["pid"] == serving.pid
        assert {each["role"] for each in first["accounts"]} == {"operator", "specialist"}
        for each in first["accounts"]:
            assert await sign_in(first["public_url"], each["login"], each["password"]) == 200
            assert await sign_in(first["public_url"], each["login"], "wrong password") == 401
    with Serving(data_dir) as serving:
        assert "accounts" not in serving.ready
        assert serving.ready["code"] != first["code"]
    stored = b"".join(path.read_bytes() for path in data_dir.iterdir() if path.is_file())
    for each in first["accounts"]:
        assert each["password"].encode() not in stored


async def test_the_printed_addresses_work(demo: Serving) -> None:
    """Every address that a start prints answers, and the metrics are on their own listener only."""
    ready = demo.ready
    async with aiohttp.ClientSession() as session:
        for name in ("patient_url", "specialist_url", "operator_url", "metrics_url"):
            async with session.get(ready[name], ssl=False) as response:
                assert response.status == 200, name
        async with session.get(ready["public_url"] + "/metrics", ssl=False) as response:
            assert response.status == 404


def test_a_store_with_accounts_gets_no_first_ones(data_dir: Path, selat: Command) -> None:
    """Where somebody made an account already, a start adds none of its own."""
    answer(selat("account", "add", "sari", "--json"))
    with Serving(data_dir) as serving:
        assert "accounts" not in serving.ready
        assert [each["login"] for each in answer(selat("account", "list", "--json"))] == ["sari"]


def test_a_service_with_a_public_address_makes_no_accounts(data_dir: Path) -> None:
    """With a public address nothing is made by itself: no account, no consult, no password in a journal."""
    variables = {"SELAT_PUBLIC_URL": "https://selat.example", "SELAT_TLS": "off"}
    with Serving(data_dir, **variables) as serving:
        ready = serving.ready
    assert ready["public_url"] == "https://selat.example"
    assert not {"accounts", "patient_url", "code", "network_url"} & ready.keys()


def test_a_node_ends_cleanly_and_takes_its_socket_along(data_dir: Path) -> None:
    """SIGTERM ends a node with exit code 0 within seconds, and nothing is left that looks like a running one."""
    with Serving(data_dir) as serving:
        assert (data_dir / "control.sock").is_socket()
        assert serving.stop() == 0
    assert not (data_dir / "control.sock").exists()


def test_a_killed_node_is_in_nobodys_way(data_dir: Path, selat: Command) -> None:
    """After SIGKILL a stale socket stays; commands see through it, and the next node replaces it."""
    with Serving(data_dir) as serving:
        before = answer(selat("invite", "--json"))
        serving.kill()
        assert (data_dir / "control.sock").is_socket()
        assert len(answer(selat("account", "list", "--json"))) == 2
        serving.start()
        after = answer(selat("invite", "--json"))
        assert after["code"] != before["code"]


def test_the_socket_is_for_the_owner_only(demo: Serving) -> None:
    """Nobody but the owner may open the socket, for who opens it may do everything."""
    mode = (demo.data_dir / "control.sock").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(demo.data_dir.stat().st_mode) == 0o700


HOSTILE = {
    "not json": b"{",
    "unknown request": b'{"do":"erase_everything"}',
    "unknown field": b'{"do":"list_posts","all":true}',
    "wrong type": b'{"do":"invite","specialty":"magic"}',
    "no such role": b'{"do":"add_account","login":"x","role":"patient"}',
    "deep": b"[" * 100_000,
}


async def test_the_socket_refuses_nonsense(demo: Serving) -> None:
    """Whatever is sent to the socket is answered with a code, and the node goes on."""
    connector = aiohttp.UnixConnector(str(demo.data_dir / "control.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:
        for case, body in HOSTILE.items():
            async with session.post(f"http://selat{PATH}", data=body) as response:
                refusal = (response.status, await response.json())
                assert refusal == (400, {"code": "malformed"}), case
        async with session.post(f"http://selat{PATH}", data=b'{"do":"list_posts"}') as response:
            assert await response.json() == []


def test_long_data_directories_work(tmp_path: Path, selat: Command) -> None:
    """A data directory whose path does not fit into a socket's address works all the same."""
    data_dir = tmp_path / ("d" * 100) / "data"
    with Serving(data_dir):
        assert len(answer(selat("account", "list", "--json", SELAT_DATA_DIR=str(data_dir)))) == 2


def test_wrong_settings_stop_every_command(selat: Command, tmp_path: Path) -> None:
    """An unknown setting ends a command with exit code 2 and the name of the key."""
    refused = selat("invite", SELAT_SERVER_PROT="1")
    assert refused.exit_code == 2
    assert "SELAT_SERVER_PROT: unknown variable" in refused.stderr
    path = tmp_path / "selat.toml"
    path.write_text("[limits]\nmax_conections = 3\n")
    for arguments in (("--config", str(path), "keys", "list"), ("check", "--print")):
        refused = selat(*arguments, SELAT_CONFIG=str(path))
        assert refused.exit_code == 2
        assert "limits.max_conections: unknown key" in refused.stderr


def test_settings_are_shown(selat: Command) -> None:
    """`check --print` shows what is in force, and no password."""
    shown = selat("check", "--print", SELAT_STORE_URL="redis://:hunter2@db.example")
    assert 'public_url = "https://selat.example"' in shown.stdout
    assert "hunter2" not in shown.output


@pytest.mark.parametrize("name", ["SELAT_HTTP_PORT", "SELAT_METRICS_PORT"])
def test_a_port_in_use_is_a_sentence(data_dir: Path, name: str) -> None:
    """A start on a port that is taken ends with a sentence, not with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serving = Serving(data_dir, **{name: str(taken.getsockname()[1])})
        with pytest.raises(RuntimeError, match="a port is in use") as caught:
            serving.start()
    assert "Traceback" not in str(caught.value)


def test_two_nodes_on_one_file_are_refused(demo: Serving, selat: Command) -> None:
    """A second node on the same embedded store ends with a sentence; the first one goes on."""
    with pytest.raises(RuntimeError, match="selat: ") as caught:
        Serving(demo.data_dir).start()
    assert "Traceback" not in str(caught.value)
    assert answer(selat("account", "list", "--json", SELAT_DATA_DIR=str(demo.data_dir)))


def test_a_weak_password_is_refused_and_a_good_one_taken(selat: Command) -> None:
    """A password comes by standard input, and the rules for passwords hold here too."""
    weak = selat("account", "add", "sari", "--password-stdin", text="sari\n")
    assert weak.exit_code == 1
    assert "password_weak" in weak.stderr
    good = selat(
        "account", "add", "sari", "--password-stdin", "--json", text="angin-utara-dan-hujan\n"
    )
    assert answer(good).keys() == {"account", "login"}
    assert selat("account", "add", "x", "--password-stdin", text="").exit_code == 2


def test_a_wrong_list_imports_nothing(selat: Command, tmp_path: Path) -> None:
    """Every mistake of a list is named with its line, and no post of it is imported."""
    path = tmp_path / "posts.csv"
    path.write_text("code,name,time_zone\nA,Good,Asia/Jakarta\nB,,Mars\n")
    refused = selat("posts", "import", str(path))
    assert refused.exit_code == 1
    assert "line 3, name" in refused.stderr
    assert "line 3, time_zone" in refused.stderr
    assert answer(selat("posts", "list", "--json")) == []
    path.write_bytes(b"code\xff")
    assert "not UTF-8" in selat("posts", "import", str(path)).stderr


def test_keys_rotate_without_a_gap(selat: Command) -> None:
    """A rotated ring has a key that signs and one that waits; an invitation made before still counts."""
    (before,) = answer(selat("keys", "list", "--json"))
    assert before["state"] == "signs"
    made = answer(selat("keys", "rotate", "--json"))
    after = {each["kid"]: each["state"] for each in answer(selat("keys", "list", "--json"))}
    assert after == {before["kid"]: "signs", made["kid"]: "waits"}


def test_links_need_an_address(selat: Command) -> None:
    """Without a public address and with a random port no link can be made, and the command says so."""
    refused = selat("invite", SELAT_PUBLIC_URL="")
    assert refused.exit_code == 2
    assert "SELAT_PUBLIC_URL" in refused.stderr


async def test_two_nodes_share_a_redis_and_a_directory(data_dir: Path) -> None:
    """Two nodes on one Redis start together on one data directory: one serves the socket, both know the accounts."""
    from tests.support.redis_server import RedisServer

    redis = RedisServer()
    try:
        one = Serving(data_dir, SELAT_STORE_URL=redis.url)
        other = Serving(data_dir, SELAT_STORE_URL=redis.url)
        with one, other:
            assert "accounts" not in other.ready
            for each in one.ready["accounts"]:
                for node in (one, other):
                    url = node.ready["public_url"]
                    assert await sign_in(url, each["login"], each["password"]) == 200
            one.stop()
            await asyncio.sleep(0)
            url = other.ready["public_url"]
            assert await sign_in(url, each["login"], each["password"]) == 200
    finally:
        redis.stop()
