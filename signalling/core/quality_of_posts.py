# SPDX-License-Identifier: Apache-2.0
"""How many health posts have calls, and how many of them poor ones: no I/O, no clock.

One call that is poor is a room, a phone or a cloud; a post whose calls are poor is a link, and many posts at once are
something that they share. So what is counted is posts, not calls, and metrics name none of them: the board does.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from signalling.wire.ids import PostCode
from signalling.wire.quality import WordName

WINDOW_S: Final = 1_800.0
"""Two or three consults of ten minutes fit, and an alert that waits for more comes too late for who is there."""
SPAN_S: Final = 60.0
"""What is summed together within the window."""
LEAST_S: Final = 600.0
"""Of one side's listening: half of a consult, or it says nothing about the post."""
POOR_RATIO: Final = 0.5
MOST_POSTS: Final = 2_000
"""Posts with calls at a node at once; more are not looked at."""
POOR: Final[frozenset[WordName]] = frozenset({"poor", "bad"})


class PostsQuality:
    """The posts of a node's calls."""

    def __init__(self) -> None:
        """Know none yet."""
        self._posts: dict[PostCode, deque[list[float]]] = {}

    def add(self, post: PostCode, word: WordName, seconds: float, now: float) -> None:
        """Add what one side of a call with this post received."""
        spans = self._posts.get(post)
        if spans is None:
            self._forget(now)
            if len(self._posts) >= MOST_POSTS:
                return
            spans = self._posts[post] = deque()
        start = now - now % SPAN_S
        if not spans or spans[-1][0] != start:
            spans.append([start, 0.0, 0.0])
            _shorten(spans, now)
        spans[-1][1] += seconds
        if word in POOR:
            spans[-1][2] += seconds

    def count(self, now: float) -> tuple[int, int]:
        """Return how many posts had calls that were fine, and how many had calls that were poor for the most part."""
        self._forget(now)
        fine = poor = 0
        for spans in self._posts.values():
            total = sum(span[1] for span in spans)
            if total < LEAST_S:
                continue
            if sum(span[2] for span in spans) > POOR_RATIO * total:
                poor += 1
            else:
                fine += 1
        return fine, poor

    def _forget(self, now: float) -> None:
        """Forget what is older than the window."""
        for post, spans in list(self._posts.items()):
            _shorten(spans, now)
            if not spans:
                del self._posts[post]


def _shorten(spans: deque[list[float]], now: float) -> None:
    while spans and spans[0][0] < now - WINDOW_S:
        spans.popleft()
