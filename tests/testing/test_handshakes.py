"""Virtual time and handshakes: an error where it would jump over one with another process, none within this process."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest
from kit.conditions import until
from kit.network import black_hole
from kit.pairs import Pairs
from servers.certificates import Certificates

from geventstreams import ConnectTimeout, HandshakeTimeout, SocketStream, open_tcp_stream, tcp_connect
from geventstreams._core import handshakes
from geventstreams.testing import virtual_time

SERVER = """
import socket, ssl, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=0)
print(listener.getsockname()[1], flush=True)
if sys.argv[1] == "full":
    sys.stdin.read()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
if sys.argv[1] == "tls":
    context.load_cert_chain(sys.argv[2], sys.argv[3])
client = listener.accept()[0]
if sys.argv[1] == "tls":
    client = context.wrap_socket(client, server_side=True)
    client.sendall(b"hello")
sys.stdin.read()
"""


@pytest.fixture
def server_elsewhere(pairs: Pairs) -> Iterator[Callable[..., int]]:
    """A function that starts a server in another process, and returns its port."""
    with contextlib.ExitStack() as stack:

        def start(kind: str, *files: str) -> int:
            words = [sys.executable, "-c", SERVER, kind, *files]
            process = stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert process.stdin is not None
            stack.callback(process.stdin.close)
            assert process.stdout is not None
            port = int(process.stdout.readline())
            if kind == "full":
                for _ in range(2):
                    filler = socket.socket()
                    filler.setblocking(False)
                    filler.connect_ex(("127.0.0.1", port))
                    pairs.made.append(filler)
            return port

        yield start


def client_context(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates.ca))


def server_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.chain, certificates.server.key)
    return context


def tls_of_gevent(port: int, _: Certificates) -> None:
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    plain = gevent.socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False) as protected:
        protected.do_handshake()


def connect_of_gevent(port: int, _: Certificates) -> None:
    with gevent.socket.socket() as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.1", port))


def tls_as_the_server(port: int, certificates: Certificates) -> None:
    near = gevent.socket.create_connection(("127.0.0.1", port))
    SocketStream(near, ssl_ctx=server_context(certificates), handshake_timeout=10)


def connect_with_callbacks(port: int, _: Certificates) -> None:
    calling = tcp_connect("127.0.0.1", port, lambda *_: None, timeout=10)
    try:
        gevent.sleep(20)
    finally:
        calling.close(True)


UNDER_WAY: dict[str, tuple[str, str, Callable[[int, Certificates], Any]]] = {
    "connect": ("full", "the connect to", lambda port, _: open_tcp_stream("127.0.0.1", port, timeout=10)),
    "connect to a name": ("full", "the connect to", lambda port, _: open_tcp_stream("localhost", port, ipv6=False, timeout=10)),
    "connect with callbacks": ("full", "the connect to", connect_with_callbacks),
    "connect of gevent": ("full", "the connect to", connect_of_gevent),
    "TLS": (
        "silent", "the TLS handshake with",
        lambda port, _: open_tcp_stream("127.0.0.1", port, ssl_ctx=True, handshake_timeout=10),
    ),
    "TLS as the server": ("silent", "the TLS handshake with", tls_as_the_server),
    "TLS of gevent": ("silent", "the TLS handshake with", tls_of_gevent),
}


@pytest.mark.parametrize("name", UNDER_WAY)
def test_no_jump_while_a_handshake_with_another_process_is_under_way(
    name: str, server_elsewhere: Callable[..., int], certificates: Certificates
) -> None:
    """Where the clock would jump over a connect or a TLS handshake with another process, an error says so, and no timeout fires."""
    kind, words, call = UNDER_WAY[name]
    port = server_elsewhere(kind)
    expected = f"would jump by .* s while {words} .*:{port}, which is in another process, .*threshold"
    with virtual_time() as clock:
        with pytest.raises(RuntimeError, match=expected), gevent.Timeout(15):
            call(port, certificates)
        assert (clock.now, clock.jumps) == (0, [])
    until(lambda: not handshakes.of_this_hub())


def test_the_error_comes_in_the_greenlet_that_began_virtual_time(server_elsewhere: Callable[..., int]) -> None:
    """A client in another greenlet is not ended by it, and completes nothing; the block ends at once."""
    port = server_elsewhere("silent")
    clients = []

    def spend_an_hour() -> None:
        with virtual_time():
            clients.append(gevent.spawn(open_tcp_stream, "127.0.0.1", port, ssl_ctx=True, handshake_timeout=10))
            gevent.sleep(3600)

    with pytest.raises(RuntimeError, match="another process"):
        spend_an_hour()
    assert not clients[0].ready()
    clients[0].kill()


def test_a_handshake_with_another_process_completes_within_the_threshold(
    server_elsewhere: Callable[..., int], certificates: Certificates
) -> None:
    """With `threshold` a handshake has real time, and hours of virtual time may follow it."""
    port = server_elsewhere("tls", str(certificates.server.chain), str(certificates.server.key))
    with virtual_time(threshold=5) as clock:
        stream = open_tcp_stream("127.0.0.1", port, ssl_ctx=client_context(certificates), handshake_timeout=10)
        assert stream.read_exactly(5) == b"hello"
        assert clock.now == 0
        stream.abort()


def test_handshakes_within_the_process_are_jumped_over(pairs: Pairs, certificates: Certificates) -> None:
    """Where both ends are in this process, and where a client is in the queue of a listener, timeouts fire at their time."""
    for host in ("127.0.0.1", "0.0.0.0"):
        with virtual_time() as clock, gevent.socket.create_server((host, 0)) as listener:
            port = listener.getsockname()[1]
            queued = pairs.keep(gevent.socket.create_connection(("127.0.0.1", port)))
            with pytest.raises(HandshakeTimeout):
                SocketStream(queued, ssl_ctx=True, ssl_side="client", tlsext_host_name="localhost", handshake_timeout=50)
            listener.accept()[0].close()
            silent = pairs.keep(gevent.socket.create_connection(("127.0.0.1", port)))
            with pytest.raises(HandshakeTimeout):
                SocketStream(listener.accept()[0], ssl_ctx=server_context(certificates), handshake_timeout=50)
            silent.close()
            assert clock.now == pytest.approx(100, abs=0.1)
    with black_hole() as address, virtual_time() as clock, pytest.raises(ConnectTimeout):
        open_tcp_stream(*address, timeout=30)
    assert clock.now == pytest.approx(30, abs=0.1)


def test_handshakes_of_other_threads_do_not_count(server_elsewhere: Callable[..., int]) -> None:
    """What another thread waits for does not hinder this one's clock."""
    port = server_elsewhere("full")
    waits, may_end = threading.Event(), threading.Event()

    def connect() -> None:
        opening = gevent.spawn(open_tcp_stream, "127.0.0.1", port, timeout=60)
        until(handshakes.of_this_hub)
        waits.set()
        until(may_end.is_set)
        opening.kill()

    thread = threading.Thread(target=connect)
    thread.start()
    assert waits.wait(20)
    with virtual_time() as clock:
        gevent.sleep(3600)
        assert clock.now == 3600
    may_end.set()
    thread.join()


def test_sockets_of_gevent_are_as_before() -> None:
    """What virtual time adds to gevent's classes is gone afterwards."""
    before = gevent.socket.socket.connect, gevent.ssl.SSLSocket.do_handshake, set(vars(gevent.socket.socket))
    with virtual_time():
        assert gevent.socket.socket.connect is not before[0]
    assert (gevent.socket.socket.connect, gevent.ssl.SSLSocket.do_handshake, set(vars(gevent.socket.socket))) == before
