"""Opening connections: which addresses are tried and when, what errors say, and that nothing stays open."""

from __future__ import annotations

import contextlib
import errno
import gc
import ipaddress
import os
import pickle
import socket
from pathlib import Path

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from kit.conditions import until
from kit.leftovers import descriptors, greenlets, nothing_left, running_timers
from kit.network import HOST, black_hole, listener, unused_port
from servers import require_address, require_name

from geventstreams._net.connect import open_tcp_stream, open_unix_stream
from geventstreams._net.happy_eyeballs import ATTEMPT_DELAY, Attempt, alternating
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import ConnectError, ConnectTimeout, StreamError
from geventstreams.server.server import SocketStreamServer
from geventstreams.testing import MemoryNetwork

LIMIT = 0.15


@pytest.fixture
def server():
    with listener() as made:
        yield made


@pytest.fixture
def port(server):
    return server.getsockname()[1]


@pytest.fixture
def names(monkeypatch):
    """A resolver that knows what the test puts in."""
    known = {}

    def getaddrinfo(host, service, *_args):
        asked.append((host, service))
        if (host, service) not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in known[host, service]]

    asked = known["asked"] = []
    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    return known


def accepted(server):
    """The next client of a listener."""
    clients = []

    def accept():
        with contextlib.suppress(BlockingIOError):
            clients.append(server.accept()[0])
        return clients

    until(accept)
    return clients[0]


def talks(stream, server):
    """Return whether the stream leads to the listener, both ways; closes it."""
    with accepted(server) as peer, stream:
        peer.sendall(b"from the server\n")
        stream.write_line("from the client")
        stream.send_eof()
        peer.setblocking(True)
        return stream.read_line() == ("from the server", False) and peer.recv(100) == b"from the client\n"


# Hosts and services.


@pytest.mark.parametrize("host", [HOST, 0x7F000001, ipaddress.ip_address(HOST), "localhost"], ids=repr)
def test_host_forms(host, server, port):
    """A host may be a literal, an integer, an ipaddress object or a name."""
    require_name(str(host))
    assert talks(open_tcp_stream(host, port, timeout=10), server)


def test_ipv6_hosts():
    """IPv6 hosts may be literals or ipaddress objects."""
    require_address("::1")
    with listener("::1") as server:
        port = server.getsockname()[1]
        for host in ("::1", ipaddress.ip_address("::1")):
            assert talks(open_tcp_stream(host, port), server)
        assert talks(open_tcp_stream("::1", port, ipv6=True), server)


@pytest.mark.parametrize("form", [int, str], ids=["port", "digits"])
def test_service_forms(form, server, port):
    """A service may be a port or digits."""
    assert talks(open_tcp_stream(HOST, form(port)), server)


def test_service_names_are_looked_up(names, server, port):
    """A service name goes to gevent's resolver, also beside a literal host."""
    names[HOST, "demo"] = [(socket.AF_INET, (HOST, port))]
    assert talks(open_tcp_stream(HOST, "demo"), server)


@pytest.mark.parametrize("host", [HOST, "localhost"])
def test_a_service_that_cannot_be_encoded(host, capfd):
    """A service name that has no UTF-8 form is a ConnectError, and nothing is printed."""
    with pytest.raises(ConnectError, match="cannot resolve"):
        open_tcp_stream(host, "\udcff")
    assert capfd.readouterr().err == ""


def test_the_system_s_error_in_a_look_up_has_its_number(monkeypatch):
    """Where not the name but the system is the cause, as without free descriptors, the error has the system's number."""

    def getaddrinfo(*_args):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectError, match="cannot resolve localhost:80: Too many open files") as raised:
        open_tcp_stream("localhost", 80)
    assert raised.value.errno == errno.EMFILE


def test_literals_are_not_looked_up(names, server, port):
    """A literal host with a port asks no resolver."""
    assert talks(open_tcp_stream(HOST, port), server)
    assert names["asked"] == []


