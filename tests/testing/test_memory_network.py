"""A network in memory: its names and addresses, what links do to a connection, and that a seed repeats it."""

import gc
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import gevent.util
import pytest
from kit.conditions import until
from kit.forking import child
from kit.pairs import Pairs
from kit.tls import NAME, TLSKit
from servers import Certificates

from geventstreams import (
    ConnectError,
    ConnectTimeout,
    HandshakeTimeout,
    ReadTimeout,
    SocketStream,
    SocketStreamServer,
    StreamError,
    StreamReset,
    StreamTruncated,
    TCPTimeout,
    UnsuitableSocket,
    WriteTimeout,
    open_tcp_stream,
    tcp_connect,
    tcp_server,
)
from geventstreams._core.transport import transport_of
from geventstreams.testing import MemoryNetwork, check_io_stream, memory_pair, virtual_time
from geventstreams.testing.claims import outcome, sample, started
from geventstreams.testing.memory_sockets import MemorySocket
from geventstreams.testing.virtual_time import VirtualClock

PORT = 80


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with virtual_time() as clock:
        yield clock


class Served:
    """A server of a network, which sends some data and then each line of the client in capitals."""

    def __init__(self, network: MemoryNetwork, data: bytes = b"", **options: Any) -> None:
        self.network = network
        self.data = data
        self.ended: list[Any] = []
        self.server = SocketStreamServer(("server", PORT), self._handle, **options)
        self.server.start()

    def _handle(self, stream: SocketStream, _address: Any) -> None:
        def serve() -> None:
            stream.sendall(self.data)
            for line in stream:
                stream.sendall(line.upper())

        self.ended.append(outcome(serve))


@pytest.fixture
def served(clock: VirtualClock) -> Iterator[Callable[..., Served]]:
    """Start a server in a network that is used until the test ends; the keywords are the network's."""
    with ExitStack() as stack:

        def serve(data: bytes = b"", server: dict[str, Any] | None = None, **options: Any) -> Served:
            network = stack.enter_context(MemoryNetwork(**{"seed": 1, **options}))
            made = Served(network, data, **(server or {}))
            stack.callback(made.server.stop, 0)
            return made

        yield serve


def connected(**options: Any) -> SocketStream:
    """Return a client's stream."""
    return open_tcp_stream("server", PORT, **options)


# Names and addresses.


def test_nothing_has_a_descriptor(served: Callable[..., Served]) -> None:
    """A server, its client, TLS or not, and a failed connection open no descriptor; `fileno()` is -1, and the repr says so."""
    before = os.listdir("/proc/self/fd")
    server = served().server
    with connected() as client:
        client.write_line("hello")
        assert client.read_line() == ("HELLO", False)
        assert os.listdir("/proc/self/fd") == before
        assert [one.fileno() for one in (client, server, *server.connections, client.socket)] == [-1] * 4
        assert "fd=-1 peer=198.18.0.2:80 address=198.18.0.1:49152 open" in repr(client)
        assert repr(client.socket) == "<MemorySocket connected laddr=('198.18.0.1', 49152)>"


def test_names_have_addresses_of_their_own(served: Callable[..., Served]) -> None:
    """Each name gets an address once; a server on one is not found under another."""
    network = served().network
    with connected() as client:
        assert client.peer_address == (network.hosts["server"][0], PORT)
    error = outcome(open_tcp_stream, "elsewhere", PORT)
    assert isinstance(error, ConnectError)
    assert str(error).endswith("cannot connect to elsewhere:80; 198.18.0.3:80: Connection refused")
    assert isinstance(outcome(open_tcp_stream, "server", PORT, ipv6=True), ConnectError)


def test_a_name_without_an_address(served: Callable[..., Served]) -> None:
    """A name with an empty list of addresses is not found; one with several is connected to by the first that answers, as in the world."""
    network = served().network
    network.hosts["nowhere"] = []
    error = outcome(open_tcp_stream, "nowhere", PORT)
    assert "cannot resolve nowhere:80: Name or service not known" in str(error)
    network.hosts["both"] = ["fd00::1", *network.hosts["server"]]
    with open_tcp_stream("both", 80) as client:
        assert client.peer_address == ("198.18.0.2", PORT)


