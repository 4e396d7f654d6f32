# SPDX-License-Identifier: Apache-2.0
"""Which codec a picture is sent in: the sender's own choice, where all who look have it.

A relay that decodes nothing can't turn one codec into another. VP8 is mandatory to implement (RFC 7742 §5) and so
what is left when two have nothing else in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from media.core.descriptor import VideoCodec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

FALLBACK: Final = VideoCodec.VP8


def codec_for(own: Sequence[VideoCodec], others: Iterable[Collection[VideoCodec]]) -> VideoCodec:
    """Return what a browser is to send.

    Args:
        own: What it can send, what it would rather send first.
        others: What each of those who look can decode.
    """
    theirs = list(others)
    return next((each for each in own if all(each in one for one in theirs)), FALLBACK)
