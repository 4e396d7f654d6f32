# SPDX-License-Identifier: Apache-2.0
"""Metrics: names, closed labels, and verbs that move the right series."""

import re
import timeit
from itertools import product
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from auth.roles import Role
from signalling.metrics import LABEL_VALUES, MESSAGE_TYPES, ContentStage, Metrics, make_registry
from signalling.quality_metrics import Measured
from signalling.wire.codes import Code
from signalling.wire.messages import RestartReport, SetupReport
from signalling.wire.terms import (
    CandidateType,
    ConsultState,
    ContentKind,
    Outcome,
    RestartTrigger,
    TransportProtocol,
    Urgency,
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


UNITS = ("seconds", "bytes", "ratio", "info")


def test_names_are_ours_and_carry_units(metrics: Metrics) -> None:
    """Each name has the prefix and base units only; each metric says what it is."""
    for family in metrics.registry.collect():
        assert re.fullmatch(r"selat_[a-z]+(_[a-z]+)*", family.name), family.name
        assert not re.search(r"_(ms|milliseconds|percent|minutes|count|sum)$", family.name)
        if family.type == "histogram":
            assert family.name.endswith(UNITS), family.name
        assert family.documentation.endswith((".", "did.")), family.name


def exercise(metrics: Metrics) -> None:
    """Call every verb with every label value."""
    for role, code in product(Role, ("none", *Code)):
        metrics.connection_opened(role)
        metrics.connection_closed(role, code)
    for code in Code:
        metrics.refused(code)
    for kind in MESSAGE_TYPES:
        metrics.message_received(kind)
    for local, remote, protocol in product(CandidateType, CandidateType, TransportProtocol):
        report = SetupReport(
            id=1, consult="c", connected_ms=1, first_audio_ms=2, first_frame_ms=3,
            local_candidate=local, remote_candidate=remote, protocol=protocol,
        )  # fmt: skip
        metrics.setup_report("patient", report)
    for trigger, recovered in product(RestartTrigger, (None, 5)):
        metrics.restart(RestartReport(id=1, consult="c", trigger=trigger, recovered_ms=recovered))
    for ending in (*Outcome, ConsultState.ABANDONED, ConsultState.EXPIRED):
        metrics.consult_ended(ending)
    for role, route in product((Role.PATIENT, Role.SPECIALIST), ("direct", "relayed")):
        measured = Measured((80.0,), 0.01, 0.02, 12.0, 0.4, 5.0, "good", "patient")
        metrics.quality.received(role, route, measured)
    for stage, kind in product(get_args(ContentStage), ContentKind):
        metrics.content(stage, kind)
        metrics.content_took(kind, 12.0)
    metrics.content_bytes("in", 100)
    metrics.content_bytes("out", 100)
    metrics.content_resumed()
    metrics.build("0.1.0", "embedded")


def test_labels_come_from_closed_lists(metrics: Metrics) -> None:
    """Whatever happens, each label's value is in its list; no label is open."""
    exercise(metrics)
    open_labels = {
        (name, text)
        for family in metrics.registry.collect()
        for sample in family.samples
        for name, text in sample.labels.items()
        if name not in ("le", "version") and text not in LABEL_VALUES[name]
    }
    assert not open_labels


def test_the_number_of_series_is_bounded(metrics: Metrics) -> None:
    """All label values together stay at a size that Prometheus does not notice."""
    exercise(metrics)
    series = sum(len(family.samples) for family in metrics.registry.collect())
    assert 300 < series < 2_000


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.refused("6.6.6.6"),
        lambda m: m.connection_opened("nurse"),
        lambda m: m.connection_closed("patient", "gone"),
        lambda m: m.message_received("drop_table"),
    ],
)
def test_an_unknown_label_is_a_bug(metrics: Metrics, call) -> None:
    """A label outside its list is refused rather than exported."""
    with pytest.raises((KeyError, ValueError)):
        call(metrics)


