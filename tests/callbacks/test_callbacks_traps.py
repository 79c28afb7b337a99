"""What cl-async's TCP streams get wrong, and these do not: a test for each trap."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct

import gevent
import gevent.socket
import pytest
from kit.callbacks import Calls, received, rest_of, rounds, settled
from kit.conditions import until
from kit.leftovers import nothing_left
from kit.network import HOST, black_hole, unused_port

from geventstreams import (
    TCPEOF,
    StreamClosed,
    TCPRefused,
    TCPReset,
    TCPTimeout,
    TCPTLSError,
    TLSVerificationError,
    close_socket,
    set_socket_timeouts,
    tcp_connect,
    tcp_server,
    write_socket_data,
)

pytestmark = pytest.mark.usefixtures("reports")

T = 0.15


def test_writes_never_overtake_one_another(endpoints):
    """Writes before the connection, in its callback, by socket and stream, small and large, arrive in the order in which they were made."""
    draw = random.Random(11)
    sent = []

    def write(target, data):
        sent.append(data)
        target(data)

    server = endpoints.server(lambda socket, data: got.extend(data))
    got = bytearray()
    stream = endpoints.client(server.port, stream=True, data=b"first ", connect_cb=lambda one: write(one.write, b" third "))
    sent.append(b"first ")
    write(stream.socket.write, b"second")
    until(lambda: len(sent) == 3)
    for _ in range(300):
        data = draw.randbytes(draw.choice((1, 50, 4096, 70_000)))
        write(draw.choice((stream.write, stream.write_sequence, stream.socket.write, lambda data: write_socket_data(stream, data))), data)
        if draw.random() < 0.1:
            gevent.sleep(0)
    whole = b"".join(sent)
    until(lambda: len(got) >= len(whole), 30)
    assert bytes(got) == whole


def test_writes_to_a_closed_socket_do_not_vanish(endpoints):
    """Every way of writing to a closed socket is StreamClosed, whichever side closed it."""
    for close in (lambda client, peer: client.close(), lambda client, peer: client.abort(), lambda client, peer: peer.close()):
        client, peer = endpoints.joined(lambda _socket, _data: None, stream=True)
        connection = client.socket
        until(lambda client=client: client.fileno() >= 0)
        close(client, peer)
        until(lambda connection=connection: connection.closed)
        for write in (connection.write, client.write, client.write_sequence, lambda data, c=connection: write_socket_data(c, data)):
            with pytest.raises(StreamClosed):
                write(b"x")


def test_the_read_timeout_of_a_connection_can_be_changed(virtual_clock, endpoints, calls):
    """A limit of half a minute is replaced while the connection waits, and the new one counts."""
    client, _peer = endpoints.joined(calls.read, calls.event, read_timeout=30)
    until(lambda: client.fileno() >= 0)
    started = virtual_clock.now
    set_socket_timeouts(client, T, None)
    settled(calls)
    assert calls.kinds == [TCPTimeout]
    assert virtual_clock.now - started < 5


@pytest.mark.usefixtures("virtual_clock")
def test_the_write_timeout_is_no_lifetime(endpoints, calls):
    """A connection that writes now and then lives many times its write timeout."""
    client, peer = endpoints.joined(calls.read, calls.event, write_timeout=T)
    for _ in range(4):
        client.write(b"x")
        gevent.sleep(T / 2)
    gevent.sleep(2 * T)
    assert not client.closed
    assert received(peer, 4) == b"xxxx"
    assert calls.events == []


def test_closing_while_connecting_does_not_hang(calls):
    """A connection that is closed before it is established leaves neither a greenlet nor a descriptor."""
    with black_hole() as (host, port), nothing_left():
        client = tcp_connect(host, port, calls.read, calls.event)
        gevent.sleep(T)
        close_socket(client)
        rounds()
        assert client.closed
        del client
    assert calls.names == []


def test_a_half_close_does_not_kill_our_sending_side(endpoints, calls):
    """A peer that has said its last word still gets 4 MiB, with `half_close` and without."""
    for half_close in (True, False):
        def answer(socket, data):
            socket.write(bytes(2**22))

        server = endpoints.server(answer, lambda event, half_close=half_close: event.socket.close() if half_close else None,
                              half_close=half_close)
        peer = endpoints.peer(server.port)
        peer.sendall(b"question")
        peer.shutdown(socket.SHUT_WR)
        assert len(rest_of(peer)) == 2**22


def test_names_have_more_than_one_address(endpoints, calls, monkeypatch):
    """All addresses of a name are tried, of both families: one that refuses does not keep the next from answering."""
    server = endpoints.server(lambda socket, data: socket.write(data))
    asked = []

    def getaddrinfo(host, service, *_arguments):
        asked.append(host)
        addresses = [(socket.AF_INET6, ("::1", unused_port(), 0, 0)), (socket.AF_INET, (HOST, unused_port())),
                     (socket.AF_INET, (HOST, server.port))]
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]

    monkeypatch.setattr(gevent.socket, "getaddrinfo", getaddrinfo)
    endpoints.client(80, calls.read, calls.event, host="many.example", data=b"found")
    until(lambda: calls.data == b"found")
    assert asked == ["many.example"]
    assert calls.events == []


def test_handshake_failures_are_not_silent(endpoints, calls, certificates):
    """A server that speaks no TLS, and one that ends in the middle of the handshake, are one event each."""
    context = ssl.create_default_context(cafile=certificates.ca)
    plain = endpoints.server(lambda socket, _data: socket.write(b"220 welcome\r\n"), lambda _event: None)
    endpoints.client(plain.port, calls.read, calls.event, ssl_ctx=context, connect_cb=calls.connect)
    settled(calls)
    listener = endpoints.listener()
    ended = Calls()
    endpoints.client(listener.getsockname()[1], ended.read, ended.event, ssl_ctx=context, connect_cb=ended.connect)
    peer = endpoints.accept(listener)
    assert peer.recv(1) == b"\x16"
    peer.shutdown(socket.SHUT_WR)
    settled(ended)
    rounds()
    assert calls.names == ended.names == ["event"]
    assert calls.kinds == ended.kinds == [TCPTLSError]


@pytest.mark.parametrize("kind", ["wrong_name", "expired", "self_signed", "unknown_ca"])
def test_certificates_are_verified(endpoints, calls, certificates, kind):
    """A wrong name, an expired certificate, a self-signed one and one of an unknown authority are refused without being asked to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = getattr(certificates, kind)
    context.load_cert_chain(certificate.chain, certificate.key)
    server = endpoints.server(calls.read, lambda _event: None, ssl_ctx=context)
    ours = ssl.create_default_context(cafile=certificates.ca)
    endpoints.client(server.port, calls.read, calls.event, ssl_ctx=ours, data=b"secret", connect_cb=calls.connect)
    settled(calls)
    assert calls.names == ["event"]
    assert calls.kinds == [TCPTLSError]
    assert isinstance(calls.events[0].error, TLSVerificationError)


