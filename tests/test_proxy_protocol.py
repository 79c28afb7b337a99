"""PROXY protocol: what headers say, what is refused, that nothing behind one is touched, and HAProxy in front of servers."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator

import gevent
import pytest
from kit.command_line import LIMIT, geventstreams, serving
from kit.conditions import until
from kit.leftovers import descriptors
from kit.network import HOST
from kit.pairs import pairs
from kit.proxy_headers import BAD, BALANCED, CLIENT, FOUR, GOOD, tlv, with_checksum
from kit.server import serve as start_server
from kit.virtual_time import virtual_clock
from servers import HAProxy, curl, free_port

from geventstreams._net import proxy_headers
from geventstreams._net.connect import open_tcp_stream, open_unix_stream
from geventstreams.cli.statuses import Status
from geventstreams.errors import HandshakeTimeout, StreamError
from geventstreams.proxy_protocol import Balancers, ProxyError, proxy_header, read_proxy
from geventstreams.server.server import SocketStreamServer

__all__ = ["pairs", "start_server", "virtual_clock"]  # fixtures


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
@pytest.mark.parametrize("name", GOOD)
def test_headers_say_whom_they_speak_for(pairs, name: str, pieces: str) -> None:
    """Each kind of header is understood, whole or byte by byte, and what follows it is still there."""
    header, meaning = GOOD[name]
    near, far = pairs.stream("tcp")
    sent = header + b"PROXY behind it"
    sending = gevent.spawn(far.sendall if pieces == "whole" or len(sent) > 1000 else far_drip(far), sent)
    assert read_proxy(near, 20) == meaning
    assert near.read_exactly(15) == b"PROXY behind it"
    assert near.read_timeout is None
    sending.join()


def far_drip(far):
    """Send byte by byte."""

    def send(data: bytes) -> None:
        for byte in data:
            far.sendall(bytes([byte]))
            gevent.sleep(0)

    return send


@pytest.mark.parametrize("name", BAD)
def test_what_is_malformed_is_refused(pairs, name: str) -> None:
    """What the specification does not allow is refused as soon as it can be known, without waiting for more."""
    near, far = pairs.stream("tcp")
    far.sendall(BAD[name])
    with pytest.raises(ProxyError, match="malformed PROXY header from 127"):
        read_proxy(near, 20)


@pytest.mark.parametrize("header", [GOOD["v1 IPv4"][0], GOOD["v2 IPv4"][0]], ids=["v1", "v2"])
def test_every_beginning_is_incomplete(pairs, header: bytes) -> None:
    """A header that ends too early, wherever that is, is refused when the peer ends, and taken for nothing else."""
    for size in range(len(header)):
        near, far = pairs.stream("tcp")
        far.sendall(header[:size])
        far.close()
        with pytest.raises(ProxyError, match="before its PROXY header was whole"):
            read_proxy(near, 20)
        near.abort()


def test_a_right_checksum_is_accepted(pairs) -> None:
    """A header with a checksum that fits is accepted; with any bit turned over, but those that say it is one, it is not."""
    good = with_checksum(0x11, FOUR, tlv(5, b"id"))
    near, far = pairs.stream("tcp")
    far.sendall(good)
    assert read_proxy(near, 20).tlvs[0] == (5, b"id")
    for bit in range(8 * len(good)):
        turned = bytearray(good)
        turned[bit // 8] ^= 1 << bit % 8
        if turned[12] != 0x20 and turned[13] != 0 and bit // 8 != len(good) - 7:
            assert_not_accepted(bytes(turned))


def assert_not_accepted(header: bytes) -> None:
    """Refused, or taken for the beginning of a longer one."""
    with pytest.raises((ValueError, proxy_headers.ProxyProtocolIncompleteError)):
        proxy_headers.parsed(header)


# Writing.


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("source", "destination", "read"),
    [
        (CLIENT, BALANCED, (CLIENT, BALANCED)),
        (("::1", 5, 0, 0), ("2001:db8::2", 6, 0, 0), (("::1", 5, 0, 0), ("2001:db8::2", 6, 0, 0))),
        (("::ffff:192.0.2.1", 1234, 0, 0), BALANCED, (CLIENT, BALANCED)),
        (("192.0.2.1", 5), ("fe80::2%eth0", 6, 0, 3), (("::ffff:192.0.2.1", 5, 0, 0), ("fe80::2", 6, 0, 0))),
        (None, None, (None, None)),
    ],
    ids=["IPv4", "IPv6", "mapped", "mixed", "unknown"],
)
def test_written_headers_are_read_again(pairs, version: int, source, destination, read) -> None:
    """`read_proxy` reads what `proxy_header` writes, for all families of the two ends."""
    near, far = pairs.stream("tcp")
    far.sendall(proxy_header(version, source, destination) + b"behind")
    proxy = read_proxy(near, 20)
    assert proxy.version == version
    said = [None if end is None else (str(ipaddress.ip_address(end[0])), *end[1:]) for end in (proxy.source, proxy.destination)]
    wanted = [None if end is None else (str(ipaddress.ip_address(end[0])), *end[1:]) for end in read]
    assert said == wanted
    assert near.read_exactly(6) == b"behind"


def test_written_tlvs_are_read_again(pairs) -> None:
    """TLVs are written in version 2, under a checksum; version 1 has none, and there is no version 3."""
    near, far = pairs.stream("tcp")
    far.sendall(proxy_header(2, "/run/client", "/run/us", [(0xE0, b"ours")]))
    proxy = read_proxy(near, 20)
    assert (proxy.source, proxy.destination) == ("/run/client", "/run/us")
    assert (0xE0, b"ours") in proxy.tlvs
    with pytest.raises(ValueError, match="no TLVs"):
        proxy_header(1, CLIENT, BALANCED, [(0xE0, b"ours")])
    with pytest.raises(ValueError, match="version must be 1 or 2"):
        proxy_header(3, CLIENT, BALANCED)


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        (CLIENT, BALANCED, b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"),
        (CLIENT, ("2001:db8::2", 443, 0, 0), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1234 443\r\n"),
        (CLIENT, None, b"PROXY UNKNOWN\r\n"),
    ],
    ids=["IPv4", "mixed", "unknown"],
)
def test_lines_are_written_as_sockets_write_addresses(source, destination, line: bytes) -> None:
    """A line of version 1 has one form: an IPv4 address within IPv6 keeps its dots, and nothing follows UNKNOWN."""
    assert proxy_header(1, source, destination) == line


@pytest.mark.parametrize("source", ["/run/é", "/run/\udcff", b"/run/bytes", b"\0abstract\0name", ""])
def test_all_paths_that_sockets_have_are_written(pairs, source) -> None:
    """A path need not be ASCII, and the name of an abstract socket is bytes."""
    near, far = pairs.stream("tcp")
    far.sendall(proxy_header(2, source, "/run/us"))
    proxy = read_proxy(near, 20)
    assert (os.fsencode(proxy.source), proxy.destination) == (os.fsencode(source), "/run/us")


def test_all_tlvs_are_written(pairs) -> None:
    """TLVs of one type may be repeated, and stay in order; those of a header that was read can be written again, under a new checksum."""
    near, far = pairs.stream("tcp")
    tlvs = (0xE1, b"one"), (0xE0, b""), (0xE1, b"two")
    far.sendall(proxy_header(2, CLIENT, BALANCED, tlvs))
    first = read_proxy(near, 20)
    assert first.tlvs[:-1] == tlvs
    far.sendall(proxy_header(2, BALANCED, CLIENT, first.tlvs))
    assert read_proxy(near, 20).tlvs[:-1] == tlvs


@pytest.mark.parametrize("tlvs", [[(256, b"")], [(-1, b"")], [(0xE0, bytes(65536))], [(0xE0, bytes(40000)), (0xE1, bytes(40000))]])
def test_tlvs_that_do_not_fit_are_refused(tlvs) -> None:
    """A TLV of an impossible type is refused, not left out; so are more bytes than a header can have."""
    with pytest.raises(ValueError, match="tlvs must"):
        proxy_header(2, CLIENT, BALANCED, tlvs)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_no_socket_has_are_not_written(version: int, port: int) -> None:
    """A port that does not exist is refused: the receiver would refuse the header, and the connection with it."""
    for name, ends in (("source", (("192.0.2.1", port), BALANCED)), ("destination", (CLIENT, ("::1", port, 0, 0)))):
        with pytest.raises(ValueError, match=f"the port of {name} must be within"):
            proxy_header(version, *ends)


@pytest.mark.parametrize("path", ["/run/a\0b", "x" * 109])
def test_paths_that_no_socket_has_are_not_written(path: str) -> None:
    """A path with a NUL inside, or longer than its field, is a ValueError instead of another path."""
    for ends in ((path, "/run/us"), ("/run/us", path)):
        with pytest.raises(ValueError, match=r"source|destination"):
            proxy_header(2, *ends)


@pytest.mark.parametrize("header", [GOOD[name][0] for name in GOOD if "IPv4 within IPv6" in name], ids=["v1", "v2"])
def test_addresses_look_as_sockets_give_them(serve, told, header: bytes) -> None:
    """A client of IPv4 has the same address whether a socket for both families or a header says it."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no socket for both families here")
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both,
        socket.create_connection((HOST, both.getsockname()[1]), 20),
        both.accept()[0] as accepted,
    ):
        shape = accepted.getpeername()
    assert shape[0] == "::ffff:127.0.0.1"
    with dial(serve(proxy_protocol=True), header) as stream:
        assert stream.read_line() == (str(("::ffff:192.0.2.1", 1234, *shape[2:])), False)


