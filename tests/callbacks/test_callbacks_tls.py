"""Connections that call back, over TLS: the handshake, its failures, endings told apart, TLS that is attached later."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import ssl

import gevent
import gevent.socket
import gevent.ssl
import pytest
from kit.callbacks import Calls, received, rest_of, rounds, settled
from kit.conditions import until
from kit.leftovers import nothing_left
from kit.network import HOST
from kit.tls import Interrupt, Struck

from geventstreams import (
    TCPEOF,
    StreamBusy,
    StreamClosed,
    StreamTruncated,
    TCPReset,
    TCPTimeout,
    TCPTLSError,
    TLSError,
    TLSVerificationError,
    tcp_connect,
)
from geventstreams._core.tls_records import RECORD
from geventstreams._net.connect import open_tcp_stream

pytestmark = pytest.mark.usefixtures("reports")

T = 0.2


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def version(request):
    return getattr(ssl.TLSVersion, request.param)


@pytest.fixture
def ours(certificates, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.chain, certificates.server.key)
    context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture
def theirs(certificates):
    return ssl.create_default_context(cafile=certificates.ca)


@pytest.fixture
def peer_context(certificates):
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca)
    return context


def secured(endpoints, server, context):
    """A gevent TLS socket that is a client of the server."""
    return endpoints.keep(context.wrap_socket(endpoints.peer(server.port), server_hostname="localhost"))


def cut(endpoints, peer):
    """End a TLS connection without close_notify."""
    endpoints.keep(socket.socket(fileno=peer.detach())).shutdown(socket.SHUT_WR)


def test_what_came_before_the_end_stays_readable_byte_by_byte(endpoints, calls, ours, peer_context):
    """After the end of a TLS connection each of 5,000 bytes that came before it is read by a call of its own, then the end."""
    server = endpoints.server(calls.leave, calls.event, stream=True, ssl_ctx=ours)
    peer = secured(endpoints, server, peer_context)
    peer.sendall(bytes(range(250)) * 20)
    until(lambda: calls.streams and calls.streams[0].buffered == 5000)
    peer.unwrap()
    settled(calls)
    assert calls.kinds == [TCPEOF]
    stream = calls.streams[0]
    assert bytes(stream.read_byte() for _ in range(5000)) == bytes(range(250)) * 20
    assert stream.read() == b""


def test_an_exchange_over_tls(endpoints, calls, ours, theirs):
    """Early output waits for the handshake, callbacks come in their order, and an orderly end is an end of file on both sides."""
    far = Calls()
    versions = []

    def connected(stream):
        calls.connect(stream)
        versions.append(stream.ssl.version())
        stream.write(b"three")

    def answer(socket, data):
        far.read(socket, data)
        socket.write(data)

    server = endpoints.server(answer, far.event, connect_cb=far.connect, ssl_ctx=ours)
    stream = endpoints.client(server.port, calls.read, calls.event, connect_cb=connected, data="one ", stream=True, ssl_ctx=theirs)
    stream.write(b"two ")
    until(lambda: calls.data == b"one two three")
    assert far.pieces == [b"one two three"]
    assert versions[0] in ("TLSv1.2", "TLSv1.3")
    stream.close()
    settled(far)
    assert far.names == ["connect", "read", "event"]
    assert far.kinds == [TCPEOF]
    assert calls.events == []


def test_much_goes_both_ways_over_tls(endpoints, ours, theirs):
    """3 MiB each way at once, from and to a slow reader, arrive exactly."""
    content = os.urandom(3 * 2**20)
    got = bytearray()
    server = endpoints.server(lambda socket, data: socket.write(data), ssl_ctx=ours)

    def read(socket, data):
        got.extend(data)
        if len(got) == len(content):
            socket.close()

    endpoints.client(server.port, read, data=content, ssl_ctx=theirs)
    until(lambda: len(got) == len(content), 30)
    assert bytes(got) == content


def test_back_pressure_over_tls(endpoints, calls, ours, peer_context):
    """Input over TLS stops at the high-water mark and goes on when it was read; nothing is lost."""
    streams = []
    server = endpoints.server(None, connect_cb=streams.append, stream=True, ssl_ctx=ours)
    peer = secured(endpoints, server, peer_context)
    sent = os.urandom(2**20)
    sender = gevent.spawn(peer.sendall, sent)
    until(lambda: streams and streams[0].buffered > 262144)
    rounds(50)
    assert streams[0].buffered < 2 * 262144 + 65536
    got = b""
    while len(got) < len(sent):
        got += streams[0].read_available()
        gevent.sleep(0)
    sender.get(timeout=10)
    assert got == sent


def test_what_was_written_arrives_before_close_notify(endpoints, ours, peer_context):
    """A graceful close over TLS delivers 4 MiB to a slow reader, then sends close_notify."""
    server = endpoints.server(None, connect_cb=lambda socket: (socket.write(bytes(2**22)), socket.close()), ssl_ctx=ours)
    peer = secured(endpoints, server, peer_context)
    peer.suppress_ragged_eofs = False
    assert len(rest_of(peer)) == 2**22


def test_what_is_lost_is_counted_as_plain_text(endpoints, calls, ours, peer_context):
    """The event of output that the peer did not take says how many bytes of plain text are lost: whole records are left."""
    server = endpoints.server(calls.read, calls.event, connect_cb=calls.connect, ssl_ctx=ours, write_timeout=T)
    secured(endpoints, server, peer_context)
    until(lambda: calls.connected)
    calls.connected[0].write(bytes(1024 * RECORD))
    calls.connected[0].close()
    until(lambda: calls.events)
    assert calls.kinds == [TCPTimeout]
    lost = calls.events[0].error.unsent
    assert (lost % RECORD, 0 < lost < 1024 * RECORD) == (0, True)


def test_a_cut_is_no_end(endpoints, calls, ours, peer_context):
    """A connection that ends without close_notify is one TCPTLSError; what came before it is readable, then StreamTruncated."""
    server = endpoints.server(calls.leave, calls.event, stream=True, ssl_ctx=ours)
    peer = secured(endpoints, server, peer_context)
    peer.sendall(b"12345")
    until(lambda: calls.streams and calls.streams[0].buffered == 5)
    cut(endpoints, peer)
    settled(calls)
    assert calls.kinds == [TCPTLSError]
    assert isinstance(calls.events[0].error, StreamTruncated)
    assert calls.streams[0].read_available() == b"12345"
    with pytest.raises(StreamTruncated):
        calls.streams[0].read_available()


def test_a_cut_can_be_allowed(endpoints, calls, ours, peer_context):
    """With `allow_truncation` the same is an end of file."""
    server = endpoints.server(calls.read, calls.event, ssl_ctx=ours, allow_truncation=True)
    peer = secured(endpoints, server, peer_context)
    peer.sendall(b"12345")
    until(lambda: calls.data == b"12345")
    cut(endpoints, peer)
    settled(calls)
    assert calls.kinds == [TCPEOF]


def test_a_certificate_that_is_not_trusted_is_told(endpoints, calls, ours, reports):
    """Certificates are verified by default: an unknown authority is one TCPTLSError for the client, whose `error` says why, and one
    for the server; no connect callback is called."""
    far = Calls()
    server = endpoints.server(far.read, far.event, connect_cb=far.connect, ssl_ctx=ours)
    endpoints.client(server.port, calls.read, calls.event, connect_cb=calls.connect, data="secret", ssl_ctx=True)
    settled(calls)
    settled(far)
    assert calls.kinds == [TCPTLSError]
    assert isinstance(calls.events[0].error, TLSVerificationError)
    assert calls.names == ["event"]
    assert far.names == ["event"]
    assert far.kinds in ([TCPTLSError], [TCPReset])
    assert not server.connections


def test_plain_text_to_a_tls_port_is_told(endpoints, calls, ours):
    """A client that speaks no TLS is one TCPTLSError, and hears no plain text."""
    server = endpoints.server(calls.read, calls.event, connect_cb=calls.connect, ssl_ctx=ours)
    peer = endpoints.peer(server.port)
    peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
    settled(calls)
    assert calls.names == ["event"]
    assert calls.kinds == [TCPTLSError]
    assert b"HTTP" not in rest_of(peer)


@pytest.mark.usefixtures("virtual_clock")
def test_a_silent_client_delays_no_other(endpoints, calls, ours, peer_context):
    """A client that never shakes hands is timed out by itself, while another one is served."""
    server = endpoints.server(lambda socket, data: socket.write(data), calls.event, ssl_ctx=ours, handshake_timeout=T)
    endpoints.peer(server.port)
    peer = secured(endpoints, server, peer_context)
    peer.sendall(b"served")
    assert received(peer, 6) == b"served"
    settled(calls)
    assert calls.kinds == [TCPTimeout]
    assert calls.events[0].code == errno.ETIMEDOUT


def test_a_silent_server_is_a_timeout(endpoints, calls, theirs):
    """A server that never answers the hello ends in one timeout: `handshake_timeout`'s, or `read_timeout`'s."""
    listener = endpoints.listener()
    port = listener.getsockname()[1]
    endpoints.client(port, calls.read, calls.event, ssl_ctx=theirs, handshake_timeout=T)
    endpoints.client(port, calls.read, calls.event, ssl_ctx=theirs, read_timeout=T)
    settled(calls, 2)
    rounds()
    assert calls.kinds == [TCPTimeout] * 2
    assert calls.names == ["event"] * 2


def test_closing_within_the_handshake(endpoints, calls, theirs):
    """A socket that is closed in the middle of its handshake is gone at once, without a callback and without a descriptor."""
    listener = endpoints.listener()
    with nothing_left():
        client = tcp_connect(HOST, listener.getsockname()[1], calls.read, calls.event, connect_cb=calls.connect, ssl_ctx=theirs)
        peer, _ = listener.accept()
        assert peer.recv(1) == b"\x16"
        client.close()
        rounds()
        peer.close()
        assert client.closed
        assert calls.names == []
        del client, peer


def test_an_error_of_a_tls_callback_is_the_hubs(endpoints, calls, ours, reports):
    """An exception in `ssl_configure_callback` reaches the hub and closes the connection; the server's next client is served."""
    reports.expect(ZeroDivisionError)
    fail = [True]

    def configure(_object):
        if fail.pop():
            raise ZeroDivisionError

    server = endpoints.server(None, calls.event, ssl_ctx=ours, ssl_configure_callback=configure)
    with contextlib.suppress(ConnectionResetError):
        assert rest_of(endpoints.peer(server.port)) == b""
    assert [type(error) for error in reports.errors] == [ZeroDivisionError]
    assert not server.connections
    assert calls.names == []


