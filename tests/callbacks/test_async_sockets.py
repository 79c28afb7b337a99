"""Sockets that call back: their ends, their limits, back pressure both ways, closing."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import struct
import threading
import weakref

import gevent
import pytest
from gevent.exceptions import BlockingSwitchOutError
from kit.callbacks import Calls, attempt, in_greenlet, received, rest_of, rounds, settled
from kit.conditions import until
from kit.leftovers import descriptors, greenlets, nothing_left
from kit.network import HOST, black_hole, reset

from geventstreams import (
    TCPEOF,
    AsyncIOStream,
    AsyncSocket,
    EndOfFile,
    StreamClosed,
    StreamError,
    StreamReset,
    TCPRefused,
    TCPReset,
    TCPTimeout,
    WriteTimeout,
    tcp_connect,
    tcp_server,
)
from geventstreams._core.transport import SocketTransport
from geventstreams.callbacks.options import ConnectionOptions

pytestmark = pytest.mark.usefixtures("reports")

T = 0.15
PRECISION = 0.005  # of what is looked at every 2 ms
HIGH = 262144
RESET = struct.pack("ii", 1, 0)


def stuck(endpoints, *callbacks, **options):
    """A client whose peer reads nothing, with so much written that the system takes no more."""
    client, peer = endpoints.joined(*callbacks, receive=4096, **options)
    until(lambda: client.fileno() >= 0)
    client.write(bytes(2**24))
    rounds()
    assert client.unsent > 2**20
    return client, peer


# Ends.


def test_what_came_before_the_end_stays_readable(endpoints, calls):
    """At the end of the input the event comes with the socket closed; the unread rest can be read, then the end is told."""
    client, peer = endpoints.joined(calls.leave, calls.event, stream=True)
    peer.sendall(b"line\nrest")
    until(lambda: calls.streams)
    peer.close()
    settled(calls)
    event = calls.events[0]
    assert calls.kinds == [TCPEOF]
    assert event.stream is client
    assert event.socket.closed is True
    assert client.closed is True
    assert client.fileno() == -1
    assert client.read_line() == ("line", False)
    assert client.read_line() == ("rest", True)
    assert client.at_eof
    with pytest.raises(EndOfFile):
        client.read_line()
    assert client.read() == b""
    with pytest.raises(StreamClosed):
        client.write(b"x")
    with pytest.raises(StreamClosed):
        event.socket.write(b"x")
    client.close()
    with pytest.raises(StreamClosed):
        client.read()


def test_what_came_before_a_reset_stays_readable(endpoints, calls):
    """5,001 bytes and a reset: all 5,001, then StreamReset each time, but `read_sequence` says that nothing comes."""
    client, peer = endpoints.joined(calls.leave, calls.event, stream=True)
    peer.sendall(b"x" * 5001)
    until(lambda: client.buffered == 5001)
    reset(peer)
    settled(calls)
    assert calls.kinds == [TCPReset]
    assert len(client.read_available()) == 5001
    for _ in range(3):
        with pytest.raises(StreamReset):
            client.read_available()
        with pytest.raises(StreamReset):
            client.read_byte()
    assert client.read_sequence(bytearray(10)) == 0


def test_a_reset_that_a_write_notices_is_told_once(endpoints, calls):
    """A peer that resets while we write is one event, not one for each half."""
    client, peer = endpoints.joined(calls.read, calls.event)
    until(lambda: client.fileno() >= 0)
    client.pause()
    reset(peer)
    for _ in range(5):
        with contextlib.suppress(StreamClosed):
            client.write(b"x" * 1000)
        rounds(2)
    settled(calls)
    rounds()
    assert calls.kinds == [TCPReset]


def test_a_write_that_fails_comes_after_the_bytes_before_it(endpoints, calls):
    """What lies in the system when a write fails is called back first, then the event."""
    client, peer = endpoints.joined(calls.read, calls.event)
    until(lambda: client.fileno() >= 0)
    client.pause()
    peer.sendall(b"last words")
    peer.close()
    rounds()
    client.write(b"a")
    client.resume()
    settled(calls)
    assert calls.data == b"last words"
    assert calls.names == ["read", "event"]


def test_without_an_event_callback_the_end_is_silent(endpoints, reports):
    """Without an `event_cb` an end of file says nothing, and closes."""
    client, peer = endpoints.joined(lambda _socket, _data: None)
    peer.close()
    until(lambda: client.closed)
    assert reports.errors == []


def test_without_an_event_callback_errors_reach_the_hub(endpoints, reports):
    """Without an `event_cb` a reset goes to the hub's `handle_error`."""
    reports.expect(StreamReset)
    client, peer = endpoints.joined(lambda _socket, _data: None)
    until(lambda: client.fileno() >= 0)
    reset(peer)
    until(lambda: client.closed)
    assert [type(error) for error in reports.errors] == [StreamReset]