def test_a_slow_address_is_overtaken_by_the_next(served: Callable[..., Served], clock: VirtualClock) -> None:
    """The second address of a name is tried after a quarter of a second, and its connection is used (RFC 8305)."""
    network = served(latency=0.01).network
    network.hosts["both"] = ["10.0.0.1", *network.hosts["server"]]
    network.next_link(to_server={"stall": 0})
    with open_tcp_stream("both", PORT):
        assert clock.now == pytest.approx(0.25 + 0.02)


def test_an_ipv6_server_takes_clients_of_both_kinds(clock: VirtualClock) -> None:
    """A server on `::` sees IPv4 clients under mapped addresses, as the system's does; an IPv6 client has addresses of that kind."""
    seen = []
    with MemoryNetwork():
        server = SocketStreamServer(("::", PORT), lambda stream, address: seen.append((address[0], stream.address[0])))
        server.start()
        for host in ("127.0.0.1", "::1", "fd00::1"):
            with open_tcp_stream(host, PORT) as client:
                assert client.read() == b""
        server.stop()
    assert seen == [("::ffff:127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::1"), ("2001:2::1", "fd00::1")]


def test_ports_are_given_in_turn() -> None:
    """After the last port comes the first again; one on which something listens is passed over."""
    with MemoryNetwork() as network:
        listener = network.listening_socket(socket.AF_INET)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        first = listener.getsockname()[1]
        others = [network.free_port() for _ in range(65535 - first)]
        assert (first, others[0], others[-1], network.free_port()) == (49152, 49153, 65535, 49153)


def test_a_client_with_a_local_address(served: Callable[..., Served]) -> None:
    """`local_address` and `local_port` are the client's address; without a port it gets one."""
    served()
    with connected(local_address="10.1.1.1", local_port=4000) as client:
        assert client.address == ("10.1.1.1", 4000)
    with connected(local_port=4001) as client:
        assert client.address == ("198.18.0.1", 4001)


def test_other_threads_have_the_system_s_network(served: Callable[..., Served]) -> None:
    """A real listener is found by another thread, and not from the thread of the network."""
    served()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        results: list[Any] = []

        def connect() -> None:
            with open_tcp_stream(*address, timeout=5) as stream:
                results.append(stream.fileno())

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        assert results[0] >= 0
        assert isinstance(outcome(open_tcp_stream, *address), ConnectError)


def test_one_network_is_used_at_a_time() -> None:
    """A network within a network is refused, by the name of the one in use."""
    with MemoryNetwork(seed=9), pytest.raises(RuntimeError, match="in use already: <MemoryNetwork seed=9 "), MemoryNetwork():
        pass


def test_it_is_used_within_the_block_only() -> None:
    """After the block connections go on, and new ones are the system's."""
    with MemoryNetwork():
        server = SocketStreamServer(("127.0.0.1", 0), lambda stream, _: stream.sendall(stream.readline()))
        server.start()
        client = open_tcp_stream("127.0.0.1", server.port)
    assert isinstance(outcome(open_tcp_stream, "127.0.0.1", server.port), ConnectError)
    client.sendall(b"line\n")
    assert client.readline() == b"line\n"
    client.close()
    server.stop()


# What links do.


def test_latency(served: Callable[..., Served], clock: VirtualClock) -> None:
    """To connect takes there and back, so does an answer; what is refused takes as long."""
    served(to_server={"latency": 0.1}, to_client={"latency": 0.3})
    with connected() as client:
        assert clock.now == pytest.approx(0.4)
        client.write_line("line")
        assert client.read_line() == ("LINE", False)
        assert clock.now == pytest.approx(0.8)
    before = clock.now
    assert isinstance(outcome(open_tcp_stream, "server", 81), ConnectError)
    assert clock.now - before == pytest.approx(0.4)


def test_random_latency_keeps_the_order(served: Callable[..., Served], clock: VirtualClock) -> None:
    """Each piece has its own latency, within the limits, and none overtakes another."""
    data = sample(5000)
    served(data, to_client={"latency": (0.1, 5.0), "chunks": 10})
    with connected() as client:
        assert client.read_exactly(5000) == data
    assert 4.0 < clock.now < 10.1


