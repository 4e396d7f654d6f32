# SPDX-License-Identifier: Apache-2.0
"""The certificate: made, renewed, and good for a real handshake."""

import asyncio
import ssl
import stat
from pathlib import Path

import pytest

from signalling.config import ServerConfig
from signalling.edge import certificate
from signalling.edge.certificate import (
    LIFETIME_DAYS,
    RENEW_DAYS,
    CertificateFacts,
    certificate_files,
    local_addresses,
    read_certificate,
    server_context,
)
from signalling.edge.clock import now

DAY = 86_400.0


@pytest.fixture
def server(tmp_path: Path) -> ServerConfig:
    return ServerConfig(data_dir=tmp_path)


async def test_browsers_of_this_machine_can_connect(server: ServerConfig) -> None:
    """A client that trusts the certificate completes a TLS handshake for localhost and for 127.0.0.1."""
    files = certificate_files(server, now())
    listener = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=server_context(files)
    )
    port = listener.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=files.certificate)
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    async with listener:
        for name in ("localhost", "127.0.0.1"):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting, server_hostname=name
            )
            tls = writer.get_extra_info("ssl_object")
            assert tls.version() == "TLSv1.3"
            assert tls.selected_alpn_protocol() == "http/1.1"
            writer.close()
            await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting, server_hostname="other.example"
            )


def test_it_is_valid_for_this_machine(server: ServerConfig) -> None:
    """The certificate covers localhost and every address of this machine, for less than 398 days."""
    files = certificate_files(server, now())
    facts = read_certificate(files.certificate)
    assert files.self_made
    for name in ("localhost", "127.0.0.1", "::1", *local_addresses()):
        assert facts.covers(name)
    assert facts.not_before < now() < facts.not_after
    assert facts.not_after - facts.not_before == LIFETIME_DAYS * DAY < 398 * DAY


def test_its_key_is_for_the_owner_only(server: ServerConfig) -> None:
    """Nobody else may read the private key."""
    files = certificate_files(server, now())
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


def test_it_stays_until_it_is_nearly_over(server: ServerConfig) -> None:
    """A restart keeps the certificate; close to its end it is made anew."""
    start = now()
    files = certificate_files(server, start)
    first = files.certificate.read_bytes()
    end = read_certificate(files.certificate).not_after
    certificate_files(server, end - RENEW_DAYS * DAY - 60)
    assert files.certificate.read_bytes() == first
    certificate_files(server, end - RENEW_DAYS * DAY + 60)
    assert files.certificate.read_bytes() != first


def test_a_new_address_makes_a_new_one(server: ServerConfig, monkeypatch) -> None:
    """When the machine has an address that the certificate lacks, it is made anew."""
    files = certificate_files(server, now())
    monkeypatch.setattr(certificate, "local_addresses", lambda: ["192.0.2.7"])
    certificate_files(server, now())
    assert read_certificate(files.certificate).covers("192.0.2.7")


@pytest.mark.parametrize("name", [certificate.KEY_FILE, certificate.CERTIFICATE_FILE])
def test_a_damaged_pair_is_made_anew(server: ServerConfig, name: str) -> None:
    """A key or certificate that can't be used is replaced: nothing is lost with it."""
    files = certificate_files(server, now())
    (server.data_dir / name).write_bytes(b"damaged")
    certificate_files(server, now())
    server_context(files)


def test_a_given_certificate_is_used_as_it_is(tmp_path: Path) -> None:
    """A configured certificate is never touched, and nothing is made beside it."""
    given = ServerConfig(data_dir=tmp_path, certificate_file=Path("c"), key_file=Path("k"))
    files = certificate_files(given, now())
    assert (files.certificate, files.key, files.self_made) == (Path("c"), Path("k"), False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("host", "covered"),
    [("a.example", True), ("A.Example", True), ("x.b.example", True), ("b.example", False),
     ("x.y.b.example", False), ("[::1]", True)],
)  # fmt: skip
def test_names_are_matched_as_browsers_do(host: str, covered: bool) -> None:
    """Names match without regard to case, a star stands for exactly one label."""
    facts = CertificateFacts(frozenset({"a.example", "*.b.example", "::1"}), 0, 1)
    assert facts.covers(host) is covered
