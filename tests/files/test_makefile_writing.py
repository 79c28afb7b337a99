"""Writing to files from `makefile`: accepted data is sent once and in order, also after interruptions."""

import socket
import time
from typing import Any

import gevent
import pytest
from kit.conditions import until
from kit.leftovers import open_descriptor
from kit.makefile import TIMEOUT, Ends
from kit.network import reset

from geventstreams import makefile

BUFFERS = 8192
LARGE = 4 * 2**20


def drained(far: Any) -> bytes:
    """All that comes, up to the end."""
    return bytes(gevent.socket.socket.makefile(far, "rb").read())


@pytest.mark.parametrize("kind", ["gevent", "unix", "blocking", "tls"])
def test_a_write_that_timed_out_is_accepted_whole_or_not_at_all(ends: Ends, kind: str) -> None:
    """4 MiB to a peer that does not read: TimeoutError says by `characters_written` that all is accepted; what follows
    is not.

    When the peer reads, `flush` sends the rest: the first message once and whole, of the refused one nothing.
    """
    file, near, far = ends.file(kind, "wb", buffers=BUFFERS, timeout=TIMEOUT)
    first = bytes(range(256)) * (LARGE // 256)
    file.write(b"small")
    with pytest.raises(TimeoutError) as caught:
        file.write(first)
    assert (type(caught.value), caught.value.characters_written) == (TimeoutError, len(first))
    for message in (b"refused" * 100_000, b"refused"):
        with pytest.raises(TimeoutError) as caught:
            file.write(message)
        assert caught.value.characters_written == 0
    with pytest.raises(TimeoutError):
        file.flush()
    reader = gevent.spawn(drained, far)
    near.settimeout(20)
    file.write(b"then")
    file.close()
    near.shutdown(socket.SHUT_WR)
    assert reader.get(timeout=20) == b"small" + first + b"then"


def test_a_write_that_a_strangers_socket_gave_up_is_made_again_as_it_was(ends: Ends) -> None:
    """A `send` of an unknown class that ends by an error may have begun: its message is accepted whole, and given to it
    again first."""
    near, _far = ends.sockets("duck")
    given: list[bytes] = []

    def send(data: bytes) -> int:
        given.append(data)
        if len(given) == 1:
            raise TimeoutError("timed out")
        return len(data)

    near.send = send
    file = makefile(near, "wb", 10)
    with pytest.raises(TimeoutError) as caught:
        file.write(b"longer than the buffer")
    assert caught.value.characters_written == len(b"longer than the buffer")
    file.write(b"another that is longer")
    file.close()
    assert given[1] == given[0] == b"longer than the buffer"
    assert b"".join(given[2:]) == b"another that is longer"


def test_a_killed_write_does_not_tear_its_message(ends: Ends) -> None:
    """A greenlet killed, or timed out by gevent, in the middle of a large write: what was begun goes out whole."""
    file, near, far = ends.file("gevent", "wb", buffers=BUFFERS)
    first, second = b"1" * LARGE, b"2" * LARGE
    writer = gevent.spawn(file.write, first)
    gevent.sleep(0)
    writer.kill()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        file.write(second)
    reader = gevent.spawn(drained, far)
    file.write(b"end")
    file.close()
    near.shutdown(socket.SHUT_WR)
    assert reader.get(timeout=20) == first + b"end"


def test_writers_take_turns(ends: Ends) -> None:
    """Ten greenlets write messages of many sizes at once to a slow reader: each arrives whole, none overtakes its
    own."""
    file, near, far = ends.file("gevent", "wb", buffers=BUFFERS)

    def write(number: int) -> None:
        for size in (1, 100, 30_000, 100_000, 7):
            file.write(b"%d:%06d:" % (number, size) + bytes([48 + number]) * size + b"\n")

    writers = [gevent.spawn(write, number) for number in range(10)]
    reader = gevent.spawn(drained, far)
    gevent.joinall(writers, raise_error=True)
    file.close()
    near.shutdown(socket.SHUT_WR)
    sizes: dict[int, list[int]] = {number: [] for number in range(10)}
    for line in reader.get(timeout=20).splitlines():
        number, size, rest = line.split(b":")
        assert rest == bytes([48 + int(number)]) * int(size)
        sizes[int(number)].append(int(size))
    assert all(each == [1, 100, 30_000, 100_000, 7] for each in sizes.values())


def test_reading_and_writing_do_not_disturb_each_other(ends: Ends) -> None:
    """A blocked write on one file for both directions does not keep a reader of it from reading."""
    file, _near, far = ends.file("gevent", "rwb", buffers=BUFFERS)
    writer = gevent.spawn(file.write, b"x" * LARGE)
    gevent.sleep(0)
    far.sendall(b"line\n")
    assert file.readline() == b"line\n"
    reader = gevent.spawn(drained, far)
    assert writer.get(timeout=20) == LARGE
    file.close()
    _near.close()
    assert len(reader.get(timeout=20)) == LARGE


@pytest.mark.parametrize("kind", ["gevent", "blocking", "tls"])
def test_close_flushes_and_closes_even_when_the_flush_fails(ends: Ends, kind: str) -> None:
    """A close whose flush times out raises that once, and the file and the closed socket's descriptor are closed all
    the same."""
    file, near, _far = ends.file(kind, "wb", 2 * LARGE, buffers=BUFFERS, timeout=TIMEOUT)
    number = near.fileno()
    file.write(b"x" * LARGE)
    near.close()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        file.close()
    assert time.monotonic() - began < 20
    assert file.closed
    until(lambda: not open_descriptor(number))
    file.close()


def test_closing_sends_what_an_interrupted_writer_had_begun(ends: Ends) -> None:
    """Closed while a greenlet waits in a large write: that one gets ValueError, and its message goes out whole before
    the end."""
    file, near, far = ends.file("gevent", "wb", buffers=BUFFERS)
    message = bytes(range(256)) * (LARGE // 256)
    writer = gevent.spawn(file.write, message)
    waiting = gevent.spawn(file.write, b"never accepted" * 10_000)
    gevent.sleep(0)
    reader = gevent.spawn(drained, far)
    file.close()
    near.shutdown(socket.SHUT_WR)
    assert reader.get(timeout=20) == message
    for greenlet in (writer, waiting):
        with pytest.raises(ValueError, match="closed"):
            greenlet.get(timeout=20)


def test_a_broken_connection_is_said_as_the_socket_says_it(ends: Ends) -> None:
    """Writing to a peer that has reset is BrokenPipeError or ConnectionResetError, from flush as from close, and close
    closes."""
    for name in ("flush", "close"):
        file, near, far = ends.file(mode="wb")
        reset(far)
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        file.write(b"x")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            getattr(file, name)()
        near.close()
        if name == "flush":
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                file.close()
        assert (file.closed, near.fileno()) == (True, -1)


def test_a_dropped_file_still_sends_what_it_holds(ends: Ends) -> None:
    """A file that was never flushed and is dropped sends all without waiting there, then gives its reference back."""
    file, near, far = ends.file("gevent", "wb", 2 * LARGE, buffers=BUFFERS)
    ends.pairs.made.remove(file)
    file.write(b"x" * LARGE)
    near.close()
    began = time.monotonic()
    del file
    assert time.monotonic() - began < 20
    assert drained(far) == b"x" * LARGE
    until(lambda: near.fileno() == -1)


def taken_before_a_refusal(file: Any) -> bytes:
    """Write single bytes until one is refused: the system may have taken more since it took nothing. Return those that were accepted."""
    written = bytearray()

    def write_on() -> None:
        while file.write(b"x"):
            written.append(ord("x"))

    with pytest.raises(BlockingIOError) as caught:
        write_on()
    assert caught.value.characters_written == 0
    return bytes(written)


def test_a_write_on_a_socket_that_may_not_wait(ends: Ends) -> None:
    """On a non-blocking socket a write accepts what fits and says how much; a flush says that it could not be
    completed."""
    for kind in ("gevent", "blocking"):
        file, near, far = ends.file(kind, "wb", 10_000, buffers=BUFFERS, timeout=0)
        message = bytes(range(256)) * (LARGE // 256)
        with pytest.raises(BlockingIOError) as caught:
            file.write(message)
        accepted = caught.value.characters_written
        assert 10_000 < accepted < LARGE
        with pytest.raises(BlockingIOError):
            file.flush()
        written = message[:accepted] + taken_before_a_refusal(file)
        near.settimeout(20)
        reader = gevent.spawn(drained, far)
        file.close()
        near.shutdown(socket.SHUT_WR)
        assert reader.get(timeout=20) == written


def test_text_is_accepted_whole_or_not_at_all(ends: Ends) -> None:
    """Text files pass every write on at once, so a write that timed out is lost nowhere."""
    file, near, far = ends.file("gevent", "w", encoding="utf-8", buffers=BUFFERS, timeout=TIMEOUT)
    with pytest.raises(TimeoutError) as caught:
        file.write("ä" * LARGE)
    assert caught.value.characters_written == 2 * LARGE
    reader = gevent.spawn(drained, far)
    near.settimeout(20)
    file.write("end\n")
    file.close()
    near.shutdown(socket.SHUT_WR)
    assert reader.get(timeout=20) == ("ä" * LARGE + "end\n").encode()


def test_what_cannot_be_written_changes_nothing(ends: Ends) -> None:
    """Text for a binary file, bytes for a text file, numbers: TypeError that names what it was, and nothing is
    sent."""
    for mode, wrong in [("wb", "text"), ("wb", 5), ("wb", None), ("w", b"bytes"), ("w", 5)]:
        near, far = ends.sockets()
        file = makefile(near, mode)
        with pytest.raises(TypeError, match=type(wrong).__name__):
            file.write(wrong)
        file.close()
        near.close()
        assert drained(far) == b""