@pytest.mark.parametrize(
    ("ipv6", "family"), [("any", socket.AF_UNSPEC), (True, socket.AF_INET6), (False, socket.AF_INET)]
)
def test_ipv6_chooses_the_family(ipv6, family, monkeypatch):
    """`ipv6` says which addresses of a name are asked for."""
    families = []

    def getaddrinfo(_host, _service, wanted, *_args):
        families.append(wanted)
        return []

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectError):
        open_tcp_stream("somewhere.test", 80, ipv6=ipv6)
    assert families == [family]


def test_a_literal_of_the_other_family_fails():
    """An IPv4 literal where only IPv6 is wanted is a failed look-up."""
    with pytest.raises(ConnectError) as caught:
        open_tcp_stream(HOST, 80, ipv6=True)
    [(address, error)] = caught.value.errors
    assert address == (HOST, 80)
    assert isinstance(error, socket.gaierror)


# The stream.


def test_stream_arguments_reach_the_stream(server, port):
    """What the stream takes is handed on to it, and the socket options are set."""
    stream = open_tcp_stream(
        HOST, port, direction="output", element_type="unsigned-byte-8", encoding="utf-8", read_timeout=3,
        write_timeout=4, line_limit=99, linger_timeout=1, keepalive=True,
    )
    with stream:
        assert stream.direction == "output"
        assert stream.element_type.value == "unsigned-byte-8"
        assert stream.encoding == "utf-8"
        assert stream.read_timeout == 3
        assert stream.write_timeout == 4
        assert stream.line_limit == 99
        assert stream.linger_timeout == 1
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert isinstance(stream.socket, gevent.socket.socket)


def test_socket_options_can_be_left_out(server, port):
    """`nodelay=False` and the default of `keepalive` leave the socket as the system makes it."""
    with open_tcp_stream(HOST, port, nodelay=False) as stream:
        assert not stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_local_address_and_port(server, port):
    """Our end is the one that was asked for."""
    mine = unused_port("127.0.0.2")
    with open_tcp_stream(HOST, port, local_address="127.0.0.2", local_port=mine) as stream:
        assert stream.address == ("127.0.0.2", mine)
    other = unused_port()
    with open_tcp_stream(HOST, port, local_port=str(other)) as stream:
        assert stream.address == (HOST, other)


def test_one_local_port_serves_a_race(names, server, port):
    """Attempts that run side by side can share the local port that was asked for."""
    with black_hole("127.0.0.2", port):
        names["two.test", port] = [(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, (HOST, port))]
        mine = unused_port()
        with open_tcp_stream("two.test", port, local_port=mine) as stream:
            assert stream.address == (HOST, mine)
            assert stream.peer_address == (HOST, port)


def test_local_address_of_another_family(port):
    """An address that cannot be reached from the local one fails, and the error says why."""
    with pytest.raises(ConnectError, match="local_address") as caught:
        open_tcp_stream(HOST, port, local_address="::1")
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_stream_class(server, port):
    """The stream is of the class that was asked for."""

    class Mine(SocketStream):
        pass

    with open_tcp_stream(HOST, port, stream_class=Mine) as stream:
        assert type(stream) is Mine


class FailsFirst(SocketStream):
    """A stream whose constructor fails before the descriptor is its own."""

    def __init__(self, *args, **options):
        raise RuntimeError("before")


class FailsLast(SocketStream):
    """A stream whose constructor fails when the descriptor is its own."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        raise RuntimeError("after")


@pytest.mark.parametrize("stream_class", [FailsFirst, FailsLast])
def test_a_failing_constructor_closes_the_connection(stream_class, server, port):
    """After any exception of a stream class's constructor the connection is closed, even while the exception is kept."""
    before = descriptors()
    kept = []
    for _ in range(20):
        with pytest.raises(RuntimeError) as caught:
            open_tcp_stream(HOST, port, stream_class=stream_class)
        kept.append(caught.value)
        with accepted(server) as peer:
            peer.setblocking(True)
            with contextlib.suppress(ConnectionResetError):
                assert peer.recv(1) == b""
    assert descriptors() == before


# Several addresses.


def test_families_take_turns():
    """The attempts alternate between the families, beginning with the resolver's first address."""
    six, four = socket.AF_INET6, socket.AF_INET
    found = [(six, 1), (six, 2), (six, 3), (four, 4), (four, 5)]
    assert alternating(found) == [(six, 1), (four, 4), (six, 2), (four, 5), (six, 3)]