# Half close.


def test_half_close_leaves_our_output_open(endpoints, calls):
    """With `half_close` the peer's end is told with the socket open, and 1 MiB written then arrives."""
    client, peer = endpoints.joined(calls.read, calls.event, half_close=True)
    peer.sendall(b"question")
    peer.shutdown(socket.SHUT_WR)
    settled(calls)
    assert calls.kinds == [TCPEOF]
    assert not calls.events[0].socket.closed
    client.write(b"x" * 2**20)
    client.close()
    assert rest_of(peer) == b"x" * 2**20
    assert calls.data == b"question"
    assert calls.kinds == [TCPEOF]


def test_half_close_ends_when_both_have_ended(endpoints, calls):
    """A half-closed connection is closed when our output has ended too, in either order."""
    client, peer = endpoints.joined(calls.read, calls.event, half_close=True, stream=True)
    client.write(b"question")
    client.send_eof()
    client.send_eof()
    with pytest.raises(StreamClosed):
        client.write(b"more")
    assert rest_of(peer) == b"question"
    peer.sendall(b"answer")
    peer.close()
    settled(calls)
    until(lambda: client.closed)
    assert (calls.data, calls.kinds) == (b"answer", [TCPEOF])
    other = Calls()
    client, peer = endpoints.joined(other.read, other.event, half_close=True, stream=True)
    peer.close()
    settled(other)
    assert not client.closed
    client.send_eof()
    until(lambda: client.closed)


def test_a_half_closed_connection_that_breaks_tells_that_too(endpoints, calls):
    """After the end of the input, output that fails is a second cause and so a second event."""
    client, peer = endpoints.joined(calls.read, calls.event, half_close=True)
    peer.shutdown(socket.SHUT_WR)
    settled(calls)
    reset(peer)
    with contextlib.suppress(StreamClosed):
        while not client.closed:
            client.write(b"x")
            rounds(2)
    settled(calls, 2)
    assert calls.kinds == [TCPEOF, TCPReset]
    assert client.closed


def test_an_end_without_half_close_does_not_cut_our_output(endpoints, calls):
    """Where the peer half-closes and we close, what was written by then arrives all the same: 8 MiB to a slow reader."""
    client, peer = endpoints.joined(calls.read, calls.event, receive=4096)
    until(lambda: client.fileno() >= 0)
    client.write(b"x" * 2**23)
    peer.shutdown(socket.SHUT_WR)
    settled(calls)
    assert calls.kinds == [TCPEOF]
    assert client.closed
    assert len(rest_of(peer)) == 2**23
    assert calls.kinds == [TCPEOF]


# Limits.


