# SPDX-License-Identifier: Apache-2.0
"""One sample for each message and direction, read by Python here and by JavaScript in tests/js."""

import json
from pathlib import Path
from typing import get_args

import jsonschema
import msgspec
import pytest

from signalling.wire import codec
from signalling.wire.generate import SCHEMA, main, outputs, protocol
from signalling.wire.messages import ClientMessage, ServerMessage
from signalling.wire.reference import read_wire

GOLDEN = Path(__file__).parent / "golden"
CLIENT = sorted(GOLDEN.glob("client.*.json"))
SERVER = sorted(GOLDEN.glob("server.*.json"))


def tags(union):
    return sorted(msgspec.inspect.type_info(cls).tag for cls in get_args(union))


def test_every_message_has_a_sample():
    """No message type is without a golden sample, in either direction, and no sample is left over."""
    assert sorted(path.name.split(".")[1] for path in CLIENT) == tags(ClientMessage)
    assert sorted(path.name.split(".")[1] for path in SERVER) == tags(ServerMessage)


@pytest.mark.parametrize("path", CLIENT, ids=lambda path: path.stem)
def test_client_samples_are_read_and_written_unchanged(path):
    """A client's message survives decoding and encoding without losing or changing a field."""
    data = path.read_bytes()
    message = codec.decode(data)
    assert json.loads(msgspec.json.encode(message)) == json.loads(data)


@pytest.mark.parametrize("path", SERVER, ids=lambda path: path.stem)
def test_server_samples_are_read_and_written_unchanged(path):
    """A server's message survives decoding and encoding without losing or changing a field."""
    data = path.read_bytes()
    message = msgspec.json.decode(data, type=ServerMessage, strict=True)
    assert json.loads(codec.encode(message)) == json.loads(data)


@pytest.mark.parametrize("path", CLIENT + SERVER, ids=lambda path: path.stem)
def test_samples_fill_every_field(path):
    """A sample shows each field of its message, so that a renamed field can't pass unseen."""
    wire = read_wire()
    structs = wire.from_client if path.name.startswith("client") else wire.from_server
    sample = json.loads(path.read_bytes())
    struct = next(struct for struct in structs if struct.tag == sample["type"])
    assert sorted(sample) == sorted(["type", *(field.name for field in struct.fields)])


@pytest.mark.parametrize("path", CLIENT + SERVER, ids=lambda path: path.stem)
def test_samples_obey_the_json_schema(path):
    """The generated schema accepts every sample, and refuses it with a field of the wrong type."""
    whole = json.loads(SCHEMA.read_bytes())
    side = "ClientMessage" if path.name.startswith("client") else "ServerMessage"
    validator = jsonschema.Draft202012Validator(
        {"$ref": f"#/$defs/{side}", "$defs": whole["$defs"]}
    )
    sample = json.loads(path.read_bytes())
    validator.validate(sample)
    number = "id" if side == "ClientMessage" else next(iter(sample.keys() - {"type"}))
    assert not validator.is_valid(sample | {number: {"wrong": True}})


def test_generated_files_are_fresh():
    """schema.json, wire.js and the tables of protocol.md are what the message types say now."""
    stale = [path.name for path, text in outputs().items() if path.read_text("utf-8") != text]
    assert not stale, "run `make wire`"
    assert main(["--check"]) == 0


def test_a_page_without_a_section_is_refused():
    """Removing a generated section from the protocol page is an error, not a silent loss."""
    with pytest.raises(ValueError, match="codes"):
        protocol("# The wire\n", read_wire())


def test_every_message_and_field_of_a_list_is_explained():
    """Each message, piece and closed list says in one sentence what it is."""
    wire = read_wire()
    things = (*wire.from_client, *wire.from_server, *wire.pieces, *wire.lists)
    assert [thing.name for thing in things if not thing.text.endswith((".", "."))] == []
