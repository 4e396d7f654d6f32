# SPDX-License-Identifier: Apache-2.0
"""``python -m signalling.cli`` is `selat`: how a node starts its relays, whatever is on the path."""

from signalling.cli.entry import main

main()
