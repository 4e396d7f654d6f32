# SPDX-License-Identifier: Apache-2.0
"""Which relays a supervisor starts and ends, given who lives; processes are counted, not started."""

import contextlib
import os
from pathlib import Path

import pytest

from media.lockfile import LockFile, SlotTaken
from signalling.edge import supervisor as module
from signalling.edge.supervisor import PAUSE_MAX_S, STEADY_S, Supervisor, Wanted

SERVER = "wss://127.0.0.1:8443"


class Child:
    """Stands for a process."""

    pid = 4_194_000

    def __init__(self):
        self.returncode = None

    def poll(self):
        return self.returncode


class Bench:
    """A supervisor at a clock of the test."""

    def __init__(self, directory, monkeypatch):
        self.now = 1_000.0
        self.started = []
        self.children = {}
        self.ended = []
        self.held = contextlib.ExitStack()
        self.supervisor = Supervisor(directory, 8443, clock=lambda: self.now)
        monkeypatch.setattr(module, "_signal", self.ended.append)
        monkeypatch.setattr(module.subprocess, "Popen", self.popen)

    def popen(self, command, **options):
        assert options["start_new_session"]
        slot = int(command[command.index("--slot") + 1])
        self.started.append(slot)
        self.children[slot] = Child()
        return self.children[slot]

    def lives(self, slot, *, pid=77, server=SERVER, draining=False):
        """Let a relay live in a slot."""
        lock = self.held.enter_context(LockFile.held(self.supervisor._file(slot)))
        lock.write({"pid": pid, "server": server, "draining": draining, "udp_port": 1})

    def look(self, count=1):
        """Let the supervisor look once; return the slots that it started."""
        before = len(self.started)
        self.supervisor._look(Wanted(count, SERVER, "https://localhost:8443", None))
        return self.started[before:]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A supervisor that has looked at nothing yet."""
    bench = Bench(tmp_path, monkeypatch)
    with bench.held:
        yield bench
    os.close(bench.supervisor._place)


def test_starts_as_many_as_wanted_once(bench):
    """Each slot gets one process, and no second one while the first comes up."""
    assert bench.look(3) == [0, 1, 2]
    assert bench.look(3) == []


def test_a_living_relay_is_left_alone(bench):
    """What lives in a slot, whoever started it, counts."""
    bench.lives(0)
    assert bench.look(2) == [1]
    assert bench.ended == []


def test_a_draining_relay_keeps_its_slot(bench):
    """Its successor takes the next one."""
    bench.lives(0, draining=True)
    assert bench.look() == [1]
    assert bench.ended == []


def test_no_more_than_two_generations(bench):
    """When both slots drain, nothing is started until one is free."""
    bench.lives(0, draining=True)
    bench.lives(1, draining=True)
    assert bench.look() == []


def test_a_relay_of_another_address_is_ended(bench):
    """A relay that dials where no node listens any more drains, and another one is started."""
    bench.lives(0, pid=11, server="wss://127.0.0.1:9")
    assert bench.look() == [1]
    assert bench.ended == [11]


def test_one_too_many_is_ended(bench):
    """After a change of the settings the highest slots drain."""
    bench.lives(0, pid=11)
    bench.lives(1, pid=12)
    assert bench.look(1) == []
    assert bench.ended == [12]


def test_a_file_without_its_lock_says_nothing(bench):
    """A process id that was left behind is not believed."""
    bench.supervisor._file(0).write_text('{"pid":1,"server":"wss://127.0.0.1:8443"}')
    assert bench.look() == [0]
    assert bench.ended == []


def attempts(bench, span_s):
    """Let every relay end at once for a while; return when each was started, and where."""
    found, until = [], bench.now + span_s
    while bench.now < until:
        for slot in bench.look():
            found.append((bench.now, slot))
            bench.children[slot].returncode = 1
        bench.now += 0.05
    return found


def test_what_an_earlier_relay_wrote_is_not_believed_of_its_successor(bench):
    """Between its lock and its first word a relay has no process id: the old one may be anybody's by now."""
    bench.lives(0, pid=11, server="wss://127.0.0.1:9")
    bench.held.close()
    with LockFile.held(bench.supervisor._file(0)):
        assert bench.supervisor.living() == {}
        bench.look()
    assert bench.ended == []


def test_failing_relays_are_started_ever_more_slowly(bench):
    """The first new tries are in the same slot; then the other one is tried too, and soon there are four a minute."""
    first = attempts(bench, 10.0)
    assert [slot for _, slot in first[:4]] == [0, 0, 0, 0]
    assert first[1][0] - first[0][0] == pytest.approx(0.3, abs=0.11)
    assert 1 in {slot for _, slot in first}
    assert len(first) < 20
    attempts(bench, 120.0)
    assert 3 <= len(attempts(bench, 60.0)) <= 5


def test_a_relay_that_lived_long_comes_back_at_once(bench):
    """What failed at its start long ago does not delay it."""
    attempts(bench, 60.0)
    bench.now += PAUSE_MAX_S
    (slot,) = bench.look()
    bench.now += STEADY_S
    bench.children[slot].returncode = -9
    assert bench.look() == []
    bench.now += 0.26
    assert bench.look() == [slot]


def test_nodes_that_share_a_directory_have_places_of_their_own(bench, tmp_path):
    """The second node of one machine sees none of the first one's relays; when the first is gone, its place is taken again."""
    bench.lives(0)
    other = Supervisor(tmp_path, 8443, clock=lambda: 0.0)
    assert other.living() == {}
    assert other.token_file.parent != bench.supervisor.token_file.parent
    os.close(other._place)
    again = Supervisor(tmp_path, 8443, clock=lambda: 0.0)
    assert again.token_file == other.token_file
    os.close(again._place)


def test_a_lock_is_held_once(tmp_path: Path):
    """Two processes can't be the same relay."""
    path = tmp_path / "0.json"
    with LockFile.held(path), pytest.raises(SlotTaken), LockFile.held(path):
        raise AssertionError
