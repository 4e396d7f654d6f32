# SPDX-License-Identifier: Apache-2.0
"""The TLS certificate of a node: a given one, or one for development that the node makes itself.

The development certificate is self-signed, so a browser warns once; after that the page is a secure context, with camera
and microphone, which plain HTTP is not on any other machine than this. It is valid for this machine's names and
addresses and is made anew before it expires or when they changed.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ifaddr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signalling.config import ServerConfig

CERTIFICATE_FILE = "dev-certificate.pem"
KEY_FILE = "dev-key.pem"
LIFETIME_DAYS = 397
"""Below the 398 days (CA/Browser Forum BR 6.3.2) and 825 days above which Apple's and other clients refuse one."""
RENEW_DAYS = 30
"""Renewed when it has less than this left, at a start: a node that runs longer than that without one is rare."""
BACKDATE = timedelta(days=1)
"""A phone's clock may be slow."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate lies."""

    certificate: Path
    key: Path
    self_made: bool
    """Whether it is the development certificate."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says, as far as it matters to a start."""

    names: frozenset[str]
    """Host names and addresses that it is valid for."""
    not_before: float
    not_after: float
    """UTC epoch seconds."""

    def covers(self, host: str) -> bool:
        """Say whether it is valid for a host name (RFC 6125 §6.4: one leftmost ``*`` label) or address."""
        host = host.lower().strip("[]")
        return host in self.names or "*." + host.partition(".")[2] in self.names


def certificate_files(server: ServerConfig, now: float) -> CertificateFiles:
    """Return the certificate to serve with; the development one is made or renewed when needed.

    Raises:
        OSError: the data directory can't be written to.
    """
    if server.certificate_file is not None and server.key_file is not None:
        return CertificateFiles(server.certificate_file, server.key_file, self_made=False)
    files = CertificateFiles(
        server.data_dir / CERTIFICATE_FILE, server.data_dir / KEY_FILE, self_made=True
    )
    names = local_names()
    if not _still_good(files, names, now):
        _make(files, names, now)
    return files


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """Return a TLS context for the listener: TLS 1.2 and above, HTTP/1.1 (WebSockets need it).

    Raises:
        ssl.SSLError, OSError: the files can't be read or don't belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def read_certificate(path: Path) -> CertificateFacts:
    """Return what the first certificate of a PEM file says.

    Raises:
        OSError: it can't be read.
        ValueError: it holds no certificate.
    """
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names: set[str] = set()
    with suppress(x509.ExtensionNotFound):
        subject = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names.update(name.lower() for name in subject.get_values_for_type(x509.DNSName))
        names.update(str(address) for address in subject.get_values_for_type(x509.IPAddress))
    return CertificateFacts(
        frozenset(names),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def local_addresses() -> list[str]:
    """Return this machine's addresses in its networks, IPv4 first; no loopback and no link-local ones."""
    found = {
        (ip.ip if isinstance(ip.ip, str) else ip.ip[0])
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    }
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
    usable = [
        each
        for each in addresses
        if not (each.is_loopback or each.is_link_local or each.is_multicast)
    ]
    return [str(each) for each in sorted(usable, key=lambda each: (each.version, int(each)))]


def local_names() -> frozenset[str]:
    """Return the names and addresses under which this machine can be reached."""
    hostname = socket.gethostname().lower()
    names = {"localhost", "127.0.0.1", "::1", *local_addresses()}
    if hostname.isascii() and 0 < len(hostname) <= 64:
        names |= {hostname, f"{hostname.partition('.')[0]}.local"}
    return frozenset(names)


def _still_good(files: CertificateFiles, names: frozenset[str], now: float) -> bool:
    try:
        facts = read_certificate(files.certificate)
        server_context(files)
    except (OSError, ValueError, ssl.SSLError):
        return False
    return (
        names <= facts.names
        and facts.not_before <= now
        and now < facts.not_after - timedelta(days=RENEW_DAYS).total_seconds()
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make(files: CertificateFiles, names: frozenset[str], now: float) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Selat development")])
    start = datetime.fromtimestamp(now, UTC) - BACKDATE
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=False, crl_sign=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=LIFETIME_DAYS))
        .add_extension(
            x509.SubjectAlternativeName(map(_general_name, sorted(names))), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # The certificate last: a crash in between leaves a pair that does not fit, and is made again.
    _write(files.key, pem_key, 0o600)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.replace(path)
