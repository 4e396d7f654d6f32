# SPDX-License-Identifier: Apache-2.0
"""How many bytes somebody may cause for long: a token bucket for each of them, in bounded memory. No I/O, no clock."""

from __future__ import annotations

from collections import OrderedDict


class Allowance:
    """Token buckets by key. All start full; the one that was charged longest ago is forgotten first, and is full then."""

    def __init__(self, burst_bytes: float, per_s: float, capacity: int = 20_000) -> None:
        """``burst_bytes`` at once and ``per_s`` bytes a second for long; ``capacity`` keys of about 200 bytes each."""
        self.burst_bytes = burst_bytes
        self.per_s = per_s
        self._capacity = capacity
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What was left, and when that was."""

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._left)

    def charge(self, key: str, amount_bytes: float, now: float) -> float:
        """Take so many bytes and return 0; or take nothing and return in how many seconds they will be there.

        What is more than a whole bucket is charged as one: it waits, and is not refused for ever. A clock that was set
        back fills nothing meanwhile.
        """
        amount_bytes = min(amount_bytes, self.burst_bytes)
        left, at = self._left.get(key, (self.burst_bytes, now))
        left = min(self.burst_bytes, left + max(0.0, now - at) * self.per_s)
        if left < amount_bytes:
            # Brought up to date as well, or a clock that is set back later would count the same time twice.
            self._left[key] = (left, now)
            return (amount_bytes - left) / self.per_s
        self._left[key] = (left - amount_bytes, now)
        self._left.move_to_end(key)
        if len(self._left) > self._capacity:
            self._left.popitem(last=False)
        return 0.0
