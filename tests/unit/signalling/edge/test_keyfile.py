# SPDX-License-Identifier: Apache-2.0
"""Secrets on disk: made once, for the owner only, rotated without a gap."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from auth.errors import KeyUnknown
from auth.keys import MAX_TOKEN_LIFETIME_S
from signalling.edge.keyfile import (
    OVERLAP_S,
    KeyFile,
    SecretsUnusable,
    code_pepper,
    prepare_data_dir,
    read_master_key,
)

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "data"
    prepare_data_dir(path)
    return path


def test_first_start_makes_secrets_for_the_owner_only(data_dir: Path) -> None:
    """The directory and each file in it are closed to others, and no draft is left behind."""
    read_master_key(data_dir)
    KeyFile(data_dir, NOW)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert sorted(path.name for path in data_dir.iterdir()) == ["keys.json", "master.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()} == {0o600}


def test_secrets_stay_over_restarts(data_dir: Path) -> None:
    """A second start reads what the first one made."""
    master, ring = read_master_key(data_dir), KeyFile(data_dir, NOW).ring
    assert len(master) == 32
    assert read_master_key(data_dir) == master
    assert KeyFile(data_dir, NOW + 9).ring == ring
    assert code_pepper(master) == code_pepper(master) != master


def test_nodes_that_start_together_share_their_secrets(data_dir: Path) -> None:
    """Of eight starts at once on an empty directory all end up with the same keys."""

    def start(_: int) -> tuple[bytes, str]:
        return read_master_key(data_dir), KeyFile(data_dir, NOW).ring.keys[0].kid

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1
    assert len(list(data_dir.iterdir())) == 2


def test_the_slower_of_two_first_starts_takes_the_other_s_key(data_dir: Path, monkeypatch) -> None:
    """A node that made a key while another one put its own there uses, and leaves, the other's."""

    path = data_dir / "master.key"

    def slow(length: int) -> bytes:
        if path.exists():
            return bytes(length)
        path.touch(mode=0o600)
        path.write_bytes(b"o" * length)
        return b"m" * length

    monkeypatch.setattr("signalling.edge.keyfile.secrets.token_bytes", slow)
    assert read_master_key(data_dir) == b"o" * 32
    assert [path.name for path in data_dir.iterdir()] == ["master.key"]


def test_rotation_reaches_other_nodes_before_the_new_key_signs(data_dir: Path) -> None:
    """During the overlap both nodes sign with the old key and know the new one; after it both sign with the new one."""
    one, other = KeyFile(data_dir, NOW), KeyFile(data_dir, NOW)
    old = one.ring.keys[0]
    new = one.rotate(NOW + DAY)
    with pytest.raises(KeyUnknown):
        other.ring.find(new.kid, NOW + DAY)
    assert other.reload() is True
    assert other.reload() is False
    for ring in (one.ring, other.ring):
        assert ring.find(new.kid, NOW + DAY) == new
        assert ring.signing_key(NOW + DAY + OVERLAP_S - 1).kid == old.kid
        assert ring.signing_key(NOW + DAY + OVERLAP_S + 1).kid == new.kid
        assert ring.find(old.kid, NOW + DAY + OVERLAP_S + MAX_TOKEN_LIFETIME_S - 1)


def test_keys_are_rotated_once_by_whoever_comes_first(data_dir: Path) -> None:
    """When a key is old enough one node rotates; the others take that over instead of rotating again."""
    nodes = [KeyFile(data_dir, NOW) for _ in range(3)]
    for node in nodes:
        node.maintain(NOW + 29 * DAY, 30 * DAY)
    assert {len(node.ring.keys) for node in nodes} == {1}
    for node in nodes:
        node.maintain(NOW + 30 * DAY, 30 * DAY)
    assert {len(node.ring.keys) for node in nodes} == {2}
    assert len({node.ring.keys[-1].kid for node in nodes}) == 1


def open_both(data_dir: Path) -> None:
    read_master_key(data_dir)
    KeyFile(data_dir, NOW)


@pytest.mark.parametrize("name", ["keys.json", "master.key"])
def test_a_file_that_others_may_read_is_refused(data_dir: Path, name: str) -> None:
    """A secret that was open to others stops the start, with the command that mends it."""
    read_master_key(data_dir)
    KeyFile(data_dir, NOW)
    (data_dir / name).chmod(0o640)
    with pytest.raises(SecretsUnusable, match=f"chmod 600 .*{name}"):
        open_both(data_dir)


def test_damage_is_named_and_never_overwritten(data_dir: Path) -> None:
    """A damaged file stops the start and stays as it is: a new key would lock everybody out."""
    for name in ("keys.json", "master.key"):
        path = data_dir / name
        path.touch(mode=0o600)
        path.write_bytes(b"{")
    with pytest.raises(SecretsUnusable, match=r"master\.key is damaged"):
        read_master_key(data_dir)
    with pytest.raises(SecretsUnusable, match=r"keys\.json"):
        KeyFile(data_dir, NOW)
    assert {path.read_bytes() for path in data_dir.iterdir()} == {b"{"}


def test_damage_while_running_keeps_the_ring(data_dir: Path) -> None:
    """A node whose file is damaged under it goes on with the keys that it has."""
    node = KeyFile(data_dir, NOW)
    ring = node.ring
    (data_dir / "keys.json").write_bytes(b"")
    with pytest.raises(SecretsUnusable):
        node.reload()
    (data_dir / "keys.json").unlink()
    with pytest.raises(SecretsUnusable):
        node.maintain(NOW, DAY)
    assert node.ring is ring


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    """A data directory below a file is refused with its name."""
    (tmp_path / "file").touch()
    with pytest.raises(SecretsUnusable, match="can't make"):
        prepare_data_dir(tmp_path / "file" / "data")


def test_a_directory_that_is_not_ours_is_named(tmp_path: Path, monkeypatch) -> None:
    """A data directory that can't be written to is refused with its name (root may write everywhere, so it is told)."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SecretsUnusable, match="can't be written to"):
        prepare_data_dir(tmp_path)
