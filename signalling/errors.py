# SPDX-License-Identifier: Apache-2.0
"""What a node refuses, and how every refusal becomes a code.

::

    Refused             a stable code of ``signalling.wire.codes``; whoever asked is told, nothing was changed

Other packages raise their own (``auth.errors``, ``signalling.store.base``, ``signalling.wire.codec``); ``refusal`` maps
all of them, in one place.
"""

from __future__ import annotations

import logging
import secrets

from auth.errors import AuthError, Throttled
from signalling.core.lifecycle import InvalidTransition
from signalling.store.base import ContentErased, StoreError
from signalling.wire.codec import WireError
from signalling.wire.codes import Code

log = logging.getLogger(__name__)


class Refused(Exception):
    """Refused with a code; nothing was changed."""

    def __init__(
        self, code: Code, *, retry_after_s: float | None = None, ref: str | None = None
    ) -> None:
        """Carry the code, when to try again, and what to look for in the log."""
        super().__init__(code.value)
        self.code, self.retry_after_s, self.ref = code, retry_after_s, ref


def refusal(error: Exception) -> Refused:
    """Return what the peer is told about ``error``; an unexpected one is logged with a reference."""
    match error:
        case Refused():
            return error
        case Throttled():
            return Refused(Code.THROTTLED, retry_after_s=error.retry_after_s)
        case AuthError():
            return Refused(Code(error.code) if error.code in set(Code) else Code.FORBIDDEN)
        case InvalidTransition() | WireError():
            return Refused(error.code)
        case ContentErased():
            return Refused(Code.CONSULT_OVER)
        case StoreError():
            return Refused(Code.UNAVAILABLE, retry_after_s=1.0)
        case _:
            ref = secrets.token_hex(4)
            log.error("internal", extra={"ref": ref}, exc_info=error)
            return Refused(Code.INTERNAL, ref=ref)
