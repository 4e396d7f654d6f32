# SPDX-License-Identifier: Apache-2.0
"""How a patient gets into a consult: invitation, code, coming back, another device.

Tokens are judged by ``auth``; that an invitation is redeemed once is the consult's table. A *resume secret* makes coming
back free: it is given once, kept by the page, and only its hash is in the events. A *session* token opens the WebSocket
and is bound to the device in use, so a displaced device can't come back with one that has not run out yet.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import segno

from auth import codes, invitations, tokens
from auth.errors import CodeInvalid, TokenInvalid
from auth.keys import KeyRing
from auth.roles import Role
from auth.throttle import CODE_BY_ADDRESS, CODE_BY_PREFIX, Charge, Throttle, address_key
from auth.tokens import Audience, Claims
from signalling.config import IdentityConfig
from signalling.core import events as ev
from signalling.core.lifecycle import Consult
from signalling.edge.clock import now
from signalling.edge.connections import patient_of
from signalling.edge.ledger import Ledger
from signalling.errors import Refused
from signalling.metrics import Metrics
from signalling.store.base import StoreError
from signalling.wire.codes import Code
from signalling.wire.ids import AccountId, ConsultId, PostCode
from signalling.wire.terms import Specialty

CONSULT_ID_BYTES = 12
"""96 random bits: 16 characters, so that the invitation fits two SMS."""
JTI_BYTES = 8
CODE_TRIES = 20
"""A code is taken once in some millions; twenty in a row is a broken random source."""
SUMMARY_S = 86_400.0
"""For a day after the end, the patient's page may still show the summary."""
TAKEOVER_PAUSE_S = 5.0
"""Between two take-over requests of a consult while one is open: each is an event, and a link may be in wrong hands."""
BINDING_CHARS = 16
"""Of the device's secret hash in a session's ``jti``: 64 bits bind the session to the device in use."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A new consult's way in."""

    consult: ConsultId
    token: str
    """Goes into the fragment of the link, nowhere else."""
    code: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Admission:
    """What a page gets that is let in."""

    consult: ConsultId
    session: str
    resume: str


