"""A close that leaves output unsent resets the connection: no peer takes a part of what was said for the whole."""

import errno
import logging
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from kit.callbacks import Calls, Endpoints, Reports, in_greenlet
from kit.conditions import until
from kit.makefile import Ends
from kit.network import HOST
from kit.pairs import Pairs
from kit.tls import TLSKit, other

from geventstreams import (
    ReadTimeout,
    SocketStream,
    StreamClosed,
    StreamReset,
    TCPTimeout,
    WriteTimeout,
    makefile,
)
from geventstreams._constants import WOULD_WAIT
from geventstreams._streams.buffered import engine_of
from geventstreams._streams.socket_stream import UpgradableStream
from geventstreams.relay import relay
from geventstreams.server.server import SocketStreamServer
from geventstreams.testing import FailingTransport, StallingTransport, memory_pair
from geventstreams.testing.claims import outcome, sample, started, stuffed

T = 0.05
SMALL = 8192
"""The size of the system's buffers, so that a part of the output is with the system and the rest is not."""

ENDED = getattr(select, "POLLRDHUP", select.POLLHUP)
"""What tells that the peer has ended its half, where the system has it."""

REST = 300_000
"""Bytes that no buffer of the system takes at once."""

GIVE_UP: dict[str, Callable[[Any], Any]] = {
    "write timeout": lambda stream: outcome(stream.close),
    "linger timeout": lambda stream: (setattr(stream, "write_timeout", None), outcome(stream.close)),
    "gevent.Timeout": lambda stream: (setattr(stream, "write_timeout", None), outcome(gevent.with_timeout, T, stream.close)),
    "kill": lambda stream: (setattr(stream, "write_timeout", None), started(stream.close).kill()),
    "KeyboardInterrupt": lambda stream: (setattr(stream, "write_timeout", None), started(stream.close).kill(KeyboardInterrupt())),
    "an error before it": lambda stream: (setattr(stream, "write_timeout", None), started(stream.close).kill(KeyError("mine"))),
    "in the hub": lambda stream: in_hub(stream.close),
    "after send_eof gave up": lambda stream: (outcome(stream.send_eof), outcome(stream.close)),
}


def in_hub(function: Callable[[], Any]) -> Any:
    """The outcome of a call in the hub's own greenlet."""
    said: list[Any] = []
    gevent.get_hub().loop.run_callback(lambda: said.append(outcome(function)))
    return until(lambda: said)[0]


def events_of(plain: Any) -> int:
    """What the system has to say of a socket: POLLRDHUP for an end, POLLHUP as well for a reset."""
    poll = select.poll()
    poll.register(plain.fileno(), select.POLLIN | ENDED)
    return dict(poll.poll(0)).get(plain.fileno(), 0)


def elsewhere(function: Callable[[], Any]) -> None:
    """Call a function in another thread."""
    thread = threading.Thread(target=function)
    thread.start()
    while thread.is_alive():
        gevent.sleep(0.001)


def ends_of(peer: Any) -> Any:
    """All that a peer still gets, or the error that it ends in."""
    return outcome(peer.read)


@pytest.mark.parametrize("how", GIVE_UP)
@pytest.mark.parametrize("kind", ["tcp", "memory"])
def test_a_close_that_gives_up_resets(pairs: Pairs, kind: str, how: str) -> None:
    """After a close that ends with output unsent, in each way, the peer gets what had arrived and then a reset, never an end of file."""
    stream, peer = pairs.streams(kind, buffers=2**16, linger_timeout=T)
    accepted, _ = stuffed(stream)
    GIVE_UP[how](stream)
    assert stream.closed
    got = bytearray()
    error = outcome(lambda: [got.extend(piece) for piece in iter(lambda: peer.read1(65536), b"")])
    assert isinstance(error, StreamReset), error
    assert len(got) < len(accepted)
    assert accepted.startswith(bytes(got))


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("how", GIVE_UP)
def test_a_close_that_gives_up_resets_under_tls(tls: TLSKit, side: str, how: str) -> None:
    """Under TLS no close_notify is sent behind a part of the output, even to a peer that allows truncation."""
    stream, peer = tls.streams(side, buffers=2**16, linger_timeout=T, peer={"allow_truncation": True})
    accepted, _ = stuffed(stream)
    GIVE_UP[how](stream)
    got = bytearray()
    error = outcome(lambda: [got.extend(piece) for piece in iter(lambda: peer.read1(65536), b"")])
    assert isinstance(error, StreamReset), error
    assert len(got) < len(accepted)
    assert accepted.startswith(bytes(got))