def test_the_next_address_is_tried_beside_a_silent_one(names, server, port, virtual_clock):
    """An address that does not answer delays the next one by 250 ms, and no longer."""
    with black_hole("127.0.0.2", port):
        names["two.test", port] = [(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, (HOST, port))]
        with nothing_left():
            began = virtual_clock.now
            stream = open_tcp_stream("two.test", port, timeout=10)
            took = virtual_clock.now - began
            assert stream.peer_address == (HOST, port)
            stream.close()
    assert took == pytest.approx(ATTEMPT_DELAY)


def test_the_next_address_follows_a_refusal_at_once(names, server, port, virtual_clock):
    """An address that refuses delays nothing."""
    dead = [(socket.AF_INET, (f"127.0.0.{last}", port)) for last in range(2, 12)]
    names["many.test", port] = [*dead, (socket.AF_INET, (HOST, port))]
    began = virtual_clock.now
    open_tcp_stream("many.test", port).close()
    assert virtual_clock.now == began


def test_a_refusal_beside_a_silent_address_begins_the_next_at_once(names, server, port, virtual_clock):
    """A failure begins the next attempt without waiting for the rest of the 250 ms."""
    with black_hole("127.0.0.2", port):
        addresses = ["127.0.0.2", "127.0.0.3", HOST]
        names["three.test", port] = [(socket.AF_INET, (address, port)) for address in addresses]
        began = virtual_clock.now
        open_tcp_stream("three.test", port).close()
    assert virtual_clock.now - began == pytest.approx(ATTEMPT_DELAY)


def test_a_slow_first_address_may_still_win(names, monkeypatch):
    """An attempt goes on when the next one begins: here the second refuses and the first answers late."""
    begun = []

    class Noted(Attempt):
        def __init__(self, *arguments):
            begun.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr("geventstreams._net.happy_eyeballs.Attempt", Noted)
    with listener("127.0.0.2", backlog=0) as slow, contextlib.ExitStack() as fillers:
        port = slow.getsockname()[1]
        for _ in range(8):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(slow.getsockname())
        names["two.test", port] = [(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, (HOST, port))]
        opening = gevent.spawn(open_tcp_stream, "two.test", port, timeout=10)
        until(lambda: len(begun) == 2)
        assert not opening.ready()
        while not opening.ready():
            with contextlib.suppress(BlockingIOError):
                slow.accept()[0].close()
            gevent.sleep(0.01)
        with opening.get() as stream:
            assert stream.peer_address == ("127.0.0.2", port)


def test_all_errors_are_told(names, port):
    """ConnectError has the error of every address, in the order in which they failed, and names them all."""
    dead = unused_port()
    names["three.test", dead] = [(socket.AF_INET, (f"127.0.0.{last}", dead)) for last in (1, 2, 3)]
    with pytest.raises(ConnectError) as caught:
        open_tcp_stream("three.test", dead)
    error = caught.value
    assert [address for address, _ in error.errors] == [(f"127.0.0.{last}", dead) for last in (1, 2, 3)]
    assert {type(cause) for _, cause in error.errors} == {ConnectionRefusedError}
    assert error.errno == errno.ECONNREFUSED
    for last in (1, 2, 3):
        assert f"127.0.0.{last}:{dead}" in str(error)
    assert "three.test" in str(error)
    assert str(pickle.loads(pickle.dumps(error)).errors) == str(error.errors)


def test_a_failed_look_up_is_told():
    """An unknown name is a ConnectError with the resolver's error in it."""
    with pytest.raises(ConnectError, match=r"nowhere\.invalid") as caught:
        open_tcp_stream("nowhere.invalid", 80)
    [(address, error)] = caught.value.errors
    assert address == ("nowhere.invalid", 80)
    assert isinstance(error, socket.gaierror)


def test_a_local_port_that_is_not_known():
    """A failed look-up of our own end names the service, which has no host."""
    with pytest.raises(ConnectError, match="cannot resolve :no-such-service: "):
        open_tcp_stream(HOST, 1, local_port="no-such-service")


