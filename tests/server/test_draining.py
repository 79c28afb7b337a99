"""Draining: which connections are idle and how they end, which are busy, and what the report says."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from kit.conditions import until
from kit.leftovers import descriptors, greenlets
from kit.network import HOST
from kit.server import SPAWNS

from geventstreams._net.connect import open_tcp_stream
from geventstreams._streams.socket_stream import SocketStream
from geventstreams.errors import ConnectError, StreamError, StreamReset
from geventstreams.server.draining import DrainReport
from geventstreams.server.server import SocketStreamServer
from geventstreams.waiting import WaitSet, noticed_socket_stream, process_wait, wait_for_input_streams


class Office:
    """A handler that does what the first line of a connection says."""

    def __init__(self):
        self.go_on = Event()
        self.endings = []

    def __call__(self, stream, _address):
        task = stream.readline().decode().strip()
        stream.write(b"begun\n")
        stream.flush()
        getattr(self, task)(stream)
        self.endings.append(task)

    def idle(self, stream):
        """Wait for a second line."""
        assert stream.readline() == b""
        assert stream.at_eof
        stream.write(b"good-bye\n")

    def idle_in_wait(self, stream):
        """Wait for input in a wait for streams."""
        assert wait_for_input_streams([stream]) == [stream]
        assert stream.read() == b""
        stream.write(b"good-bye\n")

    def idle_in_set(self, stream):
        """Wait for input in a WaitSet."""
        with WaitSet([stream]) as members:
            assert members.wait() == [stream]
        assert stream.read() == b""
        stream.write(b"good-bye\n")

    def idle_in_process_wait(self, stream):
        """Wait for input in the Lisp way."""
        with noticed_socket_stream(stream):
            assert process_wait("Waiting for a line", lambda: stream.listen() or stream.at_eof)
        stream.write(b"good-bye\n")

    def idle_elsewhere(self, stream):
        """Have another greenlet read for it."""
        assert gevent.spawn(stream.readline).get() == b""
        stream.write(b"good-bye\n")

    def busy(self, stream):
        """Wait for something else, then answers."""
        self.go_on.wait()
        stream.write(b"good-bye\n")

    def busy_then_idle(self, stream):
        """Wait for something else, answer, then waits for the next question."""
        self.go_on.wait()
        stream.write(b"good-bye\n")
        assert stream.readline() == b""

    def busy_after_a_wait(self, stream):
        """Waited for input once, and is busy now."""
        assert wait_for_input_streams([stream], timeout=0.001) == []
        stream.write(b"waited\n")
        stream.flush()
        self.busy(stream)

    def stuck(self, stream):
        """Never ends."""
        Event().wait()

    def stubborn(self, stream):
        """Do not let itself be killed."""
        while True:
            try:
                Event().wait()
            except gevent.GreenletExit:
                self.endings.append("would not")


@pytest.fixture
def office():
    return Office()


@pytest.fixture
def serve(virtual_clock, serve, office):
    """Start servers in virtual time; their handler is the office, unless another one is given."""
    return lambda **options: serve(options.pop("handle", office), **options)


def dial(server, task, **options):
    """A client whose task has begun."""
    client = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10, **options)
    client.write_line(task)
    assert client.readline() == b"begun\n"
    return client


def ended(client):
    """What a client reads to the end."""
    with client:
        return client.read()


@pytest.mark.parametrize("spawn", SPAWNS.values(), ids=SPAWNS)
def test_five_of_each(spawn, serve, office):
    """In every spawn mode five idle, five busy and five stuck handlers are told apart, and end as they should."""
    gevent.sleep(0)  # the loop has opened what it needs
    before, running = descriptors(), greenlets()
    server = serve(spawn=spawn())
    clients = {task: [dial(server, task) for _ in range(5)] for task in ("idle", "busy", "stuck")}
    stopping = gevent.spawn(server.stop, 0.5)
    assert [ended(client) for client in clients["idle"]] == [b"good-bye\n"] * 5
    assert office.endings == ["idle"] * 5
    office.go_on.set()
    assert [ended(client) for client in clients["busy"]] == [b"good-bye\n"] * 5
    report = stopping.get(timeout=10)
    assert report == DrainReport(finished=5, idle=5, killed=5)
    for client in clients["stuck"]:
        with client, pytest.raises(StreamReset):
            client.read()
    assert not server.connections
    assert descriptors() == before
    del client, clients, stopping
    until(lambda: greenlets() <= running)


@pytest.mark.parametrize("task", ["idle_in_wait", "idle_in_set", "idle_in_process_wait", "idle_elsewhere"])
def test_idle_is_who_waits_for_input_in_any_way(task, serve):
    """A handler that waits in a wait for streams, or by another greenlet, is idle too."""
    server = serve()
    clients = [dial(server, task) for _ in range(20)]
    assert server.stop(10) == (0, 20, 0)
    assert [ended(client) for client in clients] == [b"good-bye\n"] * 20


def test_a_busy_handler_that_waited_before_is_busy(serve, office):
    """What a wait for streams leaves behind for the next one does not make a busy handler idle."""
    server = serve()
    client = dial(server, "busy_after_a_wait")
    assert client.readline() == b"waited\n"
    idle = dial(server, "idle")
    stopping = gevent.spawn(server.stop, 10)
    assert ended(idle) == b"good-bye\n"
    [stream] = server.connections
    assert not stream.at_eof
    office.go_on.set()
    assert ended(client) == b"good-bye\n"
    assert stopping.get() == (1, 1, 0)


def test_a_busy_handler_that_becomes_idle_is_ended_then(serve, office):
    """A handler that waits for the next question after it was busy is ended, and counts as finished."""
    server = serve()
    client = dial(server, "busy_then_idle")
    stopping = gevent.spawn(server.stop, 10)
    until(lambda: server.closed)
    office.go_on.set()
    assert ended(client) == b"good-bye\n"
    assert stopping.get(timeout=5) == (1, 0, 0)


def test_the_listener_closes_at_once(serve, office):
    """From the beginning of the draining no client can connect."""
    server = serve()
    client = dial(server, "busy")
    port = server.port
    stopping = gevent.spawn(server.stop, 10)
    until(lambda: server.closed)
    with pytest.raises(ConnectError):
        open_tcp_stream(HOST, port, timeout=5)
    office.go_on.set()
    assert ended(client) == b"good-bye\n"
    assert stopping.get() == (1, 0, 0)


def test_those_in_the_queue_are_served(serve):
    """Clients that have connected and were not accepted yet are served by a stop: closing the listener would reset them."""
    server = serve(handle=lambda stream, _address: stream.write(stream.readline()), backlog=100)
    clients = [socket.create_connection((HOST, server.port), timeout=10) for _ in range(50)]  # without an iteration of the hub
    for number, client in enumerate(clients):
        client.sendall(b"%d\n" % number)
    assert server.stats.accepted == 0
    assert server.stop(10) == (50, 0, 0)
    assert server.stats.accepted == 50
    for number, client in enumerate(clients):
        with client, client.makefile("rb") as answer:
            assert answer.read() == b"%d\n" % number


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EINTR, errno.ENETUNREACH])
def test_a_client_that_went_away_does_not_hide_the_others_in_the_queue(code):
    """A client that was aborted in the queue does not keep a stop from serving those behind it."""
    faults = [True, False] * 5

    class Faulty(SocketStreamServer):
        def do_read(self):
            if faults and faults.pop():
                raise OSError(code, os.strerror(code))
            return super().do_read()

    server = Faulty((HOST, 0), lambda stream, _address: stream.write(stream.readline()))
    server.start()
    clients = [socket.create_connection((HOST, server.port), timeout=10) for _ in range(8)]  # without an iteration of the hub
    for client in clients:
        client.sendall(b"hello\n")
    assert server.stop(10) == (8, 0, 0)
    for client in clients:
        with client, client.makefile("rb") as answer:
            assert answer.read() == b"hello\n"


def test_a_stop_whose_accepts_fail_for_ever_ends():
    """Where every accept fails as if the client had gone, a stop gives the queue up."""

    class Faulty(SocketStreamServer):
        def do_read(self):
            raise OSError(errno.ECONNABORTED, "injected")

    server = Faulty((HOST, 0), lambda stream, _address: None)
    server.start()
    with socket.create_connection((HOST, server.port), timeout=10):
        assert server.stop(10) == (0, 0, 0)
    assert server.closed


def test_a_spawn_that_fails_does_not_keep_a_server_from_stopping(monkeypatch):
    """Where a greenlet cannot be made while a server stops, one client is sent away, the hub is told, and the others are served."""
    told = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda context, kind, error, trace: told.append(kind))
    mistakes = [None, MemoryError, None]

    def spawn(*args):
        mistake = mistakes.pop() if mistakes else None
        if mistake is not None:
            raise mistake
        return gevent.spawn(*args)

    server = SocketStreamServer((HOST, 0), lambda stream, _address: stream.write(b"hello\n"), spawn=spawn)
    server.start()
    clients = [socket.create_connection((HOST, server.port), timeout=10) for _ in range(5)]  # without an iteration of the hub
    assert server.stop(10) == (4, 0, 0)
    assert server.closed
    assert (told, server.stats.refused) == ([MemoryError], 1)
    for client in clients:
        client.close()


def test_a_draining_server_does_not_start(serve):
    """A server starts again when its drain is over, not before: new clients would be drained with the old ones."""
    office = Office()
    server = serve(handle=office)
    with open_tcp_stream(HOST, server.port, timeout=5, read_timeout=5) as client:
        client.write(b"busy\n")
        assert client.readline() == b"begun\n"
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
            server.stop()
        with pytest.raises(StreamError, match="still stops"):
            server.start()
        assert server.closed
        office.go_on.set()
        assert server.stop() == (1, 0, 0)
    server.start()
    assert not server.closed


def test_the_shortest_visit_is_in_the_report(serve):
    """A connection that comes and ends within the first iteration of a stop has finished; the one before the stop has not."""
    server = serve(handle=lambda stream, _address: None)
    open_tcp_stream(HOST, server.port, timeout=20).close()
    until(lambda: server.stats.accepted == 1 and not server.connections, 20)
    clients = [socket.create_connection((HOST, server.port), timeout=20) for _ in range(7)]  # without an iteration of the hub
    assert server.stop(10) == (7, 0, 0)
    assert server.stop(10) == (0, 0, 0)
    for client in clients:
        with client:
            assert client.recv(1) == b""


def test_those_in_the_queue_wait_for_room(serve):
    """A stop accepts only as many as there is room for, and none if accepting was stopped or everything ends at once."""
    for options, prepare, timeout in [({"max_connections": 3}, SocketStreamServer.start_accepting, 10),
                                      ({}, SocketStreamServer.stop_accepting, 10), ({}, SocketStreamServer.start_accepting, 0)]:
        server = serve(handle=lambda stream, _address: stream.write(stream.readline()), **options)
        prepare(server)
        clients = [socket.create_connection((HOST, server.port), timeout=10) for _ in range(5)]
        for client in clients:
            client.sendall(b"hello\n")
        server.stop(timeout)
        assert server.stats.accepted == options.get("max_connections", 0)
        for client in clients:
            client.close()


def test_a_request_on_its_way_is_answered(serve):
    """A request that has arrived but was not read when the draining begins is answered before the end."""

    def handle(stream, _address):
        for line in stream:
            stream.write(b"answer to " + line)

    server = serve(handle=handle)
    clients = [open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10) for _ in range(20)]
    for client in clients:
        client.write(b"one\n")
        assert client.readline() == b"answer to one\n"
    for client in clients:
        client.write(b"two\n")
        client.flush()
    assert server.stop(10).killed == 0
    assert [ended(client) for client in clients] == [b"answer to two\n"] * 20


def test_a_client_that_was_just_accepted_can_speak(serve):
    """A connection that has not said anything yet has a moment for its first words, and is then idle."""

    def handle(stream, _address):
        for line in stream:
            stream.write(b"answer to " + line)

    server = serve(handle=handle)
    silent = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10)
    quick = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10)
    until(lambda: len(server.connections) == 2)
    stopping = gevent.spawn(server.stop, 10)
    until(lambda: server.closed)
    quick.write(b"one\n")
    assert ended(quick) == b"answer to one\n"
    assert ended(silent) == b""
    assert stopping.get(timeout=5) == (1, 1, 0)


def test_unsent_output_is_busy(serve):
    """A handler whose output is not with the system yet is busy, and what it wrote arrives whole."""
    data = bytes(20_000_000)

    def handle(stream, _address):
        stream.write(data)
        assert stream.readline() == b""

    server = serve(handle=handle)
    client = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10)
    first = client.read_exactly(1)
    stopping = gevent.spawn(server.stop, 10)
    until(lambda: server.closed)
    assert first + ended(client) == data
    assert stopping.get(timeout=5) == (1, 0, 0)


def test_what_is_buffered_is_busy(serve, office):
    """A handler with unread input is not ended."""
    server = serve()
    client = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10)
    client.write(b"busy\nnot read yet")
    assert client.readline() == b"begun\n"
    assert server.stop(0.05) == (0, 0, 1)
    with client, pytest.raises(StreamReset):
        client.read()


HALFWAY = {
    "read": lambda stream: stream.read(100),
    "read_exactly": lambda stream: stream.read_exactly(100),
    "readinto": lambda stream: bytes((space := bytearray(100))[: stream.readinto(space)]),
    "large readinto": lambda stream: bytes((space := bytearray(20_000))[: stream.readinto(space)]),
    "read_sequence": lambda stream: bytes((space := bytearray(100))[: stream.read_sequence(space)]),
    "large read_sequence": lambda stream: bytes((space := memoryview(bytearray(20_000)))[: stream.read_sequence(space)]),
    "readlines": lambda stream: b"".join(stream.readlines(100)),
    "discard_line": lambda stream: stream.discard_line() or b"a\n" * 50,
}


class OwnFill(SocketStream):
    """A stream that fills its buffer by a method of its own."""

    def _fill_buffer(self):
        return super()._fill_buffer()


@pytest.mark.parametrize("kind", [SocketStream, OwnFill])
@pytest.mark.parametrize("name", HALFWAY)
def test_who_has_a_part_of_a_message_is_busy(name, kind, serve):
    """A read that has a part of its message, in the stream or in the caller's memory, is not ended: the rest may come."""
    took = []

    def handle(stream, _address):
        took.append(HALFWAY[name](stream))
        stream.write(b"answer\n")
        assert stream.readline() == b""

    server = serve(handle=handle, stream_class=kind)
    client = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10)
    half = (b"b" if name == "discard_line" else b"a\n") * (5_000 if name.startswith("large") else 25)
    client.sendall(half)
    until(lambda: [stream.octets_in for stream in server.connections] == [len(half)])
    stopping = gevent.spawn(server.stop, 10)
    gevent.sleep(5)  # in virtual time
    client.sendall(b"a\n" if name == "discard_line" else half)
    assert client.readline() == b"answer\n"
    assert ended(client) == b""
    assert len(took[0]) == (20_000 if name.startswith("large") else 100)
    assert stopping.get(timeout=5) == (1, 0, 0)


