# SPDX-License-Identifier: Apache-2.0
"""What a relay process does by time; no port is open."""

from pathlib import Path
from types import SimpleNamespace

from media.app import Relay, RelaySettings
from media.control import ControlSettings
from media.relay.port import PortSettings


async def test_figures_that_can_not_be_had_do_not_end_the_process():
    """A room whose counters fail is a counted fault, and the others are observed all the same."""
    nowhere = ControlSettings("wss://localhost", Path(), "a-relay")
    relay = Relay(RelaySettings(nowhere, PortSettings()))
    seen = []
    relay.metrics.leg_observed = seen.append
    sound = SimpleNamespace(awake=True, metrics=lambda: SimpleNamespace(legs=["leg"]))
    relay.seating.rooms = {"a": SimpleNamespace(awake=True, metrics=None), "b": sound}
    relay._observe()
    assert seen == ["leg"]
    assert relay.seating.faults == 1