def test_a_read_timeout_closes_in_time(virtual_clock, endpoints, calls):
    """Nothing arrives for `read_timeout` seconds: one TCPTimeout, neither before nor later, and the peer sees an orderly end."""
    started = virtual_clock.now
    client, peer = endpoints.joined(calls.read, calls.event, read_timeout=T)
    settled(calls)
    assert virtual_clock.now - started == pytest.approx(T, abs=PRECISION)
    assert calls.kinds == [TCPTimeout]
    assert calls.events[0].code == errno.ETIMEDOUT
    assert client.closed
    assert rest_of(peer) == b""
    rounds()
    assert calls.names == ["event"]


def test_a_read_timeout_counts_from_chunk_to_chunk(virtual_clock, endpoints, calls):
    """A peer that drips every T/4 is not timed out; when it stops, T passes once more."""
    client, peer = endpoints.joined(calls.read, calls.event, read_timeout=T)
    for _ in range(8):
        sent = virtual_clock.now
        peer.sendall(b"x")
        gevent.sleep(T / 4)
    assert not client.closed
    settled(calls)
    assert virtual_clock.now - sent == pytest.approx(T, abs=PRECISION)
    assert calls.data == b"x" * 8
    assert calls.kinds == [TCPTimeout]


def test_a_read_timeout_can_be_changed_at_any_time(virtual_clock, endpoints, calls):
    """`set_timeouts` counts at once, for a wait that is under way too: shorter, longer, none, as often as one likes."""
    client, _peer = endpoints.joined(calls.read, calls.event)
    until(lambda: client.fileno() >= 0)
    client.set_timeouts(30, None)
    rounds()
    client.set_timeouts(None, None)
    rounds()
    started = virtual_clock.now
    client.set_timeouts(T, None)
    settled(calls)
    assert virtual_clock.now - started == pytest.approx(T, abs=PRECISION)
    other = Calls()
    client, _peer = endpoints.joined(other.read, other.event, read_timeout=T)
    until(lambda: client.fileno() >= 0)
    client.set_timeouts(None, None)
    gevent.sleep(2 * T)
    assert other.names == []


@pytest.mark.usefixtures("virtual_clock")
def test_a_pause_is_no_silence(endpoints, calls):
    """While the application has paused a socket, its read timeout does not run."""
    client, peer = endpoints.joined(calls.read, calls.event, read_timeout=T)
    until(lambda: client.fileno() >= 0)
    client.pause()
    gevent.sleep(2 * T)
    assert calls.names == []
    client.resume()
    peer.sendall(b"x")
    until(lambda: calls.data == b"x")
    settled(calls)


def test_a_write_timeout_is_one_without_progress(virtual_clock, endpoints, calls):
    """A peer that takes nothing for `write_timeout` seconds: one TCPTimeout, not before; the peer sees that the output is cut."""
    client, peer = stuck(endpoints, calls.read, calls.event, write_timeout=T)
    started = virtual_clock.now
    settled(calls)
    assert T <= virtual_clock.now - started <= 2 * T + PRECISION  # the system takes some more at first
    assert calls.kinds == [TCPTimeout]
    assert client.closed
    with pytest.raises(ConnectionResetError):
        rest_of(peer)


def test_a_write_timeout_is_no_lifetime(virtual_clock, endpoints, calls):
    """A slow peer that takes some every T/3 is not timed out, though the whole takes many times T."""
    client, peer = endpoints.joined(calls.read, calls.event, receive=4096, write_timeout=T)
    until(lambda: client.fileno() >= 0)
    client.write(bytes(2**24))
    got = 0
    started = virtual_clock.now
    while virtual_clock.now - started < 5 * T:
        got += len(peer.recv(65536))
        gevent.sleep(T / 3)
    assert calls.names == []
    assert client.unsent
    client.set_timeouts(None, None)
    client.close()
    assert got + len(rest_of(peer)) == 2**24
    quiet, _peer = endpoints.joined(calls.read, calls.event, write_timeout=T)
    gevent.sleep(2 * T)
    assert calls.names == []
    assert not quiet.closed


