# SPDX-License-Identifier: Apache-2.0
"""A node's own relays: started, looked after, surviving its death, found again, ended with it."""

import contextlib
import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.support.processes import free_port, wait_for
from tests.support.relay_process import series
from tests.support.serving import Serving

pytestmark = pytest.mark.fault


def alive(pid):
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Watched(Serving):
    """A node with one relay of its own."""

    def __init__(self, data_dir, port, **variables):
        super().__init__(
            data_dir,
            SELAT_HTTP_PORT=str(port),
            SELAT_MEDIA_RELAYS="1",
            SELAT_MEDIA_HOST="127.0.0.1",
            **variables,
        )

    def facts(self):
        """Return what the living relays wrote into their files, by slot."""
        found = {}
        for path in (self.data_dir / "relays").glob("*/*.json"):
            with contextlib.suppress(ValueError):
                facts = json.loads(path.read_text())
                if alive(facts["pid"]):
                    found[int(path.stem)] = facts
        return found

    def relay(self):
        """Return the one relay's facts."""
        (facts,) = self.facts().values()
        return facts

    def figures(self):
        """Return the relay's own metrics."""
        url = f"http://127.0.0.1:{self.relay()['metrics_port']}/metrics"
        return series(urllib.request.urlopen(url).read().decode())

    def has_relay(self):
        """Tell whether a relay is there and a node has it."""
        try:
            return self.figures()["selat_relay_control_connected"] == 1
        except (OSError, ValueError):
            return False


@pytest.fixture
def node(tmp_path):
    """A running node whose relay has said hello."""
    node = Watched(tmp_path / "data", free_port())
    try:
        node.start()
        wait_for(node.has_relay, "the relay is welcome")
        yield node
    finally:
        pids = [facts["pid"] for facts in node.facts().values()]
        node.stop()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_relay_outlives_its_node(node):
    """SIGKILL of the node: the relay lives on, and the next node has it again and starts no other."""
    before = node.relay()
    assert os.getsid(before["pid"]) != os.getsid(node.pid)
    node.kill()
    assert alive(before["pid"])
    node.start()
    wait_for(node.has_relay, "the relay is welcome again")
    assert node.relay() == before
    assert node.figures()["selat_relay_control_connections_total"] == 2
    assert list(node.facts()) == [0]


def test_a_dead_relay_is_started_again(node):
    """SIGKILL of the relay: another one has its place within seconds."""
    before = node.relay()
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: not alive(before["pid"]), "the relay is dead")
    wait_for(node.has_relay, "its successor is welcome")
    assert node.relay()["pid"] != before["pid"]
    assert node.relay()["instance"] != before["instance"]
    node.kill()


def test_a_stopped_node_takes_its_idle_relays_along(node):
    """SIGTERM of the node: a relay that nobody uses ends with it, and leaves its ports."""
    before = node.relay()
    assert node.stop() == 0
    assert not alive(before["pid"])


def test_a_relay_that_was_told_to_end_has_a_successor(node):
    """An operator ends one relay: another one comes, without being asked for."""
    before = node.relay()
    os.kill(before["pid"], signal.SIGTERM)
    wait_for(lambda: not alive(before["pid"]), "the idle relay is gone")
    wait_for(node.has_relay, "its successor is welcome")


def test_tokens_are_private_and_good(node):
    """The relays' token lies where only the owner reads it, and holds for a week."""
    (token,) = (node.data_dir / "relays").glob("*/token")
    assert token.stat().st_mode & 0o777 == 0o600
    assert node.figures()["selat_relay_token_expires_at_seconds"] > 0