def test_a_name_that_cannot_be_one_is_a_failed_look_up(capfd):
    """A name with a part of more than 63 characters is a ConnectError, and nothing is printed."""
    with pytest.raises(ConnectError) as caught:
        open_tcp_stream("x" * 64 + ".test", 80)
    assert isinstance(caught.value.errors[0][1], UnicodeError)
    assert capfd.readouterr().err == ""


def test_connecting_to_oneself_is_a_refusal():
    """Where the system connects our own port to itself, there is no listener."""
    port = unused_port()
    with pytest.raises(ConnectError) as caught:
        open_tcp_stream(HOST, port, local_address=HOST, local_port=port)
    assert caught.value.errno == errno.ECONNREFUSED


# Limits and exceptions.


def test_timeout_limits_connecting(virtual_clock):
    """A silent address ends in ConnectTimeout, neither before the limit nor later."""
    with black_hole() as (host, port), nothing_left():
        began = virtual_clock.now
        with pytest.raises(ConnectTimeout) as caught:
            open_tcp_stream(host, port, timeout=LIMIT)
        assert virtual_clock.now - began == pytest.approx(LIMIT)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.errno == errno.ETIMEDOUT
    assert f"{host}:{port}" in str(caught.value)


def test_timeout_limits_the_look_up(monkeypatch, virtual_clock):
    """A resolver that does not answer ends in ConnectTimeout too."""
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_args: Event().wait())
    with nothing_left():
        began = virtual_clock.now
        with pytest.raises(ConnectTimeout, match=r"slow\.test"):
            open_tcp_stream("slow.test", 80, timeout=LIMIT)
        assert virtual_clock.now - began == pytest.approx(LIMIT)


@pytest.mark.parametrize("timeout", [1e-9, 1e-4, 9e-4])
def test_a_timeout_may_be_shorter_than_a_timer(monkeypatch, timeout):
    """A timeout for which a loop has no timer ends the look-up too, without the warning that gevent gives of such a timer on libuv."""
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_args: Event().wait())
    with pytest.raises(ConnectTimeout, match=r"slow\.test"):
        open_tcp_stream("slow.test", 80, timeout=timeout)


def test_timeout_covers_look_up_and_connecting_together(monkeypatch, virtual_clock):
    """What the look-up took is not given to the connecting again."""
    with black_hole() as (host, port):

        def getaddrinfo(*_args):
            gevent.sleep(LIMIT / 2)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

        monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
        began = virtual_clock.now
        with pytest.raises(ConnectTimeout):
            open_tcp_stream("slow.test", port, timeout=LIMIT)
        assert virtual_clock.now - began == pytest.approx(LIMIT)


def looking_up(monkeypatch, _stack):
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_args: Event().wait())
    return "slow.test", 80, 0


def connecting(_monkeypatch, stack):
    return *stack.enter_context(black_hole()), 1


def connecting_to_two(monkeypatch, stack):
    host, port = stack.enter_context(black_hole())
    stack.enter_context(black_hole("127.0.0.2", port))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in (host, "127.0.0.2")]
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_args: found)
    monkeypatch.setattr("geventstreams._net.happy_eyeballs.ATTEMPT_DELAY", 0.001)
    return "two.test", port, 2


@pytest.mark.parametrize("place", [looking_up, connecting, connecting_to_two])
def test_an_outer_timeout_ends_it(place, monkeypatch):
    """A gevent.Timeout around the call comes out as the object it is, and nothing is left, also while it is kept."""
    with contextlib.ExitStack() as stack:
        host, port, _ = place(monkeypatch, stack)
        kept = []
        with nothing_left():
            for _ in range(20):
                mine = gevent.Timeout(0.01)
                with pytest.raises(gevent.Timeout) as caught, mine:
                    open_tcp_stream(host, port, timeout=30)
                assert caught.value is mine
                kept.append(caught.value)