@pytest.mark.parametrize(("call", "half", "rest"), [
    (lambda file: file.readline(), b"on", b"e\n"), (lambda file: file.read(4), b"on", b"e\n"), (next, b"on", b"e\n"),
    (lambda file: "".join(file.readlines(3)), b"o\n", b"ne\n"), (lambda file: file.readline(), b"\xc3", b"\xa9\n"),
])  # fmt: skip
def test_who_has_a_part_of_a_text_is_busy(call, half, rest, serve):
    """A text file over a stream that has decoded a part of what its reader waits for is not ended either."""
    took = []

    def handle(stream, _address):
        file = stream.makefile("r", encoding="utf-8")
        took.append(call(file))
        stream.write(b"answer\n")
        assert file.readline() == ""

    server = serve(handle=handle)
    client = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10)
    client.sendall(half)
    until(lambda: [stream.octets_in for stream in server.connections] == [len(half)])
    stopping = gevent.spawn(server.stop, 10)
    gevent.sleep(5)  # in virtual time
    client.sendall(rest)
    assert client.readline() == b"answer\n"
    assert ended(client) == b""
    assert took == [(half + rest).decode()]
    assert stopping.get(timeout=5) == (1, 0, 0)


def test_who_had_a_part_of_a_message_is_idle_again(serve):
    """What a read took in several parts does not count against a handler that waits for the next message, in a read or for streams."""

    def handle(stream, _address):
        assert stream.readinto(bytearray(2)) == 2
        if stream.readline() == b"wait\n":
            stream.write(b"waiting\n")
            stream.flush()
            assert wait_for_input_streams([stream]) == [stream]
        else:
            stream.write(b"reading\n")
        assert stream.readinto(bytearray(2)) == 0

    server = serve(handle=handle)
    clients = [open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10) for _ in range(2)]
    for client, task in zip(clients, (b"wait\n", b"read\n"), strict=True):
        client.sendall(b"a")
        until(lambda: all(stream.octets_in for stream in server.connections))
        client.sendall(b"b" + task)
        assert client.readline() in (b"waiting\n", b"reading\n")
    assert server.stop(10) == (0, 2, 0)
    assert [ended(client) for client in clients] == [b"", b""]


