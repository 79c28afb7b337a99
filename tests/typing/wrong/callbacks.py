"""Mistakes with callbacks; each marked line must be found, by mypy with the first code and by pyright with the second."""

from geventstreams import AsyncIOStream, AsyncSocket, TCPEvent, close_tcp_server, socket_data, tcp_connect, tcp_server, write_socket_data


def lonely(socket: AsyncSocket) -> None:
    print(socket)


def came(socket: AsyncSocket, data: bytes) -> None:
    print(socket, data)


def streamed(socket: AsyncSocket, stream: AsyncIOStream) -> None:
    print(socket, stream)


def texts(socket: AsyncSocket, data: str) -> None:
    print(socket, data)


def happened(event: TCPEvent, more: int) -> None:
    print(event, more)


def wrong(socket: AsyncSocket, stream: AsyncIOStream) -> None:
    tcp_connect("localhost", 80, lonely)  # wrong: arg-type reportArgumentType
    tcp_connect("localhost", 80, texts)  # wrong: arg-type reportArgumentType
    tcp_connect("localhost", 80, came, happened)  # wrong: arg-type reportArgumentType
    tcp_connect("localhost", 80, came, connect_cb=came)  # wrong: arg-type reportArgumentType
    tcp_connect("localhost", 80, came, stream=True)  # wrong: call-overload reportCallIssue
    tcp_connect("localhost", 80, streamed)  # wrong: arg-type reportArgumentType
    tcp_connect("localhost", 80, came, read_timeout="5")  # wrong: call-overload reportArgumentType
    tcp_connect("localhost", 80, came, ipv6="maybe")  # wrong: call-overload reportArgumentType
    tcp_connect("localhost", 80, came, data=5)  # wrong: call-overload reportArgumentType
    tcp_server("localhost", 80, lonely)  # wrong: arg-type reportArgumentType
    tcp_server("localhost", 80, came, ssl_ctx=42)  # wrong: call-overload reportArgumentType
    socket.write(5)  # wrong: arg-type reportArgumentType
    socket.set_timeouts("5", None)  # wrong: arg-type reportArgumentType
    write_socket_data(5, b"bytes")  # wrong: arg-type reportArgumentType
    write_socket_data(socket, b"bytes", read_cb=lonely)  # wrong: arg-type reportArgumentType
    socket_data(stream.readline())  # wrong: arg-type reportArgumentType
    close_tcp_server(socket)  # wrong: arg-type reportArgumentType
    AsyncIOStream(5)  # wrong: arg-type reportArgumentType
    AsyncIOStream(socket=socket, element_type="char")  # wrong: arg-type reportArgumentType
    stream.readline().decode()  # wrong: union-attr reportOptionalMemberAccess