class Consults:
    """The doors of consults. One per node."""

    def __init__(
        self,
        ledger: Ledger,
        ring: Callable[[], KeyRing],
        pepper: bytes,
        config: IdentityConfig,
        metrics: Metrics,
    ) -> None:
        """``ring`` gives the keys as they are now; ``pepper`` keys the hashes of short codes."""
        self._ring = ring
        self._ledger = ledger
        self._pepper = pepper
        self._config = config
        self._metrics = metrics
        self._by_prefix = Throttle(CODE_BY_PREFIX)
        self._by_address = Throttle(CODE_BY_ADDRESS)

    @property
    def ring(self) -> KeyRing:
        """The keys to sign and verify with."""
        return self._ring()

    async def invite(
        self,
        *,
        by: AccountId | None = None,
        specialty: Specialty = Specialty.GENERAL,
        language: str = "",
        post: PostCode | None = None,
    ) -> Invitation:
        """Make a consult with a link and a short code."""
        at = now()
        expires_at = at + self._ledger.policy.invitation_s
        consult = ConsultId(secrets.token_urlsafe(CONSULT_ID_BYTES))
        jti = secrets.token_urlsafe(JTI_BYTES)
        event = ev.Invited(
            at=at,
            consult=consult,
            jti=jti,
            specialty=specialty,
            expires_at=expires_at,
            by=by or "",
            language=language,
            post=post,
        )
        token = invitations.mint_invitation(
            self.ring, consult, jti=jti, now=at, lifetime_s=self._ledger.policy.invitation_s
        )
        for _ in range(CODE_TRIES):
            code = codes.generate(secrets.randbelow)
            if await self._ledger.begin(event, codes.code_hash(code, self._pepper)):
                return Invitation(consult, token, code, expires_at)
        raise Refused(Code.UNAVAILABLE)

    async def join(
        self, *, token: str | None, code: str | None, address: str, resume: str | None = None
    ) -> Admission:
        """Redeem an invitation, given by its token or its code: once, for the device with the secret ``resume``.

        On a thin link the answer may get lost although the invitation was redeemed, so the same device may ask again.

        Raises:
            Refused: ``invitation_used``, ``consult_over``, ``not_found``.
            auth.errors.AuthError: the token or code is no good, or wrong codes are throttled.
        """
        consult_id = await self._invited(token, code, address)
        secret = resume or invitations.new_secret(secrets.token_bytes)
        resume_hash = invitations.secret_hash(secret)

        def redeem(consult: Consult) -> list[ev.Event]:
            if _in_use(consult, secret) and not consult.over:
                return []
            if consult.resume_hash and not consult.over:
                raise Refused(Code.INVITATION_USED)
            return [ev.PatientJoined(at=now(), consult=consult.id, resume_hash=resume_hash)]

        consult = await self._ledger.commit(consult_id, redeem)
        self._metrics.joined()
        return Admission(consult_id, self.session(consult), secret)

    async def resume(self, consult_id: ConsultId, secret: str) -> str:
        """Return a new session for the device in use; raises Refused ``resume_invalid``."""
        consult = await self._known(consult_id)
        if not _in_use(consult, secret):
            consult = await self._ledger.refresh(consult_id)
        if not _in_use(consult, secret):
            raise Refused(Code.RESUME_INVALID)
        if consult.ended_at is not None and now() > consult.ended_at + SUMMARY_S:
            raise Refused(Code.CONSULT_OVER)
        return self.session(consult)

    async def ask_takeover(
        self, *, token: str | None, code: str | None, address: str
    ) -> tuple[ConsultId, str, str]:
        """Another device asks to take the patient's place; return consult, request id and its secret.

        Raises:
            Refused, auth.errors.AuthError: as ``join``; ``throttled`` while another request is only just open.
        """
        consult_id = await self._invited(token, code, address)
        request = secrets.token_urlsafe(JTI_BYTES)
        secret = invitations.new_secret(secrets.token_bytes)
        asked = ev.TakeoverAsked(
            at=now(),
            consult=consult_id,
            request=request,
            secret_hash=invitations.secret_hash(secret),
        )

        def asks(consult: Consult) -> list[ev.Event]:
            open_since = max((t.at for t in consult.takeovers), default=0.0)
            if (wait_s := open_since + TAKEOVER_PAUSE_S - asked.at) > 0:
                raise Refused(Code.THROTTLED, retry_after_s=wait_s)
            return [asked]

        await self._ledger.commit(consult_id, asks)
        self._metrics.takeover("asked")
        return consult_id, request, secret

    async def poll_takeover(
        self, consult_id: ConsultId, request: str, secret: str
    ) -> Admission | None:
        """Return what the asking device gets, or None while nobody has decided.

        Raises:
            Refused: ``takeover_refused``; ``resume_invalid`` for what was never asked; ``consult_over``.
        """
        await self._known(consult_id)
        consult = await self._ledger.refresh(consult_id)
        asked = next((t for t in consult.takeovers if t.request == request), None)
        if asked is not None and invitations.secret_matches(secret, asked.secret_hash):
            return None
        if _in_use(consult, secret):
            return Admission(consult_id, self.session(consult), secret)
        if request in consult.refused:
            raise Refused(Code.TAKEOVER_REFUSED)
        raise Refused(Code.CONSULT_OVER if consult.over else Code.RESUME_INVALID)

    def session(self, consult: Consult) -> str:
        """Return a session token for the device in use."""
        at = now()
        claims = Claims(
            sub=patient_of(consult.id),
            role=Role.PATIENT,
            audience=Audience.SESSION,
            jti=consult.resume_hash[:BINDING_CHARS],
            expires_at=at + self._config.session_s,
            consult_id=consult.id,
        )
        return tokens.issue(self.ring, claims, at)

    async def of_session(self, claims: Claims) -> Consult:
        """Return the consult of a patient's session.

        Raises:
            Refused: ``displaced``, when another device has taken the place since.
        """
        if claims.consult_id is None:
            raise TokenInvalid
        consult = await self._ledger.consult(ConsultId(claims.consult_id))
        if consult.resume_hash[:BINDING_CHARS] != claims.jti:
            consult = await self._ledger.refresh(consult.id)
        if consult.resume_hash[:BINDING_CHARS] != claims.jti:
            raise Refused(Code.DISPLACED)
        return consult

    async def _known(self, consult_id: ConsultId) -> Consult:
        """Return a consult; who guesses at ids learns nothing more than who guesses at secrets."""
        try:
            return await self._ledger.consult(consult_id)
        except Refused as unknown:
            raise Refused(
                Code.RESUME_INVALID if unknown.code is Code.NOT_FOUND else unknown.code
            ) from None

    async def _invited(self, token: str | None, code: str | None, address: str) -> ConsultId:
        """Return the consult of a token or a code."""
        if token is not None:
            claims = invitations.open_invitation(self.ring, token, now())
            consult = await self._ledger.consult(ConsultId(claims.consult_id or ""))
            if consult.jti != claims.jti:
                raise TokenInvalid
            return consult.id
        return await self._of_code(code or "", address)

    async def _of_code(self, text: str, address: str) -> ConsultId:
        """Look a code up; wrong ones are counted by their prefix and by address, never for everybody."""
        try:
            code = codes.parse(text)
        except CodeInvalid:
            # A typing slip: the check symbol finds it without asking the store, so it costs no try.
            self._metrics.code_try("invalid")
            raise
        at = now()
        keys = (
            (self._by_prefix, codes.prefix(code)),
            (self._by_address, address_key(address)),
        )
        try:
            charges = []
            for throttle, key in keys:
                throttle.check(key, at)
            for throttle, key in keys:
                charges.append((throttle, throttle.charge(key, at)))
        except Exception:
            self._metrics.code_try("throttled")
            raise
        try:
            consult_id = await self._ledger.consult_of_code(codes.code_hash(code, self._pepper))
            if consult_id is None:
                self._metrics.code_try("invalid")
                raise CodeInvalid
        except StoreError:
            _refund(charges)  # nobody knows whether it was right
            raise
        _refund(charges)
        self._metrics.code_try("ok")
        return consult_id


def _refund(charges: Iterable[tuple[Throttle, Charge]]) -> None:
    for throttle, charge in charges:
        throttle.refund(charge)


def _in_use(consult: Consult, secret: str) -> bool:
    """Return whether this is the secret of the device in use."""
    return bool(consult.resume_hash) and invitations.secret_matches(secret, consult.resume_hash)


def qr_svg(url: str) -> str:
    """Return a link as a QR code: an SVG image's text, about 4 KB."""
    out = io.BytesIO()
    segno.make(url, error="m").save(out, kind="svg", xmldecl=False, svgclass=None, lineclass=None)
    return out.getvalue().decode()
