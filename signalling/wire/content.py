# SPDX-License-Identifier: Apache-2.0
"""Content that travels in pieces: photographs and voice messages, resumable, behind the live voice.

Pieces are binary frames of the same WebSocket, in both directions alike (network byte order)::

    0        1        2                 4                                   8
    | frame  | 0      | handle          | offset                            | data …

``frame`` is 1, a piece. ``handle`` is given by the server in ``content_open`` for what is sent, and chosen by the client
in ``content_read`` for what is fetched. ``offset`` is where the data belongs in the content. The server acknowledges what is
sent in binary frames too, for the way back is as thin as the way there::

    0        1        2                 4                8                12               16
    | frame  | waited | handle          | offset         | kept           | arrived        |

``frame`` is 2. Everything below ``offset`` has arrived, everything below ``kept`` is durable; ``waited`` is how long the newest
piece had been there, in steps of 4 ms (255: that or more), so that the sender knows the round trip; ``arrived`` is when it came,
in milliseconds of a clock of the server's that goes round, so that the sender sees a queue on the way there and none on the way
back (RFC 6817). Nothing else is binary.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final

import msgspec

from signalling.wire.base import FromClient, FromServer, Id, Key, Part
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId
from signalling.wire.terms import ContentKind, StillStep

PIECE: Final = 1
"""A binary frame with data."""
ACK: Final = 2
"""A binary frame of the server that acknowledges pieces."""
HEADER: Final = struct.Struct("!BBHI")
ACK_FRAME: Final = struct.Struct("!BBHIII")
WAITED_STEP_S: Final = 0.004
"""Of ``waited``: 255 steps are a second."""
MAX_PIECE_BYTES: Final = 16_384
"""Data in one frame. In a call pages send 400 bytes where 1,200 would hold voice up for more than 60 ms; on wide links, and
without a call, larger pieces cost fewer messages."""
MIN_PIECE_BYTES: Final = 256
"""And at least, but for a content's last: each piece may become a row of the store, of which each costs a kilobyte more. Pages
send 400 bytes where the voice leaves next to nothing."""
MAX_CONTENT_BYTES: Final = 8 * 2**20
"""A 12-megapixel photograph as JPEG is 3–6 MB."""
MAX_READ_BYTES: Final = 65_536

Handle = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_CONTENT_BYTES)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
"""What is larger than its kind may be is refused by a code of its own."""
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class ContentView(Part, frozen=True):
    """What an ``entry`` of kind ``still`` or ``voice`` stands for; its bytes are fetched by ``content_read``."""

    kind: ContentKind
    mime: str
    bytes: int
    sha256: str
    duration_ms: int = 0
    preview_of: str = ""
    """The key of the sharper picture that this one announces."""


def acknowledgement(handle: int, offset: int, kept: int, arrived_at: float, now: float) -> bytes:
    """Return the frame that says what has arrived, what of it is durable, and when the newest piece came.

    Args:
        handle: Of the content.
        offset: Everything below has arrived.
        kept: Everything below is durable.
        arrived_at: When the newest piece came; seconds of any clock.
        now: By the same clock.
    """
    waited = min(255, int((now - arrived_at) / WAITED_STEP_S))
    arrived_ms = int(arrived_at * 1_000) % 2**32
    return ACK_FRAME.pack(ACK, waited, handle, offset, kept, arrived_ms)


# -- From clients ----------------------------------------------------------------------------------------------------


class ContentBegin(FromClient, frozen=True, tag="content_begin"):
    """Begin to send content, or go on with it: the same ``key`` resumes where the server has it; answered by ``content_open``."""

    consult: Id
    key: Key
    """Names the content within the consult, for good."""
    kind: ContentKind
    mime: Annotated[str, msgspec.Meta(max_length=64)]
    """``image/jpeg`` for pictures; ``audio/webm``, ``audio/ogg`` or ``audio/mp4`` for voice."""
    bytes: Size
    sha256: Sha256
    """Of the whole content, in hex."""
    duration_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 0
    """Of a voice message."""
    preview_of: Key | None = None
    """Of a small picture: the key of the sharper one that follows."""


class ContentRead(FromClient, frozen=True, tag="content_read"):
    """Fetch some bytes of content; they come as binary frames, then ``ok``. The reader sets the pace."""

    consult: Id
    key: Key
    handle: Handle
    """Stands in the frames."""
    offset: Offset
    bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_READ_BYTES)]
    piece_bytes: Annotated[int, msgspec.Meta(ge=64, le=MAX_PIECE_BYTES)] = 1_200
    """Data in one frame."""


class StillRequest(FromClient, frozen=True, tag="still"):
    """Ask for a photograph (specialist), or say what becomes of it (patient). Forwarded, never stored."""

    consult: Id
    step: StillStep


class MessagesRequest(FromClient, frozen=True, tag="messages"):
    """A specialist reads what a patient who was promised a call-back wrote and said; answered by ``messages``.

    Who reads is recorded in the consult. They come in slices: while an answer says ``more``, the reader asks again.
    """

    consult: Id
    skip: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """Lines that the reader has already, from the oldest on."""


class CallbackAnswered(FromClient, frozen=True, tag="callback_answered"):
    """A specialist closes a promised call-back: the message that they wrote or spoke last is the answer, no call is needed.

    ``wrong_state`` where somebody else had the last word. What the patient writes or says next is a new promise.
    """

    consult: Id


# -- From the server -------------------------------------------------------------------------------------------------


class ContentOpen(FromServer, frozen=True, tag="content_open"):
    """Pieces may be sent under this handle, from ``offset`` on; with ``done`` the content is there already."""

    re: int
    handle: int
    offset: int
    done: bool = False


class ContentClosed(FromServer, frozen=True, tag="content_closed"):
    """The handle is over: the content is there whole and durable, or refused with a code."""

    handle: int
    code: Code | None = None


class ContentProgress(FromServer, frozen=True, tag="content_progress"):
    """How much of the other side's content has arrived at the server; for an automatic picture, that it can be fetched."""

    consult: ConsultId
    key: str
    kind: ContentKind
    bytes: int
    received: int
    preview_of: str = ""


class Still(FromServer, frozen=True, tag="still"):
    """The other side asks for a photograph, takes one, or declines."""

    consult: ConsultId
    step: StillStep


class MessageLine(Part, frozen=True):
    """One line of what was written and said."""

    at: float
    author: str
    """The role."""
    key: str
    by: AccountId | None = None
    text: str = ""
    content: ContentView | None = None


class Messages(FromServer, frozen=True, tag="messages"):
    """What was written and said in a consult so far, oldest first, after the lines that were skipped."""

    re: int
    consult: ConsultId
    lines: list[MessageLine]
    more: bool = False
    """There are newer lines: ask again, and skip these too."""