def test_bandwidth(served: Callable[..., Served], clock: VirtualClock) -> None:
    """10,000 bytes at 1,000 a second take ten seconds, there as back; a read timeout that is longer than a piece takes is none."""
    served(sample(10_000), to_client={"bandwidth": 1000, "chunks": 500})
    with connected(read_timeout=0.6) as client:
        assert client.read_exactly(10_000) == sample(10_000)
        assert clock.now == pytest.approx(10)
        client.read_timeout = 0.4
        client.write_line("x" * 499)
        assert isinstance(outcome(client.readline), ReadTimeout)


def test_chunks(served: Callable[..., Served]) -> None:
    """Bytes arrive in pieces of the given size, or of random sizes, whose boundaries a reader sees."""
    served(sample(20), to_client={"chunks": 7})
    with connected() as client:
        pieces = [client.read1(100) for _ in range(3)]
    assert [len(piece) for piece in pieces] == [7, 7, 6]
    assert b"".join(pieces) == sample(20)


def test_a_full_window_does_not_cut_chunks_smaller_and_smaller() -> None:
    """Small writes over a full window arrive in chunks of the sizes wanted, not in single bytes in the end."""
    with MemoryNetwork(seed=1, chunks=(1, 90), window=50) as network:
        near, far = network.socketpair()
        with SocketStream(near) as writer, SocketStream(far) as reader:

            def write() -> None:
                for _ in range(300):
                    writer.sendall(bytes(29))
                writer.send_eof()

            writing = gevent.spawn(write)
            pieces = list(iter(lambda: reader.read1(100), b""))
            writing.get()
    assert sum(map(len, pieces)) == 300 * 29
    assert max(map(len, pieces)) <= 90
    assert len(pieces) < 300 * 29 / 10


def test_a_reset_in_mid_answer(served: Callable[..., Served], clock: VirtualClock) -> None:
    """After exactly so many bytes both ends get a reset, whose message has the seed; what arrived before is read first."""
    server = served(b"a" * 100 + b"\n", latency=1, to_client={"reset_after": 60})
    client = connected()
    error = outcome(client.read_exactly, 101)
    assert (type(error), client.buffered) == (StreamReset, 60)
    assert "Connection reset by peer (memory network, seed 1)" in str(error)
    client.abort()
    until(lambda: server.ended)
    assert isinstance(server.ended[0], StreamReset)


def test_an_end_behind_a_reset_is_not_seen(clock: VirtualClock) -> None:
    """A server that closes behind its answer, of which a reset took the rest: the client sees the reset and no end in order."""
    with MemoryNetwork(latency=0.1, to_client={"reset_after": 5}):
        server = SocketStreamServer(("server", PORT), lambda stream, _: stream.write(b"answer"))
        server.start()
        client = connected()
        assert [type(outcome(client.read_until, b"r")) for _ in range(2)] == [StreamReset, StreamReset]
        assert client.buffered == 5
        client.abort()
        server.stop(0)


def test_a_cut_in_mid_answer(served: Callable[..., Served]) -> None:
    """After exactly so many bytes both ends see an end in order; who goes on writing gets a reset."""
    server = served(b"a" * 100 + b"\n", to_client={"cut_after": 60})
    with connected() as client:
        assert client.read() == b"a" * 60
    assert isinstance(server.ended[0], StreamReset) or server.ended == [None]


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_tls_over_bad_links(served: Callable[..., Served], certificates: Certificates, version: str) -> None:
    """TLS over slow links in small pieces works; a cut is a truncation there, a stalled handshake times out."""
    kit = TLSKit(certificates, Pairs(), version)
    data = sample(30_000)
    secure = {"ssl_ctx": kit.context("client"), "tlsext_host_name": NAME}
    network = served(data, {"ssl_ctx": kit.context("server")}, latency=0.02, chunks=(1, 999), bandwidth=100_000).network
    with connected(**secure) as client:
        assert client.read_exactly(30_000) == data
    network.next_link(to_client={"cut_after": 20_000})
    client = connected(**secure)
    assert isinstance(outcome(client.read), StreamTruncated)
    client.abort()
    network.next_link(to_client={"stall": 500})
    assert isinstance(outcome(connected, **secure, handshake_timeout=60), HandshakeTimeout)


