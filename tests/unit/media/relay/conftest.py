# SPDX-License-Identifier: Apache-2.0
"""A room with legs of paper, and a call in it."""

import pytest

from tests.support.room import House


@pytest.fixture
def house():
    """A room."""
    return House(start_bps=2_000_000)  # nothing waits for its link


@pytest.fixture
def call(house):
    """Two who talk, and the room between them."""
    return house.call()
