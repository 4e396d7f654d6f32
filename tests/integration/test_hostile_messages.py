# SPDX-License-Identifier: Apache-2.0
"""Hostile input on the WebSocket, for each type of message that a client can send.

``SAMPLES`` holds one good message of each type. Everything hostile is derived from it, so a new type without a sample
fails here, and a new field is attacked without anybody thinking of it.
"""

import asyncio
import copy
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect as mi

from auth.roles import may
from signalling.config import LimitsConfig
from signalling.edge.commands import PERMISSIONS
from signalling.wire.base import FromClient
from signalling.wire.codes import CODES, Code
from signalling.wire.messages import MAX_MESSAGE_BYTES, ClientMessage, Hello
from tests.integration.conftest import OpenNode
from tests.support.clinic import Call, Clinic, form
from tests.support.fake_relay import ANSWER, OFFER, FakeRelay
from tests.support.peer import SDP, Peer

SECRET = "rahasia-besar"
"""Stands in every text that a person could write: it must be in no log and no error."""
SAMPLES: dict[str, dict[str, Any]] = {
    "hello": {"protocols": [1], "token": "t" * 40, "instance": "i1234567"},
    "ping": {},
    "intake": {"form": form(complaint=SECRET, name=SECRET)},
    "leave": {},
    "chat": {"consult": "", "key": "k1234567", "text": SECRET},
    "description": {"consult": "", "description": {"type": "offer", "sdp": SDP + SECRET}},
    "candidate": {
        "consult": "",
        "candidate": {"candidate": f"candidate:{SECRET}", "sdpMid": "0", "sdpMLineIndex": 0},
    },
    "turn": {},
    "on_call": {"on": True},
    "accept": {"consult": ""},
    "decline": {"consult": "", "reason": "busy"},
    "call_back": {"consult": ""},
    "transfer": {"consult": "", "specialty": "general", "reason": SECRET},
    "note": {"consult": "", "text": SECRET},
    "end": {"consult": "", "outcome": "advice", "summary": SECRET},
    "invite": {"specialty": "general"},
    "decide_takeover": {"consult": "", "request": "r1234567", "allow": True},
    "history": {},
    "content_begin": {
        "consult": "",
        "key": "k7654321",
        "kind": "voice",
        "mime": "audio/webm",
        "bytes": 100,
        "sha256": "0" * 64,
    },
    "content_read": {"consult": "", "key": "k7654321", "handle": 1, "offset": 0, "bytes": 100},
    "still": {"consult": "", "step": "asked"},
    "callback_answered": {"consult": ""},
    "messages": {"consult": ""},
    "setup_report": {"consult": "", "connectedMs": 100},
    "restart_report": {"consult": "", "trigger": "online", "recoveredMs": 100},
    "leg_answer": {"consult": "", "leg": "l_1", "answer": {**ANSWER, "ice": SECRET}},
    "leg_trouble": {"consult": "", "leg": "l_1", "silentMs": 2_000},
    "relay_status": {"legs": 0, "legsMax": 100, "loadRatio": 0.5},
    "legs_minted": {"legs": [{"leg": "l_1", "offer": {**OFFER, "fingerprint": SECRET}}]},
    "legs_seated": {
        "legs": [
            {
                "leg": "l_1",
                "consult": "c_1",
                "participant": "p_c_1",
                "instance": "i1234567",
                "role": "patient",
            }
        ],
        "forwarding": ["c_1"],
    },
    "leg_state": {"leg": "l_1", "state": "connected", "iceMs": 100, "dtlsMs": 200},
    "limit_leg": {"leg": "l_1", "limits": {"videoMaxBps": 0}},
    "leg_probed": {"leg": "l_1", "outlook": "voice", "upBps": 30_000, "downBps": 40_000},
    "braked": {"consult": "", "leg": "l_1"},
    "wish": {"consult": "", "wish": "detail"},
    "hold": {"consult": ""},
    "reception": {"consult": "", "data": "AooYPA8BMjIAABIKAA"},
    "way": {"consult": "", "data": "AGQAABhqADIAAgAAD6ADKv/dAGAA"},
    "leg_links": {
        "links": [
            {"leg": "l_1", "rttMs": 40, "upLoss": 0.1, "downLoss": 0.0, "upBps": 0, "downBps": 0}
        ]
    },
}
TYPES: dict[str, type[FromClient]] = {
    str(cls.__struct_config__.tag): cls for cls in get_args(ClientMessage)
}
SENDERS = ("patient", "specialist", "operator", "relay")
UNSENT = 777_000_777
"""Stands for an id until a message is sent."""
ERROR_FIELDS = {"type", "code", "re", "retryAfterMs"}