# Servers.


class Told:
    """A handler that says whom it serves, and then echoes."""

    def __init__(self) -> None:
        self.proxies: list = []

    def __call__(self, stream, address) -> None:
        self.proxies.append(stream.proxy)
        assert stream.peer_address == address
        stream.write_line(str(address))
        for line in stream:
            stream.write(line)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def serve(start_server, told):
    """Start servers whose handler notes down what it is told."""
    return lambda listener=(HOST, 0), **options: start_server(told, listener, **options)


@pytest.fixture
def contexts(certificates):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.server.chain, certificates.server.key)
    return server, ssl.create_default_context(cafile=certificates.ca)


def dial(server, header: bytes = b"", context=None, **options):
    stream = open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20, **options)
    stream.write(header)
    if context is not None:
        stream.attach_ssl(context, "client", tlsext_host_name="localhost")
    stream.flush()
    return stream


@pytest.mark.parametrize("name", ["v1 IPv4", "v2 IPv4", "v2 TLVs, one of them twice"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_servers_serve_the_client_behind(serve, told, contexts, name: str, secure: bool) -> None:
    """The handler's address and the stream's are the client's, plain and with TLS behind the header; TLVs are there."""
    header, meaning = GOOD[name]
    server = serve(proxy_protocol=True, ssl_ctx=contexts[0] if secure else None)
    with dial(server, header, contexts[1] if secure else None) as stream:
        assert stream.read_line() == (str(CLIENT), False)
        stream.write_line("and on")
        assert stream.read_line() == ("and on", False)
    assert told.proxies == [meaning]


def test_header_and_hello_in_one_segment(serve, contexts) -> None:
    """A PROXY header and TLS's first message that arrive together are told apart to the byte."""
    server = serve(proxy_protocol=True, ssl_ctx=contexts[0])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[1].wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection((HOST, server.port), timeout=20) as plain:
        plain.setblocking(False)
        sent = GOOD["v2 IPv4"][0]
        answer = b""
        while not answer:
            try:
                client.do_handshake()
                answer = client.read()
            except ssl.SSLWantReadError:
                gevent.socket.wait_write(plain.fileno())
                plain.sendall(sent + outgoing.read())
                sent = b""
                gevent.socket.wait_read(plain.fileno(), timeout=20)
                incoming.write(plain.recv(65536))
        assert answer == f"{CLIENT}\n".encode()


@pytest.mark.parametrize("name", ["v1 unknown", "v2 local", "v2 unknown"])
def test_without_a_client_the_address_is_the_sockets(serve, told, name: str) -> None:
    """A header that names no client leaves the addresses as they are."""
    header, meaning = GOOD[name]
    with dial(serve(proxy_protocol=True), header) as stream:
        assert stream.read_line() == (str(stream.address), False)
    assert told.proxies == [meaning]


@pytest.mark.parametrize("networks", [["127.0.0.0/8"], ["10.0.0.0/8", "::1", ipaddress.ip_network("127.0.0.1")]])
def test_networks_that_must(serve, networks) -> None:
    """A peer from a network on the list must begin with a header, and speaks for its client."""
    server = serve(proxy_protocol=networks)
    with dial(server, GOOD["v1 IPv4"][0]) as stream:
        assert stream.read_line() == (str(CLIENT), False)
    with dial(server, b"hello, without a header\n") as stream, contextlib.suppress(ConnectionResetError):
        assert stream.read() == b""
    assert server.stats.handshake_failures == 1


def test_others_cannot_forge_an_address(serve, told) -> None:
    """From any other network a header is what the client says, like anything else: its address stays the socket's."""
    server = serve(proxy_protocol=["10.0.0.0/8", "2001:db8::/32"])
    with dial(server, GOOD["v1 IPv4"][0]) as stream:
        assert stream.read_line() == (str(stream.address), False)
        assert stream.read_line() == (GOOD["v1 IPv4"][0].decode().rstrip("\n"), False)
    assert told.proxies == [None]


def test_networks_know_mapped_addresses_and_paths() -> None:
    """On a listener for both families IPv4's networks count, too; a Unix socket's peer is in no network."""
    balancers = Balancers(["192.0.2.0/24"])
    assert balancers.include(("::ffff:192.0.2.7", 1, 0, 0))
    assert not balancers.include(("::ffff:192.0.3.7", 1, 0, 0))
    assert not balancers.include("")


def test_unix_sockets_have_headers_too(serve, tmp_path) -> None:
    """With `proxy_protocol=True` a balancer on a Unix socket speaks for TCP clients."""
    path = str(tmp_path / "socket")
    listener = gevent.socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    serve(listener, proxy_protocol=True)
    with open_unix_stream(path, read_timeout=20) as stream:
        stream.write(GOOD["v2 IPv4"][0])
        assert stream.read_line() == (str(CLIENT), False)


@pytest.mark.parametrize("who", ["127.0.0.0/8", 5, b"x", None])
def test_wrong_kinds_of_balancers_are_refused(told, who) -> None:
    """What is neither a bool nor a list of networks is a TypeError, before anything is bound."""
    with pytest.raises(TypeError, match="proxy_protocol must be a bool or a list of networks"):
        SocketStreamServer((HOST, 0), told, proxy_protocol=who)
    with pytest.raises(ValueError, match="proxy_protocol: "):
        SocketStreamServer((HOST, 0), told, proxy_protocol=["127.0.0.1/8"])


def test_without_the_library_it_says_what_to_install(told, monkeypatch) -> None:
    """Where the optional libraries are missing, asking for the PROXY protocol is an ImportError that names the extra."""
    monkeypatch.setitem(sys.modules, "proxyprotocol", None)
    monkeypatch.delitem(sys.modules, "geventstreams._net.proxy_headers")
    with pytest.raises(ImportError, match=r"geventstreams\[proxy\]"):
        SocketStreamServer((HOST, 0), told, proxy_protocol=True)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_silent_and_dripping_balancers_time_out(virtual_clock, serve, contexts, secure: bool) -> None:
    """Header and handshake together have `handshake_timeout` seconds, however slowly they come, and take no handler's place."""
    server = serve(proxy_protocol=True, handshake_timeout=0.3, max_connections=1, ssl_ctx=contexts[0] if secure else None)
    header = GOOD["v2 TLVs, one of them twice"][0]
    silent, dripping = dial(server), dial(server)
    began = virtual_clock.now

    def drip_slowly() -> None:
        with contextlib.suppress(StreamError):
            for byte in header:
                dripping.write(bytes([byte]))
                dripping.flush()
                gevent.sleep(0.1)

    slow = gevent.spawn(drip_slowly)
    with dial(server, header, contexts[1] if secure else None) as honest:
        assert honest.read_line() == (str(CLIENT), False)
        until(lambda: server.stats.timeouts == 2, 20)
        assert virtual_clock.now - began == pytest.approx(0.3, abs=0.005)
    assert server.stats.handshake_failures == 2
    slow.kill()
    for stream in (silent, dripping):
        stream.abort()


def test_time_is_up_before_the_header(virtual_clock, pairs) -> None:
    """Without a header there is a HandshakeTimeout, neither before the limit nor later."""
    near, _ = pairs.stream("tcp")
    began = virtual_clock.now
    with pytest.raises(HandshakeTimeout, match=r"no PROXY header from 127.* within 0.2 s"):
        read_proxy(near, 0.2)
    assert virtual_clock.now - began == pytest.approx(0.2)


@pytest.mark.parametrize(("wrong", "kind"), [(0, ValueError), (-1, ValueError), ("5", TypeError)])
def test_a_wrong_limit_is_refused(pairs, wrong: object, kind: type[Exception]) -> None:
    """A limit that is not a positive number of seconds is refused before anything is read."""
    near, far = pairs.stream("tcp")
    far.sendall(b"kept")
    with pytest.raises(kind, match="limit must be"):
        read_proxy(near, wrong)
    assert near.read_exactly(4) == b"kept"


def test_refused_headers_leave_nothing_open(serve) -> None:
    """A hundred connections with wrong headers are a hundred failed handshakes, and no descriptor more."""
    server = serve(proxy_protocol=True)
    dial(server, GOOD["v1 IPv4"][0]).close()
    until(lambda: not server.connections, 20)
    before = descriptors()
    for _ in range(100):
        with dial(server, b"GET / HTTP/1.0\r\n\r\n") as stream, contextlib.suppress(ConnectionResetError):
            assert stream.read() == b""
    until(lambda: server.stats.handshake_failures == 100, 20)
    until(lambda: descriptors() <= before, 20)


# Behind a real HAProxy.

TELLER = "exec:echo $REMOTE_HOST:$REMOTE_PORT; cat"


def configuration(front: int, backs: list[int], send: str, bind: str = "", server: str = "") -> str:
    servers = "".join(f" server s{number} {HOST}:{port} {send} {server} check inter 100ms\n" for number, port in enumerate(backs))
    return (
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n retries 10\n option redispatch 1\n"
        f"frontend front\n bind {HOST}:{front} {bind}\n default_backend back\n"
        f"backend back\n balance roundrobin\n default-server fall 1 rise 1\n{servers}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options ssl,crc32c,unique-id"])
@pytest.mark.parametrize("way", ["plain", "TLS passed through", "TLS ended"])
def test_haproxy_in_front_of_two_servers(certificates, contexts, send: str, way: str) -> None:
    """Behind HAProxy two `serve` processes know their clients: over TCP, with TLS passed through, and with TLS ended there."""
    front = free_port()
    tls = ["--tls", certificates.server.chain, certificates.server.key] if way == "TLS passed through" else []
    bind = f"ssl crt {certificates.server.both}" if way == "TLS ended" else ""
    words = [TELLER, "--proxy-protocol", "--quiet", *tls]
    with backend(*words) as one, backend(*words) as two, HAProxy(configuration(front, [one, two], send, bind), front=front):
        for _ in range(4):
            context = {} if way == "plain" else {"ssl_ctx": contexts[1], "tlsext_host_name": "localhost"}
            with open_tcp_stream(HOST, front, timeout=20, read_timeout=20, **context) as stream:
                host, port = stream.address
                assert stream.read_line() == (f"{host}:{port}", False)
                stream.write_line("through it")
                assert stream.read_line() == ("through it", False)


@contextlib.contextmanager
def backend(*words: object) -> Iterator[int]:
    """A quiet `serve` on a port that was chosen before."""
    port = free_port()
    process = start_backend(port, *words)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(LIMIT)


def start_backend(port: int, *words: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "geventstreams", "serve", *map(str, words), "--listen", f"{HOST}:{port}"]
    process = subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL)

    def listens() -> bool:
        assert process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    until(listens, 30)
    return process


