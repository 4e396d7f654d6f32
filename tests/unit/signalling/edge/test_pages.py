# SPDX-License-Identifier: Apache-2.0
import asyncio
import base64
import gzip
import hashlib
import html.parser
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

import aiohttp
import brotli
import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from signalling.edge.paced import PIECE_BYTES, UNPACED_BYTES, InPieces
from signalling.edge.pages import (
    PATIENT_CALL_BYTES,
    PATIENT_CONTENT_BYTES,
    PATIENT_FIRST_BYTES,
    PATIENT_PAGE_BYTES,
    Pages,
    Rendered,
    choose_encoding,
    choose_language,
)

ROOT = Path(__file__).parents[4]
LANGUAGES = ("en", "id")
TYPESCRIPT = ROOT / "tests/js/node_modules/.bin/tsc"


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages()


@pytest.fixture
async def origin(pages: Pages) -> AsyncIterator[tuple[str, int]]:
    """Serve the pages; yields host and port."""
    app = web.Application()
    app.add_routes(pages.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][:2]
    await runner.cleanup()


async def fetch(
    origin: tuple[str, int], path: str, **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and the body as it came, undecoded."""
    url = f"http://{origin[0]}:{origin[1]}{path}"
    async with (
        aiohttp.ClientSession(auto_decompress=False) as client,
        client.get(
            url, headers={name.replace("_", "-"): value for name, value in headers.items()}
        ) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


async def on_the_wire(origin: tuple[str, int], path: str) -> int:
    """Return how many bytes a browser gets for its first request, headers included."""
    reader, writer = await asyncio.open_connection(*origin)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: selat.example\r\nAccept-Encoding: gzip, br\r\nConnection: close\r\n\r\n".encode()
    )
    size = len(await reader.read())
    writer.close()
    await writer.wait_closed()
    return size


class Outline(html.parser.HTMLParser):
    """What a page would fetch or run, and its inline parts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.states: set[str] = set()
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.inline:
            self.inline[tag].append("")
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.states |= {
            state for name, value in attrs if name == "data-in" for state in (value or "").split()
        }
        self._in = tag if tag in self.inline else ""

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in:
            self.inline[self._in][-1] += data


def whole(page: Rendered) -> str:
    return b"".join(page.bodies[""]).decode()


def outline(pages: Pages, language: str) -> Outline:
    return Outline(whole(pages.patient[language]))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_patient_page_is_at_most_16_kb_on_the_wire(
    origin: tuple[str, int], pages: Pages, language: str
) -> None:
    """Headers and all: on 64 kbit/s it is there in 2 s, and what calls need beside it 1.6 s later."""
    assert await on_the_wire(origin, f"/{language}") <= PATIENT_PAGE_BYTES == 16_384
    [late] = late_parts(pages, language)
    assert await on_the_wire(origin, late) <= PATIENT_CALL_BYTES == 13_056
    [content] = late_parts(pages, language, "data-content")
    assert await on_the_wire(origin, content) <= PATIENT_CONTENT_BYTES == 10_752


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("encoding", ["br", "gzip", ""])
def test_the_first_screen_comes_first_and_alone(pages: Pages, language: str, encoding: str) -> None:
    """A fifth of the page, readable and alive without the rest: the button, its style, a script that waits for nothing."""
    body = pages.patient[language].bodies[encoding]
    assert len(body) == 2
    headers = sum(
        len(name) + len(value) + 4 for name, value in pages.patient[language].headers.items()
    )
    if encoding == "br":
        assert len(body[0]) + headers + 160 <= PATIENT_FIRST_BYTES == 3_072
    read = {
        "br": brotli.Decompressor().process,
        "gzip": zlib.decompressobj(zlib.MAX_WBITS | 16).decompress,
        "": bytes,
    }[encoding]
    first = read(body[0]).decode()
    assert first == whole(pages.patient[language])[: len(first)]
    assert first.endswith("</script>")
    shown = Outline(first)
    assert ("button", "id", "join") in shown.attributes
    assert [name for tag, name, _ in shown.attributes if tag == "script"] == []
    assert len(shown.inline["script"]) == len(shown.inline["style"]) == 1


async def test_each_part_of_a_page_is_written_by_itself(pages: Pages) -> None:
    """As TLS puts what is written into one record, and a record is read when it is whole; slowly at first, on a thin link."""
    written: list[bytes] = []

    class Writer:
        output_size = 0

        async def write(self, chunk: bytes) -> None:
            self.output_size += len(chunk)
            written.append(chunk)

    parts = pages.patient["id"].bodies["br"]
    writer = cast(AbstractStreamWriter, Writer())
    body = InPieces(parts)
    await body.write(writer)
    assert tuple(written) == parts
    assert body.size == sum(map(len, parts))

    written.clear()
    begun = time.monotonic()
    await InPieces(parts, bps=400_000).write(writer)
    assert b"".join(written) == b"".join(parts)
    assert len(written[0]) == PIECE_BYTES
    # The kernel paces what comes after ten segments.
    assert sum(len(each) for each in written[:-1]) >= UNPACED_BYTES
    assert time.monotonic() - begun >= 0.8 * UNPACED_BYTES * 8 / 400_000


def late_parts(pages: Pages, language: str, attribute: str = "data-call") -> list[str]:
    return [value for _, name, value in outline(pages, language).attributes if name == attribute]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_calls_need_is_one_response_for_ever(
    origin: tuple[str, int], pages: Pages, language: str
) -> None:
    """Its address names its content, it imports nothing, and it leaves what the page is made of to the page."""
    [address] = late_parts(pages, language)
    assert re.fullmatch(rf"/static/call-{language}\.js\?v=\w+", address)
    status, headers, _ = await fetch(origin, address, Accept_Encoding="br")
    assert (status, headers["Content-Encoding"]) == (200, "br")
    assert "immutable" in headers["Cache-Control"]
    text = whole(pages.static[f"call-{language}.js"])
    # What a call without a relay needs, when there is one.
    assert re.findall(r"\bimport\b.", text) == ["import("]
    assert "/api/join" not in text
    assert "RTCPeerConnection(" not in "".join(outline(pages, language).inline["script"])


def test_what_is_fetched_by_name_is_there_under_it(pages: Pages) -> None:
    """Each address that the call part fetches by name is served, whole, with a default export of its own."""
    call = whole(pages.static["call-en.js"])
    names = re.findall(r"/static/(\w+\.js)", call)
    assert set(names) == {"direct_limits.js", "voice_worker.js"}
    for name in names:
        rendered = pages.static[name]
        assert rendered.headers["Cache-Control"] == "max-age=3600"
        assert "export default" in whole(rendered)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_patient_page_needs_nothing_else_to_be_shown(pages: Pages, language: str) -> None:
    """No script, style, picture or font from anywhere: one response is the page, until somebody is called."""
    page = outline(pages, language)
    sources = [
        each for each in page.attributes if each[1] in {"src", "srcset", "poster", "data", "action"}
    ]
    assert sources == []
    links = {(tag, value) for tag, name, value in page.attributes if name == "href"}
    assert {value for tag, value in links if tag == "link"} == {"data:,"}
    assert {value for tag, value in links if tag != "link"} == {f"/{code}" for code in LANGUAGES}
    assert "url(" not in "".join(page.inline["style"])
    assert re.findall(r"\bimport\b.", "".join(page.inline["script"])) == ["import("]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_policy_allows_exactly_the_inline_parts(pages: Pages, language: str) -> None:
    """Hashes, no `unsafe-inline`; and no attribute that the policy would stop."""
    page = outline(pages, language)
    policy = pages.patient[language].headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        digests = [hashlib.sha256(text.encode()).digest() for text in page.inline[tag]]
        hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
        own = ["'self'"] if tag == "script" else []
        assert f"{directive} {' '.join([*own, *hashes])};" in policy
    assert [
        each for each in page.attributes if each[1] == "style" or each[1].startswith("on")
    ] == []


@pytest.mark.parametrize("page", ["patient", "specialist", "operator"])
def test_no_page_allows_inline_or_foreign_code(pages: Pages, page: str) -> None:
    """What a policy must never have, and what every page is sent with."""
    for rendered in getattr(pages, page).values():
        policy = rendered.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "*" not in policy
        assert rendered.headers["Referrer-Policy"] == "no-referrer"
        assert rendered.headers["X-Content-Type-Options"] == "nosniff"
        assert "camera=(self)" in rendered.headers["Permissions-Policy"]
        assert rendered.headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_is_in_one_language(pages: Pages, language: str) -> None:
    """The Indonesian page has no English left, neither in its markup nor in its script."""
    text = whole(pages.patient[language])
    found = {"Please load this page again.", "Tell it in your own words", "Stiff neck"} & set(
        re.findall(r"Please load this page again\.|Tell it in your own words|Stiff neck", text)
    )
    assert len(found) == (3 if language == "en" else 0)
    assert f"lang={language}" in text


def test_every_state_of_the_patient_page_is_documented(pages: Pages) -> None:
    """Markup, script and docs/states.md have the same closed list."""
    script = (ROOT / "signalling/web/js/pages/patient.js").read_text(encoding="utf-8")
    union = re.search(r"@typedef \{([^}]*)\} PageState", script)
    assert union
    states = set(re.findall(r'"(\w+)"', union[1]))
    assert outline(pages, "en").states == states
    described = (
        (ROOT / "docs/states.md")
        .read_text(encoding="utf-8")
        .split("## Patient")[1]
        .split("\n## ")[0]
    )
    assert set(re.findall(r"^- `(\w+)`:", described, re.MULTILINE)) == states


async def test_every_encoding_is_the_same_page(origin: tuple[str, int]) -> None:
    """What the browser can't take is not sent; a page of any encoding has its own tag."""
    tags = set()
    for accepted, decode in (
        ("br, gzip", brotli.decompress),
        ("gzip", gzip.decompress),
        ("identity", bytes),
    ):
        status, headers, body = await fetch(origin, "/en", Accept_Encoding=accepted)
        assert status == 200
        assert decode(body).startswith(b"<!doctype html>")
        assert "Accept-Encoding" in headers["Vary"]
        tags.add(headers["ETag"])
    assert len(tags) == 3


async def test_a_page_that_the_browser_has_is_not_sent_again(origin: tuple[str, int]) -> None:
    """Asked each time, so that nobody works with last week's page; answered in a few hundred bytes."""
    _, headers, _ = await fetch(origin, "/id")
    assert headers["Cache-Control"] == "no-cache"
    status, _, body = await fetch(origin, "/id", If_None_Match=headers["ETag"])
    assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "accepted", "language"),
    [
        ("/id", "en", "id"),
        ("/en", "id", "en"),
        ("/?lang=en", "id", "en"),
        ("/?lang=xx", "en;q=0.5", "en"),
        ("/", "en-GB,en;q=0.9,id;q=0.8", "en"),
        ("/", "in-ID", "id"),
        ("/", "ko", "id"),
        ("/", "", "id"),
        ("/specialist?lang=en", "id", "en"),
        ("/operator", "en", "en"),
    ],
)
async def test_the_language_is_the_links_then_the_browsers(
    origin: tuple[str, int], path: str, accepted: str, language: str
) -> None:
    """Path, then `?lang`, then `Accept-Language`, then Indonesian."""
    _, headers, _ = await fetch(origin, path, Accept_Language=accepted)
    assert headers["Content-Language"] == language


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("en;q=0,id;q=0.1", "id"),
        ("fr, en;q=0.3, id;q=0.7", "id"),
        ("en;q=nonsense", "id"),
        (";;;,,=", "id"),
        ("x" * 5_000 + ",en", "id"),
    ],
)
def test_a_strange_language_header_does_no_harm(accepted: str, language: str) -> None:
    """What can't be read counts for nothing."""
    assert choose_language("", accepted, ("en", "id"), "id") == language


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("br;q=0, gzip", "gzip"),
        ("deflate", ""),
        ("", ""),
        ("BR", "br"),
    ],
)
def test_the_best_encoding_that_is_taken(accepted: str, encoding: str) -> None:
    """Brotli, then gzip, then none."""
    assert choose_encoding(accepted) == encoding