def test_a_signal_handler_that_raises_within_openssl_ends_one_connection(endpoints, ours, peer_context, reports):
    """What a handler raises while OpenSSL reads for a connection that is given bytes goes to the hub and closes it; others go on."""
    reports.expect(Interrupt)
    ours.sslobject_class = Struck
    objects = []
    server = endpoints.server(lambda socket, data: socket.write(data), ssl_ctx=ours, ssl_configure_callback=objects.append)
    struck, other = secured(endpoints, server, peer_context), secured(endpoints, server, peer_context)
    for peer in (struck, other):
        peer.sendall(b"before")
        assert received(peer, 6) == b"before"
    objects[0].strikes = ("after read",)
    struck.sendall(b"struck")
    assert rest_of(struck) == b""
    other.sendall(b"after")
    assert received(other, 5) == b"after"
    assert [type(error) for error in reports.errors] == [Interrupt]


STRIKES = {
    "before write": ("before write",), "after write": ("after write",), "after the first byte": ("after read",),
    "after the rest": ("after read", "after read"),
}


@pytest.mark.parametrize("abort", [True, False])
@pytest.mark.parametrize("size", [6, 6000])
@pytest.mark.parametrize("moment", STRIKES)
def test_a_signal_handler_may_close_the_connection_within_openssl(endpoints, ours, peer_context, moment, size, abort):
    """A handler that closes the connection while OpenSSL reads or writes for it closes that one, without an error; others go on.

    What was written is sent once, unless the handler drops it.
    """
    ours.sslobject_class = Struck
    objects = []
    server = endpoints.server(lambda socket, data: socket.write(data), ssl_ctx=ours, ssl_configure_callback=objects.append)
    struck, other = secured(endpoints, server, peer_context), secured(endpoints, server, peer_context)
    struck.sendall(b"before")
    assert received(struck, 6) == b"before"
    [connection] = [one for one in server.connections if one.peer_address == struck.getsockname()]
    ssl_object = objects[0]
    ssl_object.on_strike = lambda: connection.close(abort)
    ssl_object.raises, ssl_object.strikes = False, STRIKES[moment]
    struck.sendall(b"s" * size)
    assert rest_of(struck) == (b"s" * size if "write" in moment and not abort else b"")
    assert not ssl_object.strikes
    assert connection.closed
    other.sendall(b"after")
    assert received(other, 5) == b"after"


