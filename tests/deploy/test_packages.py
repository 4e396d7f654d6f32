# SPDX-License-Identifier: Apache-2.0
"""What the make targets need of the system: silent when it is there, plain words when it is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import program

pytestmark = pytest.mark.deploy

SCRIPT = Path(__file__).parents[2] / ".ci/packages"
PLAIN = ("bash", "env", "find", "mktemp", "rm", "sort", "tee")
"""What any Debian has."""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a directory of programs as on a fresh machine, used by somebody who isn't root."""
    for name in PLAIN:
        (tmp_path / name).symlink_to(program(name))
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    return tmp_path


def packages(purpose: str, python: str, path: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path}
    command = [program("bash"), SCRIPT, purpose, python]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("purpose", ["run", "test"])
def test_complete_machine_is_left_alone(purpose: str) -> None:
    """With everything there nothing is said, and nothing is done."""
    result = packages(purpose, sys.executable, os.environ["PATH"])
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_missing_packages_are_named(bare: Path) -> None:
    """Who may not install is told every missing package and the command, and make stops there."""
    result = packages("test", sys.executable, str(bare))
    assert result.returncode == 1
    assert "apt-get install" in result.stderr
    for package in ("chromium", "redis-server", "coturn", "prometheus", "caddy", "ffmpeg"):
        assert package in result.stderr


def test_running_needs_no_test_package(bare: Path) -> None:
    """`make run` asks for nothing that only tests need."""
    assert packages("run", sys.executable, str(bare)).returncode == 0


def test_python_without_venv_is_seen(bare: Path) -> None:
    """Debian's Python cannot make an environment by itself; the package that it lacks is named by its version."""
    python = bare / "python3"
    python.write_text(
        "#!/bin/bash\n"
        'case "$2" in *ensurepip*) exit 1 ;; *print*) echo python3.11-venv ;; *) exit 0 ;; esac\n'
    )
    python.chmod(0o755)
    result = packages("run", str(python), str(bare))
    assert result.returncode == 1
    assert "python3.11-venv" in result.stderr


def test_old_python_is_refused(bare: Path) -> None:
    """A Python below 3.11 is refused with the way to name another one."""
    python = bare / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    result = packages("run", str(python), str(bare))
    assert result.returncode == 1
    assert "make run PYTHON=" in result.stderr
