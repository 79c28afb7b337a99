"""What goes wrong says whose doing it is, is caught by the names Python has for it, and travels between processes."""

import copy
import errno
import inspect
import io
import pickle
import ssl

import gevent
import pytest
from kit.network import HOST, black_hole, reset, unused_port
from kit.pairs import Pairs, pairs

from geventstreams import errors, open_tcp_stream, open_unix_stream
from geventstreams._streams.lisp import LispStream
from geventstreams.errors import (
    ConnectError,
    ConnectTimeout,
    EndOfFile,
    HandshakeTimeout,
    IncompleteRead,
    LineTooLong,
    ReadTimeout,
    StreamBusy,
    StreamClosed,
    StreamError,
    StreamReset,
    StreamTruncated,
    TLSError,
    WriteTimeout,
    from_system,
    in_seconds,
    without_name,
)
from geventstreams.testing import memory_pair
from geventstreams.testing.claims import outcome

__all__ = ["pairs"]  # fixture

BASES = {
    StreamClosed: (ValueError, errno.EBADF),
    StreamReset: (ConnectionResetError, errno.ECONNRESET),
    StreamTruncated: (EOFError, None),
    StreamBusy: (RuntimeError, errno.EBUSY),
    ReadTimeout: (TimeoutError, errno.ETIMEDOUT),
    WriteTimeout: (TimeoutError, errno.ETIMEDOUT),
    ConnectTimeout: (TimeoutError, errno.ETIMEDOUT),
    HandshakeTimeout: (TimeoutError, errno.ETIMEDOUT),
    ConnectError: (StreamError, None),
    TLSError: (ssl.SSLError, None),
    IncompleteRead: (EOFError, None),
    LineTooLong: (ValueError, None),
}
ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", BASES)
def test_bases_and_numbers(kind: type[StreamError]) -> None:
    """Each error is a StreamError, hence an OSError, and what Python calls such a thing; errno is the contract's."""
    base, number = BASES[kind]
    error = kind("text")
    assert isinstance(error, (StreamError, OSError))
    assert isinstance(error, base)
    assert error.errno is not None
    assert number is None or error.errno == number
    assert error.strerror == "text"
    assert "text" in str(error)


def test_verification_failures_are_the_standard_librarys_too() -> None:
    """A refused certificate is an ssl.SSLCertVerificationError with its code and message."""
    error = errors.TLSVerificationError("no", verify_code=10, verify_message="expired", reason="R", library="SSL")
    assert isinstance(error, (TLSError, ssl.SSLCertVerificationError))
    assert error.verify_code == 10
    assert error.verify_message == "expired"
    assert error.reason == "R"
    assert error.library == "SSL"


def test_the_lisp_condition_is_no_system_error() -> None:
    """EndOfFile is an EOFError and not an OSError; timed_out says that a limit, not the end, is behind it."""
    assert issubclass(EndOfFile, EOFError)
    assert not issubclass(EndOfFile, OSError)
    assert (EndOfFile("x").timed_out, EndOfFile("x", timed_out=True).timed_out) == (False, True)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_pickle_without_their_stream(kind: type[Exception], protocol: int) -> None:
    """Every error comes out of pickle with class, text, number and fields, and without the stream, which stays here."""
    error = kind("said")
    error.stream = object()  # type: ignore[attr-defined]
    fields = {"unsent": 7, "accepted": 9, "expected": 20, "partial": b"ten", "limit": 5, "timed_out": True}
    fields |= {"errors": [(("::1", 80), StreamReset("inner"))], "reason": "R", "library": "SSL", "verify_code": 3}
    present = [name for name in fields if hasattr(error, name)]
    for name in present:
        setattr(error, name, fields[name])
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(twin) is kind
        assert twin.stream is None
        assert str(twin) == str(error)
        assert getattr(twin, "errno", None) == getattr(error, "errno", None)
        assert repr([getattr(twin, name) for name in present]) == repr([fields[name] for name in present])


def test_a_system_error_is_told_by_its_number() -> None:
    """A broken connection is StreamReset with the system's number, anything else a StreamError; ours pass as is."""
    broken = from_system(OSError(errno.EPIPE, "Broken pipe"), "writing to", "there", "stream")
    assert type(broken) is StreamReset
    assert broken.errno == errno.EPIPE
    assert broken.stream == "stream"
    assert "writing to there: Broken pipe" in str(broken)
    other = from_system(OSError(errno.ENOBUFS, None), "writing to", "there", None)
    assert (type(other), other.errno) == (StreamError, errno.ENOBUFS)
    assert "No buffer space" in str(other)
    ours = StreamBusy("two")
    assert from_system(ours, "x", "y", "stream") is ours
    assert ours.stream == "stream"