def test_tls_can_be_attached_in_a_callback(endpoints, ours, theirs):
    """STARTTLS: a read callback attaches TLS to its stream and goes on; elsewhere attaching is StreamBusy."""
    lines = []

    def serve(socket, stream):
        while line := stream.readline():
            lines.append(line)
            if line == b"STARTTLS\n":
                stream.write(b"go\n")
                stream.attach_ssl(ours, "server")
            else:
                stream.write(line.upper())

    server = endpoints.server(serve, stream=True)
    with open_tcp_stream(HOST, server.port) as client:
        client.write_line("plain")
        assert client.read_line() == ("PLAIN", False)
        client.write_line("STARTTLS")
        assert client.read_line() == ("go", False)
        client.attach_ssl(theirs, "client", tlsext_host_name="localhost")
        client.write_line("protected")
        assert client.read_line() == ("PROTECTED", False)
        connection = next(iter(server.connections))
        assert connection.stream.ssl is not None
        client.write_line("again")
        assert client.read_line() == ("AGAIN", False)
    until(lambda: not server.connections)
    assert lines == [b"plain\n", b"STARTTLS\n", b"protected\n", b"again\n"]
    outside, _peer = endpoints.joined(stream=True)
    until(lambda: outside.fileno() >= 0)
    with pytest.raises(StreamBusy):
        outside.attach_ssl(theirs, "client", tlsext_host_name="localhost")


