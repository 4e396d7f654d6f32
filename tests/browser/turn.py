# SPDX-License-Identifier: Apache-2.0
"""A coturn of a test's own: UDP and TCP on one port, TLS on another."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from tests.support.processes import free_port, program


def turn_server(
    folder: Path, address: str, *, transport: str = "tls", tls_port: int = 0
) -> tuple[list[str], dict[str, str]]:
    """Return a coturn's command line, and a node's settings for one way to it: ``udp``, ``tcp`` or ``tls``."""
    secret = folder / "turn-secret"
    secret.write_text(secrets.token_hex(24))
    chain, key = folder / "chain.pem", folder / "key.pem"
    kind = "IP" if address[0].isdigit() else "DNS"
    certificate = [
        program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "2", "-subj", f"/CN={address}", "-addext", f"subjectAltName={kind}:{address}", "-keyout", str(key),
        "-out", str(chain),
    ]  # fmt: skip
    subprocess.run(certificate, check=True, capture_output=True)
    plain, tls = free_port(), tls_port or free_port()
    listening = "127.0.0.1" if address == "localhost" else address
    command = [
        program("turnserver"), "-n", "--no-cli", "--use-auth-secret", f"--static-auth-secret={secret.read_text()}",
        "--realm=selat", f"--listening-ip={listening}", f"--relay-ip={listening}", "--allow-loopback-peers",
        f"--listening-port={plain}", f"--tls-listening-port={tls}", f"--cert={chain}", f"--pkey={key}",
        f"--pidfile={folder / 'turn.pid'}", f"--userdb={folder / 'turn.db'}",
    ]  # fmt: skip
    url = {
        "udp": f"turn:{address}:{plain}?transport=udp",
        "tcp": f"turn:{address}:{plain}?transport=tcp",
        "tls": f"turns:{address}:{tls}?transport=tcp",
    }[transport]
    return command, {"SELAT_TURN_URLS": url, "SELAT_TURN_SECRET_FILE": str(secret)}
