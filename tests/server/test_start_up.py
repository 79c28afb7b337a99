"""start_up_server and server_terminate: two values, announcements, descriptors instead of streams, and the end."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl

import gevent
import pytest
from gevent import get_hub, getcurrent
from gevent.event import Event
from kit.conditions import until
from kit.leftovers import descriptors, greenlets, nothing_left
from kit.network import HOST, listener
from servers import require_address, require_name

from geventstreams._net.connect import open_tcp_stream
from geventstreams._net.network import network
from geventstreams.callbacks.api import tcp_server
from geventstreams.errors import ConnectError, StreamError, StreamReset
from geventstreams.server.server import SocketStreamServer
from geventstreams.server.start_up import server_terminate, start_up_server
from geventstreams.workers import shared_listeners


@pytest.fixture
def start():
    """Start servers on free loopback ports, and stop them when the test is over."""
    started = []

    def start_up(function, service=None, **options):
        server, condition = start_up_server(function, service, **{"address": HOST, **options})
        if server is not None:
            started.append(server)
        return server, condition

    yield start_up
    for server in started:
        server.stop(0)


def dial(server, **options):
    return open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10, **options)


def answers(server):
    """What the server says to a new client."""
    with dial(server) as client:
        return client.read()


def greet(stream):
    stream.write(b"hello\n")


def greet_by_handle(handle):
    with socket.socket(fileno=handle) as client:
        client.sendall(b"hello\n")


# Starting.


def test_two_values(start):
    """A server that is up is (server, None), and it listens when the call returns."""
    server, condition = start(greet)
    assert condition is None
    assert isinstance(server, SocketStreamServer)
    assert server.port > 0
    assert answers(server) == b"hello\n"


@pytest.mark.parametrize("address", [HOST, "localhost", 0x7F000001, "127.0.0.2"])
def test_addresses(address, start):
    """`address` is ours in the forms that a host has; `localhost` is looked up."""
    require_name(str(address))
    server, _ = start(greet, address=address)
    with open_tcp_stream(server.address[0], server.port, timeout=10) as client:
        assert client.read() == b"hello\n"


def test_ipv6_only(start):
    """`ipv6` chooses the family."""
    require_address("::1")
    server, _ = start(greet, address="::1", ipv6=True)
    with open_tcp_stream("::1", server.port, timeout=10) as client:
        assert client.read() == b"hello\n"
    with pytest.raises(OSError, match="family"):
        start(greet, address=HOST, ipv6=True)


def test_services(start):
    """`service` is a port, or digits."""
    for form in (int, str):
        with listener() as probe:
            port = probe.getsockname()[1]
        server, _ = start(greet, form(port))
        assert server.port == port
        assert answers(server) == b"hello\n"
        server.stop()


def test_server_arguments_are_handed_on(start):
    """What SocketStreamServer takes, start_up_server takes."""
    seen = []

    def function(stream):
        seen.append((stream.element_type.value, stream.read_timeout))
        seen.append(bool(stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))

    server, _ = start(
        function, element_type="unsigned-byte-8", read_timeout=3, keepalive=True, backlog=7, max_connections=1
    )
    assert answers(server) == b""
    assert seen == [("unsigned-byte-8", 3), True]
    assert server.backlog == 7


def test_tls(start, certificates):
    """With `ssl_ctx` the function's stream is TLS's server side."""

    def configure(context):
        context.load_cert_chain(certificates.server.chain, certificates.server.key)

    server, _ = start(greet, ssl_ctx=True, ctx_configure_callback=configure)
    with dial(server, ssl_ctx=ssl.create_default_context(cafile=str(certificates.ca))) as client:
        assert client.read() == b"hello\n"


@pytest.mark.parametrize(
    ("options", "raises"),
    [({}, True), ({"wait": True}, False), ({"error": False}, False), ({"error": True, "wait": True}, True)],
    ids=repr,
)
def test_a_server_that_cannot_start(options, raises, start):
    """`error` says whether the condition is raised or the second value; by default that is `not wait`."""
    announced = []

    def announce(*values):
        announced.append(values)

    with listener() as taken, nothing_left():
        port = taken.getsockname()[1]
        if raises:
            with pytest.raises(StreamError, match="in use") as caught:
                start(greet, port, announce=announce, **options)
            assert caught.value.errno == errno.EADDRINUSE
            assert announced == []
        else:
            server, condition = start(greet, port, announce=announce, **options)
            assert server is None
            assert isinstance(condition, OSError)
            assert condition.errno == errno.EADDRINUSE
            assert announced == [(None, condition)]
        del announced[:]


@pytest.mark.parametrize("make", [
    lambda: SocketStreamServer((HOST, 7000), greet).start(),
    lambda: start_up_server(greet, 7000, address=HOST),
    lambda: tcp_server(HOST, 7000, None, stream=True),
    lambda: shared_listeners(HOST, 7000, 2),
], ids=["server", "start_up_server", "tcp_server", "shared_listeners"])
def test_no_descriptor_for_a_listener(make, monkeypatch):
    """Where the system has no descriptor left for a listener, that is a condition that names the address."""

    def refuse(*_arguments):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(network(), "listening_socket", refuse)
    with nothing_left(), pytest.raises(StreamError, match=f"cannot listen on {HOST}:7000: Too many open files") as caught:
        make()
    assert caught.value.errno == errno.EMFILE


def test_an_address_that_is_not_ours(start):
    """An address that this machine does not have is a condition that names it."""
    server, condition = start(greet, address="192.0.2.1", error=False)
    assert server is None
    assert "192.0.2.1" in str(condition)


@pytest.mark.parametrize("name", ["no.such.host.invalid", "a..b", "x" * 64])
def test_an_address_that_is_no_name(start, name):
    """An address that cannot be looked up, or be a name at all, is a condition that names it, and so with callbacks."""
    server, condition = start(greet, address=name, error=False)
    assert server is None
    assert isinstance(condition, StreamError)
    assert f"cannot listen on {name}:0: " in str(condition)
    with pytest.raises(StreamError, match=f"cannot listen on {name}:0: "):
        tcp_server(name, 0, None)


def test_a_service_that_is_not_known(start):
    """The condition names the service, with or without an address."""
    for address in (None, HOST):
        _, condition = start(greet, "no-such-service", error=False, address=address)
        assert f"cannot listen on {address or ''}:no-such-service: " in str(condition)
        with pytest.raises(StreamError, match=f"cannot listen on {address or ''}:no-such-service: "):
            tcp_server(address, "no-such-service", None)


@pytest.mark.parametrize("name", ["no.such.host.invalid", "a..b", "x" * 64, "\udcff"])
def test_a_listener_that_is_no_name(name):
    """A server that is given such a name as its listener refuses it in the same way when it starts."""
    with pytest.raises(StreamError, match=f"cannot listen on {name}:0: "):
        SocketStreamServer((name, 0), lambda stream, address: None).start()


def test_a_listener_s_name_is_looked_up_without_holding_the_hub(monkeypatch):
    """The name of a listener goes to gevent's resolver: others run while it looks, and its address is the one to listen on."""
    looking, found = Event(), Event()

    def getaddrinfo(host, service, family, *_args):
        looking.set()
        assert found.wait(20)
        assert host == "slow.test"
        assert service == 0
        assert family == socket.AF_INET
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, 0))]

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    server = SocketStreamServer(("slow.test", 0), lambda stream, address: None)
    starting = gevent.spawn(server.start)
    assert looking.wait(20)
    assert not starting.ready()
    found.set()
    starting.get(timeout=20)
    assert server.address[0] == HOST
    server.stop(0)