def test_a_write_timeout_can_be_set_while_output_is_stuck(virtual_clock, endpoints, calls):
    """`set_timeouts` counts for output that is stuck already."""
    client, _peer = stuck(endpoints, calls.read, calls.event)
    started = virtual_clock.now
    client.set_timeouts(None, T)
    settled(calls)
    assert virtual_clock.now - started <= 2 * T + PRECISION
    assert calls.kinds == [TCPTimeout]


# Back pressure.


def test_input_stops_at_the_high_water_mark(endpoints, calls):
    """At most `high_water` bytes and one receive call are taken from the kernel; below `low_water` it goes on, and nothing is lost."""
    client, peer = endpoints.joined(calls.leave, calls.event, stream=True)
    sent = os.urandom(2**20)
    sender = gevent.spawn(peer.sendall, sent)
    until(lambda: client.buffered > HIGH)
    rounds(50)
    held = client.buffered
    assert HIGH < held <= 2 * HIGH + 65536
    got = client.read(held - 65536)
    rounds(50)
    assert client.buffered == 65536
    got += client.read(1)
    until(lambda: client.buffered > 65536)
    while len(got) < len(sent):
        got += client.read_available()
        gevent.sleep(0)
    sender.get(timeout=10)
    assert got == sent


def test_a_reader_elsewhere_lets_the_input_go_on(endpoints, calls):
    """A greenlet that empties a full stream byte by byte wakes the pump, by each way to read."""
    readers = [lambda s: s.read(4096), lambda s: s.read_available(), lambda s: s.read_sequence(bytearray(1000)), lambda s: s.clear_input(),
               lambda s: s.readinto(bytearray(5000)), lambda s: s.read_string(3000), lambda s: s.read1(7000)]
    for read in readers:
        client, peer = endpoints.joined(stream=True)
        sender = gevent.spawn(peer.sendall, bytes(2**20))
        until(lambda client=client: client.buffered > HIGH)
        rounds()
        with gevent.Timeout(10):
            while not sender.ready() or client.buffered:
                read(client)
                gevent.sleep(0)


def test_marks_can_be_chosen(endpoints, calls):
    """`high_water` and `low_water` are the caller's where they are given."""
    client, peer = endpoints.joined(calls.leave, stream=True, high_water=1000, low_water=100)
    peer.sendall(b"x" * 1001)
    until(lambda: client.buffered == 1001)
    peer.sendall(b"y")
    rounds(50)
    assert client.buffered == 1001
    client.read(902)
    until(lambda: client.buffered == 100)
    assert client.socket.write(b"z" * 1000) is True
    assert client.socket.write(b"z") is False


def test_write_says_false_above_the_mark(endpoints, calls):
    """`write` answers True up to `high_water` unsent bytes and False above; it never waits and takes all."""
    server = endpoints.server(calls.read)
    client = endpoints.client(server.port, write_cb=calls.write)
    assert client.write(bytes(HIGH)) is True
    assert client.write(b"x") is False
    assert client.unsent == HIGH + 1
    until(lambda: calls.names.count("write") == 1 and len(calls.data) == HIGH + 1)
    assert client.unsent == 0
    assert client.write(b"x") is True


def test_write_cb_comes_when_all_is_with_the_system(endpoints, calls):
    """`write_cb` is called once for what was written, only after real output, and only when nothing is left."""
    unsent = []
    client, peer = endpoints.joined(write_cb=lambda socket: unsent.append(socket.unsent), receive=4096)
    until(lambda: client.fileno() >= 0)
    client.write(b"")
    AsyncIOStream(socket=client).force_output()
    rounds()
    assert unsent == []
    client.write(b"a")
    client.write(b"b")
    until(lambda: unsent == [0])
    client.write(bytes(2**23))
    rounds()
    assert unsent == [0]
    assert len(received(peer, 2**23 + 2)) == 2**23 + 2
    until(lambda: unsent == [0, 0])


