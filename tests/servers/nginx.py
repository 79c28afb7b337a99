"""nginx for tests: files plain and over TLS, in chunks, slowly, and what a snippet of configuration adds."""

import hashlib
import os
import random
from pathlib import Path

from .base import HOST, Server
from .certificates import Certificate

_MIB = 1 << 20
_CONFIGURATION = """
daemon off;
{user}
worker_processes 2;
pid {directory}/nginx.pid;
error_log stderr info;
events {{ worker_connections 2048; }}
http {{
    default_type application/octet-stream;
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    sendfile on;
    keepalive_requests 1000000;
    {http}
    server {{
        listen {host}:{plain} backlog=1024;
        {tls}
        root {documents};
        # Server-side includes take the length away, so HTTP/1.1 answers come in chunks.
        location /chunked/ {{ alias {documents}/; ssi on; ssi_types *; }}
        location /slow/ {{ alias {documents}/; limit_rate 64k; }}
        {server}
    }}
}}
"""


class Nginx(Server):
    """nginx on `ports["http"]` and, with a certificate, `ports["https"]`; HTTP/1.1 with keep-alive.

    `/NAME` serves a file of `documents` with its length, `/chunked/NAME` in chunks, `/slow/NAME` at 64 KiB/s.
    `documents`: a directory of the test's; default: an empty one of its own.
    `server_config`: more directives for the server, such as `location /api/ { proxy_pass http://127.0.0.1:1234; }`;
    `http_config`: directives one level up, such as `upstream` or another `server`.
    """

    name = "nginx"
    program = "nginx"
    version_option = "-v"

    def __init__(
        self,
        certificate: Certificate | None = None,
        documents: Path | None = None,
        server_config: str = "",
        http_config: str = "",
    ) -> None:
        super().__init__("http", *(["https"] if certificate else []))
        self.documents = documents or Path()
        self._own_documents = documents is None
        self._certificate = certificate
        self._server_config = server_config
        self._http_config = http_config

    def prepare(self) -> None:
        if self._own_documents:
            self.documents = self.directory / "documents"
            self.documents.mkdir()
        configuration = _CONFIGURATION.format(
            # Its workers read the test's files, which root may have made for itself only.
            user="user root;" if os.geteuid() == 0 else "",
            directory=self.directory,
            documents=self.documents,
            host=HOST,
            plain=self.ports["http"],
            tls=self._tls_lines(),
            http=self._http_config,
            server=self._server_config,
        )
        self.write("nginx.conf", configuration)

    def command(self) -> list[str]:
        return ["-e", "stderr", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """The address of `path`; the host is the IP address, for which the test certificates are good."""
        return f"{scheme}://{HOST}:{self.ports[scheme]}{path}"

    def add_file(self, name: str, size: int) -> str:
        """Make a file of `size` bytes that do not repeat; its SHA-256 in hexadecimal."""
        checksum = hashlib.sha256()
        source = random.Random(name)
        with open(self.documents / name, "wb") as file:
            for start in range(0, size, _MIB):
                block = source.randbytes(min(_MIB, size - start))
                checksum.update(block)
                file.write(block)
        return checksum.hexdigest()

    def _tls_lines(self) -> str:
        if self._certificate is None:
            return ""
        chain, key = self.install(self._certificate)
        listen = f"listen {HOST}:{self.ports['https']} ssl backlog=1024;"
        return f"{listen} ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {chain}; ssl_certificate_key {key};"
