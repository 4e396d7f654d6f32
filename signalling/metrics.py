# SPDX-License-Identifier: Apache-2.0
"""Every metric of a node, once, with the verbs that change it.

Callers say what happened (``metrics.ring("declined")``); which series that touches is decided here. Labels come from
closed lists only, the enums of ``signalling.wire`` or the ones below: never a consult, a person, an address or a post,
so the number of series is known before the first patient comes. An unknown label is a ``KeyError``, a bug of ours.

``docs/metrics.md`` is generated from a live instance (``signalling.reference``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from auth.roles import Role
from signalling.quality_metrics import IgnoredReason, QualityMetrics, RouteName
from signalling.wire import messages
from signalling.wire.codes import Code
from signalling.wire.legs import RungName, RungReason
from signalling.wire.quality import Whose, WordName
from signalling.wire.terms import (
    CandidateType,
    ConsultState,
    ContentKind,
    Outcome,
    RestartTrigger,
    TransportProtocol,
    Urgency,
)

RingOutcome = Literal["answered", "declined", "timed_out", "withdrawn"]
TakeoverStage = Literal["asked", "allowed", "refused"]
HoldStage = Literal["put", "reunited"]
CallbackStage = Literal["promised", "overdue", "kept", "answered"]
SignInResult = Literal["ok", "failed", "throttled"]
CodeResult = Literal["ok", "invalid", "throttled"]
SetupPhase = Literal["connected", "first_audio", "first_frame"]
RelayState = Literal["ready", "draining", "out_of_control"]
LegKind = Literal["first", "standby"]
MoveReason = Literal["lost", "drained", "unreachable"]
FallbackReason = Literal["no_room", "lost", "drained", "unreachable"]
StoreOperation = Literal[
    "append", "read", "due", "acquire", "renew", "release", "post", "content", "erase", "ping"
]
Page = Literal["patient", "specialist", "operator"]
ContentStage = Literal["begun", "completed", "abandoned"]

Answered: TypeAlias = Literal["answered"]
ENDINGS = (*Outcome, ConsultState.ABANDONED, ConsultState.EXPIRED, *get_args(Answered))
"""How a consult can be over: an outcome, or a terminal state that has none; a promised call-back that was answered by message
ends as ``answered``, one that nobody kept as ``expired``."""
MESSAGE_TYPES = tuple(messages.TAGS.values())
FORWARDED_TYPES = ("description", "candidate")

# Bounds in seconds, each list around the figure that a promise of ours names.
WAIT_S = (5, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600)
"""Ring (30), nobody (60) and the longest waits before a call-back (300, 900, 1800) of ConsultPolicy."""
SETUP_S = (0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60)
"""A good link takes half a second, 650 ms of round trip about three; people hang up after twenty."""
RECOVERY_S = (0.25, 0.5, 1, 2, 3, 5, 10, 20, 60, 300)
"""Voice is to be back within 5 s of a new address; blackouts of 20, 60 and 300 s were measured."""
STORE_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5)
"""A commit on flash storage takes 0.5–5 ms; above 50 ms the disk or the network is the problem."""
LEG_S = (0.05, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2, 3, 5, 10)
"""ICE is one round trip and DTLS two: 1.3 s at 650 ms; 10 s is where the relay gives up."""
CONTENT_S = (1, 3, 10, 30, 60, 120, 300, 600, 1_800, 7_200, 86_400)
"""A preview takes seconds; 5 MB over 128 kbit/s take eight minutes, with outages more; a day is where waiting ends."""
LAG_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
"""Forwarding must stay below 2 ms at the 99th percentile; 100 ms of lag is felt in a call's set-up."""


