# SPDX-License-Identifier: Apache-2.0
"""Which codec a picture is sent in."""

import pytest

from media.core.codecs import codec_for
from media.core.descriptor import VideoCodec

VP8, VP9 = VideoCodec


@pytest.mark.parametrize(
    ("own", "others", "sent"),
    [
        ((VP9, VP8), [(VP8, VP9)], VP9),
        ((VP8, VP9), [(VP9, VP8)], VP8),
        ((VP9, VP8), [(VP8,)], VP8),
        ((VP9, VP8), [(VP9, VP8), (VP8,)], VP8),
        ((VP9, VP8), [], VP9),
        ((VP8,), [(VP9,)], VP8),
        ((), [], VP8),
    ],
)
def test_the_first_of_ones_own_that_all_have(own, others, sent):
    """What is sent is one's own first choice of what all who look have, VP8 where there is none."""
    assert codec_for(own, others) is sent
