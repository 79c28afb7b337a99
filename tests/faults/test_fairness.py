"""A stream that never has to wait lets other greenlets run in every call, and what that costs."""

import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent import get_hub
from kit.conditions import until
from kit.network import HOST

import geventstreams._core.fairness as fairness
import geventstreams._streams.blocking as engine
from geventstreams import StreamBusy, StreamClosed, makefile
from geventstreams._core.fairness import yield_to_hub
from geventstreams._streams.lisp import LispStream
from geventstreams.callbacks import tcp_server
from geventstreams.testing import TransportOver, memory_pair
from geventstreams.testing.claims import ATTEMPTS

SLICE = 0.005
"""Seconds after which a stream lets others run."""

LINE = b"x" * 999 + b"\n"
LINES = 60_000
SENT = LINE + b"\n" * 10_000
"""What a busy peer sends: characters, and lines as short as they can be."""

GAP = 0.02
"""Seconds of this thread's CPU time for which other greenlets may be kept from running; a busy machine does not count."""

LONG = 0.15
"""Seconds for which the same call is made again and again."""


class Endless(TransportOver):
    """Always has more, and always takes more."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        count = len(space) - start
        space[start:] = (LINE * (count // len(LINE) + 1))[:count]
        counts.append(count)
        return count

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        return stop - start


def worst_gap(call: Callable[[], Any]) -> float:
    """The longest time for which a greenlet beside another one, which makes the same call again and again, was kept from running."""
    gaps: list[float] = []

    def tick() -> None:
        last = time.thread_time()
        while True:
            gevent.sleep(0.001)  # libuv knows no shorter time
            now = time.thread_time()
            gaps.append(now - last)
            last = now

    def repeat() -> None:
        until = time.thread_time() + LONG
        while time.thread_time() < until:
            call()

    ticker = gevent.spawn(tick)
    gevent.sleep(0.002)
    gevent.spawn(repeat).get()
    gevent.sleep(0.002)
    ticker.kill()
    return max(gaps)


def read_and_unread(stream: Any) -> None:
    """Take nothing in the end."""
    stream.unread_char(stream.read_char())


def write_and_flush(stream: Any) -> None:
    """A small message that is sent at once."""
    stream.write(b"x")
    stream.flush()


BINARY = {"element_type": "unsigned-byte-8"}
TEXT = {"encoding": "utf-8"}
CALLS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "read": (BINARY, lambda stream: stream.read(1)),
    "read1": (BINARY, lambda stream: stream.read1(1)),
    "read_exactly": (BINARY, lambda stream: stream.read_exactly(1)),
    "read_until": (BINARY, lambda stream: stream.read_until(b"x")),
    "readinto": (BINARY, lambda stream: stream.readinto(bytearray(1))),
    "readinto1": (BINARY, lambda stream: stream.readinto1(bytearray(1))),
    "readline": (BINARY, lambda stream: stream.readline()),
    "readline of one": (BINARY, lambda stream: stream.readline(1)),
    "readlines": (BINARY, lambda stream: stream.readlines(1)),
    "next": (BINARY, next),
    "discard_line": (BINARY, lambda stream: stream.discard_line()),
    "peek": (BINARY, lambda stream: stream.peek(1)),
    "read_available": (BINARY, lambda stream: stream.read_available()),
    "listen": (BINARY, lambda stream: stream.listen()),
    "read_byte": (BINARY, lambda stream: stream.read_byte()),
    "signed read_byte": ({"element_type": "signed-byte-8"}, lambda stream: stream.read_byte()),
    "read_sequence into bytes": (BINARY, lambda stream: stream.read_sequence(bytearray(1))),
    "read_sequence of numbers": (BINARY, lambda stream: stream.read_sequence([None])),
    "read_sequence of characters": ({}, lambda stream: stream.read_sequence([None])),
    "read_char": ({}, lambda stream: stream.read_char()),
    "read_char of UTF-8": (TEXT, lambda stream: stream.read_char()),
    "read_char_no_hang": ({}, lambda stream: stream.read_char_no_hang()),
    "unread_char": ({}, read_and_unread),
    "peek_char": ({}, lambda stream: stream.peek_char()),
    "peek_char for what never comes": ({"read_timeout": 1}, lambda stream: gevent.with_timeout(0.05, stream.peek_char, "y",
                                                                                              timeout_value=None)),
    "read_string": ({}, lambda stream: stream.read_string(1)),
    "read_string of UTF-8": (TEXT, lambda stream: stream.read_string(1)),
    "read_line": ({}, lambda stream: stream.read_line()),
    "read_line of UTF-8": (TEXT, lambda stream: stream.read_line()),
    "write": (BINARY, lambda stream: stream.write(b"x")),
    "write of nothing": (BINARY, lambda stream: stream.write(b"")),
    "write and flush": (BINARY, write_and_flush),
    "write_byte": (BINARY, lambda stream: stream.write_byte(1)),
    "write_char": (TEXT, lambda stream: stream.write_char("x")),
    "write_sequence": (BINARY, lambda stream: stream.write_sequence([1])),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_keeps_others_from_running(name: str) -> None:
    """Small calls that a full buffer, or one with room, serves at once: no other greenlet is kept waiting for more than 20 ms."""
    options, call = CALLS[name]
    near, _far = memory_pair()
    stream = LispStream(Endless(near), **options)
    assert worst_gap(lambda: call(stream)) <= GAP
    stream.abort()


@pytest.mark.parametrize("name", ["read", "read_byte", "readline of one", "read_sequence of numbers"])
def test_data_in_the_buffer_keeps_no_greenlet_from_running(name: str) -> None:
    """Where an interrupted call has left a megabyte in the buffer, no call receives anything, and other greenlets run."""
    options, call = CALLS[name]
    near, _far = memory_pair()
    stream = LispStream(Endless(near), **options)
    stream.peek(1)
    while stream.buffered < 2**20:
        stream._fill_buffer()
    assert worst_gap(lambda: call(stream)) <= GAP
    stream.abort()


FILE_CALLS: dict[str, Callable[[Any], Any]] = {
    "read": lambda file: file.read(1),
    "read1": lambda file: file.read1(1),
    "readinto": lambda file: file.readinto(bytearray(1)),
    "readline": lambda file: file.readline(),
    "peek": lambda file: file.peek(1),
    "readlines": lambda file: file.readlines(2**20),
    "write": lambda file: file.write(b"x"),
    "write and flush": write_and_flush,
}
RAW_FILE_CALLS: dict[str, Callable[[Any], Any]] = {
    "read": lambda file: file.read(1),
    "readinto": lambda file: file.readinto(bytearray(1)),
    "readline": lambda file: file.readline(2**16),
    "readlines": lambda file: file.readlines(2**16),
    "write": lambda file: file.write(b"x"),
}
TEXT_FILE_CALLS: dict[str, Callable[[Any], Any]] = {
    "read": lambda file: file.read(1),
    "readline": lambda file: file.readline(),
    "readline of one": lambda file: file.readline(1),
    "readlines": lambda file: file.readlines(1),
    "next": next,
    "write": lambda file: file.write("x"),
}


@pytest.fixture
def busy() -> Iterator[Any]:
    """A gevent socket whose peer, another thread, always sends and always receives."""
    near, far = socket.socketpair()

    def serve(transfer: Callable[[], Any]) -> None:
        try:
            while transfer():
                pass
        except OSError:
            pass

    threads = [threading.Thread(target=serve, args=[lambda: far.send(SENT * 60)]),
               threading.Thread(target=serve, args=[lambda: far.recv(2**16)])]
    for thread in threads:
        thread.start()
    plain = gevent.socket.socket(near.family, near.type, fileno=near.detach())
    yield plain
    plain.shutdown(socket.SHUT_RDWR)
    while any(thread.is_alive() for thread in threads):
        gevent.sleep(0.001)
    plain.close()
    far.close()


@pytest.mark.parametrize("name", FILE_CALLS)
def test_no_call_of_a_file_keeps_others_from_running(busy: Any, name: str) -> None:
    """Files of makefile(), with buffers of 64 KiB, let other greenlets run."""
    file = makefile(busy, "rwb", 2**16)
    call = FILE_CALLS[name]
    assert worst_gap(lambda: call(file)) <= GAP
    file.close()


@pytest.mark.parametrize("name", RAW_FILE_CALLS)
def test_no_call_of_a_raw_file_keeps_others_from_running(busy: Any, name: str) -> None:
    """Unbuffered files, which make a system call for every byte of a line, let other greenlets run."""
    file = makefile(busy, "rwb", 0)
    call = RAW_FILE_CALLS[name]
    assert worst_gap(lambda: call(file)) <= GAP
    file.close()


@pytest.mark.parametrize("newline", [None, "", "\n"])
@pytest.mark.parametrize("name", TEXT_FILE_CALLS)
def test_no_call_of_a_text_file_keeps_others_from_running(busy: Any, name: str, newline: str | None) -> None:
    """Text files, which take nearly everything from decoded text, let other greenlets run."""
    file = makefile(busy, "rw", 2**16, encoding="utf-8", newline=newline)
    call = TEXT_FILE_CALLS[name]
    assert worst_gap(lambda: call(file)) <= GAP
    file.close()


STREAM_CALLS: dict[str, Callable[[Any], Any]] = {
    "read": lambda stream: stream.read(1),
    "readline": lambda stream: stream.readline(),
    "read_byte": lambda stream: stream.read_byte(False),
    "read_char": lambda stream: stream.read_char(False),
}


@pytest.mark.parametrize("name", STREAM_CALLS)
def test_no_callback_that_reads_all_there_is_keeps_others_from_running(name: str) -> None:
    """A callback that reads its stream bit by bit until nothing is there is given so little at a time that it is done within 20 ms."""
    call = STREAM_CALLS[name]

    def read_all(_socket: Any, stream: Any) -> None:
        while call(stream) is not None:
            pass

    with tcp_server(HOST, 0, read_all, stream=True) as server, gevent.socket.create_connection((HOST, server.port)) as client:
        sending = gevent.spawn(send_forever, client)
        gaps = []
        while len(gaps) < ATTEMPTS and (not gaps or gaps[-1] > GAP):
            gaps.append(worst_gap(lambda: gevent.sleep(0.001)))
        sending.kill()
        for connection in list(server.connections):
            connection.close(True)  # else it reads on, byte by byte, beside the next test
    assert gaps[-1] <= GAP, gaps  # the budget is made from what callbacks took, on a busy machine as well


def send_forever(client: Any) -> None:
    while True:
        client.sendall(SENT * 60)


def test_a_callback_that_takes_its_input_at_once_is_given_much_of_it() -> None:
    """Calls are what counts: one that reads all in one call is soon given 64 KiB."""
    sizes: list[int] = []
    with (
        tcp_server(HOST, 0, lambda _socket, stream: sizes.append(len(stream.read())), stream=True) as server,
        gevent.socket.create_connection((HOST, server.port)) as client,
    ):
        client.sendall(bytes(2**22))
        until(lambda: sum(sizes) == 2**22)
    assert max(sizes) == 2**16


def test_a_reader_that_lets_others_run_is_still_the_reader() -> None:
    """While a read lets others run, another greenlet's read is StreamBusy, as ever, and a close ends it."""
    near, _far = memory_pair()
    stream = LispStream(Endless(near))
    said: list[Any] = []

    def read_forever() -> None:
        try:
            while True:
                stream.read(1)
        except StreamClosed as error:
            said.append(error)

    reading = gevent.spawn(read_forever)
    gevent.sleep(0)
    with pytest.raises(StreamBusy):
        stream.read(1)
    assert stream.listen()
    stream.close()
    reading.join(10)
    assert len(said) == 1


