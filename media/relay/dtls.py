# SPDX-License-Identifier: Apache-2.0
"""DTLS by aiortc's ``RTCDtlsTransport``, without the rest of aiortc. Every private name that we touch is touched here.

The relay is the DTLS *client* (``a=setup:active`` in its offer) and offers AES-GCM only: the handshake takes 2 round trips
instead of 3, and Chromium takes AES-256-GCM (measured; as a server, or with the default list, it is slower or takes
AES128_CM_SHA1_80, which costs 6 µs more per packet).

Private names of aiortc 1.16, held by tests/contract/test_dtls_contract.py: ``_set_role``, ``_srtp_profiles``,
``_rx_srtp``, ``_tx_srtp``, ``_ssl``, ``_task``, ``_role``, ``_validate_peer_identity``, ``RTCCertificate._create_ssl_context``, and of
its ICE object ``_recv``, ``_send``, ``role``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceTransport,
)
from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    X509_DIGEST_ALGORITHMS,
    SRTPProtectionProfile,
    certificate_digest,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from pylibsrtp import Session
from typing_extensions import override

from media.relay.farewell import CIPHER, VERSION, Farewell

Role = Literal["client", "server"]

PROFILES = [SRTP_AEAD_AES_256_GCM, SRTP_AEAD_AES_128_GCM]
INBOX_MAX = 16
"""DTLS records that may wait for the handshake; a flight has at most 5."""
STOP_S = 1.0
"""A task that was cancelled has nothing left to wait for; more than this is a defect."""
CERTIFICATE_DAYS = 365
"""WebRTC's own ceiling; peers know a certificate by its fingerprint, so its dates and name say nothing."""


class DtlsFailed(Exception):
    """The handshake came to nothing; ``code`` says how."""

    def __init__(self, code: Literal["deadline", "handshake", "fingerprint", "profile"]) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Keys:
    """What a handshake is made for."""

    inbound: Session
    outbound: Session
    profile: str
    """Name of the SRTP profile in the IANA registry."""


class Certificate(RTCCertificate):
    """One ECDSA P-256 certificate for all legs of a process, with one OpenSSL context for all of them.

    Sharing the context saves making one per leg; nothing of one association is kept in it (no session cache, no tickets).
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        super().__init__(key=key, cert=certificate)
        self._context: SSL.Context | None = None

    @classmethod
    def make(cls, now: datetime.datetime) -> Certificate:
        """Make a key and a self-signed certificate for it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "selat")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @property
    def fingerprint(self) -> str:
        """As in ``a=fingerprint`` (RFC 8122): ``sha-256 AB:CD:…``."""
        return next(
            f"{each.algorithm} {each.value}"
            for each in self.getFingerprints()
            if each.algorithm == "sha-256"
        )

    @override
    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._context


class _Pipe:
    """What ``RTCDtlsTransport`` needs of an ICE transport."""

    role = "controlled"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._out = send
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue(INBOX_MAX)

    async def _recv(self) -> bytes:
        data = await self.inbox.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        self._out(data)


class _Transport(RTCDtlsTransport):
    """The handshake alone; who the peer is, is judged afterwards, when its answer is here."""

    @override
    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:
        pass

    def selected_profile(self) -> bytes:
        return self._ssl.get_selected_srtp_profile() if self._ssl is not None else b""

    def peer_certificate(self) -> x509.Certificate | None:
        if self._ssl is None:
            return None
        return self._ssl.get_peer_certificate(as_cryptography=True)

    def keys(self, profile: str) -> Keys:
        return Keys(self._rx_srtp, self._tx_srtp, profile)

    def farewell(self) -> Farewell | None:
        ssl = self._ssl
        if ssl is None or self._role != "client":
            return None  # a server must be able to repeat its last flight
        if (ssl.get_protocol_version_name(), ssl.get_cipher_name()) != (VERSION, CIPHER):
            return None
        master, ours, theirs = ssl.master_key(), ssl.client_random(), ssl.server_random()
        if master is None or ours is None or theirs is None:
            return None
        return Farewell(master, ours, theirs)

    def let_go(self) -> None:
        self.remove_all_listeners()
        # It is in cycles, and would wait for the collector.
        self._ssl = self._rx_srtp = self._tx_srtp = None  # type: ignore[assignment] # as before the handshake

    def begin(self, role: Role) -> None:
        self._set_role(role)
        self._srtp_profiles = PROFILES

    def pump(self) -> asyncio.Future[None] | None:
        return self._task


