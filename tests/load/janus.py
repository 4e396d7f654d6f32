# SPDX-License-Identifier: Apache-2.0
"""Debian's Janus for the comparison: its process with settings of its own, and VideoRoom over WebSocket.

A person in a VideoRoom has two peer connections, one to publish and one for the other person's media.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from media.relay.description import AudioOffer, Candidate, Offer, VideoOffer
from tests.load.process import Server, serving
from tests.support.processes import free_port
from tests.support.relay_peer import Peer

FOLDER = "/usr/lib/{}/janus/{}"
WAIT_S = 20.0
ICE = ("peer", "passwordpasswordpassword")
"""What `Peer` signs its checks with."""


def installed() -> bool:
    """Tell whether it can be run here."""
    return shutil.which("janus") is not None


def _settings(folder: Path, port: int) -> None:
    triplet = next(path.parent.name for path in Path("/usr/lib").glob("*/janus"))
    plugins, transports = (FOLDER.format(triplet, kind) for kind in ("plugins", "transports"))
    (folder / "janus.jcfg").write_text(f"""
general: {{ configs_folder = "{folder}" plugins_folder = "{plugins}" transports_folder = "{transports}"
  debug_level = 1 session_timeout = 0 }}
media: {{ ipv6 = false rtp_port_range = "20000-40000" }}
nat: {{ ice_lite = true }}
plugins: {{ disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,\
libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so" }}
transports: {{ disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so" }}
""")  # fmt: skip
    (folder / "janus.transport.websockets.jcfg").write_text(
        f'general: {{ ws = true ws_port = {port} ws_ip = "127.0.0.1" }}\n'
    )
    (folder / "janus.plugin.videoroom.jcfg").write_text("general: { }\n")


class Janus:
    """A session with a running Janus."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._session = 0
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def close(self) -> None:
        """End it."""
        self._reader.cancel()
        await self._socket.close()

    async def _read(self) -> None:
        async for message in self._socket:
            data = message.json()
            waiting = self._waiting.get(data.get("transaction", ""))
            if waiting is not None and data["janus"] != "ack" and not waiting.done():
                waiting.set_result(data)

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return what it leads to."""
        name = str(next(self._numbers))
        self._waiting[name] = asyncio.get_running_loop().create_future()
        request = {"janus": kind, "transaction": name, **fields}
        if self._session:
            request["session_id"] = self._session
        await self._socket.send_json(request)
        async with asyncio.timeout(WAIT_S):
            answer = await self._waiting[name]
        del self._waiting[name]
        if answer["janus"] == "error":
            raise RuntimeError(answer["error"]["reason"])
        return answer

    async def begin(self) -> None:
        """Make the session."""
        self._session = (await self.ask("create"))["data"]["id"]

    async def handle(self) -> int:
        """Attach to VideoRoom."""
        found = await self.ask("attach", plugin="janus.plugin.videoroom")
        return int(found["data"]["id"])

    async def room(self, number: int) -> None:
        """Make a room for two."""
        body = {"request": "create", "room": number, "publishers": 2, "bitrate": 0, "videocodec": "vp8"}  # fmt: skip
        await self.ask("message", handle_id=await self.handle(), body=body)

    async def publish(self, room: int, ssrcs: tuple[int, int, int]) -> tuple[Peer, int]:
        """Make the connection that sends; return it and the publisher's number."""
        peer = Peer(_nothing(), ssrcs=ssrcs)
        body = {"request": "joinandconfigure", "room": room, "ptype": "publisher", "audio": True, "video": True}  # fmt: skip
        jsep = {"type": "offer", "sdp": _description(peer, None)}
        event = await self.ask("message", handle_id=await self.handle(), body=body, jsep=jsep)
        peer.point_to(_offer(event["jsep"]["sdp"]))
        return peer, int(event["plugindata"]["data"]["id"])

    async def watch(self, room: int, publisher: int, ssrcs: tuple[int, int, int]) -> Peer:
        """Make the connection that receives what a publisher sends."""
        handle = await self.handle()
        body = {"request": "join", "room": room, "ptype": "subscriber", "streams": [{"feed": publisher}]}  # fmt: skip
        async with asyncio.timeout(WAIT_S):
            event = await self.ask("message", handle_id=handle, body=body)
            for _ in range(200):
                if "jsep" in event:
                    break
                await asyncio.sleep(
                    0.02
                )  # the publisher is not up yet, and nobody tells when it is
                event = await self.ask("message", handle_id=handle, body=body)
        sdp = event["jsep"]["sdp"]
        peer = Peer(_nothing(), ssrcs=ssrcs)
        peer.point_to(_offer(sdp))
        jsep = {"type": "answer", "sdp": _description(peer, sdp)}
        await self.ask("message", handle_id=handle, body={"request": "start"}, jsep=jsep)
        return peer


def _nothing() -> Offer:
    return Offer(
        ice=["u:p"], fingerprint="sha-256 0", candidates=[], audio=AudioOffer(ssrc=1),
        video=VideoOffer(ssrc=2, rtx_ssrc=3), extensions=[],
    )  # fmt: skip


def _found(pattern: str, sdp: str) -> str:
    match = re.search(pattern, sdp)
    assert match is not None, pattern
    return match[1]


def _offer(sdp: str) -> Offer:
    """Return where Janus is and who it is, as fields."""
    ufrag, pwd = _found(r"a=ice-ufrag:(\S+)", sdp), _found(r"a=ice-pwd:(\S+)", sdp)
    where = re.search(r"a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+)", sdp)
    assert where is not None
    return Offer(
        ice=[f"{ufrag}:{pwd}"],
        fingerprint=_found(r"a=fingerprint:(.+?)\r?\n", sdp),
        candidates=[Candidate("udp", where[1], int(where[2]))],
        audio=AudioOffer(ssrc=1), video=VideoOffer(ssrc=2, rtx_ssrc=3), extensions=[],
    )  # fmt: skip


def _description(peer: Peer, to: str | None) -> str:
    """Return the peer's offer to send, or its answer to an offer of Janus's."""
    voice, picture, again = peer.ssrcs
    kinds = [("audio", "0", "111", ["111 opus/48000/2"]), ("video", "1", "96 97", ["96 VP8/90000", "97 rtx/90000"])]  # fmt: skip
    direction = "sendonly"
    if to is not None:
        direction = "recvonly"
        kinds = [
            (kind, _found(r"a=mid:(\S+)", part), types, re.findall(r"a=rtpmap:(.+?)\r?\n", part))
            for kind, types, part in re.findall(
                r"m=(audio|video) \d+ \S+ ([\d ]+)\r?\n(.*?)(?=m=|\Z)", to, re.DOTALL
            )
        ]
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE " + " ".join(mid for _, mid, _, _ in kinds)]  # fmt: skip
    for kind, mid, types, maps in kinds:
        lines += [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {types}", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", f"a={direction}", "a=rtcp-mux",
            f"a=ice-ufrag:{ICE[0]}", f"a=ice-pwd:{ICE[1]}", f"a=fingerprint:{peer.certificate.fingerprint}",
            "a=setup:passive", *(f"a=rtpmap:{each}" for each in maps),
        ]  # fmt: skip
        if kind == "video":
            codec = types.split()[0]
            lines += [f"a=rtcp-fb:{codec} nack", f"a=rtcp-fb:{codec} nack pli"]
            if len(types.split()) > 1:
                lines += [f"a=fmtp:{types.split()[1]} apt={codec}"]
        if to is None:
            own = [voice] if kind == "audio" else [picture, again]
            if kind == "video":
                lines.append(f"a=ssrc-group:FID {picture} {again}")
            lines += [f"a=ssrc:{ssrc} cname:p" for ssrc in own]
    return "\r\n".join(lines) + "\r\n"


@asynccontextmanager
async def server(core: int, folder: Path) -> AsyncIterator[tuple[Server, Janus]]:
    """Run it on one core with settings in this folder, and open a session."""
    port = free_port()
    _settings(folder, port)
    command = ["janus", "-F", str(folder), "-C", str(folder / "janus.jcfg")]
    async with serving("Janus", command, core, b"", port) as running, aiohttp.ClientSession() as http:  # fmt: skip
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    socket = await http.ws_connect(
                        f"http://127.0.0.1:{port}", protocols=("janus-protocol",)
                    )
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        janus = Janus(socket)
        try:
            await janus.begin()
            yield running, janus
        finally:
            await janus.close()
