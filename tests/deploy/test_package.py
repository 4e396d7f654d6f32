# SPDX-License-Identifier: Apache-2.0
"""The built package is whole: what the source tree needs at run time is in the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.deploy

ROOT = Path(__file__).parents[2]
PACKAGES = ("signalling", "media", "auth")
SOURCES = {"pyproject.toml", "README.md", "LICENSE", *PACKAGES}


def listed(*paths: str) -> set[str]:
    """Return the files that git tracks or would track, so that no leftover of this checkout helps."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", *paths]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listing.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from a copy of the sources."""
    directory = tmp_path_factory.mktemp("wheel")
    for name in listed(*SOURCES):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", str(directory / "out"), str(directory),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = (directory / "out").glob("*.whl")
    return zipfile.ZipFile(built)


def test_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    """Templates, scripts, styles, catalogues, Lua and schemas are installed beside the code."""
    wanted = listed(*PACKAGES)
    assert len(wanted) > 20
    assert wanted <= set(wheel.namelist())


def test_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    """No test, tool or stray folder becomes importable."""
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert {root for root in roots if not root.startswith("selat-")} == set(PACKAGES)


def test_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    """Installing gives `selat`, and the licence goes along."""
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "selat = signalling.cli:main" in wheel.read(points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