def test_timeout_is_the_end_of_patience(serve, virtual_clock):
    """Stuck handlers are killed after the timeout, not before it and not much later."""
    server = serve()
    client = dial(server, "stuck")
    began = virtual_clock.now
    assert server.stop(0.2) == (0, 0, 1)
    assert 0.2 <= virtual_clock.now - began < 0.22
    client.close()


def test_stop_timeout_is_the_default(serve, virtual_clock):
    """Without an argument the class attribute `stop_timeout` counts, which is ten seconds."""
    assert SocketStreamServer.stop_timeout == 10.0
    server = serve()
    server.stop_timeout = 0.05
    with dial(server, "stuck"):
        began = virtual_clock.now
        assert server.stop() == (0, 0, 1)
        assert 0.05 <= virtual_clock.now - began < 0.07


def test_zero_kills_at_once(serve):
    """`stop(0)` has no patience at all."""
    server = serve()
    clients = [dial(server, task) for task in ("idle", "busy", "stuck")]
    assert server.stop(0) == (0, 0, 3)
    for client in clients:
        with client, pytest.raises(StreamReset):
            client.read()


def test_handlers_that_cannot_be_killed(serve, office):
    """A handler that goes on after being killed loses its stream, and the draining ends all the same."""
    server = serve()
    client = dial(server, "stubborn")
    assert server.stop(0.05) == (0, 0, 1)
    with client, pytest.raises(StreamReset):
        client.read()
    assert office.endings == ["would not"]