def test_write_cb_may_close(endpoints):
    """A `write_cb` that closes: all that was written arrives first."""
    server = endpoints.server(None, connect_cb=lambda socket: socket.write(bytes(3 * 2**20)), write_cb=lambda socket: socket.close())
    assert len(rest_of(endpoints.peer(server.port))) == 3 * 2**20


def test_drain_waits_for_the_output(endpoints):
    """`drain` returns at once where nothing is unsent, waits until all is with the system, and several may wait."""
    client, peer = stuck(endpoints)
    ended = []
    waiters = [gevent.spawn(lambda: ended.append(client.drain())) for _ in range(3)]
    rounds()
    assert ended == []
    assert len(received(peer, 2**24)) == 2**24
    gevent.joinall(waiters, timeout=10)
    assert len(ended) == 3
    assert client.drain() is None
    client.write(b"x")
    assert client.unsent == 1
    in_greenlet(client.drain)
    assert client.unsent == 0


def test_drain_waits_for_the_connection_too(endpoints):
    """`drain` before the connection is established waits for it; if it fails, `drain` raises."""
    server = endpoints.server(None)
    client = endpoints.client(server.port, data=b"x")
    in_greenlet(client.drain)
    assert client.unsent == 0
    with black_hole() as (host, port):
        client = endpoints.client(port, None, lambda _event: None, host=host, data=b"x", timeout=T)
        with pytest.raises(StreamError, match="no answer in time"):
            in_greenlet(client.drain)


@pytest.mark.parametrize(("end", "error"), [
    (lambda client, peer: client.close(force=True), StreamClosed),
    (lambda client, peer: client.set_timeouts(None, T), WriteTimeout),
    (lambda client, peer: reset(peer), StreamReset),
])
def test_drain_tells_why_it_cannot(endpoints, end, error):
    """Who waits in `drain` learns what became of the output: closed, timed out, reset; `unsent` says how much was lost."""
    client, peer = stuck(endpoints, None, lambda _event: None)
    waiter = attempt(client.drain)
    rounds()
    end(client, peer)
    told = waiter.get(timeout=10)
    assert isinstance(told, error)
    assert told.unsent > 2**20


def test_drain_in_the_hub_is_refused(endpoints):
    """In the hub's own greenlet no call can wait."""
    client, _peer = stuck(endpoints)
    errors = []

    def drain():
        try:
            client.drain()
        except BlockingSwitchOutError as error:
            errors.append(error)

    gevent.get_hub().loop.run_callback(drain)
    until(lambda: errors)


def test_a_callback_may_drain(endpoints, calls):
    """A callback may wait for its own output, and the peer's timeout runs during the wait."""
    def pour(socket):
        for _ in range(64):
            socket.write(bytes(2**18))
            socket.drain()
        socket.close()

    server = endpoints.server(None, connect_cb=pour)
    assert len(rest_of(endpoints.peer(server.port))) == 2**24


def test_an_answer_behind_output_that_is_stuck_waits_its_turn(endpoints):
    """A callback that writes while earlier output waits for the peer does not stop the hub, and its output arrives behind the other."""
    _, peer = stuck(endpoints, lambda socket, data: socket.write(data.upper()))
    peer.sendall(b"a")
    rounds()
    peer.sendall(b"b")
    assert received(peer, 2**24 + 2)[-4:] == b"\0\0AB"


def test_pause_and_resume(endpoints, calls):
    """A paused socket calls no read callback until it is resumed, also when it is paused before it is connected."""
    client, peer = endpoints.joined(calls.read, calls.event)
    client.pause()
    peer.sendall(b"one")
    rounds(50)
    assert calls.names == []
    client.resume()
    until(lambda: calls.data == b"one")
    client.pause()
    peer.sendall(b"two")
    peer.close()
    rounds(50)
    assert calls.data == b"one"
    assert calls.events == []
    client.resume()
    settled(calls)
    assert calls.data == b"onetwo"


