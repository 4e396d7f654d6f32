# SPDX-License-Identifier: Apache-2.0
"""What the deployment tests share: a certificate for localhost, and coturn as it is deployed."""

from __future__ import annotations

import secrets
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import answers, free_port, program, running

ROOT = Path(__file__).parents[2]
COTURN = ROOT / "deploy/coturn"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for localhost, trusted by nobody but the test."""

    chain: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context that trusts this certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.chain))


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A running coturn with the deployed configuration."""

    port: int
    tls_port: int
    secret: str
    log: Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make a certificate for localhost."""
    directory = tmp_path_factory.mktemp("certificate")
    made = Certificate(directory / "cert.pem", directory / "key.pem")
    command = [
        program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout", str(made.key), "-out", str(made.chain),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return made


@contextmanager
def running_turn_server(directory: Path, certificate: Certificate) -> Iterator[TurnServer]:
    """Run coturn by the deployed script and configuration, on free ports of 127.0.0.1."""
    secret_file = directory / "turn-secret"
    secret_file.write_text(secrets.token_hex(32) + "\n")
    runtime = directory / "turn"
    runtime.mkdir(mode=0o700)
    server = TurnServer(
        free_port(), free_port(), secret_file.read_text().strip(), directory / "turn.log"
    )
    command = [
        COTURN / "start", secret_file, COTURN / "turnserver.conf",
        "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1",
        "--listening-port", str(server.port), "--tls-listening-port", str(server.tls_port),
        "--cert", certificate.chain, "--pkey", certificate.key,
    ]  # fmt: skip
    with running(
        command,
        lambda: answers(server.port) and answers(server.tls_port),
        server.log,
        environment={"RUNTIME_DIRECTORY": str(runtime)},
    ):
        yield server


@pytest.fixture
def turn_server(tmp_path: Path, certificate: Certificate) -> Iterator[TurnServer]:
    """Run coturn as deployed during one test."""
    with running_turn_server(tmp_path, certificate) as server:
        yield server
