# SPDX-License-Identifier: Apache-2.0
"""Counts what consults do: each event by the node that committed it, gauges by what every node knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from signalling.core import events as ev
from signalling.core import matching
from signalling.core.lifecycle import CALL
from signalling.edge.ledger import Ledger, Step
from signalling.metrics import Metrics
from signalling.wire.terms import ConsultState, Urgency

GAUGES_S = 5.0
"""Three times per scrape of the shipped Prometheus configuration (15 s)."""


def _abandoned(metrics: Metrics, event: ev.Abandoned) -> None:
    if event.specialist is not None:
        metrics.ring("withdrawn")
    metrics.consult_ended(ConsultState.ABANDONED)


COUNTS: Mapping[type[ev.Event], Callable[[Metrics, Any], None]] = {
    ev.Accepted: lambda metrics, _: metrics.ring("answered"),
    ev.RingDeclined: lambda metrics, _: metrics.ring("declined"),
    ev.RingTimedOut: lambda metrics, _: metrics.ring("timed_out"),
    ev.CallbackPromised: lambda metrics, _: metrics.callback("promised"),
    ev.Answered: lambda metrics, _: metrics.callback("answered"),
    ev.CallbackOverdue: lambda metrics, _: metrics.callback("overdue"),
    ev.Ended: lambda metrics, event: metrics.consult_ended(event.outcome),
    ev.Abandoned: _abandoned,
}
"""What each event adds to."""


class Census:
    """Turns folds into metrics. One per node."""

    def __init__(
        self,
        ledger: Ledger,
        on_call: Callable[[], Sequence[matching.Candidate]],
        metrics: Metrics,
    ) -> None:
        """Listen to the ledger; ``run`` must be run."""
        self._ledger = ledger
        self._on_call = on_call
        self._metrics = metrics
        self._conflicts = 0
        ledger.listeners.consult.append(self._on_consult)

    def _on_consult(self, step: Step) -> None:
        if not step.own:
            return
        for event in step.events:
            count = COUNTS.get(type(event))
            if count is not None:
                count(self._metrics, event)
            if isinstance(event, ev.Expired):
                answered = step.consult.answered_at is not None
                self._metrics.consult_ended("answered" if answered else ConsultState.EXPIRED)
            if isinstance(event, ev.Accepted):
                urgency, since = step.consult.urgency, step.consult.since
                if urgency is not None and since is not None:
                    self._metrics.waited(urgency, event.at - since)

    async def run(self) -> None:
        """Keep the gauges, for ever."""
        while True:
            live = self._ledger.consults.values()
            waiting = Counter(c.urgency or Urgency.GREEN for c in matching.queue(live))
            for urgency in Urgency:
                self._metrics.set_waiting(urgency, waiting[urgency])
            self._metrics.set_in_call(sum(c.state in CALL for c in live))
            self._metrics.set_on_call(len(self._on_call()))
            for _ in range(self._ledger.conflicts - self._conflicts):
                self._metrics.version_conflict()
            self._conflicts = self._ledger.conflicts
            await asyncio.sleep(GAUGES_S)
