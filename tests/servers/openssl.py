"""OpenSSL's own test programs: s_server, a server that does as its options say, and s_client, to talk through."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .base import HOST, Server
from .certificates import Certificate
from .programs import openssl


class SServer(Server):
    """`openssl s_server` on `ports["tls"]` with more options: `"-rev"` (each line comes back reversed), `"-tls1_2"` …

    It serves one connection after the other; the one that asks whether it is up counts too, for `-naccept`.
    """

    name = "OpenSSL"
    program = "openssl"
    version_option = "version"

    def __init__(self, certificate: Certificate, *options: str) -> None:
        super().__init__("tls")
        self._certificate = certificate
        self._options = options

    def command(self) -> list[str]:
        files = ["-cert", str(self._certificate.chain), "-key", str(self._certificate.key)]
        return ["s_server", "-accept", f"{HOST}:{self.ports['tls']}", *files, *self._options]


@contextmanager
def s_client(port: int, ca: Path, *options: str, name: str = "localhost") -> Iterator[subprocess.Popen[bytes]]:
    """`openssl s_client`, connected to a loopback port, checking the certificate for `name`; its streams are pipes."""
    checks = ["-CAfile", str(ca), "-verify_return_error", "-verify_hostname", name, "-servername", name]
    command = [openssl(), "s_client", "-connect", f"{HOST}:{port}", *checks, "-quiet", *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    with process:
        try:
            yield process
        finally:
            process.kill()
