# SPDX-License-Identifier: Apache-2.0
"""The systemd units: systemd reads them, they give nothing away, and the node understands their settings."""

import re
import subprocess
from pathlib import Path

import pytest

from signalling.config import load
from tests.support.processes import program

pytestmark = pytest.mark.deploy

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))

EXPOSURE = 1.5
"""Of 10, by `systemd-analyze security`. A unit without any hardening has 9.6; the distribution's Redis 2.6."""


def installed(unit: Path, directory: Path) -> Path:
    """Return a copy that finds its programs in this checkout instead of /opt/selat."""
    text = unit.read_text().replace("/opt/selat/.venv/bin/selat", program("true"))
    copy = directory / unit.name
    copy.write_text(text.replace("/opt/selat", str(ROOT)))
    return copy


def environment_file(path: Path) -> dict[str, str]:
    return dict(
        line.split("=", 1)
        for line in path.read_text().splitlines()
        if line and not line.startswith("#")
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """systemd finds nothing to complain about: no unknown key, no missing program."""
    command = [program("systemd-analyze"), "verify", installed(unit, tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_is_confined(unit: Path, tmp_path: Path) -> None:
    """A service that is taken over can reach little of its machine."""
    command = [
        program("systemd-analyze"), "security", "--offline=true", "--no-pager", installed(unit, tmp_path),
    ]  # fmt: skip
    verdict = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exposure = re.search(r"Overall exposure level.*: ([\d.]+)", verdict)
    assert exposure is not None
    assert float(exposure[1]) <= EXPOSURE


def test_node_understands_the_settings() -> None:
    """Every variable of the example and of the unit is a setting, with a value that the node takes."""
    unit = (ROOT / "deploy/systemd/selat.service").read_text()
    of_unit = dict(re.findall(r"^Environment=(SELAT_\w+)=(.*)$", unit, re.MULTILINE))
    config = load(None, environment_file(ROOT / "deploy/systemd/selat.env") | of_unit)
    assert str(config.server.data_dir) == "/var/lib/selat"
    assert not config.server.tls
    assert {url.split(":", 1)[0] for url in config.turn.urls} == {"turn", "turns"}
    assert config.turn.secret_file is not None


def test_commented_settings_are_settings_too() -> None:
    """What the example offers to uncomment works when it is uncommented."""
    text = (ROOT / "deploy/systemd/selat.env").read_text()
    offered = dict(re.findall(r"^#(SELAT_\w+)=(.*)$", text, re.MULTILINE))
    assert offered
    load(None, offered)
