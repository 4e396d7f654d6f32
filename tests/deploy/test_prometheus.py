# SPDX-License-Identifier: Apache-2.0
"""Prometheus' configuration and rules: valid, tested, about metrics that exist, each with a page for whoever is woken."""

import re
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from media import metrics as relay
from media.app import described
from signalling.config import MediaConfig, ServerConfig
from signalling.metrics import LABEL_VALUES, Metrics, make_registry
from tests.support.processes import program

pytestmark = pytest.mark.deploy

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = PROMETHEUS / "rules/selat.yaml"
STORIES = PROMETHEUS / "tests/selat.yaml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]


def promtool(*arguments: str | Path) -> None:
    command = [program("promtool"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_configuration_and_rules() -> None:
    """promtool finds nothing wrong with the configuration and the rules that it names."""
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_rules_do_what_their_stories_tell() -> None:
    """Every story of the rules' own tests ends as it says."""
    promtool("test", "rules", STORIES)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_has_both_stories(alert: dict[str, Any]) -> None:
    """Each alert fires in one story and stays quiet in another."""
    ends = [
        bool(check["exp_alerts"])
        for story in yaml.safe_load(STORIES.read_text())["tests"]
        for check in story["alert_rule_test"]
        if check["alertname"] == alert["alert"]
    ]
    assert set(ends) == {True, False}


@pytest.fixture(scope="module", name="series")
def names_of_series() -> set[str]:
    """Return the name of every series that a node or a relay can have."""
    registry = make_registry()
    Metrics(registry)
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    return {
        metric.name + suffix
        for metric in (*registry.collect(), *described().registry.collect())
        for suffix in suffixes.get(metric.type, ("",))
    }


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_is_about_metrics_that_exist(alert: dict[str, Any], series: set[str]) -> None:
    """Each series that an alert names is one that a node has, with label values that it can take."""
    expression = alert["expr"]
    named = set(re.findall(r"\b(?:selat|process)_\w+", expression))
    assert named <= series
    assert named or "up{" in expression
    for label, values in re.findall(r'(\w+)=~?"([^"]+)"', expression):
        if label != "job":
            known = {*LABEL_VALUES[label], *chain(*relay.REASONS.values())}
            assert set(values.split("|")) <= known


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_has_a_page(alert: dict[str, Any]) -> None:
    """Each alert says how urgent it is and leads to its own section of the runbook."""
    assert alert["labels"]["severity"] in {"page", "ticket"}
    page, anchor = alert["annotations"]["runbook"].split("#")
    sections = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert alert["alert"] in sections
    assert anchor == alert["alert"].lower()


def test_runbook_has_no_page_without_alert() -> None:
    """A section goes when its alert goes."""
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert set(sections) == {alert["alert"] for alert in ALERTS}


def test_target_is_the_port_that_a_node_listens_on() -> None:
    """Prometheus asks where nodes and relays answer by default."""
    (group,) = yaml.safe_load((PROMETHEUS / "targets/selat.yaml").read_text())
    assert group["targets"] == [f"node:{ServerConfig().metrics_port}"]
    (group,) = yaml.safe_load((PROMETHEUS / "relay-targets/selat.yaml").read_text())
    assert [target.split(":")[1] for target in group["targets"]] == [
        str(MediaConfig().metrics_port)
    ]