def end_by_reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize(("end", "kind"), [(lambda peer: peer.close(), TCPEOF), (end_by_reset, TCPReset), (lambda peer: None, TCPTimeout)])
@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize("reading", [False, True])
def test_events_are_told_exactly_once(endpoints, end, kind, writing, reading):
    """Whatever ends a connection, and whatever goes on meanwhile, is told once: an end, a reset, a timeout, with input and output under
    way or not, at both ends of 20 connections."""
    records = []
    for _ in range(20):
        calls = Calls()
        records.append(calls)
        client, peer = endpoints.joined(calls.read, calls.event, read_timeout=T if kind is TCPTimeout else None)
        until(lambda client=client: client.fileno() >= 0)
        if reading:
            peer.sendall(b"x" * 1000)
            until(lambda calls=calls: len(calls.data) == 1000)
        if writing:
            client.write(b"y" * 1000)
            assert len(received(peer, 1000)) == 1000
        end(peer)
        if writing:
            with contextlib.suppress(StreamClosed):
                client.write(b"z")
    until(lambda: all(calls.events for calls in records))
    gevent.sleep(2 * T if kind is TCPTimeout else 0.02)
    rounds()
    for calls in records:
        assert len(calls.events) == 1
        assert calls.kinds[0] in ((kind, TCPReset) if writing else (kind,))
        assert calls.names[-1] == "event"


def test_counts_are_true_whatever_happens(endpoints, calls):
    """The number of a server's connections and of unsent bytes is never below zero nor above what is there, through closing twice,
    resets, refusals, and a listener that is closed first."""
    with tcp_server(HOST, 0, calls.read, calls.event) as server:
        counts = []
        peers = [endpoints.peer(server.port) for _ in range(10)]
        until(lambda: len(server.connections) == 10)
        for connection in list(server.connections)[:5]:
            connection.close(force=True)
            connection.close()
            connection.close(force=True)
            counts.append(len(server.connections))
            assert connection.unsent == 0
        assert counts == [9, 8, 7, 6, 5]
        server.close()
        for peer in peers:
            with contextlib.suppress(OSError):
                end_by_reset(peer)
        until(lambda: len(calls.events) == 5)
        assert len(server.connections) == 0
        server.close()
        refused = Calls()
        client = endpoints.client(unused_port(), refused.read, refused.event, data=b"x")
        assert client.unsent == 1
        settled(refused)
        assert refused.kinds == [TCPRefused]
        client.close()
        assert client.unsent == 0