def test_announcements(start):
    """The announcer is told (socket, None) when the server is up, and (None, None) when it ended."""
    announced = []

    def announce(made, condition):
        announced.append((made.getsockname() if made is not None else None, condition))

    server, _ = start(greet, announce=announce)
    assert announced == [(server.address, None)]
    assert answers(server) == b"hello\n"
    server_terminate(server)
    until(lambda: len(announced) == 2)
    assert announced[1] == (None, None)


def test_announcing_to_standard_output(start, capfd):
    """`announce=True` prints a line with the address."""
    server, _ = start(greet, announce=True)
    [line] = capfd.readouterr().out.splitlines()
    assert f"{HOST}:{server.port}" in line
    with listener() as taken:
        start(greet, taken.getsockname()[1], announce=True, error=False)
    [line] = capfd.readouterr().out.splitlines()
    assert "in use" in line


@pytest.mark.parametrize("create_stream", [True, False])
def test_process_name(create_stream, start):
    """`process_name` is the name of the greenlets that run the function."""
    names = []

    def function(stream_or_handle):
        names.append(getcurrent().name)
        names.append(repr(getcurrent()).startswith("<Greenlet \"front desk\""))  # as the run info of gevent prints it
        if not create_stream:
            os.close(stream_or_handle)

    server, _ = start(function, process_name="front desk", create_stream=create_stream)
    assert answers(server) == b""
    assert names == ["front desk", True]


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        (TypeError, "function", {"function": None}),
        (TypeError, "service", {"service": 1.5}),
        (ValueError, "service", {"service": 65536}),
        (TypeError, "address", {"address": 1.5}),
        (ValueError, "address", {"address": ""}),
        (TypeError, "announce", {"announce": False}),
        (TypeError, "announce", {"announce": "yes"}),
        (TypeError, "process_name", {"process_name": 5}),
        (ValueError, "backlog", {"backlog": 0}),
        (ValueError, "ipv6", {"ipv6": "no"}),
        (ValueError, "read_timeout", {"read_timeout": 0}),
        (TypeError, "colour", {"colour": "red"}),
        (TypeError, "create_stream", {"create_stream": False, "ssl_ctx": True}),
        (TypeError, "create_stream", {"create_stream": False, "read_timeout": 1}),
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused(kind, name, options):
    """A wrong argument raises for every value of `error`, and nothing is bound."""
    before = descriptors()
    with pytest.raises(kind, match=name):
        start_up_server(**{"function": greet, "address": HOST, "error": False, **options})
    assert descriptors() == before