async def test_assets_are_kept_for_ever_under_a_name_of_their_content(
    origin: tuple[str, int], pages: Pages
) -> None:
    """The staff pages' scripts and styles carry a hash; what isn't there is a 404."""
    page = whole(pages.specialist["en"])
    assets = re.findall(r"/static/[\w.-]+\?v=\w+", page)
    assert len(assets) == 3
    for asset in assets:
        status, headers, _ = await fetch(origin, asset)
        assert status == 200
        assert "immutable" in headers["Cache-Control"]
        assert headers["ETag"].strip('"').startswith(asset.split("=")[1])
    assert (await fetch(origin, "/static/../pages.py"))[0] == 404


@pytest.mark.skipif(
    not TYPESCRIPT.exists(), reason="the type checker for JavaScript is not installed"
)
def test_the_finished_scripts_know_every_name_that_they_use(pages: Pages, tmp_path: Path) -> None:
    """Putting together, translating and shortening loses no name and makes none twice."""
    node = shutil.which("node")
    assert node
    scripts = {
        f"{name}.js": whole(page).encode()
        for name, page in pages.static.items()
        if name.endswith(".js")
    }
    for language in LANGUAGES:
        first, module = outline(pages, language).inline["script"]
        # The module has a scope of its own, and what the first one declares.
        scripts[f"patient.{language}.js"] = f"{first}\n{{{module}\n}}".encode()
    for name, body in scripts.items():
        (tmp_path / name).write_bytes(body)
        subprocess.run(
            [node, "--check", "--input-type=module", "-"], input=body, check=True, timeout=30
        )
    options = "--allowJs --checkJs --noEmit --skipLibCheck --target es2022 --module es2022 --moduleDetection force"
    command = [
        str(TYPESCRIPT),
        *options.split(),
        "--lib",
        "es2022,dom,dom.iterable",
        "--types",
        "",
        *scripts,
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout
    # Without its comments a script has no types: only names that are missing or doubled, and syntax, count here.
    bad = re.findall(r"^.*error TS(?:1\d{3}|2304|2448|2451|2552|18004):.*$", found, re.MULTILINE)
    assert bad == []
    assert "error TS" in found, "the checker must have looked"