def test_verbs_move_their_series(metrics: Metrics) -> None:
    """Each verb changes the series that its name says, and by that much."""
    metrics.connection_opened("patient")
    metrics.connection_opened("patient")
    metrics.connection_closed("patient", "displaced")
    assert value(metrics, "selat_connections", role="patient") == 1
    assert value(metrics, "selat_connections_closed_total", role="patient", code="displaced") == 1
    metrics.message_received("chat")
    assert value(metrics, "selat_messages_received_total", type="chat") == 1
    assert value(metrics, "selat_messages_received_total", type="leave") == 0
    metrics.message_forwarded("candidate")
    assert value(metrics, "selat_messages_forwarded_total", type="candidate") == 1
    metrics.waited(Urgency.RED, 12)
    assert value(metrics, "selat_wait_seconds_bucket", urgency="red", le="15.0") == 1
    assert value(metrics, "selat_wait_seconds_bucket", urgency="red", le="5.0") == 0
    metrics.set_waiting(Urgency.RED, 3)
    assert value(metrics, "selat_waiting", urgency="red") == 3
    metrics.set_in_call(2)
    assert value(metrics, "selat_in_call") == 2
    metrics.set_on_call(4)
    assert value(metrics, "selat_on_call") == 4
    metrics.store_latency("append", 0.003)
    assert value(metrics, "selat_store_seconds_bucket", operation="append", le="0.005") == 1
    metrics.loop_lag(-0.1)
    assert value(metrics, "selat_loop_lag_seconds_sum") == 0


@pytest.mark.parametrize(
    ("call", "name", "labels"),
    [
        (lambda m: m.joined(), "joins", {}),
        (lambda m: m.resumed(), "sessions_resumed", {}),
        (lambda m: m.takeover("allowed"), "takeovers", {"stage": "allowed"}),
        (lambda m: m.intake(Urgency.YELLOW), "intakes", {"urgency": "yellow"}),
        (lambda m: m.ring("declined"), "rings", {"outcome": "declined"}),
        (lambda m: m.callback("kept"), "callbacks", {"stage": "kept"}),
        (lambda m: m.consult_ended(Outcome.LOST), "consults_ended", {"ending": "lost"}),
        (lambda m: m.chat_line(), "chat_lines", {}),
        (lambda m: m.turn(), "turn_credentials", {}),
        (lambda m: m.sign_in("throttled"), "sign_ins", {"result": "throttled"}),
        (lambda m: m.code_try("invalid"), "code_tries", {"result": "invalid"}),
        (lambda m: m.store_error("append"), "store_errors", {"operation": "append"}),
        (lambda m: m.version_conflict(), "version_conflicts", {}),
        (lambda m: m.page_served("operator"), "pages_served", {"page": "operator"}),
        (lambda m: m.refused(Code.FORBIDDEN), "refusals", {"code": "forbidden"}),
    ],
)
def test_counters_start_at_nought_and_count_one(metrics: Metrics, call, name, labels) -> None:
    """A counter's series is there before its first event, so that a rate sees that event."""
    assert value(metrics, f"selat_{name}_total", **labels) == 0
    call(metrics)
    assert value(metrics, f"selat_{name}_total", **labels) == 1


def test_reports_of_browsers_become_seconds(metrics: Metrics) -> None:
    """Milliseconds of a report are seconds in the histogram; a phase that never came is not counted."""
    report = SetupReport(id=1, consult="c", connected_ms=1_500, first_audio_ms=2_500)
    metrics.setup_report("patient", report)
    name = "selat_setup_seconds_sum"
    assert value(metrics, name, role="patient", phase="connected") == 1.5
    assert value(metrics, name, role="patient", phase="first_audio") == 2.5
    assert value(metrics, name, role="patient", phase="first_frame") is None
    pair = {"local": "none", "remote": "none", "protocol": "none"}
    assert value(metrics, "selat_ice_pairs_total", **pair) == 1
    lost = RestartReport(id=1, consult="c", trigger=RestartTrigger.ONLINE)
    metrics.restart(lost)
    assert value(metrics, "selat_ice_restarts_total", trigger="online", recovered="no") == 1
    assert value(metrics, "selat_ice_recovery_seconds_count", trigger="online") == 0


def test_counting_a_message_is_cheap(metrics: Metrics) -> None:
    """Counting on the hottest path stays far below a message's own cost (0.2 µs measured, 2 µs allowed)."""
    best = min(timeit.repeat(lambda: metrics.message_received("chat"), number=20_000, repeat=5))
    assert best / 20_000 < 2e-6


def test_the_process_is_measured_too() -> None:
    """The registry that nodes use has the process's CPU and memory beside our own metrics."""
    registry = make_registry()
    Metrics(registry)
    names = {family.name for family in registry.collect()}
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "selat_joins"} <= names
    assert not any(name.endswith("_created") for name in names)
