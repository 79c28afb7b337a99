"""A client: a line is sent, lines come back, and everything that can go wrong is told apart."""

from typing_extensions import assert_type

from geventstreams import (
    ConnectError,
    EndOfFile,
    IncompleteRead,
    ReadTimeout,
    SocketStream,
    StreamError,
    WriteTimeout,
    open_streams,
    open_tcp_stream,
    open_unix_stream,
)


def ask(host: str, port: int) -> list[str]:
    lines: list[str] = []
    with open_tcp_stream(host, port, read_timeout=5, line_limit=None) as stream:
        assert_type(stream, SocketStream)
        assert_type(stream.write(b"hello"), int)
        stream.write(bytearray(b"hello"))
        stream.write(memoryview(b"hello"))
        stream.writelines([b"a\n", b"b\n"])
        stream.flush()
        assert_type(stream.readline(), bytes)
        assert_type(stream.read(10), bytes)
        assert_type(stream.read_exactly(4), bytes)
        assert_type(stream.read_until(b"\r\n", limit=100), bytes)
        assert_type(stream.read_timeout, float | None)
        stream.read_timeout = None
        for line in stream:
            assert_type(line, bytes)
            lines.append(line.decode())
        assert_type(stream.fileno(), int)
        assert_type(stream.closed, bool)
        assert_type(stream.timed_out, bool)
        assert_type(stream.octets_in, int)
        assert_type(stream.buffered, int)
        assert_type(stream.unsent, int)
        assert_type(stream.accepted, int)
    return lines


def ask_carefully(path: str) -> bytes:
    try:
        with open_unix_stream(path, timeout=1.5) as stream:
            return stream.read_exactly(8)
    except ConnectError as error:
        for address, cause in error.errors:
            print(address, cause.args)
    except IncompleteRead as error:
        return error.partial
    except WriteTimeout as error:
        assert_type(error.unsent, int)
    except ReadTimeout as error:
        print(error.strerror, error.errno)
    except (StreamError, EndOfFile) as error:
        if error.stream is not None:
            print(error.stream.closed)
    return b""


def ask_without_raising() -> bytes:
    stream, error = open_tcp_stream("localhost", "echo", errorp=False, ipv6=False, nodelay=True, tlsext_host_name=None)
    if stream is not None:
        assert_type(stream, SocketStream)
        return stream.read(1)
    if isinstance(error, ConnectError):
        assert_type(error.errors[0][1], Exception)
    assert error is not None
    print(error.errno)
    other, refused = open_unix_stream(b"/tmp/socket", errorp=False)
    assert_type(other, SocketStream | None)
    return b"" if refused is not None else b"yes"


def states() -> list[str]:
    return [f"{stream!r} {stream.peer_address}" for stream in open_streams() if not stream.closed]
