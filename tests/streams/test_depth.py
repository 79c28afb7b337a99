"""How deep the stack is when a read asks the system: what a waiting greenlet leaves there is copied at each switch."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, socket, ssl, sys
import gevent, geventstreams, trustme
import geventstreams._native.syscalls as syscalls
from geventstreams import SocketStream, makefile

PACKAGE = os.path.dirname(geventstreams.__file__)


def ways(call):
    # The frames of the package above each receive call that this call makes, as pairs of function and file.
    found = []

    def look(frame, event, _argument):
        if event == "call" and frame.f_code.co_name == "receive" and frame.f_code.co_filename == syscalls.__file__:
            way = []
            while frame is not None:
                if frame.f_code.co_filename.startswith(PACKAGE):
                    way.insert(0, (frame.f_code.co_name, os.path.relpath(frame.f_code.co_filename, PACKAGE)))
                frame = frame.f_back
            found.append(way)

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def plain(**options):
    near, far = gevent.socket.socketpair()
    return SocketStream(near, **options), far.sendall


def tls():
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    certificate.configure_cert(server)
    authority.configure_trust(client)
    near, far = gevent.socket.socketpair()
    peer = gevent.spawn(SocketStream, far, ssl_ctx=server)
    stream = SocketStream(near, ssl_ctx=client, ssl_side="client", tlsext_host_name="localhost")
    return stream, peer.get().sendall


def file():
    near, far = gevent.socket.socketpair()
    return makefile(near, "rb"), far.sendall


stream, send = {"plain": plain, "limited": lambda: plain(read_timeout=5), "tls": tls, "file": file}[sys.argv[1]]()
send(b"there\\n")
found = ways(stream.readline)
gevent.spawn_later(0.02, send, b"later\\n")
found += ways(stream.readline)
deepest = max(found, key=len)
print(len(deepest), len({file for _, file in deepest}), *(f"{file}:{name}" for name, file in deepest))
"""

MOST = {"plain": (6, 4), "limited": (6, 4), "tls": (8, 5), "file": (7, 5)}
"""The frames at the receive call, and the files that they are in."""


@pytest.mark.parametrize("kind", MOST)
def test_a_line_is_received_through_few_frames(kind: str) -> None:
    """In the plain build, `readline` reaches the receive call in few steps, whether it has to wait or not."""
    plain_build = {**os.environ, "PURE_PYTHON": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, kind], env=plain_build, capture_output=True, text=True, timeout=60, check=True)
    frames, files, *way = done.stdout.split()
    assert (int(frames), int(files)) <= MOST[kind], way
    assert int(files) <= MOST[kind][1], way
