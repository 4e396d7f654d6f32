# SPDX-License-Identifier: Apache-2.0
"""What all messages are made of: the three kinds of structs, and the types of fields that many share."""

from __future__ import annotations

from typing import Annotated

import msgspec

from signalling.wire.ids import ConsultId

RequestId = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9:_-]{1,64}$")]
KnownConsult = Annotated[ConsultId, msgspec.Meta(min_length=1, max_length=64)]
"""A consult that is only looked up in memory, in the messages of which there are most: what is not found is refused, so
the pattern of ids isn't matched too (0.5 µs)."""
Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{8,36}$")]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
"""BCP 47, the part that we use."""
Text = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=2_000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+$"),
]
"""No control characters but tab and the ends of lines: nobody types them, and each would be six bytes on the wire."""
LongText = Annotated[str, msgspec.Meta(max_length=20_000)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]


class FromClient(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    rename="camel",
    forbid_unknown_fields=True,
    gc=False,
):
    """What a client sends."""

    id: RequestId
    """Above every earlier id of this connection."""


class FromServer(
    msgspec.Struct, frozen=True, tag_field="type", rename="camel", omit_defaults=True, gc=False
):
    """What the server sends."""


class Part(
    msgspec.Struct,
    frozen=True,
    rename="camel",
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """A piece of a message."""
