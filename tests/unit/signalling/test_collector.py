# SPDX-License-Identifier: Apache-2.0
"""The collector of a running node, in a process of its own: its settings are the whole process's."""

import subprocess
import sys


def test_what_exists_at_the_start_is_passed_by_and_later_cycles_are_not() -> None:
    """Settling freezes what is there; a cycle that is made afterwards is still found."""
    program = """
import gc, weakref
from signalling import collector
class Node: pass
def cycle():
    node = Node(); node.self = node
    return weakref.ref(node)
collector.settle()
assert gc.get_freeze_count() > 1_000
assert gc.get_threshold() == collector.THRESHOLDS
later = cycle()
for _ in range(3 * collector.THRESHOLDS[0]): keep = [keep] if _ else []
assert later() is None, "no collection happened by itself"
print("well")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "well\n", done.stderr