def test_errors_of_a_stream_carry_it_and_name_the_peer(pairs: Pairs) -> None:
    """What a stream raises holds the stream in `.stream`, and its text names the other end."""
    stream, far = pairs.stream("tcp", read_timeout=0.01, write_timeout=0.01, line_limit=10)
    there = "{}:{}".format(*stream.peer_address)
    raised: list[StreamError] = []

    def note(function: object, *args: object) -> None:
        with pytest.raises((StreamError, EOFError)) as caught:
            function(*args)  # type: ignore[operator]
        raised.append(caught.value)

    note(stream.readline)
    note(stream.read_char)
    reader = gevent.spawn(stream.read, 50)
    gevent.sleep(0)
    note(stream.peek)
    reader.kill()
    note(stream.write, bytes(2**24))
    far.sendall(b"much more than ten bytes!")
    note(stream.readline)
    far.recv(10)
    reset(far)
    note(stream.read)
    note(stream.flush)
    stream.abort()
    note(stream.read)
    kinds = [ReadTimeout, EndOfFile, StreamBusy, WriteTimeout, LineTooLong, StreamReset, StreamReset, StreamClosed]
    assert [type(error) for error in raised] == kinds
    for error in raised:
        assert error.stream is stream
        assert there in str(error)


def test_incomplete_reads_carry_what_came(pairs: Pairs) -> None:
    """IncompleteRead holds what was asked for and what came, and the stream."""
    stream, far = pairs.stream()
    far.sendall(b"half")
    far.close()
    with pytest.raises(IncompleteRead) as caught:
        stream.read_exactly(8)
    assert caught.value.expected == 8
    assert caught.value.partial == b"half"
    assert caught.value.stream == stream
    assert str(caught.value).endswith(" ended its output after 4 bytes of 8")
    assert pickle.loads(pickle.dumps(caught.value)).partial == b"half"
    with pytest.raises(IncompleteRead, match=r"ended its output after 4 bytes, without b'\\n'"):
        stream.read_until(b"\n")


def test_the_wrong_direction_is_an_unsupported_operation(pairs: Pairs) -> None:
    """Reading an output stream, or writing an input stream, is io.UnsupportedOperation as for any file."""
    stream, _ = pairs.stream(direction="input")
    with pytest.raises(io.UnsupportedOperation, match="direction"):
        stream.write(b"x")
    stream, _ = pairs.stream(direction="output")
    with pytest.raises(io.UnsupportedOperation, match="direction"):
        stream.read(1)


# Texts.


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "0.1 s"), (5, "5 s"), (5.0, "5 s"), (0.1 + 0.2, "0.3 s"), (1e-6, "0.000001 s"),
                                               (1e-9, "0.000000001 s"), (1234567.0, "1234567 s"), (3600.25, "3600.25 s")])
def test_seconds_read_as_people_write_them(seconds: float, text: str) -> None:
    """No exponent, no zeros at the end, no digits of binary fractions."""
    assert in_seconds(seconds) == text


def test_an_address_is_taken_out_whole_or_not_at_all() -> None:
    """Another address that only begins or ends like it stays."""
    text = "reading from 10.0.0.1:80: not 10.0.0.1:8080, 110.0.0.1:80 or [::10.0.0.1]:80; 10.0.0.1:80"
    assert without_name(text, "10.0.0.1:80", "it") == "reading from it: not 10.0.0.1:8080, 110.0.0.1:80 or [::10.0.0.1]:80; it"
    assert without_name("reading from [::1]:80: gone", "[::1]:80", "it") == "reading from it: gone"


@pytest.mark.parametrize("limit", [100, 70_000, 2**20, 12_345_678])
def test_the_limit_of_a_line_is_a_whole_number(limit: int) -> None:
    """LineTooLong says its limit in digits, whichever call raises it, and `limit` is the integer that was given."""
    near, far = memory_pair(limit + 1)
    stream = LispStream(near, line_limit=limit, encoding="utf-8")
    far.send(memoryview(b"x" * (limit + 1)), 0, limit + 1)
    for call in (stream.readline, stream.read_line, lambda: stream.read_until(b"y"), lambda: stream.read_until(b"y", limit)):
        with pytest.raises(LineTooLong, match=f"no end of line within {limit} bytes from memory:2$") as caught:
            call()
        assert (caught.value.limit, type(caught.value.limit)) == (limit, int)
    stream.abort()
    far.close(True)


def test_limits_of_time_are_numbers_that_people_write() -> None:
    """ReadTimeout and WriteTimeout print their seconds without an exponent and without added digits."""
    near, _far = memory_pair(1)
    stream = LispStream(near, read_timeout=0.00005, write_timeout=0.1 + 0.2 - 0.25)
    with pytest.raises(ReadTimeout, match=r"nothing arrived from memory:2 for 0\.00005 s$"):
        stream.read(1)
    stream.write(b"xx")
    with pytest.raises(WriteTimeout, match=r"memory:2 took nothing for 0\.05 s$"):
        stream.flush()
    stream.abort()


def test_a_refusal_names_an_address_once() -> None:
    """The address of a peer that refuses or does not answer is in the error once, in each way to connect."""
    port = unused_port()
    for error in (outcome(open_tcp_stream, HOST, port), outcome(open_tcp_stream, HOST, str(port))):
        assert isinstance(error, ConnectError)
        assert error.strerror == f"cannot connect to {HOST}:{port}: Connection refused"
    error = outcome(open_unix_stream, "/no/such/path")
    assert str(error).count("/no/such/path") == 1
    with black_hole() as (host, full):
        error = outcome(lambda: open_tcp_stream(host, full, timeout=0.05))
    assert isinstance(error, ConnectTimeout)
    assert str(error).count(f"{host}:{full}") == 1