def test_pause_within_a_callback(endpoints, calls):
    """A read callback may pause its socket: no other call before the resume."""
    def read(socket, data):
        calls.read(socket, data)
        socket.pause()

    client, peer = endpoints.joined(read)
    for number in range(5):
        peer.sendall(b"%d" % number)
        until(lambda number=number: len(calls.data) == number + 1)
        rounds(5)
        client.resume()


# Closing.


def test_close_is_graceful(endpoints):
    """After `close` all that was written arrives, 16 MiB to a slow reader, then the end; `closed` is true at once, and the call returns."""
    client, peer = stuck(endpoints)
    client.close()
    assert client.closed
    with pytest.raises(StreamClosed):
        client.write(b"x")
    assert len(rest_of(peer)) == 2**24


def test_close_with_unread_input_loses_nothing(endpoints):
    """What was written arrives although unread bytes are in the system when the socket is closed."""
    client, peer = endpoints.joined(receive=4096)
    until(lambda: client.fileno() >= 0)
    client.pause()
    peer.sendall(b"unwanted")
    rounds()
    client.write(bytes(2**22))
    client.close()
    assert len(rest_of(peer)) == 2**22


def test_a_forced_close_is_a_reset(endpoints):
    """`close(force=True)` drops what is unsent; the peer sees a reset; it ends a graceful close that is under way."""
    for first in (False, True):
        client, peer = stuck(endpoints)
        if first:
            client.close()
            rounds()
        client.close(force=True)
        assert client.fileno() == -1
        with pytest.raises(ConnectionResetError):
            rest_of(peer)
        client.close()


def test_closing_in_the_hub(endpoints):
    """`close` and `write` may be called in the hub's own greenlet: what was written arrives, by and by."""
    client, peer = endpoints.joined(receive=4096)
    until(lambda: client.fileno() >= 0)

    def write_and_close():
        client.write(bytes(2**22))
        client.close()

    gevent.get_hub().loop.run_callback(write_and_close)
    assert len(rest_of(peer)) == 2**22


def test_output_that_a_close_could_not_deliver_is_told(endpoints, calls):
    """A close that cannot send all, since the peer takes nothing for `linger_timeout` seconds, ends in one event."""
    client, peer = stuck(endpoints, calls.read, calls.event, linger_timeout=T)
    client.close()
    settled(calls)
    rounds()
    assert calls.kinds == [TCPTimeout]
    with pytest.raises(ConnectionResetError):
        rest_of(peer)


def test_closing_with_nothing_unsent_calls_back_nothing(endpoints, calls):
    """A close that could send all is followed by no callback."""
    client, peer = endpoints.joined(calls.read, calls.event, write_cb=calls.write)
    until(lambda: client.fileno() >= 0)
    client.write(b"x")
    client.close()
    assert rest_of(peer) == b"x"
    peer.close()
    rounds()
    assert calls.names == []


def test_closing_while_connecting_ends_at_once(endpoints, calls):
    """A close before the connection is established ends the attempt, without a callback; nothing is left."""
    with black_hole() as (host, port), nothing_left():
        client = tcp_connect(host, port, calls.read, calls.event, connect_cb=calls.connect)
        rounds()
        client.close()
        assert client.closed
        other = tcp_connect(host, port, calls.read, calls.event)
        other.close(force=True)
        with_data = tcp_connect(host, port, calls.read, calls.event, data="x")
        rounds()
        with_data.close(force=True)
        rounds()
        assert calls.names == []
        del client, other, with_data


def test_closing_while_connecting_still_delivers(endpoints, calls):
    """`data` of a connection that is closed while connecting arrives, and then the end; no callback comes."""
    server = endpoints.server(calls.read, calls.event)
    near = Calls()
    client = endpoints.client(server.port, near.read, near.event, data="farewell", connect_cb=near.connect)
    client.close()
    settled(calls)
    assert calls.data == b"farewell"
    assert near.names == []