class Association:
    """One DTLS association over datagrams that others move.

    ``feed`` takes what arrives; ``send`` is called with what must go out. Make it in a running loop, call ``handshake`` once
    and ``stop`` at the end, whatever came of it.
    """

    def __init__(self, certificate: Certificate, send: Callable[[bytes], None]) -> None:
        self._pipe = _Pipe(send)
        self._dtls = _Transport(cast(RTCIceTransport, self._pipe), [certificate])

    @property
    def closed_by_peer(self) -> bool:
        """The other side said goodbye (close_notify), as browsers do when their connection is closed."""
        return self._dtls.state == "closed"

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back when the association ends by itself, which is by the peer's close_notify."""

        def changed() -> None:
            if self._dtls.state == "closed":
                callback()

        self._dtls.on("statechange", changed)

    def feed(self, data: bytes) -> bool:
        """Take a DTLS record; return False when too many wait already."""
        try:
            self._pipe.inbox.put_nowait(data)
        except asyncio.QueueFull:
            return False
        return True

    async def handshake(
        self,
        fingerprints: asyncio.Future[Sequence[str]],
        *,
        role: Role = "client",
        deadline_s: float,
    ) -> Keys:
        """Shake hands, compare the peer's certificate with its description, and return the keys.

        The first flight goes out at once, without waiting for the description; keys are given only after it came and fitted.

        Args:
            fingerprints: the peer's ``a=fingerprint`` values, once known.
            role: ours; the relay's is ``client``.
            deadline_s: for all of it together.

        Raises:
            DtlsFailed: ``deadline``; ``handshake``: OpenSSL refused, or ``stop`` came; ``fingerprint``: it is not who it
                should be; ``profile``: no SRTP profile in common.
        """
        self._dtls.begin(role)
        unknown = RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint("sha-256", "")])
        try:
            async with asyncio.timeout(deadline_s):
                await self._dtls.start(unknown)
                if self._dtls.state != "connected":
                    raise DtlsFailed("profile" if self._dtls.encrypted else "handshake")
                expected = await asyncio.shield(fingerprints)
        except TimeoutError:
            raise DtlsFailed("deadline") from None
        certificate = self._dtls.peer_certificate()
        if certificate is None or not fits(certificate, expected):
            raise DtlsFailed("fingerprint")
        return self._dtls.keys(self._dtls.selected_profile().decode())

    async def reduce(self) -> Farewell | None:
        """Let go of all but what saying goodbye takes, and return that: it stands for this from now on.

        None where more than that may be needed; then nothing has changed.
        """
        farewell = self._dtls.farewell()
        pump = self._dtls.pump()
        if farewell is None or pump is None:
            return None
        pump.cancel()
        await asyncio.wait({pump}, timeout=STOP_S)
        self._dtls.let_go()
        return farewell

    async def stop(self) -> None:
        """Say goodbye to the peer if there is one, end the task, release the callbacks. May be called twice."""
        pump = self._dtls.pump()
        with contextlib.suppress(SSL.Error):
            await self._dtls.stop()
        with contextlib.suppress(asyncio.QueueFull):
            self._pipe.inbox.put_nowait(None)  # a handshake that still runs ends here
        if pump is not None:
            await asyncio.wait({pump}, timeout=STOP_S)
        self._dtls.remove_all_listeners()


def fits(certificate: x509.Certificate, fingerprints: Sequence[str]) -> bool:
    """Tell whether every fingerprint of a known kind is this certificate's, and there is one (RFC 8122 §5)."""
    known = 0
    for fingerprint in fingerprints:
        algorithm, _, value = fingerprint.partition(" ")
        if algorithm.lower() not in X509_DIGEST_ALGORITHMS:
            continue
        known += 1
        if certificate_digest(certificate, algorithm.lower()) != value.strip().upper():
            return False
    return known > 0