@pytest.fixture
def store_url() -> str:
    """What is refused never reaches a store, so one is enough."""
    return ""


@pytest.fixture
async def clinic(open_node: OpenNode) -> Clinic:
    """No rate limit here; it has tests of its own."""
    return await open_node(limits=LimitsConfig(messages_per_s=100_000.0, message_burst=1_000_000))


def test_each_type_has_a_sample() -> None:
    """No message type is without hostile cases, and each sample is a good message."""
    assert SAMPLES.keys() == TYPES.keys()
    for tag, fields in SAMPLES.items():
        filled = {**fields, **({"consult": "c1"} if "consult" in fields else {})}
        msgspec.convert({"type": tag, "id": 1, **filled}, ClientMessage)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value inside a message."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from paths(inner, (*path, key))


def changed(message: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(message)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


def removed(message: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    made = copy.deepcopy(message)
    place = made
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return made


WRONG: tuple[Any, ...] = (
    [],
    {},
    [[[[]]]],
    1.5,
    -1,
    2**63,
    2**64,
    True,
    "",
    "\u0000",
    "x" * 30_000,
    "'; DROP TABLE events; --",
    "../../etc/passwd",
    "${jndi:ldap://x}",
    {"$ne": None},
    "\u202e\u2066",
)


def malformed(tag: str, message: dict[str, Any]) -> Iterator[str]:
    """Yield texts made from a good message that are no good message."""
    decodes = msgspec.json.Decoder(ClientMessage).decode
    candidates = [removed(message, path) for path in paths(message) if path != ("id",)]
    candidates += [changed(message, path, bad) for path in paths(message) for bad in WRONG]
    candidates += [
        changed(message, (*path, "extra"), 1)
        for path in [(), *paths(message)]
        if isinstance(_at(message, path), dict)
    ]
    for candidate in candidates:
        text = json.dumps(candidate)
        try:
            decodes(text.encode())
        except (msgspec.DecodeError, RecursionError):
            yield text
    good = json.dumps(message)
    yield from (
        good[:-1],
        good + "x",
        "[" + good + "]",
        f'"{tag}"',
        "null",
        "",
        " ",
        "\ufeff" + good,
    )
    yield good.replace("{", '{"deep":' + "[" * 5_000 + "]" * 5_000 + ",", 1)
    yield good.replace("{", '{"number":NaN,', 1)
    yield good.replace("{", '{"number":Infinity,', 1)
    yield json.dumps({**message, "type": tag.upper()})
    yield json.dumps({**message, "type": "welcome"})
    yield json.dumps({**message, "type": None})


def _at(message: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        message = message[key]
    return message


class Scene:
    """A call with an operator watching, somebody else's consult, a bystander, and a relay that came too late for them."""

    def __init__(
        self, clinic: Clinic, call: Call, operator: Peer, other: Peer, relay: FakeRelay
    ) -> None:
        self.clinic, self.call, self.operator, self.other = clinic, call, operator, other
        self.people = {
            "patient": call.patient,
            "specialist": call.specialist,
            "operator": operator,
            "relay": relay,
        }

    @classmethod
    async def make(cls, clinic: Clinic) -> "Scene":
        call = await clinic.call()
        people = await clinic.operator(), await clinic.patient()
        return cls(clinic, call, *people, await FakeRelay.start(clinic, legs_max=0))

    def message(self, tag: str, consult: str | None = None) -> dict[str, Any]:
        """Return the type's sample about the call, or about another consult."""
        fields = copy.deepcopy(SAMPLES[tag])
        if "consult" in fields:
            fields["consult"] = consult or self.call.consult
        return {"type": tag, "id": UNSENT, **fields}

    def text(self, tag: str, peer: Peer, consult: str | None = None) -> str:
        """Return the sample with the peer's next id."""
        peer._id += 1
        return json.dumps({**self.message(tag, consult), "id": peer._id})

    def sender(self, tag: str) -> Peer:
        """Return somebody who may send this type."""
        action = PERMISSIONS.get(TYPES[tag])
        role = next(r for r in SENDERS if action is None or may(r, action))  # type: ignore[arg-type]
        return self.people[role]

    async def bystanders_are_well(self) -> None:
        """Everybody is still connected and answered."""
        for peer in (*self.people.values(), self.other):
            assert peer.close_code is None
            await peer.ping()


async def refusals_of(peer: Peer, texts: list[str]) -> list[dict[str, Any]]:
    """Send texts; return the answers, one for each."""
    mark = len(peer.messages)
    for text in texts:
        await peer.send_text(text)
    await peer.wait_until(
        lambda: sum(m["type"] == "error" for m in peer.messages[mark:]) >= len(texts)
    )
    return [m for m in peer.messages[mark:] if m["type"] == "error"]


def assert_says_nothing(answers: list[dict[str, Any]], log: StringIO, scene: Scene) -> None:
    """An error is a code and nothing else; the log holds no content, token or description."""
    for answer in answers:
        assert answer.keys() <= ERROR_FIELDS, answer
    text = log.getvalue()
    for secret in (SECRET, "v=0", scene.call.patient.token, scene.call.specialist.token):
        assert secret not in text


async def test_malformed(clinic: Clinic, log: StringIO) -> None:
    """Whatever is not a message of the protocol is `malformed`: counted, without effect, and the connection goes on."""
    scene = await Scene.make(clinic)
    before, total = await clinic.head(), 0
    for tag in SAMPLES:
        sender = scene.sender(tag)
        texts = []
        for text in malformed(tag, scene.message(tag)):
            sender._id += 1
            texts.append(text.replace(str(UNSENT), str(sender._id)))
        assert len(texts) > 30, tag
        answers = await refusals_of(sender, texts)
        assert {a["code"] for a in answers} == {"malformed"}, tag
        total += len(texts)
        assert clinic.refusals("malformed") == total, tag
        assert await clinic.head() == before, tag
        assert_says_nothing(answers, log, scene)
    await scene.bystanders_are_well()


async def test_wrong_role(clinic: Clinic, log: StringIO) -> None:
    """A role that may not send a type is `forbidden`, as often as it tries, and nothing happens."""
    scene = await Scene.make(clinic)
    before, total = await clinic.head(), 0
    for tag in SAMPLES.keys() - {"hello"}:
        action = PERMISSIONS[TYPES[tag]]
        for role, peer in scene.people.items():
            if action is None or may(role, action):  # type: ignore[arg-type]
                continue
            (answer,) = await refusals_of(peer, [scene.text(tag, peer)])
            assert answer["code"] == "forbidden", (tag, role)
            assert_says_nothing([answer], log, scene)
            total += 1
    assert total > 20
    assert clinic.refusals("forbidden") == total
    assert await clinic.head() == before
    await scene.bystanders_are_well()


CONSULT_TYPES = {tag for tag, fields in SAMPLES.items() if "consult" in fields}
REPORTS = {"setup_report", "restart_report"}
"""For metrics only, and counted only from a page in a call: ignored elsewhere, never refused."""


async def test_somebody_elses_consult(clinic: Clinic, log: StringIO) -> None:
    """Another's consult, and one that does not exist, can be neither read nor changed by any type."""
    scene = await Scene.make(clinic)
    before, seen, total = await clinic.head(), len(scene.other.messages), 0
    for tag in CONSULT_TYPES - REPORTS:
        action = PERMISSIONS[TYPES[tag]]
        for role, peer in scene.people.items():
            if action is not None and not may(role, action):  # type: ignore[arg-type]
                continue
            for consult in (scene.other.consult, "no-such-consult"):
                (answer,) = await refusals_of(peer, [scene.text(tag, peer, consult)])
                assert answer["code"] in ("not_found", "ring_over", "wrong_state"), (tag, role)
                assert_says_nothing([answer], log, scene)
                total += 1
    assert total > 20
    assert await clinic.head() == before
    assert {m["type"] for m in scene.other.messages[seen:]} <= {"consult"}
    await scene.bystanders_are_well()


async def test_replayed(clinic: Clinic) -> None:
    """A message whose id was used is `out_of_order` and not done a second time, whatever its type."""
    scene = await Scene.make(clinic)
    before = await clinic.head()
    for tag in SAMPLES:
        sender = scene.sender(tag)
        await sender.ping()
        (answer,) = await refusals_of(
            sender, [json.dumps({**scene.message(tag), "id": sender._id})]
        )
        assert (answer["code"], answer["re"]) == ("out_of_order", sender._id), tag
    assert await clinic.head() == before
    await scene.bystanders_are_well()


async def test_before_the_hello(clinic: Clinic) -> None:
    """A stranger can send no type at all."""
    for tag in SAMPLES.keys() - {"hello"}:
        stranger = clinic.peer("")
        await stranger.dial()
        fields = {"consult": "c1"} if "consult" in SAMPLES[tag] else {}
        await stranger.send(tag, **{**SAMPLES[tag], **fields})
        assert await stranger.until_closed() == 4001, tag
    assert clinic.refusals("unauthenticated") == len(SAMPLES) - 1


@pytest.mark.parametrize("request_id", [0, -1, 2**53, 1.5, "1", None, True, [1]])
async def test_ids_out_of_bounds(clinic: Clinic, request_id: object) -> None:
    """An id that is no positive integer below 2^53 is `malformed`."""
    patient = await clinic.patient(intake=False)
    (answer,) = await refusals_of(patient, [json.dumps({"type": "ping", "id": request_id})])
    assert answer["code"] == "malformed"
    await patient.ping()


async def test_the_last_id(clinic: Clinic) -> None:
    """After the largest id there is no next one, and nothing overflows."""
    patient = await clinic.patient(intake=False)
    await patient.send_text(json.dumps({"type": "ping", "id": 2**53 - 1}))
    await patient.wait_for(lambda m: m.get("re") == 2**53 - 1)
    assert await patient.refused("ping") == "out_of_order"


async def test_forged_sender(clinic: Clinic) -> None:
    """A description carries the server's idea of who sent it; a claim of the sender's own is not part of the protocol."""
    call = await clinic.call()
    message = {"consult": call.consult, "description": {"type": "offer", "sdp": SDP}}
    for claim in ("sender", "instance", "role", "participant", "from"):
        assert await call.patient.refused("description", **message, **{claim: "a_x"}) == "malformed"
    await call.patient.send("description", **message)
    got = await call.specialist.wait_for(lambda m: m["type"] == "description")
    assert got["sender"] == f"p_{call.consult}"


async def test_lone_surrogates(clinic: Clinic, log: StringIO) -> None:
    """Half a character is refused, escaped or in bytes; a whole one outside the basic plane passes."""
    call = await clinic.call()
    before = await clinic.head()
    texts = [
        f'{{"type":"chat","id":{call.patient._id + 1},"consult":"{call.consult}","key":"k1234567","text":"\\ud800"}}',
        f'{{"type":"chat","id":{call.patient._id + 2},"consult":"{call.consult}","key":"k1234567","text":"\\udc00\\ud800"}}',
    ]
    call.patient._id += 2
    answers = await refusals_of(call.patient, texts)
    assert {a["code"] for a in answers} == {"malformed"}
    assert await clinic.head() == before
    await call.patient.chat("\U0001f9d1\u200d\u2695\ufe0f")
    await call.specialist.wait_until(
        lambda: call.specialist.said == ["\U0001f9d1\u200d\u2695\ufe0f"]
    )


async def test_duplicate_keys(clinic: Clinic) -> None:
    """With a key twice one of the two counts for everything: nobody gets past a check with the other."""
    scene = await Scene.make(clinic)
    own, foreign = scene.call.consult, scene.other.consult
    patient, seen = scene.call.patient, len(scene.other.entries)
    for first, second in ((own, foreign), (foreign, own)):
        patient._id += 1
        await patient.send_text(
            f'{{"type":"chat","id":{patient._id},"consult":"{first}","consult":"{second}","key":"dup{patient._id:05}","text":"twice"}}'
        )
        await patient.wait_for(lambda m: m.get("re") == patient._id)
    patient._id += 1
    await patient.send_text(
        f'{{"type":"ping","type":"end","id":{patient._id},"consult":"{own}","outcome":"advice"}}'
    )
    answer = await patient.wait_for(lambda m: m.get("re") == patient._id)
    assert answer.get("code") in ("malformed", "forbidden")
    assert len(scene.other.entries) == seen
    await scene.bystanders_are_well()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ageMonths": 5_000}, "malformed"),
        ({"signs": ["no_such_sign"]}, "malformed"),
        ({"language": "not a tag"}, "malformed"),
        ({"complaint": ""}, "malformed"),
        ({"complaint": "x" * 2_001}, "malformed"),
        ({"consent": False}, "consent_missing"),
        ({"signs": ["fever"] * 65}, "malformed"),
    ],
)
async def test_intake_out_of_bounds(clinic: Clinic, changes: dict[str, Any], code: str) -> None:
    """An intake with anything outside its bounds records nothing."""
    patient = await clinic.patient(intake=False)
    before = await clinic.head()
    assert await patient.refused("intake", form=form(**changes)) == code
    assert await clinic.head() == before


@pytest.mark.parametrize("outcome", ["patient_left", "lost"])
async def test_outcomes_that_a_specialist_can_not_pick(clinic: Clinic, outcome: str) -> None:
    """The outcomes that follow from what happened can't be claimed."""
    call = await clinic.call()
    before = await clinic.head()
    assert (
        await call.specialist.refused("end", consult=call.consult, outcome=outcome) == "malformed"
    )
    assert await clinic.head() == before


async def test_bytes_that_are_no_text(clinic: Clinic) -> None:
    """A binary frame ends its own connection with 4003, and no other."""
    call = await clinic.call()
    await call.patient.send_bytes(b"\x00\xff" * 50)
    assert await call.patient.until_closed() == 4003
    await call.specialist.ping()


async def test_oversized(clinic: Clinic) -> None:
    """A message above the limit ends its own connection with 4009; one at the limit is looked at."""
    call = await clinic.call()
    before = await clinic.head()
    await call.specialist.send_text(" " * MAX_MESSAGE_BYTES)
    await call.specialist.wait_for(lambda m: m.get("code") == "malformed")
    await call.patient.send_text(" " * (MAX_MESSAGE_BYTES + 1))
    assert await call.patient.until_closed() == 4009
    assert await clinic.head() == before
    await call.specialist.ping()


async def test_codes_that_close_are_the_ones_that_closed(clinic: Clinic) -> None:
    """Of the codes that a connected peer can provoke by a message, none closes that says it doesn't."""
    scene = await Scene.make(clinic)
    for code in (Code.MALFORMED, Code.FORBIDDEN, Code.NOT_FOUND, Code.OUT_OF_ORDER):
        assert CODES[code].close is None
    await scene.bystanders_are_well()


def test_hello_is_the_only_one_without_permission() -> None:
    """Each type but the hello is in the table of permissions."""
    assert set(TYPES.values()) - {Hello} == set(PERMISSIONS)
    assert all(isinstance(mi.type_info(cls), mi.StructType) for cls in TYPES.values())


async def test_many_refusals_cost_others_nothing(clinic: Clinic) -> None:
    """While one peer sends nothing but rubbish, another's answers come as fast as before."""
    scene = await Scene.make(clinic)
    texts = list(malformed("chat", scene.message("chat"))) * 5

    async def rubbish() -> None:
        await refusals_of(scene.call.patient, texts)

    task = asyncio.create_task(rubbish())
    waits = [await scene.other.ping() for _ in range(30)]
    await task
    assert sorted(waits)[15] < 0.25