class Tally(Collector):
    """A counter for the hottest paths: a plain dictionary, read when scraped.

    prometheus-client's counter takes a lock (0.35 µs); a tally costs 0.05 µs. It is for one thread, the event loop's,
    which also serves the scrape.
    """

    def __init__(
        self, name: str, text: str, label: str, values: Iterable[str], registry: CollectorRegistry
    ) -> None:
        self.name, self.text, self.label = name, text, label
        self.counts: dict[str, int] = dict.fromkeys(values, 0)
        registry.register(self)

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield the counts as they are."""
        family = CounterMetricFamily(self.name, self.text, labels=[self.label])
        for value, count in self.counts.items():
            family.add_metric([value], count)
        yield family


def make_registry() -> CollectorRegistry:
    """Return a registry with the process's own figures (CPU, memory, descriptors, collections).

    The creation times that prometheus-client adds to each series are switched off: they double the scrape, and nothing
    reads them.
    """
    registry = CollectorRegistry()
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class Metrics:
    """The metrics of one node; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._declare_connections()
        self._declare_consults()
        self._declare_calls()
        self._declare_relays()
        self._declare_contents()
        self._declare_identity()
        self._declare_node()

    def _counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        counter = Counter(f"selat_{name}", text, list(labels), registry=self.registry)
        if len(labels) == 1:  # so that a rate exists before the first event, and lookups are done
            for value in next(iter(labels.values())):
                counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"selat_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"selat_{name}", text, labels, buckets=bounds, registry=self.registry)

    def _declare_connections(self) -> None:
        self.connections = self._gauge("connections", "WebSockets past their hello.", "role")
        self.connections_closed = Counter(
            "selat_connections_closed",
            "WebSockets that ended, by the code that we closed them with; none = the other side or the network did.",
            ["role", "code"],
            registry=self.registry,
        )
        self.refusals = self._counter(
            "refusals", "Messages and requests refused, by error code.", code=Code
        )
        self.messages_received = Tally(
            "selat_messages_received",
            "Messages from clients that could be read.",
            "type",
            MESSAGE_TYPES,
            self.registry,
        )
        self.messages_forwarded = Tally(
            "selat_messages_forwarded",
            "Descriptions and candidates handed on to the other participant.",
            "type",
            FORWARDED_TYPES,
            self.registry,
        )
        self.sessions_resumed = self._counter(
            "sessions_resumed", "Connections that took up an earlier place again after a lost one."
        )
        self.pages = self._counter("pages_served", "Pages sent.", page=get_args(Page))
        for role in Role:
            self.connections.labels(role)

    def _declare_consults(self) -> None:
        self.joins = self._counter("joins", "Invitations redeemed on the Join tap.")
        self.takeovers = self._counter(
            "takeovers",
            "Requests by another device for a patient's place.",
            stage=get_args(TakeoverStage),
        )
        self.intakes = self._counter("intakes", "Intakes given.", urgency=Urgency)
        self.waiting = self._gauge("waiting", "Consults that wait or ring now.", "urgency")
        self.in_call = self._gauge("in_call", "Consults in call now, interrupted ones included.")
        self.on_call = self._gauge("on_call", "Specialists on call now, busy ones included.")
        self.rings = self._counter("rings", "Rings that are over.", outcome=get_args(RingOutcome))
        self.wait_seconds = self._histogram(
            "wait_seconds", "From the intake to the accepted ring.", WAIT_S, "urgency"
        )
        self.callbacks = self._counter(
            "callbacks", "Call-back promises.", stage=get_args(CallbackStage)
        )
        self.holds = self._counter(
            "holds",
            "Calls put on hold for a lost link, and those that the same specialist took up again.",
            stage=get_args(HoldStage),
        )
        self.consults_ended = self._counter(
            "consults_ended", "Consults that are over.", ending=ENDINGS
        )
        self.chat_lines = self._counter("chat_lines", "Lines of chat recorded.")
        for urgency in Urgency:
            self.waiting.labels(urgency)
            self.wait_seconds.labels(urgency)

    def _declare_calls(self) -> None:
        self.setup_seconds = self._histogram(
            "setup_seconds",
            "From the accepted ring to a phase of the call's set-up, as the browser saw it.",
            SETUP_S,
            "role",
            "phase",
        )
        self.reports_ignored = Counter(
            "selat_reports_ignored",
            "Reports of how a call came up or back that were not counted: their page was in no call.",
            registry=self.registry,
        )
        self.ice_pairs = Counter(
            "selat_ice_pairs",
            "Candidate pairs that calls came up on, by candidate types and transport protocol.",
            ["local", "remote", "protocol"],
            registry=self.registry,
        )
        self.restarts = Counter(
            "selat_ice_restarts",
            "ICE restarts, by trigger and whether media flowed again.",
            ["trigger", "recovered"],
            registry=self.registry,
        )
        self.recovery_seconds = self._histogram(
            "ice_recovery_seconds", "From an ICE restart to media.", RECOVERY_S, "trigger"
        )
        self.quality = QualityMetrics(self.registry)
        self.turn_issued = self._counter("turn_credentials", "TURN credentials made.")
        for trigger in RestartTrigger:
            self.recovery_seconds.labels(trigger)

    def _declare_relays(self) -> None:
        self.relays = self._gauge("relays", "Media relays that have this node.", "state")
        self.legs_seated = self._gauge("legs_seated", "Legs that people have of these relays.")
        self.legs_pooled = self._gauge("legs_pooled", "Minted legs that nobody has yet.")
        self.legs_given = self._counter("legs_given", "Legs handed out.", kind=get_args(LegKind))
        self.legs_closed = self._counter("legs_closed", "Legs handed out that are over.")
        self.route_moves = self._counter(
            "route_moves",
            "Consults that left a relay, by why.",
            reason=get_args(MoveReason),
        )
        self.direct_fallbacks = self._counter(
            "direct_fallbacks",
            "Consults that were to go by way of a relay and go directly, by why.",
            reason=get_args(FallbackReason),
        )
        self.leg_ice_seconds = self._histogram(
            "leg_ice_seconds", "From a leg's first authenticated check to its address.", LEG_S
        )
        self.leg_dtls_seconds = self._histogram(
            "leg_dtls_seconds", "A leg's DTLS handshake.", LEG_S
        )
        for state in get_args(RelayState):
            self.relays.labels(state)

    def _declare_contents(self) -> None:
        self._contents = Counter(
            "selat_contents",
            "Photographs and voice messages announced, whole, or dropped because the rest did not come.",
            ["stage", "kind"],
            registry=self.registry,
        )
        for stage in get_args(ContentStage):
            for kind in ContentKind:
                self._contents.labels(stage, kind)
        self._content_bytes = self._counter(
            "content_bytes", "Bytes of content stored and sent out.", direction=("in", "out")
        )
        self._content_resumes = self._counter(
            "content_resumes", "Content that was taken up again after a loss."
        )
        self._content_s = self._histogram(
            "content_seconds", "From announcing content to having it whole.", CONTENT_S, "kind"
        )

    def content(self, stage: ContentStage, kind: ContentKind) -> None:
        """Content was announced, is whole, or was dropped."""
        self._contents.labels(stage, kind).inc()

    def content_bytes(self, direction: Literal["in", "out"], amount: int) -> None:
        """Bytes of content were stored or sent."""
        self._content_bytes.labels(direction).inc(amount)

    def content_resumed(self) -> None:
        """A sender goes on with content that was begun before."""
        self._content_resumes.inc()

    def content_took(self, kind: ContentKind, took_s: float) -> None:
        """Content is whole, so long after it was announced."""
        self._content_s.labels(kind).observe(took_s)

    def _declare_identity(self) -> None:
        self.sign_ins = self._counter("sign_ins", "Sign-in tries.", result=get_args(SignInResult))
        self.code_tries = self._counter(
            "code_tries", "Short codes typed in.", result=get_args(CodeResult)
        )

    def _declare_node(self) -> None:
        self.store_seconds = self._histogram(
            "store_seconds", "Time that an operation of the store took.", STORE_S, "operation"
        )
        self.store_failures = self._counter(
            "store_errors",
            "Operations of the store that failed because it can't be reached or refused to write.",
            operation=get_args(StoreOperation),
        )
        self.conflicts = self._counter(
            "version_conflicts", "Appends decided again because somebody else appended first."
        )
        self.loop_lag_seconds = self._histogram(
            "loop_lag_seconds", "How late the event loop woke up a timer.", LAG_S
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; the labels say what runs.", "version", "store"
        )
        self._observe_store: dict[StoreOperation, Callable[[float], None]] = {
            operation: self.store_seconds.labels(operation).observe
            for operation in get_args(StoreOperation)
        }

    # -- connections -----------------------------------------------------------------------------

    def connection_opened(self, role: str) -> None:
        """A hello was accepted."""
        self.connections.labels(Role(role)).inc()

    def connection_closed(self, role: str, code: str = "none") -> None:
        """A connection whose hello was accepted is gone; ``code`` = a ``Code`` if we closed it."""
        self.connections.labels(Role(role)).dec()
        self.connections_closed.labels(role, code if code == "none" else Code(code)).inc()

    def refused(self, code: str) -> None:
        """A message or request was refused."""
        self.refusals.labels(Code(code)).inc()

    def message_received(self, kind: str) -> None:
        """A message of this type could be read."""
        self.messages_received.counts[kind] += 1

    def message_forwarded(self, kind: str) -> None:
        """A message of this type was handed on."""
        self.messages_forwarded.counts[kind] += 1

    def resumed(self) -> None:
        """A participant took up its earlier place again."""
        self.sessions_resumed.inc()

    def page_served(self, page: Page) -> None:
        """A page was sent."""
        self.pages.labels(page).inc()

    # -- consults --------------------------------------------------------------------------------

    def joined(self) -> None:
        """An invitation was redeemed."""
        self.joins.inc()

    def takeover(self, stage: TakeoverStage) -> None:
        """Another device asked for a patient's place, or somebody decided on it."""
        self.takeovers.labels(stage).inc()

    def intake(self, urgency: Urgency) -> None:
        """A patient gave the intake."""
        self.intakes.labels(urgency).inc()

    def set_waiting(self, urgency: Urgency, count: int) -> None:
        """So many consults of this colour wait or ring now."""
        self.waiting.labels(urgency).set(count)

    def set_in_call(self, count: int) -> None:
        """So many consults are in call now."""
        self.in_call.set(count)

    def set_on_call(self, count: int) -> None:
        """So many specialists are on call now."""
        self.on_call.set(count)

    def ring(self, outcome: RingOutcome) -> None:
        """A ring is over."""
        self.rings.labels(outcome).inc()

    def waited(self, urgency: Urgency, seconds: float) -> None:
        """A patient was answered after waiting so long."""
        self.wait_seconds.labels(urgency).observe(seconds)

    def callback(self, stage: CallbackStage) -> None:
        """A call-back was promised, became overdue, was kept, or closed by a message."""
        self.callbacks.labels(stage).inc()

    def hold(self, stage: HoldStage) -> None:
        """A call was put on hold, or taken up again by who had done so."""
        self.holds.labels(stage).inc()

    def consult_ended(self, ending: Outcome | ConsultState | Answered) -> None:
        """A consult is over, with an outcome, abandoned, answered by message, or expired."""
        self.consults_ended.labels(ending).inc()

    def chat_line(self) -> None:
        """A line of chat was recorded."""
        self.chat_lines.inc()

    # -- calls -----------------------------------------------------------------------------------

    def report_ignored(self) -> None:
        """A browser said how its call came up or back, and is in no call."""
        self.reports_ignored.inc()

    def setup_report(self, role: str, report: messages.SetupReport) -> None:
        """A browser says how its call came up."""
        phases: list[tuple[SetupPhase, int | None]] = [
            ("connected", report.connected_ms),
            ("first_audio", report.first_audio_ms),
            ("first_frame", report.first_frame_ms),
        ]
        for phase, after_ms in phases:
            if after_ms is not None:
                self.setup_seconds.labels(Role(role), phase).observe(after_ms / 1_000)
        self.ice_pairs.labels(
            report.local_candidate, report.remote_candidate, report.protocol
        ).inc()

    def restart(self, report: messages.RestartReport) -> None:
        """A browser says that it restarted ICE, and how that ended."""
        recovered = report.recovered_ms is not None
        self.restarts.labels(report.trigger, "yes" if recovered else "no").inc()
        if report.recovered_ms is not None:
            self.recovery_seconds.labels(report.trigger).observe(report.recovered_ms / 1_000)

    def turn(self) -> None:
        """TURN credentials were made."""
        self.turn_issued.inc()

    # -- relays ----------------------------------------------------------------------------------

    def set_relays(self, states: Mapping[str, int], *, seated: int, pool: int) -> None:
        """So many relays have this node, so many legs are somebody's and so many nobody's."""
        for state in get_args(RelayState):
            self.relays.labels(state).set(states[state])
        self.legs_seated.set(seated)
        self.legs_pooled.set(pool)

    def leg_given(self, *, standby: bool) -> None:
        """A leg was handed out."""
        self.legs_given.labels("standby" if standby else "first").inc()

    def leg_closed(self) -> None:
        """A leg that was handed out is over."""
        self.legs_closed.inc()

    def leg_connected(self, ice_ms: int | None, dtls_ms: int | None) -> None:
        """A leg came up."""
        if ice_ms is not None:
            self.leg_ice_seconds.observe(ice_ms / 1_000)
        if dtls_ms is not None:
            self.leg_dtls_seconds.observe(dtls_ms / 1_000)

    def route_moved(self, reason: MoveReason) -> None:
        """A consult left a relay."""
        self.route_moves.labels(reason).inc()

    def direct_fallback(self, reason: FallbackReason) -> None:
        """A consult that was to be relayed goes directly."""
        self.direct_fallbacks.labels(reason).inc()

    # -- identity --------------------------------------------------------------------------------

    def sign_in(self, result: SignInResult) -> None:
        """Somebody tried to sign in."""
        self.sign_ins.labels(result).inc()

    def code_try(self, result: CodeResult) -> None:
        """Somebody typed a short code in."""
        self.code_tries.labels(result).inc()

    # -- the node --------------------------------------------------------------------------------

    def store_latency(self, operation: StoreOperation, seconds: float) -> None:
        """An operation of the store took so long."""
        self._observe_store[operation](seconds)

    def store_error(self, operation: StoreOperation) -> None:
        """An operation of the store failed."""
        self.store_failures.labels(operation).inc()

    def version_conflict(self) -> None:
        """An append met another version and was decided again."""
        self.conflicts.inc()

    def loop_lag(self, seconds: float) -> None:
        """A timer of the event loop was so late."""
        self.loop_lag_seconds.observe(max(0.0, seconds))

    def build(self, version: str, store: Literal["embedded", "redis"]) -> None:
        """Say what runs."""
        self.build_info.labels(version, store).set(1)