def test_the_error_of_a_close_says_how_much_was_left(pairs: Pairs) -> None:
    """`WriteTimeout.unsent` is what the peer does not get, exactly: what it can get was accepted and not unsent."""
    stream, peer = pairs.streams("memory")
    accepted, _ = stuffed(stream)
    error = outcome(stream.close)
    assert isinstance(error, WriteTimeout)
    got = bytearray()
    outcome(lambda: [got.extend(piece) for piece in iter(lambda: peer.read1(65536), b"")])
    assert error.unsent == len(accepted) - len(got) > 0


def test_a_unix_socket_can_only_end(pairs: Pairs) -> None:
    """A Unix socket has no reset: the peer sees an end, and only the side that closed knows, by `unsent`."""
    stream, peer = pairs.streams("unix")
    accepted, _ = stuffed(stream)
    error = outcome(stream.close)
    assert isinstance(error, WriteTimeout)
    assert len(peer.read()) == len(accepted) - error.unsent


def test_what_is_with_the_system_is_followed_by_an_end(pairs: Pairs) -> None:
    """A close that is ended while it lingers has nothing unsent: all arrives, and then an orderly end."""
    stream, peer = pairs.streams("tcp", buffers=2**16)
    written = 0
    stream.write_timeout = T
    while not isinstance(outcome(stream.sendall, b"x" * 1000), WriteTimeout):
        written += 1000
    while stream.unsent:
        peer.read(1000)
        written -= 1000
        outcome(stream.flush)
    written += 1000
    closing = started(stream.close)
    assert not closing.ready()  # it lingers
    closing.kill()
    assert stream.fileno() == -1
    assert len(peer.read()) == written


def test_a_stream_that_is_dropped_with_output_left_resets(pairs: Pairs) -> None:
    """What a dropped stream cannot send at once is lost, and its peer sees a reset."""
    near, far = pairs.sockets()
    stream, peer = SocketStream(near), pairs.keep(SocketStream(far))
    stuffed(stream)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del stream
    assert isinstance(ends_of(peer), StreamReset)


def test_a_stream_that_another_thread_drops_resets(pairs: Pairs) -> None:
    """A stream with output left whose last reference goes in another thread resets the connection."""
    near, far = pairs.sockets()
    holder, peer = [SocketStream(near)], pairs.keep(SocketStream(far))
    stuffed(holder[0])
    with pytest.warns(ResourceWarning, match="unclosed"):
        elsewhere(holder.clear)
    assert isinstance(ends_of(peer), StreamReset)


# Servers and relays.


@pytest.mark.parametrize("way", ["returns", "is killed in its close", "is killed"])
def test_a_handler_whose_output_is_stuck_resets_its_client(serve: Callable[..., SocketStreamServer], way: str) -> None:
    """A handler that has written what its client does not take, and returns or is killed by stop(): the client sees a reset."""
    served: list[Any] = []
    logging.disable()

    def handle(stream: Any, _address: Any) -> None:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        stream.write(bytes(60_000))
        served.append(stream)
        if way == "is killed":
            stream.flush()

    server = serve(handle, linger_timeout=T if way == "returns" else 30)
    client = gevent.socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((HOST, server.port))
    try:
        until(lambda: served)
        if way != "returns":
            server.stop(T)
        until(lambda: not server.connections)
    finally:
        logging.disable(logging.NOTSET)
    got = bytearray()
    error = outcome(lambda: [got.extend(piece) for piece in iter(lambda: client.recv(65536), b"")])
    client.close()
    assert isinstance(error, ConnectionResetError), (error, len(got))
    assert len(got) < 60_000


