"""Subclasses of streams and servers, and transports of one's own."""

from typing import Any

from typing_extensions import assert_type

from geventstreams import (
    BufferedStream,
    SocketStream,
    SocketStreamServer,
    SocketTransport,
    Transport,
    open_tcp_stream,
    open_unix_stream,
    start_up_server,
)


class Redis(SocketStream):
    """A client with a command."""

    def command(self, *words: str) -> bytes:
        self.write_line(" ".join(words))
        self.flush()
        return self.readline()

    def _fill_buffer(self) -> bool:
        return super()._fill_buffer()


class Counting(SocketStreamServer):
    """A server that counts."""

    count = 0

    def handle(self, stream: SocketStream, address: Any) -> None:
        self.count += 1
        stream.write_line(str(self.count))


class Many(SocketStreamServer[Redis]):
    """A server that knows the class of its streams."""

    def __init__(self, port: int) -> None:
        super().__init__(port, self.answer, stream_class=Redis)

    def answer(self, stream: Redis, address: Any) -> None:
        stream.command("PING", str(len(self.connections)))


def ask() -> bytes:
    with open_tcp_stream("localhost", 6379, stream_class=Redis) as redis:
        assert_type(redis, Redis)
        print(redis.command("PING"))
    stream, error = open_tcp_stream("localhost", 6379, stream_class=Redis, errorp=False)
    assert_type(stream, Redis | None)
    if stream is None:
        assert error is not None
        raise error
    with open_unix_stream("/tmp/redis", stream_class=Redis) as redis:
        return redis.command("PING")


def serve() -> None:
    def answer(stream: Redis, address: Any) -> None:
        stream.command("PING")

    server = SocketStreamServer(("", 0), answer, stream_class=Redis)
    assert_type(server, SocketStreamServer[Redis])
    for stream in server.connections:
        assert_type(stream, Redis)
    servers: list[SocketStreamServer] = [Counting(7000), server, Many(7001)]
    for each in servers:
        each.serve_forever()
    for stream in Many(7002).connections:
        assert_type(stream, Redis)
    started, _ = start_up_server(lambda stream: print(stream.command("PING")), stream_class=Redis)
    assert_type(started, SocketStreamServer[Redis])


class Loud(Transport):
    """A transport over another one."""

    def __init__(self, below: Transport) -> None:
        super().__init__()
        self.below = below

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        print("receive")
        return self.below.recv_into(space, start, counts)


def over(descriptor: int) -> bytes:
    with BufferedStream(Loud(SocketTransport(descriptor)), read_timeout=3, writable=False) as stream:
        assert_type(stream, BufferedStream)
        return stream.read()
