# SPDX-License-Identifier: Apache-2.0
"""The one place where the node reads the wall clock: everything stored, shared or signed is UTC epoch seconds."""

from __future__ import annotations

import time

now = time.time  # noqa: TID251 - this is the place
"""UTC epoch seconds."""
