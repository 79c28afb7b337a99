"""A certificate made on the spot, for this machine talking to itself: by trustme if that is here, else by openssl."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import NamedTuple

from gevent import subprocess

from geventstreams.cli.statuses import CommandError, Status, one_line

NAME = "localhost"
ADDRESS = "127.0.0.1"
LIMIT = 30.0
REQUEST = f"""
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
commonName = {NAME}
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
subjectKeyIdentifier = hash
subjectAltName = DNS:{NAME}, IP:{ADDRESS}
"""


class Contexts(NamedTuple):
    """Two sides that trust each other."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_contexts() -> Contexts:
    """A server's context with a new certificate for this machine, and a client's that trusts it and no other."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    if importlib.util.find_spec("trustme") is not None:
        authority = importlib.import_module("trustme").CA()
        authority.issue_cert(NAME, ADDRESS).configure_cert(server)
        authority.configure_trust(client)
        return Contexts(server, client)
    program = shutil.which("openssl")
    if program is None:
        raise CommandError(
            Status.TLS,
            "no certificate for TLS: neither the library trustme nor the program openssl is here "
            "(pip install trustme; or leave TLS out, --plain)",
        )
    with tempfile.TemporaryDirectory(prefix="geventstreams-") as folder:
        certificate, key = _self_signed(program, Path(folder))
        server.load_cert_chain(certificate, key)
        client.load_verify_locations(certificate)
    return Contexts(server, client)


def _self_signed(program: str, folder: Path) -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key."""
    certificate, key, request = folder / "certificate.pem", folder / "key.pem", folder / "request.cnf"
    request.write_text(REQUEST)
    made = subprocess.run(
        [
            program,
            "req",
            "-x509",
            "-config",
            request,
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-sha256",
            "-days",
            "1",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
        check=False,
    )
    if made.returncode:
        raise CommandError(Status.TLS, f"no certificate for TLS: {program} said {one_line(made.stdout.decode(errors='replace'))[:300]}")
    return certificate, key
