# SPDX-License-Identifier: Apache-2.0
"""Posts are counted by how most of their calls were, never single calls, and forgotten after the window."""

from signalling.core import quality_of_posts
from signalling.core.quality_of_posts import LEAST_S, WINDOW_S, PostsQuality
from signalling.wire.ids import PostCode

A, B = PostCode("MTW-01"), PostCode("MTW-02")


def test_a_post_counts_once_it_was_heard_for_long_enough() -> None:
    """Less than ten minutes of listening say nothing; then most of them decides."""
    posts = PostsQuality()
    for at in range(0, int(LEAST_S) - 5, 5):
        posts.add(A, "bad", 5.0, at)
    assert posts.count(LEAST_S) == (0, 0)
    posts.add(A, "poor", 5.0, LEAST_S)
    assert posts.count(LEAST_S) == (0, 1)
    for at in range(int(LEAST_S), int(2 * LEAST_S) + 5, 5):
        posts.add(A, "fair", 5.0, at)
        posts.add(B, "excellent", 5.0, at)
    assert posts.count(2 * LEAST_S) == (2, 0)


def test_what_is_old_is_forgotten() -> None:
    """A post without calls for half an hour is none; what was poor before counts no more."""
    posts = PostsQuality()
    posts.add(A, "poor", LEAST_S, 0.0)
    posts.add(B, "good", LEAST_S, WINDOW_S)
    assert posts.count(WINDOW_S) == (1, 1)
    assert posts.count(WINDOW_S + 61) == (1, 0)
    posts.add(A, "good", LEAST_S, WINDOW_S + 61)
    assert posts.count(WINDOW_S + 61) == (2, 0)


def test_no_more_posts_than_so_many_are_kept() -> None:
    """Memory is bounded: posts beyond the limit are not looked at until others are forgotten."""
    posts = PostsQuality()
    for number in range(quality_of_posts.MOST_POSTS + 5):
        posts.add(PostCode(f"P-{number}"), "good", LEAST_S, 0.0)
    assert posts.count(0.0) == (quality_of_posts.MOST_POSTS, 0)
    posts.add(A, "good", LEAST_S, WINDOW_S + 61)
    assert posts.count(WINDOW_S + 61) == (1, 0)