@pytest.mark.slow
def test_one_of_two_servers_killed_under_load(contexts, certificates) -> None:
    """One of two servers behind HAProxy is killed under load and restarted: no answer is wrong, reconnecting clients get through."""
    front, ports = free_port(), [free_port(), free_port()]
    words = ["echo", "--proxy-protocol", "--quiet", "--tls", certificates.server.chain, certificates.server.key]
    processes = [start_backend(port, *words) for port in ports]
    answered, broken, over = [0] * 20, [0] * 20, []

    def client(number: int) -> None:
        while not over:
            body = hashlib.sha256(b"%d %d" % (number, answered[number])).digest() * 100
            try:
                with open_tcp_stream(HOST, front, timeout=20, read_timeout=20, ssl_ctx=contexts[1], tlsext_host_name="localhost") as stream:
                    for _ in range(5):
                        stream.write(body)
                        answer = stream.read_exactly(len(body))
                        assert answer == body
                        answered[number] += 1
                    stream.send_eof()
                    assert stream.read() == b""
            except (StreamError, EOFError):
                broken[number] += 1
                gevent.sleep(0.01)

    def all_get_through() -> None:
        before = list(answered)
        until(lambda: over or all(now >= then + 10 for now, then in zip(answered, before, strict=True)), 60)

    try:
        with HAProxy(configuration(front, ports, "send-proxy-v2"), front=front):
            clients = [gevent.spawn(client, number) for number in range(20)]
            for each in clients:
                each.link_exception(lambda _: over.append("failed"))
            for victim in (0, 1):
                all_get_through()
                processes[victim].send_signal(signal.SIGKILL)
                processes[victim].wait(LIMIT)
                all_get_through()
                processes[victim] = start_backend(ports[victim], *words)
            all_get_through()
            over.append("done")
            gevent.joinall(clients, raise_error=True)
            assert sum(broken) > 0
    finally:
        for process in processes:
            process.kill()
            process.wait(LIMIT)