def stopped_by_its_clients(serve):
    """A server whose handlers stop it for a client that says so, and answer with the report."""

    def handle(stream, _address):
        if stream.readline() == b"stop\n":
            stream.write(repr(tuple(server.stop(10))).encode())

    server = serve(handle=handle)
    return server


def test_a_handler_may_stop_its_server(serve):
    """A handler that stops its own server waits for the others only, and goes on then."""
    server = stopped_by_its_clients(serve)
    other = open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10)
    until(lambda: len(server.connections) == 1)
    with open_tcp_stream(HOST, server.port, timeout=10, read_timeout=10) as client:
        client.write(b"stop\n")
        client.flush()
        assert client.read() == b"(0, 1, 0)"
    assert ended(other) == b""


def test_handlers_that_stop_their_server_are_in_no_report(serve):
    """Two handlers that both stop their server wait for neither themselves nor each other, and get the same report."""
    server = stopped_by_its_clients(serve)
    idle = open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20)
    clients = [open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20) for _ in range(2)]
    until(lambda: len(server.connections) == 3, 20)
    for client in clients:
        client.write(b"stop\n")
        client.flush()
    assert [ended(client) for client in clients] == [b"(0, 1, 0)"] * 2
    assert ended(idle) == b""


def test_two_stops_share_one_end(serve, office):
    """A second `stop` waits for the same end and gives the same report; an explicit timeout can bring it nearer."""
    server = serve()
    clients = [dial(server, task) for task in ("idle", "stuck")]
    first = gevent.spawn(server.stop, 60)
    assert ended(clients[0]) == b"good-bye\n"
    second = gevent.spawn(server.stop)
    third = gevent.spawn(server.stop, 0.05)
    assert [stop.get(timeout=5) for stop in (first, second, third)] == [(0, 1, 1)] * 3
    clients[1].close()


