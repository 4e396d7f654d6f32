# SPDX-License-Identifier: Apache-2.0
"""Identifiers as types: an id is never a bare ``str`` in a signature."""

from __future__ import annotations

from typing import NewType

ConsultId = NewType("ConsultId", str)
"""One teleconsult, from invitation to outcome."""
AccountId = NewType("AccountId", str)
"""A specialist's or operator's account."""
ParticipantId = NewType("ParticipantId", str)
"""Who takes part: an account id for staff, ``p_<consult>`` for the patient."""
InstanceId = NewType("InstanceId", str)
"""One page load in one browser, chosen by the page: a new instance means that its peer connection is gone."""
ConnectionId = NewType("ConnectionId", str)
"""One WebSocket, chosen by the server."""
PostCode = NewType("PostCode", str)
"""The code of a health post in the imported list."""
LegId = NewType("LegId", str)
"""One participant's transport at a media relay."""
