# SPDX-License-Identifier: Apache-2.0
"""Decisions without I/O: lifecycle, matching, triage, presence, resume."""