def test_closing_while_connecting_is_bounded(virtual_clock, endpoints, calls):
    """With something to send, a close while connecting gives the connection `linger_timeout` seconds, then tells."""
    with black_hole() as (host, port), nothing_left():
        client = tcp_connect(host, port, calls.read, calls.event, data="farewell", linger_timeout=T)
        started = virtual_clock.now
        client.close()
        settled(calls)
        assert virtual_clock.now - started == pytest.approx(T, abs=PRECISION)
        assert calls.kinds == [TCPTimeout]
        calls.events.clear()
        del client


def test_a_refused_connection_that_was_closed_before_is_told_if_something_is_lost(endpoints, calls):
    """A close before a refusal: an event where `data` was lost, none where nothing was."""
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
        silent = Calls()
        endpoints.client(port, silent.read, silent.event).close()
        endpoints.client(port, calls.read, calls.event, data="x").close()
        settled(calls)
        rounds()
    assert calls.kinds == [TCPRefused]
    assert silent.names == []


# Whose it is.


def test_another_thread_is_refused(endpoints):
    """Another thread's hub may not use a socket: StreamError, and nothing happened."""
    client, peer = endpoints.joined(stream=True)
    until(lambda: client.fileno() >= 0)
    errors = []

    def use():
        for call in (lambda: client.socket.write(b"x"), lambda: client.write(b"x"), client.socket.close, client.socket.pause,
                     client.socket.resume, client.socket.drain, lambda: client.socket.set_timeouts(1, 1),
                     lambda: client.socket.set_callbacks(print)):
            try:
                call()
            except StreamError as error:
                errors.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)
    assert len(errors) == 8
    assert all("another thread" in error for error in errors)
    assert not client.closed
    client.write(b"mine")
    assert received(peer, 4) == b"mine"


def test_a_forked_child_takes_nothing(endpoints, calls):
    """A forked child calls no callback and sends nothing; the parent goes on undisturbed."""
    client, peer = endpoints.joined(calls.read, calls.event)
    until(lambda: client.fileno() >= 0)
    client.write(b"once")
    child = gevent.os.fork()
    if not child:
        status = 1
        try:
            calls.names.clear()
            gevent.sleep(0.1)
            status = 0 if not calls.names else 2
        finally:
            os._exit(status)
    assert received(peer, 4) == b"once"
    peer.sendall(b"for the parent")
    with gevent.Timeout(10):
        while not (ended := gevent.os.waitpid(child, os.WNOHANG))[0]:
            gevent.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    until(lambda: calls.data == b"for the parent")
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)


def test_nothing_is_left_behind(endpoints):
    """100 connections, closed from either side or broken: no descriptor, greenlet or unreachable object is left."""
    def once(index):
        near = Calls()
        client = tcp_connect(HOST, server.port, near.read, near.event, stream=index % 2 == 0, data=b"x")
        until(lambda: near.data == b"x")
        client.close(index % 3 == 0)

    server = endpoints.server(lambda socket, data: socket.write(data), lambda _event: None)
    once(1)
    until(lambda: not server.connections)
    with nothing_left():
        for index in range(100):
            once(index)
        until(lambda: not server.connections)
    gc.collect()


def test_a_socket_dies_by_reference_count(endpoints, calls):
    """When its connection is over nothing but its user keeps a socket, its stream or its callbacks alive, without the collector."""
    gc.collect()
    gc.disable()
    try:
        class Application:
            def read(self, _socket, stream):
                self.stream = stream

        application = Application()
        server = endpoints.server(lambda socket, data: socket.close())
        client = tcp_connect(HOST, server.port, application.read, stream=True, data=b"x")
        until(lambda: client.closed)  # noqa: F821  # deleted below, not before
        watched = [weakref.ref(thing) for thing in (client, application)]
        rounds()
        del client, application
        assert [ref() for ref in watched] == [None, None]
    finally:
        gc.enable()