@pytest.mark.parametrize("ended", ["one way is over", "both go on"])
def test_a_relay_that_is_ended_aborts_both(pairs: Pairs, ended: str) -> None:
    """A kill of a relay aborts both streams, even if one direction has ended: neither peer takes a close that follows for the end."""
    (one, client), (two, server) = pairs.streams(), pairs.streams()
    relaying = started(relay, one, two)
    client.sendall(b"the first half")
    assert server.read_exactly(14) == b"the first half"
    if ended == "one way is over":
        server.send_eof()
        assert client.read() == b""
    relaying.kill(KeyError("mine"))
    for stream in (one, two):
        stream.close()
    assert isinstance(ends_of(server), StreamReset)
    if ended == "both go on":
        assert isinstance(ends_of(client), StreamReset)


# The callback half.


@pytest.mark.parametrize("options", [{"write_timeout": T}, {"linger_timeout": T}], ids=["write_timeout", "linger_timeout"])
def test_a_graceful_close_that_gives_up_resets(endpoints: Endpoints, calls: Calls, reports: Reports, options: dict[str, Any]) -> None:
    """A close of the callback half that cannot send all in time: one TCPTimeout, and the peer sees a reset."""
    client, peer = endpoints.joined(calls.read, calls.event, receive=4096, **options)
    client.write(bytes(5 * 2**20))
    client.close()
    until(lambda: calls.events)
    assert calls.kinds == [TCPTimeout]
    assert 0 < calls.events[0].error.unsent < 5 * 2**20
    with pytest.raises(ConnectionResetError):
        in_greenlet(lambda: [*iter(lambda: peer.recv(65536), b"")])


def test_a_callback_that_raises_does_not_cut_its_output(endpoints: Endpoints, calls: Calls, reports: Reports) -> None:
    """After a callback has raised, a graceful close that cannot send all in time resets the connection."""
    def fail(sock: Any) -> None:
        sock.write(bytes(5 * 2**20))
        raise KeyError("mine")

    reports.expect(KeyError, OSError)
    client, peer = endpoints.joined(calls.read, calls.event, receive=4096, connect_cb=fail, linger_timeout=T)
    until(lambda: events_of(peer) & (select.POLLHUP | ENDED))
    assert events_of(peer) & select.POLLHUP
    assert client.closed


# Files on sockets of others.


@pytest.mark.parametrize("kind", ["gevent", "tls"])
@pytest.mark.parametrize("how", ["timeout", "kill"])
def test_a_file_that_is_closed_with_its_socket_resets(ends: Ends, kind: str, how: str) -> None:
    """The last file of a closed socket whose flush fails at its close leaves output unsent: the peer sees a reset."""
    near, far = ends.sockets(kind, SMALL)
    file = makefile(near, "wb", 10**6)
    file.write(bytes(REST))
    near.settimeout(T if how == "timeout" else None)
    near.close()
    if how == "timeout":
        assert isinstance(outcome(file.close), TimeoutError)
    else:
        started(file.close).kill()
    assert near.fileno() == -1
    until(lambda: events_of(far) & (select.POLLHUP | ENDED))
    assert events_of(far) & select.POLLHUP  # gevent's own TLS socket tells no reset from an end


@pytest.mark.parametrize("kind", ["gevent", "native"])
def test_a_file_for_reading_that_is_closed_last_resets_for_the_one_that_wrote(ends: Ends, kind: str) -> None:
    """Of the two files that servers and clients make of a closed socket, the one that wrote leaves output unsent and the other is closed
    last: the peer sees a reset, and takes no part for the whole."""
    near, far = ends.sockets(kind, SMALL)
    reader, writer = makefile(near, "rb"), makefile(near, "wb", 10**6)
    writer.write(bytes(REST))
    near.settimeout(T)
    near.close()
    assert isinstance(outcome(writer.close), TimeoutError)
    reader.close()
    assert near.fileno() == -1
    until(lambda: events_of(far) & (select.POLLHUP | ENDED))
    assert events_of(far) & select.POLLHUP


def test_a_file_leaves_a_socket_that_goes_on_as_it_is(ends: Ends) -> None:
    """Where the socket is not closed with the file, it goes on: what its owner sends and ends is not reset."""
    near, far = ends.sockets("gevent", SMALL)
    file = makefile(near, "wb", 10**6)
    file.write(bytes(REST))
    near.settimeout(T)
    assert isinstance(outcome(file.close), TimeoutError)
    near.close()
    assert len(b"".join(in_greenlet(lambda: [*iter(lambda: far.recv(65536), b"")]))) < REST


