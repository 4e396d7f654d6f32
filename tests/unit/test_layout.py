# SPDX-License-Identifier: Apache-2.0
"""The house keeps its own rules: sizes, names, licence lines, nothing of one machine.

A ceiling bounds the tail, it is no target. An exception is a line in a table here, with its reason.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("signalling", "media", "auth")

FILE_LINES = 600
TEST_FILE_LINES = 800
FUNCTION_LINES = 60

LONGER_FILES: dict[str, str] = {
    "signalling/web/js/wire.js": "generated, nearly all of it types in comments"
}
"""Path: why this file may pass the ceiling."""

LONGER_FUNCTIONS: dict[str, str] = {}
"""Path::function: why this one may."""

NO_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
"""Names that say nothing, and so collect everything."""

SPDX = "SPDX-License-Identifier: Apache-2.0"
LICENSED = {".py", ".js", ".mjs", ".css", ".lua", ".sh", ".html", ".jinja", ".j2"}

MACHINE = re.compile(r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/|/\.(?:pyenv|venv)/lib/")
"""A place on somebody's disk."""

TEXT = LICENSED | {
    ".cfg", ".conf", ".csv", ".ini", ".json", ".lock", ".md", ".po", ".pot", ".service", ".socket",
    ".timer", ".toml", ".ts", ".txt", ".yaml", ".yml", "",
}  # fmt: skip


def tracked() -> list[Path]:
    """Return what git tracks or would track, so that a new file is judged before its commit."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(path for line in listing.splitlines() if (path := ROOT / line).is_file())


FILES = tracked()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def in_packages(path: Path) -> bool:
    return path.relative_to(ROOT).parts[0] in PACKAGES


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_stay_under_the_ceiling() -> None:
    """No source file is longer than the ceiling unless the table says why."""
    written = {".py", ".js", ".mjs", ".css", ".lua", ".html"}
    too_long = {
        name: lines
        for path in FILES
        if path.suffix in written and (name := name_of(path)) not in LONGER_FILES
        for lines in [len(path.read_text(encoding="utf-8").splitlines())]
        if lines > (TEST_FILE_LINES if name.startswith("tests/") else FILE_LINES)
    }
    assert not too_long


def test_functions_stay_under_the_ceiling() -> None:
    """No function of the packages is longer than a screen unless the table says why."""
    too_long = {
        key: lines
        for path in FILES
        if path.suffix == ".py" and in_packages(path)
        for node in functions(path)
        for key, lines in [
            (f"{name_of(path)}::{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        ]
        if lines > FUNCTION_LINES and key not in LONGER_FUNCTIONS
    }
    assert not too_long


def test_exceptions_are_still_needed() -> None:
    """An exception goes when its reason goes."""
    for name in LONGER_FILES:
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > FILE_LINES
    for key in LONGER_FUNCTIONS:
        name, function = key.split("::")
        spans = [
            (node.end_lineno or 0) - node.lineno + 1
            for node in functions(ROOT / name)
            if node.name == function
        ]
        assert max(spans, default=0) > FUNCTION_LINES, key


def test_names_say_something() -> None:
    """No file or folder has a name under which everything would fit."""
    parts = {
        name_of(path)
        for path in FILES
        for part in path.relative_to(ROOT).with_suffix("").parts
        if part in NO_NAMES
    }
    assert not parts


def test_first_line_is_the_licence() -> None:
    """Each source file names its licence in its first line (second after a shebang)."""
    without = {
        name_of(path)
        for path in FILES
        if path.suffix in LICENSED
        and SPDX not in "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:2])
    }
    assert not without


def test_nothing_of_one_machine() -> None:
    """No file names a place on somebody's disk; what is here works anywhere."""
    found = {
        f"{name_of(path)}:{number}"
        for path in FILES
        if path.suffix in TEXT and path.name != "LICENSE"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE.search(line)
    }
    assert not found


def test_package_files_hold_names_only() -> None:
    """An `__init__.py` may import and list names; code lives in named modules."""
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    with_code = {
        name_of(path)
        for path in FILES
        if path.name == "__init__.py" and in_packages(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, definitions)
    }
    assert not with_code


def test_no_test_folder_shadows_a_package() -> None:
    """With `auth` and `media` as package names, a folder of tests must not be importable as one."""
    assert not {name for name in PACKAGES if (ROOT / "tests" / name).exists()}


def test_each_test_states_its_fact() -> None:
    """Each test has a docstring, and it is the fact that the test proves."""
    silent = {
        f"{name_of(path)}::{node.name}"
        for path in FILES
        if path.name.startswith("test_") and path.suffix == ".py"
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    }
    assert not silent


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_hashes_and_name_no_host(lock: str) -> None:
    """Every line of a lock is a pin with its hashes; where to fetch from is not the lock's say."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(pins) > 20
    for pin in pins:
        assert re.match(r"[a-z0-9-]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_locks_of_npm_name_no_host() -> None:
    """npm's locks pin by integrity hash; where to fetch from is not their say either."""
    locks = [path for path in FILES if path.name == "package-lock.json"]
    assert locks
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert '"integrity": "sha512-' in text
        assert '"resolved"' not in text, name_of(lock)