def test_tls_after_the_end_is_refused(endpoints, calls, ours):
    """Attaching TLS to a stream whose connection has ended is StreamClosed, and what had arrived can still be read."""
    stream, peer = endpoints.joined(calls.leave, calls.event, stream=True)
    peer.sendall(b"the last line\n")
    peer.close()
    settled(calls)
    with pytest.raises(StreamClosed):
        stream.attach_ssl(ours, "server")
    assert stream.readline() == b"the last line\n"


def test_bytes_before_tls_are_refused(endpoints, calls, ours, reports):
    """Plain text that arrived before `attach_ssl` is never taken for protected: TLSError, and the connection is closed."""
    reports.expect(TLSError)

    def serve(_socket, stream):
        if stream.readline() == b"STARTTLS\n":
            stream.attach_ssl(ours, "server")

    server = endpoints.server(serve, calls.event, stream=True)
    peer = endpoints.peer(server.port)
    peer.sendall(b"STARTTLS\nINJECTED\n")
    until(lambda: reports.errors)
    assert "arrived in plain text" in str(reports.errors[0])
    until(lambda: not server.connections)
    assert calls.names == []


def test_a_real_server_over_tls(endpoints, calls, nginx, certificates):
    """A file from nginx over TLS, read by pieces as it comes, is the file."""
    checksum = nginx.add_file("large", 2**20)
    context = ssl.create_default_context(cafile=certificates.ca)
    request = b"GET /large HTTP/1.0\r\nHost: localhost\r\n\r\n"
    tcp_connect(HOST, nginx.ports["https"], calls.read, calls.event, data=request, ssl_ctx=context, stream=True, read_timeout=10)
    settled(calls)
    head, _, body = calls.data.partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert hashlib.sha256(body).hexdigest() == checksum
    assert calls.kinds == [TCPEOF]


def test_tls_that_could_not_be_attached_closes_without_an_event_callback(endpoints, calls, ours):
    """A callback that swallows the error of `attach_ssl` has a closed connection all the same, and is not called again."""
    def serve(socket, stream):
        calls.read(socket, stream)
        with contextlib.suppress(TLSError):
            stream.attach_ssl(ours, "server", handshake_timeout=5)

    server = endpoints.server(serve, calls.event, stream=True)
    peer = endpoints.peer(server.port)
    peer.sendall(b"STARTTLS\n")
    until(lambda: calls.data)
    peer.sendall(b"this is no hello\n")
    until(lambda: not server.connections)
    rounds()
    assert calls.names == ["read"]
