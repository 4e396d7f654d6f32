# SPDX-License-Identifier: Apache-2.0
"""The command `selat`: one file per group of commands."""

from signalling.cli.entry import main

__all__ = ["main"]