def test_a_stall(served: Callable[..., Served], clock: VirtualClock) -> None:
    """Nothing arrives behind so many bytes until the time is over; the same call that timed out then goes on."""
    served(b"0123456789\n", to_client={"stall": (4, 100.0)})
    with connected(read_timeout=60) as client:
        assert isinstance(outcome(client.readline), ReadTimeout)
        assert client.buffered == 4
        assert client.readline() == b"0123456789\n"
        assert clock.now == pytest.approx(100)


def test_a_link_in_the_hands_of_a_test(served: Callable[..., Served], clock: VirtualClock) -> None:
    """A link is stalled in one direction, resumed, and reset, while it is in use."""
    network = served().network
    client = connected(read_timeout=1)
    (link,) = network.links
    assert (link.client, link.server) == (client.address, client.peer_address)
    link.stall("to_client")
    client.write_line("line")
    assert isinstance(outcome(client.readline), ReadTimeout)
    link.resume()
    assert client.readline() == b"LINE\n"
    link.reset()
    assert isinstance(outcome(client.readline), StreamReset)
    client.abort()
    with pytest.raises(ValueError, match="direction"):
        link.stall("up")
    other = connected()
    network.links[-1].cut()
    assert other.read() == b""
    other.close()


def test_back_pressure(served: Callable[..., Served], clock: VirtualClock) -> None:
    """A writer has at most the window on its way; it waits for a slow reader, which gets everything."""
    network = served(window=1000).network
    assert network
    client = connected(write_timeout=30)
    network.links[0].stall("to_server")
    error = outcome(client.sendall, bytes(100_000))
    assert isinstance(error, WriteTimeout)
    assert (error.unsent, client.octets_out) == (99_000, 1000)
    client.abort()


def test_a_slow_reader_slows_its_writer_down(clock: VirtualClock) -> None:
    """One that reads a window each second has a writer that needs as many seconds."""
    done = []

    def handle(stream: SocketStream, _address: Any) -> None:
        stream.write(bytes(200_000))
        stream.flush()
        done.append(clock.now)

    with MemoryNetwork(window=10_000):
        server = SocketStreamServer(("server", PORT), handle)
        server.start()
        with connected() as client:
            for _ in range(20):
                gevent.sleep(1)
                assert len(client.read_exactly(10_000)) == 10_000
        server.stop()
    assert 18 <= done[0] <= 20


def test_no_connection_is_established(served: Callable[..., Served], clock: VirtualClock) -> None:
    """A link that swallows everything to the server: connecting times out, in both halves, and the server has seen nothing."""
    server = served(to_server={"stall": 0})
    assert isinstance(outcome(connected, timeout=120), ConnectTimeout)
    assert clock.now == pytest.approx(120)
    events: list[Any] = []
    tcp_connect("server", PORT, None, events.append, timeout=120)
    gevent.sleep(121)
    assert isinstance(events[0], TCPTimeout)
    assert server.server.stats.accepted == 0


def test_a_full_queue_lets_clients_wait(clock: VirtualClock) -> None:
    """Behind `backlog` connections that were not accepted, the next is established when one is accepted, or refused at the end."""
    with MemoryNetwork(latency=0.5):
        server = SocketStreamServer(("server", PORT), lambda stream, _: stream.sendall(b"hello"), backlog=1)
        server.init_socket()
        clients = [gevent.spawn(outcome, connected, timeout=60) for _ in range(4)]
        gevent.sleep(10)
        assert [client.ready() for client in clients] == [True, True, False, False]
        server.start_accepting()
        gevent.sleep(10)
        assert all(isinstance(client.value, SocketStream) for client in clients)
        assert clients[3].value.read() == b"hello"
        server.stop_accepting()
        late = gevent.spawn(outcome, connected)
        gevent.sleep(10)
        server.close()
        last = late.get()
        assert isinstance(outcome(last.read), StreamReset)
        for stream in (last, *(client.value for client in clients)):
            stream.abort()


