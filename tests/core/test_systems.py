"""Other systems, as far as this one can play them: what macOS does not have, and Windows at import."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import gevent.socket
import pytest
from kit.bare_system import REFUSED
from kit.conditions import until

from geventstreams import SocketStream, SocketStreamServer, UnsuitableSocket, tcp_server
from geventstreams._native import syscalls as system
from geventstreams._net.listening import is_listening

FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6, "Unix": socket.AF_UNIX}


@pytest.fixture(params=FAMILIES)
def family(request) -> int:
    return FAMILIES[request.param]


@pytest.fixture
def made(family):
    """Make sockets of the family, bound to an address of their own where asked."""
    kept: list[socket.socket] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:

        def make(bound: bool = False, listens: bool = False) -> socket.socket:
            kept.append(socket.socket(family))
            kept[-1].settimeout(20)
            if bound or listens:
                address = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}
                kept[-1].bind(address.get(family, f"{folder}/{len(kept)}"))
            if listens:
                kept[-1].listen(8)
            return kept[-1]

        yield make
        for one in kept:
            one.close()


@pytest.fixture(params=["told", "refused"])
def told(request, monkeypatch) -> bool:
    """Return whether the system says of a socket that it listens, as Linux does; macOS refuses the option."""
    if request.param == "refused":
        monkeypatch.setattr(socket, "SO_ACCEPTCONN", REFUSED)
    return request.param == "told"


def test_who_listens(made, told: bool) -> None:
    """A listener is told from every other socket, with clients in its queue or without, whether the system says it or not."""
    listener = made(listens=True)
    assert is_listening(listener.fileno())
    client = made()
    client.connect(listener.getsockname())
    assert is_listening(listener.fileno())
    accepted, _ = listener.accept()
    with accepted:
        others = [client, accepted, made(), made(bound=True)]
        assert not any(is_listening(one.fileno()) for one in others)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        until(lambda: system.was_connected(accepted.fileno()))
        assert not is_listening(accepted.fileno())


@pytest.mark.parametrize("number", [-1, 10**6])
def test_what_is_not_open_does_not_listen(number: int, told: bool) -> None:
    """A descriptor that is not open is no listener."""
    assert not is_listening(number)


def test_datagram_sockets_and_files_do_not_listen(told: bool) -> None:
    """What is no stream socket is no listener."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, open(os.devnull, "rb") as file:
        datagrams.bind(("127.0.0.1", 0))
        assert not is_listening(datagrams.fileno())
        assert not is_listening(file.fileno())


def test_servers_take_listeners_only(made, told: bool) -> None:
    """A listening socket becomes a server, by object or by descriptor; one that is only bound is refused, and left open."""
    bound = made(bound=True)
    with pytest.raises(ValueError, match="listening"):
        SocketStreamServer(bound, lambda stream, address: None)
    with pytest.raises(ValueError, match="listening"):
        tcp_server(None, 0, None, fd=bound.fileno())
    assert bound.fileno() >= 0
    listener = made(listens=True)
    server = SocketStreamServer(gevent.socket.socket(fileno=os.dup(listener.fileno())), lambda stream, address: None)
    server.start()
    server.stop(0)
    tcp_server(None, 0, None, fd=listener.detach()).close()


def test_streams_take_no_listener(made, told: bool) -> None:
    """A listener is refused as a stream, also with a client in its queue, and left open."""
    listener = made(listens=True)
    client = made()
    client.connect(listener.getsockname())
    for given in (listener, listener.fileno()):
        with pytest.raises(UnsuitableSocket, match="listens"):
            SocketStream(given)
    assert listener.fileno() >= 0


def test_a_number_is_of_its_own_family(made, family: int, told: bool) -> None:
    """A stream on a bare descriptor has addresses of the socket's own family, and a reset one is taken, too."""
    listener = made(listens=True)
    client = made()
    client.connect(listener.getsockname())
    accepted, _ = listener.accept()
    names = accepted.getsockname(), accepted.getpeername()
    with system.as_socket(accepted.fileno(), system.OWN_FAMILY) as borrowed:
        assert borrowed.family == family
    with SocketStream(accepted.detach()) as stream:
        assert (stream.address, stream.peer_address) == names


@pytest.mark.parametrize("blocking", [True, False])
def test_a_borrowed_socket_without_its_flag(made, monkeypatch, blocking: bool) -> None:
    """Without SOCK_NONBLOCK, and with a default timeout, a descriptor keeps its mode, and nothing waits on it."""
    monkeypatch.setattr(system, "_NONBLOCK", 0)
    listener = made(listens=True)
    client = made()
    client.connect(listener.getsockname())
    os.set_blocking(client.fileno(), blocking)
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        borrowed = system.handle_of(client.fileno(), client.family)
        with system.as_socket(client.fileno(), client.family) as other:
            assert other.getpeername() == client.getpeername()
        assert os.get_blocking(client.fileno()) == blocking
        assert system.receive(client.fileno(), borrowed, memoryview(bytearray(10)), 0, []) == -1
    finally:
        socket.setdefaulttimeout(usual)
        system.release(borrowed)
    assert client.fileno() >= 0


WORK = """
from kit import bare_system
bare_system.take_away()
import os, socket, ssl, sys, gevent, geventstreams, geventstreams._native.syscalls as system
assert not (system._NONBLOCK or system._POLLRDHUP), "taken away too late"
assert not hasattr(socket, "SO_DOMAIN")
server = geventstreams.SocketStreamServer(("127.0.0.1", 0), lambda stream, address: stream.write(stream.read()))
server.start()
sent = os.urandom(300_000)
for make in (lambda: geventstreams.open_tcp_stream("127.0.0.1", server.port), lambda: geventstreams.SocketStream(
        socket.create_connection(("127.0.0.1", server.port)).detach())):
    with make() as stream:
        stream.read_timeout = 20
        stream.write(sent)
        stream.send_eof()
        assert stream.read() == sent
near, far = socket.socketpair()
with geventstreams.SocketStream(near) as one, geventstreams.SocketStream(far) as other:
    one.write_line("a line")
    one.flush()
    assert geventstreams.wait_for_input_streams([other], timeout=20) == [other]
    assert other.read_line() == ("a line", False)
got = []
with geventstreams.tcp_server("127.0.0.1", 0, lambda one, data: got.append(data)) as called:
    client = geventstreams.tcp_connect("127.0.0.1", called.port, None, data=b"bytes")
    with gevent.Timeout(20):
        while not got:
            gevent.sleep(0.001)
    client.close()
near, far = gevent.socket.socketpair()
far.sendall(b"a line\\n")
with geventstreams.makefile(near, "rb") as file:
    assert file.readline() == b"a line\\n"
server.stop()
print("geventstreams", "compiled" if geventstreams.compiled else "plain", "works")
"""


@pytest.mark.parametrize("plain", [False, True], ids=["as tested", "plain"])
def test_without_what_only_linux_has(plain: bool) -> None:
    """Streams, servers, waiting and callbacks work where the system lacks every constant and option that only Linux has."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])}
    if plain:
        environment["PURE_PYTHON"] = "1"
    done = subprocess.run([sys.executable, "-c", WORK], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("works\n")


def test_windows_is_refused_in_one_line() -> None:
    """On Windows the import ends in an ImportError that says that it is not supported, before anything else is loaded."""
    words = "import sys; sys.platform = 'win32'; import geventstreams"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: geventstreams does not run on Windows")
