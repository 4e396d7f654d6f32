# SPDX-License-Identifier: Apache-2.0
"""Descriptions as fields: what the relay offers and what a browser answers, in a few hundred bytes instead of eight thousand.

What never changes is in ``sdp_template.json``, read by this module and, as ``signalling/web/js/sdp_template.js``, by the
pages; ``python -m media.relay.description`` writes the latter. Both fill it in by the same rules:

- ``{name}`` becomes the field's value,
- a list repeats its line for each value,
- None leaves the line (or the parameter) out; an empty text before a line keeps it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from media.relay.ice import Credentials
from signalling.wire.legs import (
    AudioOffer,
    Extension,
    MediaAnswer,
    VideoCodec,
    VideoOffer,
)
from signalling.wire.legs import LegAnswer as Answer
from signalling.wire.legs import LegOffer as Offer
from signalling.wire.legs import RelayCandidate as Candidate

__all__ = [
    "Answer", "AudioOffer", "Candidate", "Extension", "MediaAnswer", "Offer", "VideoCodec",
    "VideoOffer",
]  # fmt: skip

TEMPLATE: dict[str, Any] = json.loads(
    Path(__file__).with_name("sdp_template.json").read_text(encoding="utf-8")
)
PAYLOAD_TYPES: Mapping[str, int] = TEMPLATE["payload_types"]
EXTENSION_IDS: Mapping[str, int] = {uri: number for number, uri in TEMPLATE["extensions"].values()}
"""URI to identifier, the same on every leg."""
PAGE_COPY = Path("signalling/web/js/sdp_template.js")
MID_AUDIO, MID_VIDEO = b"0", b"1"

OFFER_MAX_BYTES = 2_500
ANSWER_MAX_BYTES = 2_500
"""A third of a second at 64 kbit/s, for either."""

_TYPE_PREFERENCE = {"udp": 126, "tcp": 90}
"""RFC 8445 §5.1.2.1 and RFC 6544 §4.2: UDP before TCP, always."""
_PLACEHOLDER = re.compile(r"\{(\w+)\}")

Value: TypeAlias = str | int | Sequence[str] | None


def read_answer(data: bytes) -> Answer:
    """Read an answer's fields.

    Raises:
        msgspec.ValidationError: it is not one, or too long.
    """
    if len(data) > ANSWER_MAX_BYTES:
        raise msgspec.ValidationError("the answer is too long")
    return msgspec.json.decode(data, type=Answer)


def candidates(
    addresses: Sequence[str], udp_port: int | None, tcp_port: int | None
) -> list[Candidate]:
    """Return the relay's candidates: each public address by UDP, then each by TCP."""
    return [
        *(Candidate("udp", each, udp_port) for each in addresses if udp_port),
        *(Candidate("tcp", each, tcp_port) for each in addresses if tcp_port),
    ]


def fill(lines: Sequence[str], values: Mapping[str, Value]) -> list[str]:
    """Fill in a part of the template; the module says the rules."""
    filled: list[str] = []
    for line in lines:
        names = _PLACEHOLDER.findall(line)
        if any(values[name] is None for name in names):
            continue
        many = next((name for name in names if isinstance(values[name], list | tuple)), None)
        if many is None:
            filled.append(_PLACEHOLDER.sub(lambda match: str(values[match[1]]), line))
            continue
        listed = values[many]
        assert isinstance(listed, list | tuple)
        for each in listed:
            filled += fill([line], {**values, many: each})
    return filled


def offer_sdp(offer: Offer, *, pair: int = 0, version: int = 1) -> str:
    """Return the relay's description as SDP, the same as an offer and as the answer to a browser's restart.

    Args:
        offer: the fields.
        pair: which of the credential pairs; others than 0 are for restarts.
        version: of the session (RFC 8866 §5.2).
    """
    pt = PAYLOAD_TYPES
    transport = fill(TEMPLATE["transport"], _transport_values(offer, pair))
    flags: dict[str, Value] = {
        "transport_cc": "" if offer.transport_cc else None,
        "remb": "" if offer.remb else None,
    }
    audio, video = offer.audio, offer.video
    types = {"no": [pt["opus"]], "yes": [pt["opus"], pt["red"]], "first": [pt["red"], pt["opus"]]}
    voice: dict[str, Value] = flags | {
        "types": " ".join(map(str, types[audio.red])),
        "ptime_ms": audio.ptime_ms,
        "extensions": _extensions(offer, TEMPLATE["not_for_audio"]),
        "opus": ";".join(
            fill(
                TEMPLATE["opus"],
                {
                    "fec": int(audio.fec),
                    "dtx": int(audio.dtx),
                    "max_average_bps": audio.max_average_bps,
                },
            )
        ),
        "nack": "" if audio.nack else None,
        "red": None if audio.red == "no" else "",
        "ssrc": audio.ssrc,
    }
    picture: dict[str, Value] = flags | {
        "types": " ".join(f"{pt[name]} {pt[f'{name}/rtx']}" for name in video.codecs),
        "extensions": _extensions(offer, TEMPLATE["not_for_video"]),
        "max_kbps": video.max_kbps,
        "ssrc": video.ssrc,
        "rtx_ssrc": video.rtx_ssrc,
        "fmtp": ";".join(
            fill(TEMPLATE["picture"], {"start_kbps": video.start_kbps, "max_kbps": video.max_kbps})
        )
        or None,
    }
    lines = [
        *fill(TEMPLATE["session"], {"version": version}),
        *fill(TEMPLATE["audio"], voice),
        *transport,
        *fill(TEMPLATE["video"], picture),
        *transport,
    ]
    for name in video.codecs:
        codec = picture | {"name": name, "type": pt[name], "rtx": pt[f"{name}/rtx"]}
        lines += fill(TEMPLATE["codec"], codec)
    lines += fill(TEMPLATE["video_end"], picture)
    return "".join(f"{line}\r\n" for line in lines)


def _transport_values(offer: Offer, pair: int) -> dict[str, Value]:
    ufrag, _, pwd = offer.ice[pair].partition(":")
    return {
        "ufrag": ufrag,
        "pwd": pwd,
        "fingerprint": offer.fingerprint,
        "candidates": [_candidate(index, each) for index, each in enumerate(offer.candidates)],
    }


def _candidate(index: int, candidate: Candidate) -> str:
    priority = (_TYPE_PREFERENCE[candidate.transport] << 24) | (65_535 - index << 8) | 255
    tail = " tcptype passive" if candidate.transport == "tcp" else ""
    return (
        f"{index + 1} 1 {candidate.transport} {priority} {candidate.address} {candidate.port} "
        f"typ host{tail}"
    )


def _extensions(offer: Offer, without: Sequence[str]) -> list[str]:
    known: Mapping[str, tuple[int, str]] = TEMPLATE["extensions"]
    return [
        f"{known[name][0]} {known[name][1]}" for name in offer.extensions if name not in without
    ]


def pairs_of(offer: Offer) -> list[Credentials]:
    """Return the credential pairs of an offer, the main one first."""
    return [Credentials(*each.split(":", 1)) for each in offer.ice]


def page_copy() -> str:
    """Return the template as the pages' JavaScript module."""
    parts = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(part, separators=(',', ':'))}"
        for name, part in TEMPLATE.items()
    )
    return (
        "// SPDX-License-Identifier: Apache-2.0\n"
        "// Made from media/relay/sdp_template.json by `python -m media.relay.description`.\n\n"
        f"export const SDP_TEMPLATE = {{\n{parts},\n}};\n"
    )


if __name__ == "__main__":
    PAGE_COPY.write_text(page_copy(), encoding="utf-8")
