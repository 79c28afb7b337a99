"""Files: ftplib with ProFTPD, plain, and with commands and data under TLS."""

import ftplib
import io
import os
import socket
import ssl
from typing import Any

from client import STALL, Client, limited, timing_out
from middle_man import HOST, LIMIT, MiddleMan
from servers import ProFTPD

LINES = b"".join(b"line %06d of a file\r\n" % number for number in range(20_000))


class FTP(Client):
    """ftplib."""

    errors = (EOFError, OSError, ftplib.Error)
    held = 100
    server: ProFTPD

    def make_server(self) -> ProFTPD:
        return ProFTPD(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["ftp"]

    def prepare(self) -> None:
        (self.server.files / "lines").write_bytes(LINES)

    def login(self, port: int, tls: bool = False) -> ftplib.FTP:
        """A client that has logged in."""
        context = ssl.create_default_context(cafile=str(self.trust.ca))
        client = ftplib.FTP_TLS(context=context) if tls else ftplib.FTP()
        client.connect(HOST, port, timeout=LIMIT)
        client.login(self.server.user_name, self.server.password)
        if isinstance(client, ftplib.FTP_TLS):
            client.prot_p()
        return client

    def converse(self, number: int) -> None:
        content = os.urandom(100_000)
        with self.login(self.port, bool(number % 2)) as client:
            client.storbinary(f"STOR {number}", io.BytesIO(content))
            parts: list[bytes] = []
            client.retrbinary(f"RETR {number}", parts.append)
            assert b"".join(parts) == content
            lines: list[str] = []
            client.retrlines("RETR lines", lines.append)
            assert lines == LINES.decode().splitlines()

    def stall(self) -> None:
        self.stall_reply()
        for mode in ("rb", "r"):
            self.stall_data(mode)

    def stall_reply(self) -> None:
        """The file of the commands, a text file."""
        with MiddleMan(self.port) as man, self.login(man.port) as client:
            man.hold_after(7)
            client.putcmd("FEAT")
            file: Any = limited(client.file, STALL)
            for _ in range(2):
                with timing_out():
                    file.readline()
            man.let_go()
            limited(file, LIMIT)
            reply = client.getmultiline().split("\n")
            assert (reply[0], reply[-1]) == ("211-Features:", "211 End")
            assert client.voidcmd("NOOP").startswith("200")

    def stall_data(self, mode: str) -> None:
        """A file of data, on a connection that is made as ftplib makes it."""
        with self.login(self.port) as client:
            client.voidcmd("TYPE I")
            with MiddleMan(ftplib.parse227(client.sendcmd("PASV"))[1]) as man:
                man.hold_after(len(LINES) // 2)
                with socket.create_connection((HOST, man.port), LIMIT) as connection:
                    client.sendcmd("RETR lines")
                    with connection.makefile(mode, newline=None if "b" in mode else "") as file:
                        for _ in range(2):
                            with timing_out():
                                limited(file, STALL).read()
                        man.let_go()
                        got = limited(file, LIMIT).read()
            assert got == (LINES if mode == "rb" else LINES.decode())
            client.voidresp()

    def ask_on(self, port: int) -> None:
        with self.login(port) as client:
            while True:
                client.retrlines("RETR lines", lambda _line: None)
