# SPDX-License-Identifier: Apache-2.0
"""The pages, rendered once when the server starts: per page, language and encoding, ready to send.

Nothing is computed per request but the choice of language (path, then ``?lang``, then ``Accept-Language``) and of the
encoding. The patient page is one response with its style and its scripts inside, of which the first screen comes first and
can be used before the rest is there; what it needs for calls comes from ``/static`` after that. The other two fetch all of
theirs from there. These addresses carry a hash of the content and never change their meaning.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import brotli
import minify_html
from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from signalling.core import triage
from signalling.edge.paced import InPieces, Pacer
from signalling.metrics import Page
from signalling.web import bundle, catalogues

_WEB = Path(catalogues.__file__).parent
_INLINE = re.compile(r"%%([\w/]+\.(?:css|js))%%")
"""Where a file below the web folder goes, in a template that was rendered and made smaller."""
_FIRST_SCRIPT = "js/pages/patient_first.js"
"""Runs as soon as it has come; the other one is a module, and runs when all has."""
_FIRST_ENDS = "</script>"
"""The first of these ends what comes first of the patient page."""

PATIENT_PAGE_BYTES = 16 * 1024
"""Ceiling for the patient page as sent, headers included: 2 s on 64 kbit/s, and two round trips of TCP's first window."""
PATIENT_FIRST_BYTES = 3 * 1024
"""The same for what comes first: the screen with the button to join, and its script."""
PATIENT_CALL_BYTES = 13_056
"""The same for what it fetches beside that for calls: 1.6 s on 64 kbit/s, while the person reads."""

PATIENT_CONTENT_BYTES = 10_752
"""And for photographs and voice messages, which follow when calls can be made."""

_HEADERS = {
    "Server": "Selat",  # else the names and versions of what it is made of
    "X-Content-Type-Options": "nosniff",
    # The fragment never travels, but a path could name what someone is here for.
    "Referrer-Policy": "no-referrer",
}
_PAGE_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self)",
}
_CSP = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data: blob:; media-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_ENCODINGS = ("br", "gzip", "")
_FOR_EVER: Mapping[str, str] = {"Cache-Control": "public, max-age=31536000, immutable"}
_VOICE = "voice_worker.js"
_DIRECT = "direct_limits.js"
"""Fetched by name, by pages of any version: what they say to each other may only grow, or the name changes. Kept
for an hour: a page that comes back in a call has no round trip to lose."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A body in every encoding, and what goes with it."""

    bodies: Mapping[str, tuple[bytes, ...]]
    """Mostly of one part; of two, the first is written by itself, so that it can be decrypted and shown by itself."""
    headers: Mapping[str, str]
    etag: str

    @classmethod
    def of(
        cls,
        text: str,
        content_type: str,
        headers: Mapping[str, str],
        quality: int = 11,
        first: int = 0,
    ) -> Rendered:
        """Compress once; Brotli's highest ``quality`` is slow, and worth it where each byte counts.

        The first part is the ``first`` characters; each part can be decompressed when it is there, which costs 60 octets.
        """
        parts = [part.encode() for part in (text[:first], text[first:]) if part]
        etag = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
        bodies = {"br": _brotli(parts, quality), "gzip": _gzip(parts), "": tuple(parts)}
        return cls(
            bodies, {"Content-Type": f"{content_type}; charset=utf-8", **_HEADERS, **headers}, etag
        )

    def response(self, request: web.Request, bps: float | None = None) -> web.Response:
        """Answer with what this client takes, not faster than ``bps`` at first; 304 if it has it already."""
        encoding = choose_encoding(request.headers.get("Accept-Encoding", ""))
        etag = f"{self.etag}{encoding[:1]}"
        headers = {**self.headers, "ETag": f'"{etag}"'}
        if f'"{etag}"' in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        if encoding:
            headers["Content-Encoding"] = encoding
        parts = self.bodies[encoding]
        whole = bps is None and len(parts) == 1
        return web.Response(body=parts[0] if whole else InPieces(parts, bps), headers=headers)