def test_a_stop_that_is_interrupted_does_not_end_another(serve, office):
    """The draining goes on for the callers that still wait for it."""
    server = serve()
    client = dial(server, "busy")
    first = gevent.spawn(server.stop, 60)
    second = gevent.spawn(server.stop)
    until(lambda: server.closed)
    first.kill()
    office.go_on.set()
    assert second.get(timeout=5) == (1, 0, 0)
    assert ended(client) == b"good-bye\n"


def test_a_stop_can_be_given_up_and_taken_up_again(serve, office):
    """A gevent.Timeout around `stop` comes out as itself, and the next `stop` finishes the work."""
    server = serve()
    client = dial(server, "busy")
    mine = gevent.Timeout(0.05)
    with pytest.raises(gevent.Timeout) as caught, mine:
        server.stop(60)
    assert caught.value is mine
    office.go_on.set()
    assert server.stop() == (1, 0, 0)
    assert ended(client) == b"good-bye\n"


def test_a_server_without_connections_stops_at_once(serve):
    """A server without clients, one that never started, and one that was stopped report nothing."""
    server = serve()
    assert server.stop() == (0, 0, 0)
    assert server.stop() == (0, 0, 0)
    assert SocketStreamServer((HOST, 0), print).stop() == (0, 0, 0)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_wrong_timeouts_are_refused(timeout, serve):
    """A wrong timeout is refused while the server goes on."""
    server = serve()
    with pytest.raises((TypeError, ValueError), match="timeout"):
        server.stop(timeout)
    assert server.started


