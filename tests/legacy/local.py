"""xmlrpc.client, and servers written in Python: gevent.pywsgi, wsgiref and socketserver, patched as their clients."""

import http.client
import socket
import sys
import xml.parsers.expat
import xmlrpc.client
from pathlib import Path
from typing import Any, ClassVar

import gevent
from client import STALL, Client, limited, timing_out
from middle_man import HOST, LIMIT, MiddleMan
from servers import Server


class PythonServer(Server):
    """One of python_servers.py in a process of its own."""

    name = "Python"
    program = sys.executable
    package = "python3"

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    def command(self) -> list[str]:
        words = [str(Path(__file__).with_name("python_servers.py")), self.kind, str(self.ports[self.kind])]
        # It is started in an environment that is nearly empty.
        return ["-c", f"import sys; sys.path[:0] = {sys.path!r}; from geventstreams import monkey; monkey.main({words!r})"]


class Local(Client):
    """A client of a server in Python."""

    kind: ClassVar[str]
    errors = (OSError, http.client.HTTPException)

    def make_server(self) -> PythonServer:
        return PythonServer(self.kind)

    @property
    def port(self) -> int:
        return self.server.ports[self.kind]


class XMLRPC(Local):
    """xmlrpc.client and xmlrpc.server."""

    kind = "xmlrpc"
    errors = (OSError, http.client.HTTPException, xml.parsers.expat.ExpatError)  # half an answer is bad XML to it

    def converse(self, number: int) -> None:
        with xmlrpc.client.ServerProxy(f"http://{HOST}:{self.port}/") as proxy:
            for size in (1, 100, 10_000):
                words = [number, f"<word> {number}" * size, {"size": size}]
                assert proxy.echo(*words) == words

    def stall(self) -> None:
        with MiddleMan(self.port) as man:
            transport = transport_without_gzip()
            question = xmlrpc.client.dumps((300_000,), "text").encode()
            man.hold_after(150_000)
            connection: Any = transport.send_request(f"{HOST}:{man.port}", "/RPC2", question, False)
            answer = connection.getresponse()
            limited(answer.fp, STALL)
            size = int(answer.getheader("Content-Length"))
            for _ in range(2):
                with timing_out():
                    answer.read(size)
            man.let_go()
            limited(answer.fp, LIMIT)
            assert xmlrpc.client.loads(answer.read(size)) == (("x" * 300_000,), None)
            transport.close()

    def ask_on(self, port: int) -> None:
        with xmlrpc.client.ServerProxy(f"http://{HOST}:{port}/", transport_without_gzip()) as proxy:
            proxy.text(50_000_000)


def transport_without_gzip() -> xmlrpc.client.Transport:
    """One whose answers are as long as they are made."""
    made = xmlrpc.client.Transport()
    made.accept_gzip_encoding = False
    return made


class WSGI(Local):
    """http.client and a WSGI server. What stalls is the question, and it is the server's file that reads on."""

    def converse(self, number: int) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=LIMIT)
        for size in (1, 1000, 100_000):
            body = b"%d " % number * size
            connection.request("POST", "/", body)
            assert connection.getresponse().read() == body
        connection.close()

    def stall(self) -> None:
        body = bytes(range(256)) * 1000
        connection = http.client.HTTPConnection(HOST, self.port, timeout=LIMIT)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body[:100_001])
        gevent.sleep(4 * STALL)
        connection.send(body[100_001:])
        answer = connection.getresponse()
        limited(answer.fp, LIMIT)
        assert answer.read() == body
        assert int(answer.headers["Timeouts"]) >= 1
        connection.close()

    def ask_on(self, port: int) -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=LIMIT)
        try:
            connection.request("GET", "/large")
            connection.getresponse().read()
        finally:
            connection.close()


class PyWSGI(WSGI):
    """gevent's server."""

    kind = "gevent.pywsgi"


class WSGIRef(WSGI):
    """The standard library's server."""

    kind = "wsgiref"


class SocketServer(Local):
    """A file on a socket, and socketserver.StreamRequestHandler: files at both ends."""

    kind = "socketserver"
    errors = (OSError, EOFError)

    def converse(self, number: int) -> None:
        with socket.create_connection((HOST, self.port), LIMIT) as connection, connection.makefile("rwb") as file:
            limited(file, LIMIT)
            for size in (1, 100, 10_000):
                line = b"%d " % number * size + b"\n"
                file.write(line)
                file.flush()
                assert file.readline() == line

    def stall(self) -> None:
        with socket.create_connection((HOST, self.port), LIMIT) as connection, connection.makefile("rb") as file:
            connection.sendall(b"half a li")
            gevent.sleep(4 * STALL)
            connection.sendall(b"ne\ntimeouts\n")
            assert limited(file, LIMIT).readline() == b"half a line\n"
            assert int(file.readline()) >= 1
        with (
            MiddleMan(self.port) as man,
            socket.create_connection((HOST, man.port), LIMIT) as connection,
            connection.makefile("r") as text,
        ):
            man.hold_after(7)
            connection.sendall(b"one line\nanother\n")
            for _ in range(2):
                with timing_out():
                    limited(text, STALL).readline()
            man.let_go()
            limited(text, LIMIT)
            assert (text.readline(), text.readline()) == ("one line\n", "another\n")

    def ask_on(self, port: int) -> None:
        with socket.create_connection((HOST, port), LIMIT) as connection, connection.makefile("rwb") as file:
            file.write(b"large\n")
            file.flush()
            if not file.readline().endswith(b"\n"):
                raise EOFError