def time_of_reading(in_hub: bool) -> float:
    """Return the CPU seconds to read so many lines that have arrived; in the hub's own greenlet no other greenlet runs."""
    near, far = memory_pair(len(LINE) * LINES)
    stream = LispStream(near)
    far.send(memoryview(LINE * LINES), 0, len(LINE) * LINES)
    took: list[float] = []

    def read() -> None:
        began = time.thread_time()
        for _ in range(LINES):
            stream.readline()
        took.append(time.thread_time() - began)

    if in_hub:
        get_hub().loop.run_callback(read)
    else:
        gevent.spawn(read)
    until(lambda: took)
    stream.abort()
    far.close(True)
    return took[0]


@pytest.mark.slow
def test_letting_others_run_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letting others run takes at most a twentieth of the time that passes from one time to the next: 0.95 of the throughput stays.

    How often that is depends on how much of the machine others have, so it is counted, and what each time costs is measured.
    """
    rounds = 0

    def counted(hub: Any) -> None:
        nonlocal rounds
        rounds += 1
        yield_to_hub(hub)

    for module in (engine, fairness):
        monkeypatch.setattr(module, "yield_to_hub", counted)
    costs: list[float] = []

    def measure() -> None:
        nonlocal rounds
        for _ in range(3 * ATTEMPTS):
            before = time_of_reading(True)
            assert rounds == 0
            fair = time_of_reading(False)
            times, rounds = rounds, 0
            alone = (before + time_of_reading(True)) / 2  # processors change their speed
            costs.append((fair - alone) / max(times, 1))
            if times and len(costs) >= ATTEMPTS and statistics.median(costs) <= SLICE / 20:
                return

    thread = threading.Thread(target=measure)  # in a hub of its own: greenlets that other tests left would run, and count, here
    thread.start()
    thread.join()
    assert len(costs) >= ATTEMPTS
    assert statistics.median(costs) <= SLICE / 20, f"each time costs {1000 * statistics.median(costs):.2f} ms of {1000 * SLICE:g}"