# TLS.


@pytest.fixture
def contexts(certificates):
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificates.server.chain, certificates.server.key)
    return ours, ssl.create_default_context(cafile=str(certificates.ca))


@pytest.mark.parametrize("spawn", SPAWNS.values(), ids=SPAWNS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_tls_connections_are_told_apart_too(spawn, version, serve, office, contexts):
    """Idle, busy and stuck TLS connections end as plain ones do: the idle ones with close_notify."""
    ours, theirs = contexts
    ours.maximum_version = version
    server = serve(spawn=spawn(), ssl_ctx=ours)
    clients = {task: dial(server, task, ssl_ctx=theirs) for task in ("idle", "idle_in_wait", "busy", "stuck")}
    stopping = gevent.spawn(server.stop, 0.5)
    assert ended(clients["idle"]) == ended(clients["idle_in_wait"]) == b"good-bye\n"
    office.go_on.set()
    assert ended(clients["busy"]) == b"good-bye\n"
    assert stopping.get(timeout=10) == (1, 2, 1)
    clients["stuck"].close(abort=True)


def test_a_part_of_a_record_is_busy(serve, contexts):
    """A handler to which a part of a TLS record has come is not ended, though no byte of plain text is there."""
    ours, theirs = contexts

    def handle(stream, _address):
        for line in stream:
            stream.sendall(line.upper())

    server = serve(handle=handle, ssl_ctx=ours)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(incoming, outgoing, server_hostname=HOST)

    def converse(method, *arguments):
        while True:
            try:
                return method(*arguments)
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(20_000))

    with gevent.socket.create_connection((HOST, server.port)) as connection:
        converse(client.do_handshake)
        client.write(b"a\n")
        assert converse(client.read, 10) == b"A\n"
        client.write(b"whole\n")
        record = outgoing.read()
        connection.sendall(record[:10])
        stopping = gevent.spawn(server.stop, 10)
        gevent.sleep(5)  # in virtual time
        connection.sendall(record[10:])
        assert converse(client.read, 10) == b"WHOLE\n"
        assert converse(client.read, 10) == b""  # close_notify
        assert stopping.get(timeout=5) == (1, 0, 0)


def test_a_handshake_in_progress_is_completed(serve_in_real_time, office, contexts):
    """A client that is in its handshake when the draining begins is served; a silent one is dropped a second later."""
    ours, theirs = contexts
    server = serve_in_real_time(office, ssl_ctx=ours)
    with socket.create_connection((HOST, server.port)) as slow, socket.create_connection((HOST, server.port)) as silent:
        until(lambda: server.stats.accepted == 2)
        stopping = gevent.spawn(server.stop, 10)
        until(lambda: server.closed)
        with gevent.get_hub().threadpool.spawn(theirs.wrap_socket, slow, server_hostname=HOST).get() as secured:
            secured.sendall(b"idle\n")
            secured.settimeout(5)
            reading = gevent.get_hub().threadpool.spawn(lambda: b"".join(iter(lambda: secured.recv(100), b"")))
            assert reading.get() == b"begun\ngood-bye\n"
        assert stopping.get(timeout=5) == (1, 0, 0)
        assert server.stats.refused == 1
        silent.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""