# The command line.


def test_serve_knows_networks() -> None:
    """`serve --proxy-from` takes the header from those networks only, and curl's --haproxy-clientip sends one."""
    with serving(TELLER.partition(";")[0], "--proxy-from", "127.0.0.1") as server:
        with open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20) as stream:
            stream.write(GOOD["v2 IPv4"][0])
            assert stream.read_line() == ("192.0.2.1:1234", False)
        command = [curl(), "--silent", "--http0.9", "--max-time", "20", "--haproxy-protocol", f"http://{HOST}:{server.port}/"]
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
        assert done.stdout.startswith(b"127.0.0.1:")
    with serving(TELLER, "--proxy-from", "10.0.0.0/8") as server, \
            open_tcp_stream(HOST, server.port, timeout=20, read_timeout=20) as stream:
        host, port = stream.address
        assert stream.read_line() == (f"{host}:{port}", False)


def test_serve_refuses_what_is_no_network() -> None:
    """A bad network, and both options at once, are one line and status 2."""
    assert "10.0.0.1/8 has host bits set" in geventstreams("serve", "echo", "--proxy-from", "10.0.0.1/8").refused(Status.USAGE)
    geventstreams("serve", "echo", "--proxy-from", "10.0.0.0/8", "--proxy-protocol").refused(Status.USAGE)