def test_a_client_that_gives_up_while_connecting(served: Callable[..., Served], clock: VirtualClock) -> None:
    """A client that has given up before the answer came leaves the server a connection that is reset."""
    server = served(latency=1)
    assert isinstance(outcome(connected, timeout=1.5), ConnectTimeout)
    gevent.sleep(10)
    assert server.server.stats.accepted <= 1
    assert not server.server.connections


def test_what_is_on_its_way_when_virtual_time_ends() -> None:
    """Bytes that virtual time has not brought by its end arrive in real time, those of real time arrive in virtual time."""
    near, far = (SocketStream(one) for one in MemoryNetwork(latency=0.01).socketpair())
    with near, far:
        with virtual_time():
            near.sendall(b"one\n")
        assert far.readline() == b"one\n"
        near.sendall(b"two\n")
        with virtual_time():
            assert far.readline() == b"two\n"


# The seed.


def trace(seed: int | None) -> list[Any]:
    """Return what a client sees of a link on which much is random."""
    with MemoryNetwork(seed=seed, latency=(0.01, 0.5), chunks=(1, 50)) as network, virtual_time() as clock:
        served = Served(network, sample(2000))
        client = connected()
        seen: list[Any] = []
        while sum(size for size, _ in seen) < 2000:
            seen.append((len(client.read1(100)), round(clock.now, 6)))
        client.abort()
        served.server.stop(0)
    return [network.seed, *seen]


def test_a_seed_repeats_a_run() -> None:
    """One seed gives one sequence of pieces and times; a seed that was drawn does so as well."""
    assert trace(5) == trace(5)
    assert trace(5) != trace(6)
    drawn = trace(None)
    assert trace(drawn[0]) == drawn
    assert repr(MemoryNetwork(seed=7)) == "<MemoryNetwork seed=7 links=0>"


def test_an_exception_names_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """What leaves the block has the seed with it."""
    with pytest.raises(KeyError) as caught, MemoryNetwork(seed=77):
        raise KeyError("mine")
    told = caught.value.__notes__[0] if sys.version_info >= (3, 11) else capsys.readouterr().err
    assert "MemoryNetwork(seed=77)" in told


# The rest.


LINKS = [{"chunks": (1, 20_000)}, {"latency": (0, 0.02)}, {"latency": (0, 0.004), "chunks": (1, 30_000), "bandwidth": 5e7}]


@pytest.mark.parametrize("link", LINKS, ids=["chunks", "latency", "all"])
def test_the_checks_of_the_kit_pass(link: dict[str, Any], clock: VirtualClock) -> None:
    """A stream over links with delays and in pieces passes all that a stream has to, in virtual time."""
    network = MemoryNetwork(seed=3, **link)
    result = check_io_stream(lambda: tuple(map(SocketStream, network.socketpair())))  # type: ignore[arg-type, return-value]
    assert not result.skipped


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_checks_of_the_kit_pass_under_tls(certificates: Certificates, clock: VirtualClock, version: str) -> None:
    """A stream of TLS over a slow link in pieces passes them as well."""
    kit = TLSKit(certificates, Pairs(), version)
    network = MemoryNetwork(seed=3, **LINKS[2])

    def make_pair() -> tuple[Any, Any]:
        near, far = network.socketpair()
        shaking = gevent.spawn(kit.secure, far, "server")
        return kit.secure(near, "client"), shaking.get()

    assert not check_io_stream(make_pair).skipped


def test_both_halves_of_the_package_meet(clock: VirtualClock) -> None:
    """`tcp_server` and `tcp_connect` over a slow link, with a stream that waits at one end."""
    with MemoryNetwork(latency=0.25, chunks=3):
        server = tcp_server("server", PORT, lambda connection, data: connection.write(data))
        got = bytearray()
        client = tcp_connect("server", PORT, lambda _, data: got.extend(data), data=b"from callbacks")
        with connected() as stream:
            stream.sendall(b"from a stream")
            assert stream.read_exactly(13) == b"from a stream"
            assert clock.now == pytest.approx(1.0)
        gevent.sleep(5)
        assert got == b"from callbacks"
        client.close()
        server.close()
        gevent.sleep(5)
        assert not server.connections