LABEL_VALUES: dict[str, tuple[str, ...]] = {
    "role": tuple(Role),
    "code": ("none", *Code),
    "type": MESSAGE_TYPES,
    "page": get_args(Page),
    "urgency": tuple(Urgency),
    "outcome": get_args(RingOutcome),
    "ending": tuple(str(ending) for ending in ENDINGS),
    "phase": get_args(SetupPhase),
    "local": tuple(CandidateType),
    "remote": tuple(CandidateType),
    "protocol": tuple(TransportProtocol),
    "trigger": tuple(RestartTrigger),
    "recovered": ("yes", "no"),
    "calls": ("fine", "poor"),
    "result": tuple(dict.fromkeys((*get_args(SignInResult), *get_args(CodeResult)))),
    "operation": get_args(StoreOperation),
    "stage": tuple(
        dict.fromkeys(
            stage
            for stages in (TakeoverStage, CallbackStage, HoldStage, ContentStage)
            for stage in get_args(stages)
        )
    ),
    "store": ("embedded", "redis"),
    "state": get_args(RelayState),
    "kind": (*get_args(LegKind), *ContentKind),
    "direction": ("in", "out"),
    "route": get_args(RouteName),
    "word": get_args(WordName),
    "whose": get_args(Whose),
    "reason": (*get_args(FallbackReason), *get_args(IgnoredReason), *get_args(RungReason)),
    "rung": get_args(RungName),
}
"""The closed list behind each label; ``version`` alone, of ``selat_build_info``, is one fixed value per build."""
