# SPDX-License-Identifier: Apache-2.0
"""The one table of permissions."""

import pytest

from auth.errors import PermissionDenied
from auth.roles import PERMISSIONS, Action, Role, may, require

IN_CALL = {"chat", "negotiate", "get_turn", "report"}

# Written out again on purpose, in plain words: widening a role must take two deliberate edits.
EXPECTED = {
    "patient": IN_CALL | {"give_intake", "leave", "approve_takeover"},
    "specialist": IN_CALL
    | {"go_on_call", "answer_ring", "transfer", "end_consult", "write_note", "invite"}
    | {"approve_takeover", "see_history"},
    "interpreter": IN_CALL | {"leave"},
    "relative": IN_CALL | {"leave"},
    "operator": {"invite", "approve_takeover", "watch_board", "manage_accounts"} | {"erase"},
    "relay": {"serve_media"},
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_every_cell_of_the_table(role: Role, action: Action) -> None:
    """Each role may do exactly what is written down for it, and is refused everything else."""
    if action.value in EXPECTED[role.value]:
        assert may(role, action)
        require(role, action)
    else:
        assert not may(role, action)
        with pytest.raises(PermissionDenied):
            require(role, action)


def test_every_action_is_somebodys() -> None:
    """No action is left that nobody may do, and no role is missing."""
    assert frozenset().union(*PERMISSIONS.values()) == frozenset(Action)
    assert PERMISSIONS.keys() == set(Role) == {Role(name) for name in EXPECTED}


def test_the_table_can_not_be_changed() -> None:
    """Nobody gets a right at run time."""
    with pytest.raises(TypeError):
        PERMISSIONS[Role.PATIENT] = frozenset(Action)  # type: ignore[index]