def test_what_is_dropped_is_closed() -> None:
    """A stream that nothing refers to closes its end, and the peer sees it; a socket that is dropped does so too."""
    network = MemoryNetwork()
    near, far = network.socketpair()
    with SocketStream(far) as stream:
        del near
        gc.collect()
        assert stream.read() == b""
    near, far = network.socketpair()
    dropped = SocketStream(near)
    del near
    with SocketStream(far) as stream:
        with pytest.warns(ResourceWarning, match="unclosed stream"):
            del dropped
        assert stream.read() == b""


def test_a_forked_child_leaves_the_connection_alone() -> None:
    """A child can neither use nor end a connection of its parent, and has the system's network."""
    network = MemoryNetwork()
    near, far = (SocketStream(one) for one in network.socketpair())

    def refused() -> None:
        for call in (lambda: near.write(b"x"), near.readline, lambda: near.socket):
            assert isinstance(outcome(call), StreamError)
        near.close()
        assert not isinstance(network.connecting_socket(socket.AF_INET), MemorySocket)

    with network:
        child(refused)
    near.sendall(b"line\n")
    assert far.readline() == b"line\n"
    near.close()
    far.close()


def test_a_socket_that_is_not_connected_is_refused() -> None:
    """A socket of the network that is not connected makes no stream."""
    with pytest.raises(UnsuitableSocket, match="not connected"):
        SocketStream(MemoryNetwork().connecting_socket(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": -1}, "latency must be seconds"),
        ({"latency": (2, 1)}, "latency must be"),
        ({"latency": "slow"}, "latency"),
        ({"bandwidth": 0}, "bandwidth must be positive"),
        ({"chunks": 0}, "chunks must be a number of bytes"),
        ({"chunks": 1.5}, "chunks"),
        ({"reset_after": -1}, "reset_after must be a number of bytes"),
        ({"cut_after": True}, "cut_after"),
        ({"stall": (1, 0)}, "stall must be positive"),
        ({"window": 0}, "window must be positive"),
        ({"to_client": {"window": 0}}, "window must be positive"),
        ({"speed": 1}, "no 'speed', only latency, bandwidth|unexpected keyword argument 'speed'"),
        ({"to_server": {"speed": 1}}, "no 'speed', only latency, bandwidth"),
        ({"to_server": 5}, "to_server must be a dictionary of arguments, not int 5"),
        ({"to_client": ["latency"]}, "to_client must be a dictionary of arguments, not list"),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    """A network, and `next_link`, refuse what they cannot do; a bad `next_link` changes nothing."""
    with pytest.raises((TypeError, ValueError), match=message):
        MemoryNetwork(**options)
    network = MemoryNetwork()
    with pytest.raises((TypeError, ValueError), match=message):
        network.next_link(**options)
    assert not network._next_options


def test_streams_that_wait_in_it_are_reported(served: Callable[..., Served]) -> None:
    """A greenlet that waits for a connection in memory is found by gevent's report, with what it waits for."""
    served()
    with connected() as client:
        reading = started(client.readline)
        assert "198.18.0.2:80" in repr(gevent.get_hub().spawn_tree_locals["geventstreams"])  # a part of it; the whole takes seconds
        reading.kill()


def test_a_pair_is_as_before() -> None:
    """`memory_pair` has no delays, no sockets and addresses of its own."""
    near, far = memory_pair()
    assert (near.peer, near.addresses()) == ("memory:2", (("memory", 1), ("memory", 2)))
    near.send(memoryview(b"x"), 0, 1)
    assert far.readable() == 1


def test_an_answer_to_what_is_sent_comes_after_the_call() -> None:
    """What listens for room is not called within the send call that finds the peer gone: it would send in the middle of that."""
    near, far = map(transport_of, MemoryNetwork(seed=1).socketpair())
    sending: list[bool] = []
    called: list[bool] = []
    near.output_wakeup().listen(lambda: called.append(bool(sending)))
    far.close()
    for _ in range(3):  # the first is answered by a reset
        sending.append(True)
        outcome(near.send, memoryview(b"x"), 0, 1)
        sending.clear()
        gevent.sleep(0.001)
    assert called
    assert not any(called)
    assert isinstance(outcome(near.send, memoryview(b"x"), 0, 1), OSError)
    near.close()
