"""The callback half: every callback, with the types of its arguments."""

from typing_extensions import assert_type

from geventstreams import (
    TCPEOF,
    AsyncIOStream,
    AsyncServer,
    AsyncSocket,
    TCPError,
    TCPEvent,
    TCPRefused,
    close_socket,
    close_tcp_server,
    pipe_connect,
    pipe_server,
    set_socket_timeouts,
    socket_data,
    tcp_connect,
    tcp_server,
    write_socket_data,
)


def came(socket: AsyncSocket, data: bytes) -> None:
    assert_type(socket.write(data.upper()), bool)
    socket.write("text", 1, end=3)
    socket.pause()
    socket.resume()
    socket.set_timeouts(5, None)


def streamed(socket: AsyncSocket, stream: AsyncIOStream) -> None:
    assert_type(stream.read(), bytes | None)
    assert_type(stream.readline(), bytes | None)
    assert_type(stream.read_available(), bytes)
    assert_type(stream.read_sequence(bytearray(10)), int)
    assert_type(stream.listen(), bool)
    stream.write_sequence(b"bytes")
    stream.force_output()
    close_socket(socket)


def happened(event: TCPEvent) -> None:
    if isinstance(event, TCPEOF):
        print(event)
    elif isinstance(event, TCPRefused | TCPError) and event.error is not None:
        print(event.code, event.error.errno, event.error.strerror)
    socket: AsyncSocket = event.socket
    print(socket.peer_address, event.stream.read_available())


def stands(socket: AsyncSocket) -> None:
    socket.write(b"hello")


def streams(stream: AsyncIOStream) -> None:
    stream.write_line("hello")


def sent(socket: AsyncSocket) -> None:
    print(socket.unsent, socket.closed)


def connect() -> None:
    socket = tcp_connect("127.0.0.1", 80, came, happened, connect_cb=stands, write_cb=sent, data="hello", read_timeout=5)
    assert_type(socket, AsyncSocket)
    socket.drain()
    write_socket_data(socket, b"bytes", write_cb=sent, event_cb=happened, read_cb=came)
    set_socket_timeouts(socket, 1, 2)
    print(socket_data(socket))
    socket.data = {"name": "a name"}
    stream = tcp_connect("127.0.0.1", 80, streamed, happened, stream=True, connect_cb=streams, high_water=1000, low_water=10)
    assert_type(stream, AsyncIOStream)
    stream.close()
    tcp_connect("127.0.0.1", 80, streamed, dont_drain_read_buffer=True)
    tcp_connect("127.0.0.1", "http", lambda socket, data: socket.write(data), lambda event: print(event.code))
    assert_type(pipe_connect("/tmp/socket", came), AsyncSocket)
    assert_type(pipe_connect("/tmp/socket", streamed, stream=True), AsyncIOStream)


def serve() -> None:
    server = tcp_server("127.0.0.1", 0, came, happened, connect_cb=stands, backlog=10, half_close=True)
    assert_type(server, AsyncServer)
    for socket in server.connections:
        assert_type(socket, AsyncSocket)
    tcp_server(None, 8000, streamed, stream=True, connect_cb=streams).close()
    with pipe_server("/tmp/socket", came, happened) as other:
        assert_type(other, AsyncServer)
    close_tcp_server(server)


def view(socket: AsyncSocket) -> AsyncIOStream:
    return AsyncIOStream(socket=socket, encoding="utf-8")
