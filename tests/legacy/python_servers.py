"""Servers of the standard library and of gevent, each in a patched process of its own: `python_servers.py KIND PORT`.

What they serve is the same: POST / gives the body back, with the timeouts that its reading met in a header; GET /large
is very much. The line server gives each line back, and tells how many timeouts it has met when it is asked.
"""

import contextlib
import socketserver
import sys
import wsgiref.simple_server
import xmlrpc.server
from collections.abc import Callable, Iterator
from typing import Any

import gevent.pywsgi

HOST = "127.0.0.1"
STALL = 0.2
PIECE = b"x" * 100_000
PIECES = 500
BACKLOG = 128


@contextlib.contextmanager
def limited(body: Any) -> Iterator[None]:
    """Limits its reading: by the socket's own timeout where the server hands out the socket's file."""
    if not hasattr(body, "raw"):
        with gevent.Timeout(STALL):
            yield
        return
    body.raw._sock.settimeout(STALL)
    try:
        yield
    finally:
        body.raw._sock.settimeout(None)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Return back what it is sent."""
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [("Content-Length", str(PIECES * len(PIECE)))])
        for _ in range(PIECES):
            yield PIECE
        return
    timeouts, body = 0, None
    while body is None:
        try:
            with limited(environ["wsgi.input"]):
                body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        except (TimeoutError, gevent.Timeout):
            timeouts += 1
    start_response("200 OK", [("Content-Length", str(len(body))), ("Timeouts", str(timeouts))])
    yield body


def pywsgi(port: int) -> None:
    """gevent's WSGI server."""
    gevent.pywsgi.WSGIServer((HOST, port), application, log=None).serve_forever()


class Threading(socketserver.ThreadingMixIn):
    """A thread, which is a greenlet here, for each connection."""

    daemon_threads = True
    request_queue_size = BACKLOG


class WSGIServer(Threading, wsgiref.simple_server.WSGIServer):
    """wsgiref's, for many clients at once."""


class WSGIHandler(wsgiref.simple_server.WSGIRequestHandler):
    """wsgiref's, without its log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


def wsgiref_server(port: int) -> None:
    """The standard library's WSGI server."""
    made = wsgiref.simple_server.make_server(HOST, port, application, WSGIServer, WSGIHandler)
    made.serve_forever()


class LineHandler(socketserver.StreamRequestHandler):
    """Gives lines back."""

    timeout = STALL

    def handle(self) -> None:
        """Read from one file, and retry after its timeouts."""
        timeouts = 0
        while True:
            try:
                line = self.rfile.readline()
            except TimeoutError:
                timeouts += 1
                continue
            if not line:
                return
            if line == b"large\n":
                self.connection.settimeout(None)
                for _ in range(PIECES):
                    self.wfile.write(PIECE)
            self.wfile.write(b"%d\n" % timeouts if line == b"timeouts\n" else line)


class LineServer(Threading, socketserver.TCPServer):
    """The standard library's, for many clients at once."""


def socketserver_server(port: int) -> None:
    """The standard library's server for lines."""
    LineServer((HOST, port), LineHandler).serve_forever()


class XMLRPCServer(Threading, xmlrpc.server.SimpleXMLRPCServer):
    """The standard library's, for many clients at once."""


def xmlrpc_server(port: int) -> None:
    """The standard library's XML-RPC server."""
    made = XMLRPCServer((HOST, port), logRequests=False, allow_none=True)
    made.register_function(lambda *words: list(words), "echo")
    made.register_function(lambda size: "x" * size, "text")
    made.serve_forever()


KINDS: dict[str, Callable[[int], None]] = {
    "gevent.pywsgi": pywsgi,
    "wsgiref": wsgiref_server,
    "socketserver": socketserver_server,
    "xmlrpc": xmlrpc_server,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]))
