# SPDX-License-Identifier: Apache-2.0
"""What the ladder takes a link for."""

import math

import pytest

from media.core.asking import GUESS_RATIO, OPEN_RATIO, link_of
from media.core.bwe.estimate import Estimate


@pytest.mark.parametrize(
    ("rate_bps", "probed", "ratio"),
    [(240e3, True, GUESS_RATIO), (240e3, False, 2.0), (500e3, True, 2.0), (100e3, True, 1.7)],
)
def test_where_padding_can_find_out_little_is_believed(
    rate_bps: float, probed: bool, ratio: float
) -> None:
    """An estimator that grew twice takes 240 kbit/s for 480: a rung that fits only those is not entered before they are proved."""
    assert ratio < OPEN_RATIO
    estimate = Estimate(
        rate_bps=rate_bps, usable_bps=2 * rate_bps, loss_ratio=0.0, queue_delay_s=0.0, rtt_s=0.65,
        confident=False, calm_s=math.inf,
    )  # fmt: skip
    assert link_of(estimate, 0.0, probed=probed).rate_bps <= ratio * rate_bps * 1.05
    assert link_of(estimate, 0.0, probed=probed).rate_bps >= ratio * rate_bps * 0.95
