# SPDX-License-Identifier: Apache-2.0
"""Sockets, HTTP, timers: moves bytes and asks the core what to do."""
