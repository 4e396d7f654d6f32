# SPDX-License-Identifier: Apache-2.0
"""Generated references are what the code says."""

import re
from dataclasses import fields

import pytest

from signalling import config, reference
from signalling.config import load
from signalling.core.triage import SIGNS


@pytest.mark.parametrize("path", reference.references(), ids=lambda path: path.name)
def test_references_are_fresh(path) -> None:
    """Each generated file is what its generator makes now (`make docs` renews it)."""
    assert path.read_text(encoding="utf-8") == reference.references()[path]


def test_every_setting_is_documented() -> None:
    """Each setting has a row with its default and a text."""
    text = reference.configuration_reference()
    for section, kind in config.sections().items():
        assert f"## {section}\n" in text
        for setting in fields(kind):
            row = re.search(rf"^\| `{setting.name}` \| `.+?` \| .+ \| \S.+ \|$", text, re.MULTILINE)
            assert row, setting.name


def test_the_example_uncommented_is_the_default(tmp_path) -> None:
    """The example file can be read, as it is and with every setting uncommented, and changes nothing."""
    example = reference.example_toml()
    path = tmp_path / "selat.toml"
    for text in (example, re.sub(r"(?m)^#(?=[a-z])", "", example)):
        path.write_text(text, encoding="utf-8")
        assert load(path, {}) == config.Config()
    assert "\nport = 8443" in text


def test_what_is_in_force_can_be_read_back(tmp_path) -> None:
    """Settings that are printed are TOML of the same settings."""
    environ = {
        "SELAT_HTTP_PORT": "1",
        "SELAT_TURN_URLS": "stun:a,stun:b",
        "SELAT_CONSULT_WAIT_MAX_S": "red=1",
        "SELAT_SERVER_KEY_FILE": 'a "b" \\c',
        "SELAT_SERVER_CERTIFICATE_FILE": "d",
    }
    settings = load(None, environ)
    path = tmp_path / "selat.toml"
    path.write_text(reference.in_force(settings), encoding="utf-8")
    assert load(path, {}) == settings


def test_passwords_are_not_printed() -> None:
    """The password in a store's address does not appear in what is printed."""
    settings = load(None, {"SELAT_STORE_URL": "redis://user:hunter2@two@db.example:6379/0"})
    text = reference.in_force(settings)
    assert "hunter2" not in text
    assert 'url = "redis://[redacted]@db.example:6379/0"' in text


def test_every_metric_and_sign_has_a_row() -> None:
    """Each metric and each danger sign has its row."""
    metrics = reference.metrics_reference()
    assert metrics.count("\n| `selat_") >= 30
    assert "| `selat_store_seconds` | histogram | `operation` |" in metrics
    triage = reference.triage_reference()
    assert all(f"\n| `{sign.code}` |" in triage for sign in SIGNS)
    assert "must check this table" in triage


def test_a_stale_file_is_named(tmp_path, monkeypatch, capsys) -> None:
    """`--check` names a stale file and fails; without it the file is renewed."""
    path = tmp_path / "metrics.md"
    path.write_text("old")
    monkeypatch.setattr(reference, "references", lambda: {path: "new"})
    monkeypatch.setattr(reference, "_ROOT", tmp_path)
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().out == "metrics.md is stale\n"
    assert path.read_text() == "old"
    assert reference.main([]) == 0
    assert path.read_text() == "new"
    assert reference.main(["--check"]) == 0