class Pages:
    """All pages in all languages.

    Raises (from the constructor):
        BundleError: the modules of a page don't fit together.
        jinja2.TemplateError: a template is wrong.
    """

    def __init__(self, default_language: str = "id") -> None:
        self.languages = catalogues.languages()
        self.default_language = default_language
        self._pacer = Pacer()
        self.static: dict[str, Rendered] = {}
        """By name under ``/static/``."""
        self.patient = {code: self._render("patient", code) for code in self.languages}
        self.specialist = {code: self._render("specialist", code) for code in self.languages}
        self.operator = {code: self._render("operator", code) for code in self.languages}
        for name in (_VOICE, _DIRECT):
            self.static[name] = self._asset_of(
                _WEB / "js" / name,
                default_language,
                late=True,
                headers={"Cache-Control": "max-age=3600"},
            )

    def routes(self, served: Callable[[Page], None] = lambda _page: None) -> list[web.RouteDef]:
        """Return what to add to the application's router; ``served`` is called with each page that was sent."""

        def page(name: Page, rendered: Mapping[str, Rendered], code: str = "") -> Handler:
            return self._page(rendered, code, lambda: served(name))

        return [
            web.get("/", page("patient", self.patient)),
            *(web.get(f"/{code}", page("patient", self.patient, code)) for code in self.languages),
            web.get("/specialist", page("specialist", self.specialist)),
            web.get("/operator", page("operator", self.operator)),
            web.get("/static/{name}", self._asset),
        ]

    def _page(self, page: Mapping[str, Rendered], code: str, served: Callable[[], None]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            language = code or choose_language(
                request.query.get("lang", ""),
                request.headers.get("Accept-Language", ""),
                tuple(self.languages),
                self.default_language,
            )
            response = page[language].response(request, self._pacer.watch(request.transport))
            if response.status == 200:
                served()
            return response

        return handler

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        found = self.static.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return found.response(request, self._pacer.watch(request.transport))

    def _render(self, page: str, code: str) -> Rendered:
        language = self.languages[code]
        environment = Environment(
            loader=FileSystemLoader(_WEB / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        template = environment.get_template(f"{page}.html")
        html = template.render(
            _=language.translate,
            lang=code,
            direction=language.direction,
            languages=self.languages.values(),
            page=page,
            asset=lambda path, late=False: self._add_asset(path, code, late=late),
            inline=lambda path: f"%%{path}%%",
            signs=triage.SIGNS,
        )
        html = minify_html.minify(html, allow_removing_spaces_between_attributes=False)
        return self._assemble(page, language, html)

    def _assemble(self, page: str, language: catalogues.Language, html: str) -> Rendered:
        allowed = {"js": ["'self'"], "css": [] if page == "patient" else ["'self'"]}

        def inlined(match: re.Match[str]) -> str:
            text = self._inline(match[1], language)
            allowed[match[1].rpartition(".")[2]].append(_hash(text))
            return text

        html = _INLINE.sub(inlined, html)
        first = html.find(_FIRST_ENDS) + len(_FIRST_ENDS) if page == "patient" else 0
        headers = {
            **_PAGE_HEADERS,
            "Content-Security-Policy": _CSP.format(
                script=" ".join(allowed["js"]), style=" ".join(allowed["css"])
            ),
            "Content-Language": language.code,
            # Asked for again each time, answered by 304: a call centre must not serve last week's page.
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding, Accept-Language",
        }
        return Rendered.of(html, "text/html", headers, 11 if page == "patient" else 9, first)

    def _inline(self, path: str, language: catalogues.Language) -> str:
        """Return what goes into the page of the file ``path`` (below the web folder)."""
        if path.endswith(".css"):
            return bundle.style([_WEB / path])
        first = _WEB / _FIRST_SCRIPT
        if path == _FIRST_SCRIPT:
            return bundle.first_script(first, language.translate)
        return bundle.script(_WEB / path, language.translate, after=first)

    def _add_asset(self, path: str, code: str, *, late: bool) -> str:
        """Make what ``path`` (below the web folder) says and return its address."""
        source = _WEB / path
        name = f"{source.stem}-{code}.js" if source.suffix == ".js" else source.name
        if name not in self.static:
            self.static[name] = self._asset_of(source, code, late=late)
        return f"/static/{name}?v={self.static[name].etag}"

    def _asset_of(
        self, source: Path, code: str, *, late: bool, headers: Mapping[str, str] = _FOR_EVER
    ) -> Rendered:
        if source.suffix == ".js":
            translate = self.languages[code].translate
            text = bundle.script(source, translate, short_names=late, late=late)
            content_type = "text/javascript"
        else:
            text, content_type = bundle.style([source]), "text/css"
        return Rendered.of(
            text, content_type, {"Vary": "Accept-Encoding", **headers}, quality=11 if late else 9
        )


def choose_encoding(accepted: str) -> str:
    """Return the best of what ``Accept-Encoding`` allows (RFC 9110 §12.5.3): ``br``, ``gzip`` or ``""``."""
    weights = _weights(accepted)
    return next((encoding for encoding in _ENCODINGS if weights.get(encoding, 0) > 0), "")


def choose_language(asked: str, accepted: str, available: tuple[str, ...], default: str) -> str:
    """Return a language: the one asked for, else the browser's first that we have (RFC 4647 §3.4), else the default."""
    if asked in available:
        return asked
    weights = _weights(accepted)
    for tag in sorted(weights, key=lambda each: -weights[each]):
        # Old Android and Java say "in" for Indonesian, the code until ISO 639 changed it in 1989.
        primary = {"in": "id"}.get(tag.split("-")[0], tag.split("-")[0])
        for candidate in (tag, primary):
            if weights[tag] > 0 and candidate in available:
                return candidate
    return default


def _weights(header: str) -> dict[str, float]:
    """Read a list of choices with ``q`` weights; what can't be read counts as 0."""
    weights: dict[str, float] = {}
    for item in header[:512].split(","):
        name, _, parameters = item.strip().partition(";")
        try:
            weight = float(parameters.strip().removeprefix("q=")) if parameters else 1.0
        except ValueError:
            weight = 0.0
        if name:
            weights[name.strip().lower()] = weight
    return weights


def _brotli(parts: list[bytes], quality: int) -> tuple[bytes, ...]:
    compressor = brotli.Compressor(mode=brotli.MODE_TEXT, quality=quality, lgwin=20)
    done = [compressor.process(part) + compressor.flush() for part in parts[:-1]]
    return (*done, compressor.process(parts[-1]) + compressor.finish())


def _gzip(parts: list[bytes]) -> tuple[bytes, ...]:
    compressor = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)  # with gzip's header
    done = [compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH) for part in parts[:-1]]
    return (*done, compressor.compress(parts[-1]) + compressor.flush())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