# Descriptors instead of streams.


def test_handles(start):
    """With `create_stream=False` the function gets an integer descriptor, which it owns."""
    kept = []
    server, _ = start(kept.append, create_stream=False)
    with dial(server) as client:
        until(lambda: kept)
        [handle] = kept
        assert type(handle) is int
        with socket.socket(fileno=handle) as ours:
            ours.sendall(b"still open\n")
        assert client.read() == b"still open\n"


def test_one_greenlet_for_all_handles(start):
    """All calls run in one greenlet, and while one runs no other client is accepted."""
    go_on = Event()
    running = []

    def function(handle):
        running.append(getcurrent())
        go_on.wait()
        greet_by_handle(handle)

    server, _ = start(function, create_stream=False)
    clients = [dial(server) for _ in range(3)]
    until(lambda: running)
    gevent.sleep(0)
    assert server.stats.accepted == 1
    go_on.set()
    assert [client.read() for client in clients] == [b"hello\n"] * 3
    assert len(running) == 3
    assert len(set(running)) == 1
    for client in clients:
        client.close()


def test_a_server_of_handles_starts_again(start):
    """One that was stopped, or closed, starts again on its port, with a greenlet of the same name."""
    names = []

    def greet(handle):
        names.append(getcurrent().name)
        greet_by_handle(handle)

    server, _ = start(greet, create_stream=False, process_name="greeter")
    for end in (server.stop, server.close):
        assert answers(server) == b"hello\n"
        end()
        server.start()
    assert answers(server) == b"hello\n"
    assert names == ["greeter"] * 3


def test_a_function_of_handles_that_raises(start, monkeypatch):
    """What it raises is told to the hub, and the same greenlet goes on with the next client."""
    told = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda context, kind, error, trace: told.append(kind))

    def function(handle):
        greet_by_handle(handle)
        raise LookupError("on purpose")

    server, _ = start(function, create_stream=False)
    assert [answers(server) for _ in range(3)] == [b"hello\n"] * 3
    until(lambda: len(told) == 3)
    assert told == [LookupError] * 3


