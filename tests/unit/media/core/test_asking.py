# SPDX-License-Identifier: Apache-2.0
"""What the ladder takes a link for."""

import math

import pytest

from media.core.asking import GUESS_RATIO, THIN_BPS, THIN_RATIO, link_of
from media.core.bwe.estimate import Estimate


def grown(rate_bps: float) -> Estimate:
    """Return what an estimator makes of a link that nobody has filled, when it has just doubled what it would use."""
    return Estimate(
        rate_bps=rate_bps, usable_bps=2 * rate_bps, loss_ratio=0.0, queue_delay_s=0.0, rtt_s=0.65,
        confident=False, calm_s=math.inf,
    )  # fmt: skip


def test_where_padding_can_find_out_little_is_believed() -> None:
    """240 kbit/s that might be 480: a rung that fits only those is entered where nobody can ask, else when they are proved."""
    assert link_of(grown(240e3), 0.0).rate_bps > 1.9 * 240e3
    assert link_of(grown(240e3), 0.0, probed=True).rate_bps == pytest.approx(GUESS_RATIO * 240e3)
    assert link_of(grown(500e3), 0.0, probed=True).rate_bps > 1.9 * 500e3
    assert link_of(grown(60e3), 0.0, probed=True).rate_bps == pytest.approx(THIN_RATIO * 60e3)


@pytest.mark.parametrize("probed", [True, False])
def test_who_knows_more_believes_no_less(probed: bool) -> None:
    """From 4 kbit/s to 2 Mbit/s, and at the bounds between the ratios above all."""
    rates = sorted([*(4e3 * 1.05**step for step in range(128)), THIN_BPS - 1, THIN_BPS])
    if not probed:
        rates = [rate for rate in rates if rate < THIN_BPS]
    believed = [link_of(grown(rate), 0.0, probed=probed).rate_bps for rate in rates]
    assert believed == sorted(believed)