def test_repr_tells_the_state(endpoints):
    """A socket's `repr` says whether it is connecting, open, closing or closed, and to whom."""
    server = endpoints.server(None)
    client = endpoints.client(server.port)
    assert "connecting" in repr(client)
    assert f"{HOST}:{server.port}" in repr(client)
    until(lambda: client.fileno() >= 0)
    assert f"fd={client.fileno()}" in repr(client)
    client.close()
    assert "closed" in repr(client)
    stuck_one, _peer = stuck(endpoints)
    stuck_one.close()
    assert "closing" in repr(stuck_one)


# Accepting.


@pytest.mark.usefixtures("virtual_clock")
def test_out_of_descriptors_is_survived(reports):
    """A server without a free descriptor pauses, reports once, and serves the waiting clients when descriptors are free again."""
    reports.expect(OSError)
    calls = Calls()
    with tcp_server(HOST, 0, calls.read) as server, contextlib.ExitStack() as peers:
        waiting = [peers.enter_context(socket.socket()) for _ in range(5)]
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, before[1]))
        try:
            with contextlib.suppress(OSError):
                while True:
                    peers.callback(os.close, os.dup(0))
            for peer in waiting:
                peer.connect((HOST, server.port))
                peer.sendall(b"x")
            until(lambda: reports.errors)
            gevent.sleep(0.3)
            assert not calls.data
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        until(lambda: len(calls.data) == 5)
        assert len(reports.errors) == 1
        assert reports.errors[0].errno == errno.EMFILE
        for connection in list(server.connections):
            connection.close(force=True)


def test_signals_that_do_not_raise_change_nothing(endpoints, calls):
    """Fifty signals while bytes flow: every byte arrives once."""
    count = [0]
    before = signal.signal(signal.SIGUSR1, lambda *_arguments: count.__setitem__(0, count[0] + 1))
    try:
        _client, peer = endpoints.joined(calls.read)
        for _ in range(50):
            os.kill(os.getpid(), signal.SIGUSR1)
            peer.sendall(b"x" * 1000)
            rounds(2)
        until(lambda: len(calls.data) == 50000)
        assert count[0] == 50
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_counts_agree():
    """The helpers of this file count what they should."""
    assert descriptors() > 0
    sleeper = gevent.spawn(gevent.sleep, 60)
    rounds()
    assert greenlets() > 0
    sleeper.kill()


class Interrupted(SocketTransport):
    """A transport in whose first call of `send` a signal handler raises."""

    interruptions = 1

    def send(self, data, start, stop):
        if self.interruptions:
            self.interruptions -= 1
            raise KeyError
        return SocketTransport.send(self, data, start, stop)


def test_a_signal_handler_that_raises_while_sending(reports):
    """What a signal handler raises while the hub sends goes to the hub; what was written is sent after that, without another write."""
    reports.expect(KeyError)
    ours, peer = gevent.socket.socketpair()
    options = ConnectionOptions(None, None)
    client = AsyncSocket(options, Interrupted(ours))
    AsyncIOStream(client)
    client._start()
    rounds()
    with contextlib.closing(peer), contextlib.closing(client):
        client.write(b"once")
        assert received(peer, 4) == b"once"
    assert [type(error) for error in reports.errors] == [KeyError]


def test_the_greenlet_that_sends_may_be_killed(endpoints):
    """A kill of the greenlet that sends in the background loses no output: another one sends on, also while the socket is closing."""
    for closing in (False, True):
        client, peer = stuck(endpoints)
        if closing:
            client.close()
        rounds()
        [sender] = [thing for thing in gc.get_objects()
                    if isinstance(thing, gevent.Greenlet) and "_send_in_background" in repr(thing) and not thing.ready()]
        sender.kill()
        if not closing:
            client.close()
        assert len(rest_of(peer)) == 2**24
