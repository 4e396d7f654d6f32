# SPDX-License-Identifier: Apache-2.0
"""The node's secrets on disk: the signing keys and the master key, made on first start.

Both lie in the data directory with rights for their owner only. Nodes that share a store share these files: tokens of
one node must open the doors of the others, and content that one node sealed must open on the next. Files appear whole
or not at all, and of two nodes that make the same file at once, one wins and both use the winner's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from auth.errors import KeysUnusable
from auth.keys import Key, KeyRing, generate

log = logging.getLogger(__name__)

RING_FILE = "keys.json"
MASTER_FILE = "master.key"
LOCK_FILE = "keys.lock"
MASTER_BYTES = 32
OVERLAP_S = 300.0
"""A new key verifies everywhere before it signs: nodes look at the file each minute, five times within this."""


class SecretsUnusable(Exception):
    """A file of the data directory can't be read, written or trusted; the text says which and how to mend it."""


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data directory, for its owner only.

    Raises:
        SecretsUnusable: it can't be made or written to.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SecretsUnusable(f"can't make {data_dir} ({error.strerror})") from None
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise SecretsUnusable(
            f"{data_dir} can't be written to; give it to the user that runs selat"
        )


def read_master_key(data_dir: Path) -> bytes:
    """Return the key that seals every content key; made on first use.

    Whoever loses this file loses all personal content of the store, which is also how to destroy it for good.

    Raises:
        SecretsUnusable: the file can't be read or made, is too short, or others may read it.
    """
    path = data_dir / MASTER_FILE
    data = _read_or_make(path, lambda: secrets.token_bytes(MASTER_BYTES))
    if len(data) < MASTER_BYTES:
        raise SecretsUnusable(
            f"{path} is damaged: it has {len(data)} bytes; put the copy from your backup there"
        )
    return data


def code_pepper(master_key: bytes) -> bytes:
    """Return the pepper of short codes' hashes; derived, so that there is one file to keep."""
    return hmac.new(master_key, b"selat/short-code-pepper", hashlib.sha256).digest()


class KeyFile:
    """The key ring of a node and the file that it shares with other nodes and with `selat keys`."""

    def __init__(self, data_dir: Path, now: float) -> None:
        """Read the ring, or make one with one key.

        Raises:
            SecretsUnusable: the file can't be read or made, is damaged, or others may read it.
        """
        self._path = data_dir / RING_FILE
        self._lock_path = data_dir / LOCK_FILE
        data = _read_or_make(self._path, lambda: KeyRing((generate(now),)).to_json())
        self._ring, self._seen = self._parse(data), self._stamp()

    @property
    def ring(self) -> KeyRing:
        """The keys to sign and verify with."""
        return self._ring

    def reload(self) -> bool:
        """Read the file again if it changed; return whether it did.

        Raises:
            SecretsUnusable: it can't be read or is damaged; the ring stays as it was.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._ring, self._seen = self._parse(_read(self._path)), stamp
        return True

    def rotate(self, now: float, overlap_s: float = OVERLAP_S) -> Key:
        """Let a new key take over the signing; the older ones verify until what they signed has expired.

        Raises:
            SecretsUnusable: the file can't be read or written.
        """
        with self._locked():
            self.reload()
            return self._rotate(now, overlap_s)

    def maintain(self, now: float, rotation_s: float) -> None:
        """Take over what others wrote; rotate if the newest key is older than ``rotation_s``. Call once a minute.

        Raises:
            SecretsUnusable: the file can't be read or written; the ring stays as it was.
        """
        self.reload()
        if now - self._ring.keys[-1].created_at < rotation_s:
            return
        with self._locked():
            # Another node may have rotated while this one waited for the lock.
            self.reload()
            if now - self._ring.keys[-1].created_at >= rotation_s:
                key = self._rotate(now, OVERLAP_S)
                log.info("signing key rotated", extra={"kid": key.kid})

    def _rotate(self, now: float, overlap_s: float) -> Key:
        key = generate(now)
        ring = self._ring.rotate(now, key, overlap_s=overlap_s)
        _replace(self._path, ring.to_json())
        self._ring, self._seen = ring, self._stamp()
        return key

    def _parse(self, data: bytes) -> KeyRing:
        try:
            return KeyRing.from_json(data)
        except KeysUnusable as error:
            raise SecretsUnusable(
                f"{self._path}: {error}; put the copy from your backup there"
            ) from None

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise SecretsUnusable(f"can't read {self._path} ({error.strerror})") from None
        return stat.st_mtime_ns, stat.st_ino

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SecretsUnusable(f"can't open {self._lock_path} ({error.strerror})") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> bytes:
    """Read a secret file, if nobody else may."""
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise SecretsUnusable(f"{path} can be read by others; run: chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise SecretsUnusable(f"can't read {path} ({error.strerror})") from None


def _read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        draft = _draft(path, make())
        try:
            # Unlike a rename this fails when another node was faster; then its file counts.
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        except OSError as error:
            raise SecretsUnusable(f"can't make {path} ({error.strerror})") from None
        finally:
            draft.unlink()
        _sync_dir(path.parent)
    return _read(path)


def _replace(path: Path, data: bytes) -> None:
    draft = _draft(path, data)
    try:
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SecretsUnusable(f"can't write {path} ({error.strerror})") from None
    _sync_dir(path.parent)


def _draft(path: Path, data: bytes) -> Path:
    """Write ``data`` to a new file beside ``path``, through to the disk."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SecretsUnusable(f"can't write to {path.parent} ({error.strerror})") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync_dir(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