# The end of our output.


END_EOF: dict[str, Callable[[Any], Any]] = {
    "WriteTimeout": lambda stream: outcome(stream.send_eof),
    "gevent.Timeout": lambda stream: (setattr(stream, "write_timeout", None), outcome(gevent.with_timeout, T, stream.send_eof)),
    "kill": lambda stream: (setattr(stream, "write_timeout", None), started(stream.send_eof).kill()),
    "shutdown": lambda stream: outcome(stream.shutdown, "output"),
}
FINISH: dict[str, Callable[[Any], Any]] = {
    "send_eof": lambda stream: stream.send_eof(),
    "shutdown": lambda stream: stream.shutdown("output"),
    "close": lambda stream: stream.close(),
    "a read that waits": lambda stream: started(stream.read, 1),
}


class Reluctant(StallingTransport):
    """While it is stuck it does not send the end to the peer either; it counts how often that was asked for."""

    told = 0

    def end_output(self) -> int:
        if self.output_stalled:
            return WOULD_WAIT
        self.told += 1
        return StallingTransport.end_output(self)


def stalled(secured: Callable[[Any, Any], None] | None = None) -> tuple[Any, Any, Reluctant]:
    """A stream all of whose output is with a transport that has no room for more now; its peer; and the transport."""
    near, far = memory_pair()
    transport = Reluctant(near)
    stream, peer = UpgradableStream(transport, write_timeout=T), UpgradableStream(far)
    if secured is not None:
        secured(stream, peer)
    stream.sendall(b"all of it")
    transport.stall("output")
    return stream, peer, transport


@pytest.fixture
def secured(tls: TLSKit, side: str) -> Callable[[Any, Any], None]:
    """Put TLS under a stream and its peer."""

    def attach(stream: Any, peer: Any) -> None:
        shaking = gevent.spawn(peer.attach_ssl, **tls.arguments(other(side)))
        stream.attach_ssl(**tls.arguments(side))
        shaking.get()

    return attach


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("again", FINISH)
@pytest.mark.parametrize("first", END_EOF)
def test_an_end_that_was_interrupted_is_finished_by_the_next_call(secured: Any, first: str, again: str) -> None:
    """send_eof under TLS that was ended before its close_notify had left: the next call, a close, or a read that waits finishes it."""
    stream, peer, transport = stalled(secured)
    END_EOF[first](stream)
    assert (stream.unsent, 0 < engine_of(stream).to_send() < 100) == (0, True)  # only the close_notify
    stream.write_timeout = 10
    transport.resume()
    done = outcome(FINISH[again], stream)
    assert not isinstance(done, BaseException), done
    assert in_greenlet(peer.read) == b"all of it"
    assert (stream.unsent, transport.told) == (0, 1)
    stream.abort()
    peer.abort()


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize("window", [2000, 20_000, 2**17])
def test_unsent_counts_plain_text(secured: Any, window: int) -> None:
    """Under TLS `unsent`, of a stream and of errors, is exactly the plain text that the peer cannot decrypt; `octets_out` is the rest."""
    near, far = memory_pair(window)
    stream, peer = UpgradableStream(near, write_timeout=T), UpgradableStream(far)
    secured(stream, peer)
    stream.write(b"first")
    stream.flush()
    assert (stream.unsent, stream.octets_out) == (0, 5)
    accepted, error = stuffed(stream)
    unsent = stream.unsent
    assert 0 < unsent == error.unsent
    assert stream.octets_out == 5 + len(accepted) - unsent
    error = outcome(stream.close)
    assert isinstance(error, WriteTimeout)
    got = bytearray()
    assert isinstance(outcome(lambda: [got.extend(piece) for piece in iter(lambda: peer.read1(65536), b"")]), StreamReset)
    assert (error.unsent, bytes(got)) == (unsent, b"first" + accepted[: len(accepted) - unsent])
    peer.abort()