@pytest.mark.parametrize("place", [looking_up, connecting, connecting_to_two])
def test_a_kill_ends_it(place, monkeypatch):
    """A killed greenlet leaves no descriptor and no greenlet of its attempts."""
    with contextlib.ExitStack() as stack:
        host, port, sockets = place(monkeypatch, stack)
        with nothing_left():
            for _ in range(20):
                before = descriptors()
                opening = gevent.spawn(open_tcp_stream, host, port)
                gevent.sleep(0)
                until(lambda most=before + sockets: descriptors() >= most)
                assert not opening.ready()
                opening.kill()
            del opening


def test_connecting_starts_no_greenlet():
    """One greenlet does everything, so none can be left behind at the very moment of an exception."""
    with black_hole() as (host, port):
        running = greenlets()
        with pytest.raises(ConnectTimeout):
            open_tcp_stream(host, port, timeout=LIMIT)
        assert greenlets() <= running  # those of earlier tests may have ended since


def test_others_run_while_one_tries_again_and_again():
    """A greenlet that fails to connect again and again lets other greenlets run."""
    dead = unused_port()
    over = []
    gevent.spawn(over.append, True)
    for _ in range(100):
        with pytest.raises(ConnectError):
            open_tcp_stream(HOST, dead)
        if over:
            break
    assert over


def test_errorp_gives_two_values(server, port):
    """`errorp=False` gives (stream, None) or (None, error); a wrong argument is raised all the same."""
    stream, error = open_tcp_stream(HOST, port, errorp=False)
    assert error is None
    assert talks(stream, server)
    stream, error = open_tcp_stream(HOST, unused_port(), errorp=False)
    assert stream is None
    assert isinstance(error, ConnectError)
    with black_hole() as address:
        stream, error = open_tcp_stream(*address, errorp=False, timeout=LIMIT)
        assert stream is None
        assert isinstance(error, ConnectTimeout)
    with pytest.raises(ValueError, match="timeout"):
        open_tcp_stream(HOST, port, errorp=False, timeout=-1)


@pytest.mark.parametrize(
    ("kind", "name", "arguments"),
    [
        (TypeError, "host", {"host": None}),
        (TypeError, "host", {"host": 1.5}),
        (TypeError, "host", {"host": True}),
        (TypeError, "host", {"host": b"localhost"}),
        (ValueError, "host", {"host": ""}),
        (ValueError, "host", {"host": "a\0b"}),
        (ValueError, "host", {"host": -1}),
        (ValueError, "host", {"host": 2**32}),
        (TypeError, "service", {"service": None}),
        (TypeError, "service", {"service": True}),
        (TypeError, "service", {"service": 80.0}),
        (ValueError, "service", {"service": -1}),
        (ValueError, "service", {"service": 65536}),
        (ValueError, "service", {"service": "99999"}),
        (ValueError, "service", {"service": ""}),
        (ValueError, "direction", {"direction": "both"}),
        (ValueError, "element_type", {"element_type": "nibble"}),
        (ValueError, "encoding", {"encoding": "utf-7"}),
        (ValueError, "timeout", {"timeout": 0}),
        (TypeError, "timeout", {"timeout": "1"}),
        (ValueError, "read_timeout", {"read_timeout": -1}),
        (ValueError, "write_timeout", {"write_timeout": float("nan")}),
        (ValueError, "line_limit", {"line_limit": 0}),
        (ValueError, "linger_timeout", {"linger_timeout": 0}),
        (ValueError, "handshake_timeout", {"handshake_timeout": 0}),
        (ValueError, "ipv6", {"ipv6": 6}),
        (TypeError, "local_address", {"local_address": 1.5}),
        (ValueError, "local_port", {"local_port": 70000}),
        (TypeError, "tlsext_host_name", {"tlsext_host_name": 1}),
        (TypeError, "ctx_configure_callback", {"ctx_configure_callback": 1}),
        (TypeError, "stream_class", {"stream_class": None}),
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused_before_anything_happens(kind, name, arguments, monkeypatch):
    """A wrong argument is named with its value, and nothing was looked up or opened."""
    monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_args: pytest.fail("looked up"))
    monkeypatch.setattr("geventstreams._net.happy_eyeballs.Attempt", lambda *_args: pytest.fail("opened"))
    value = next(iter(arguments.values()))
    with pytest.raises(kind) as caught:
        open_tcp_stream(**{"host": "somewhere.test", "service": 80, **arguments})
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


# Unix sockets.


@pytest.fixture
def unix_server(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "server"))
        made.listen(8)
        made.setblocking(False)
        yield made