def test_stopping_a_server_of_handles(start):
    """`stop` waits for the function that runs; it is killed when the time is over."""
    go_on = Event()
    running = []

    def function(handle):
        with socket.socket(fileno=handle):
            running.append(handle)
            go_on.wait()

    for timeout, report in ((10, (1, 0, 0)), (0.05, (0, 0, 1))):
        with nothing_left():
            server, _ = start_up_server(function, address=HOST, create_stream=False)
            client = dial(server)
            until(lambda: running)
            stopping = gevent.spawn(server.stop, timeout)
            until(lambda server=server: server.closed)
            if timeout == 10:
                go_on.set()
            assert stopping.get(timeout=5) == report
            client.close(abort=True)
            go_on.clear()
            running.clear()
            del client, server, stopping
    server, _ = start_up_server(function, address=HOST, create_stream=False)
    assert server.stop() == (0, 0, 0)


# Ending.


@pytest.mark.parametrize("create_stream", [True, False])
def test_terminating_from_outside(create_stream, start):
    """`server_terminate(server)` closes the listener; it is true only if the server was running."""
    server, _ = start(greet if create_stream else greet_by_handle, create_stream=create_stream)
    assert answers(server) == b"hello\n"
    assert server_terminate(server) is True
    with pytest.raises(ConnectError):
        dial(server)
    assert server_terminate(server) is False


def test_terminating_leaves_connections_alone(start):
    """Connections that were accepted go on."""

    def function(stream):
        for line in stream:
            stream.write(line)

    server, _ = start(function)
    with dial(server) as client:
        client.write_line("one")
        assert client.read_line() == ("one", False)
        assert server_terminate(server)
        client.write_line("two")
        assert client.read_line() == ("two", False)


@pytest.mark.parametrize("create_stream", [True, False])
def test_terminating_from_inside(create_stream, start):
    """`server_terminate()` in the server's own function takes effect when that returns."""
    seen = []
    announced = []

    def function(stream_or_handle):
        seen.append(server_terminate())
        seen.append(server.started)
        if create_stream:
            greet(stream_or_handle)
        else:
            greet_by_handle(stream_or_handle)

    server, _ = start(function, create_stream=create_stream, announce=lambda *values: announced.append(values))
    assert answers(server) == b"hello\n"
    until(lambda: not server.started)
    assert seen == [True, True]
    until(lambda: len(announced) == 2)
    assert announced[1] == (None, None)
    with pytest.raises(ConnectError):
        dial(server)


def test_the_greenlet_of_another_connection_does_not_end_it(start):
    """Only the return of the function that asked for the end brings it."""
    asked, go_on = Event(), Event()

    def function(stream):
        if stream.readline() == b"end\n":
            server_terminate()
            asked.set()
            go_on.wait()

    server, _ = start(function)
    with dial(server) as ender, dial(server) as other:
        ender.write_line("end")
        ender.flush()
        asked.wait()
        other.write_line("nothing")
        assert other.read() == b""
        assert server.started
        go_on.set()
        assert ender.read() == b""
        until(lambda: not server.started)


def test_terminating_in_an_announcement(start):
    """An announcer is the server's own function too."""
    server, _ = start(greet, announce=lambda made, condition: made is not None and server_terminate())
    assert not server.started


def test_terminating_where_there_is_no_server():
    """Outside of a server's functions there is nothing to end; what is no server is refused."""
    assert server_terminate() is False
    with pytest.raises(TypeError, match="server"):
        server_terminate("the server")


def test_an_announcer_that_raises_when_it_ends(start, monkeypatch):
    """The listener is closed even if the announcer raises."""

    def announce(made, _condition):
        if made is None:
            raise LookupError("on purpose")

    server, _ = start(greet, announce=announce)
    with pytest.raises(LookupError):
        server_terminate(server)
    assert server.closed


def test_an_announcer_that_raises_at_the_start():
    """A server whose announcer fails when it is up is closed, and the error comes out."""

    def announce(made, _condition):
        if made is not None:
            raise LookupError("on purpose")

    with nothing_left(), pytest.raises(LookupError):
        start_up_server(greet, address=HOST, announce=announce)


@pytest.mark.parametrize("create_stream", [True, False])
def test_nothing_is_left(create_stream):
    """Servers that were started and ended leave no descriptor and no greenlet."""
    running = greenlets()
    with nothing_left():
        for _ in range(20):
            function = greet if create_stream else greet_by_handle
            server, _ = start_up_server(function, address=HOST, create_stream=create_stream)
            with contextlib.suppress(StreamReset):
                assert answers(server) == b"hello\n"
            server_terminate(server)
        del server
        until(lambda: greenlets() <= running)