@pytest.mark.parametrize("size", [1, 100, 300_000])
def test_an_error_that_passes_doubles_nothing(secured: Any, size: int) -> None:
    """A send under TLS that fails because the system has no memory: the error says how much is unsent, and a flush sends it once."""
    near, far = memory_pair()
    transport = FailingTransport(near, 0, OSError(errno.ENOBUFS, "no memory"))
    stream, peer = UpgradableStream(transport, write_timeout=T), UpgradableStream(far)
    secured(stream, peer)
    message = sample(size)
    for number in range(1, 4):
        transport.k = transport.calls + 1
        error = outcome(lambda: (stream.write(message), stream.flush()))
        assert (error.errno, error.unsent, stream.unsent, stream.octets_out) == (errno.ENOBUFS, size, size, (number - 1) * size)
        reading = started(peer.read_exactly, size)
        stream.flush()
        assert reading.get() == message
        assert (stream.unsent, stream.octets_out) == (0, number * size)
    stream.send_eof()
    assert in_greenlet(peer.read) == b""
    stream.abort()
    peer.abort()


@pytest.mark.parametrize("first", END_EOF)
def test_an_end_that_waits_for_room_refuses_writes(first: str) -> None:
    """While the peer is still to be told, a write is StreamClosed and a flush is nothing; the next call tells the peer, once."""
    stream, peer, transport = stalled()
    END_EOF[first](stream)
    assert (stream.unsent, transport.told) == (0, 0)
    for wrong in (b"more", b""):
        assert isinstance(outcome(stream.write, wrong), StreamClosed)
    stream.flush()
    transport.resume()
    peer.read_timeout = T
    assert peer.read_exactly(9) == b"all of it"
    assert isinstance(outcome(peer.read, 1), ReadTimeout)
    for _ in range(3):
        stream.send_eof()
        assert (peer.read(), transport.told) == (b"", 1)
    stream.abort()
    peer.abort()


def test_two_that_end_the_output_both_wait_until_the_peer_is_told(secured: Any) -> None:
    """A second send_eof beside a first one that waits returns when the peer was told, and not before."""
    stream, peer, transport = stalled(secured)
    stream.write_timeout = None
    first, second = started(stream.send_eof), started(stream.send_eof)
    assert not first.ready()
    assert not second.ready()
    transport.resume()
    assert (first.get(), second.get()) == (None, None)
    assert (in_greenlet(peer.read), transport.told) == (b"all of it", 1)
    stream.abort()
    peer.abort()


def test_a_close_ends_an_end_that_waits(secured: Any) -> None:
    """close while send_eof waits: StreamClosed for that one; the close tells the peer."""
    stream, peer, transport = stalled(secured)
    stream.write_timeout = None
    ending, closing = started(stream.send_eof), started(stream.close)
    assert isinstance(ending.get(), StreamClosed)
    transport.resume()
    assert closing.get() is None
    assert in_greenlet(peer.read) == b"all of it"
    peer.abort()


def test_a_detaching_keeps_an_end_that_the_peer_was_not_told(secured: Any) -> None:
    """After a send_eof that was interrupted, detach_ssl accepts nothing in plain text, and the next send_eof tells the peer."""
    stream, peer, transport = stalled(secured)
    assert isinstance(outcome(stream.send_eof), WriteTimeout)
    transport.resume()
    answering = started(peer.detach_ssl, 100, 1)
    stream.detach_ssl(100, 1)
    assert answering.get() is None
    assert isinstance(outcome(stream.write, b"would be in plain text"), StreamClosed)
    stream.send_eof()
    assert in_greenlet(peer.read) == b"all of it"
    stream.abort()
    peer.abort()


def test_a_detaching_that_was_interrupted_does_not_end_the_output(secured: Any) -> None:
    """detach_ssl that was ended before its close_notify had left is finished by the next one, and the plain stream goes on."""
    stream, peer, transport = stalled(secured)
    assert isinstance(outcome(gevent.with_timeout, T, stream.detach_ssl, 100, 1), gevent.Timeout)
    transport.resume()
    assert isinstance(outcome(gevent.with_timeout, T, stream.read, 1), gevent.Timeout)
    assert transport.told == 0
    assert peer.read() == b"all of it"
    answering = started(peer.detach_ssl, 100, 1)
    stream.detach_ssl(100, 1)
    answering.get()
    stream.sendall(b"in plain text")
    assert peer.read_exactly(13) == b"in plain text"
    stream.abort()
    peer.abort()