@pytest.mark.parametrize("form", [str, Path, lambda path: path.encode()], ids=["str", "Path", "bytes"])
def test_unix_paths(form, unix_server):
    """A Unix path may be a string, bytes, or a path object."""
    assert talks(open_unix_stream(form(unix_server.getsockname())), unix_server)


def test_abstract_unix_sockets():
    """A name that begins with a NUL character is an abstract socket's."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0geventstreams-test-{id(server)}")
        server.listen(8)
        server.setblocking(False)
        assert talks(open_unix_stream(server.getsockname().decode()), server)


def test_unix_failures(tmp_path):
    """A path without a server is a ConnectError with the path in it, and errorp works as for TCP."""
    missing = str(tmp_path / "missing")
    with pytest.raises(ConnectError, match="missing") as caught:
        open_unix_stream(missing)
    assert caught.value.errors[0][0] == missing
    assert caught.value.errno == errno.ENOENT
    stream, error = open_unix_stream(missing, errorp=False)
    assert stream is None
    assert isinstance(error, ConnectError)


@pytest.fixture
def full_unix_server(tmp_path):
    """A Unix server whose queue of clients is full, and its path."""
    with socket.socket(socket.AF_UNIX) as made, contextlib.ExitStack() as fillers:
        made.bind(str(tmp_path / "full"))
        made.listen(0)
        made.setblocking(False)
        code = 0
        while not code:
            filler = fillers.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            code = filler.connect_ex(made.getsockname())
        assert code == errno.EAGAIN
        yield made


def test_a_full_unix_queue_is_waited_for(full_unix_server):
    """A Unix server whose queue is full gets the client as soon as it accepts others."""
    opening = gevent.spawn(open_unix_stream, full_unix_server.getsockname())
    gevent.sleep(0)
    assert not opening.ready()
    clients = []
    while not opening.ready():
        with contextlib.suppress(BlockingIOError):
            clients.append(full_unix_server.accept()[0])
        gevent.sleep(0.001)
    opening.get().close()
    for client in clients:
        client.close()


def test_a_full_unix_queue_ends_in_a_timeout(full_unix_server, virtual_clock):
    """The limit holds while a full queue is waited for, and nothing is left."""
    with nothing_left():
        began = virtual_clock.now
        with pytest.raises(ConnectTimeout):
            open_unix_stream(full_unix_server.getsockname(), timeout=LIMIT)
        assert virtual_clock.now - began == pytest.approx(LIMIT)


# Leaks.


def test_nothing_leaks(server, port):
    """With the collector off, hundreds of connections, refusals and failed look-ups leave it nothing to find."""
    dead = unused_port()

    def once():
        stream = open_tcp_stream(HOST, port, timeout=5)
        accepted(server).close()
        stream.close()
        with pytest.raises(StreamError):
            open_tcp_stream(HOST, dead)
        open_tcp_stream(HOST, dead, errorp=False)
        with pytest.raises(StreamError):
            open_tcp_stream(HOST, dead, ipv6=True)

    once()
    with nothing_left():
        gc.collect()
        before = descriptors()
        for _ in range(200):
            once()
        assert descriptors() == before
        assert gc.collect() == 0


def test_a_connect_that_has_ended_leaves_no_timer():
    """The timer of a long timeout ends with the connect, however that ends: many connects a second would leave as many for an hour."""
    before = running_timers()
    server = SocketStreamServer(("server", 80), lambda _stream, _address: None)
    with MemoryNetwork(latency=0.001), contextlib.closing(server):
        server.start()
        open_tcp_stream("server", 80, timeout=3600).close()
    with black_hole() as (host, silent):
        connecting = gevent.spawn(open_tcp_stream, host, silent, timeout=3600)
        gevent.sleep(0.01)
        connecting.kill()
    until(lambda: not running_timers(besides=before))
