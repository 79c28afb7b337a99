"""Mistakes with servers; each marked line must be found, by mypy with the first code and by pyright with the second."""

from typing import Any

from geventstreams import SocketStream, SocketStreamServer, server_terminate, start_up_server
from geventstreams.relay import RelayHandler, Upstream


def lonely(stream: SocketStream) -> None:
    print(stream)


def answer(stream: SocketStream, address: Any) -> None:
    print(stream, address)


def of_text(text: str, address: Any) -> None:
    print(text, address)


def wrong(server: SocketStreamServer) -> None:
    SocketStreamServer(("localhost", 80), lonely)  # wrong: arg-type reportArgumentType
    SocketStreamServer(("localhost", 80), of_text)  # wrong: arg-type reportArgumentType
    SocketStreamServer(None, answer)  # wrong: call-overload reportArgumentType
    SocketStreamServer(("localhost", 80), answer, spawn=None)  # wrong: call-overload reportArgumentType
    SocketStreamServer(("localhost", 80), answer, spawn="thread")  # wrong: call-overload reportArgumentType
    SocketStreamServer(("localhost", 80), answer, ssl_ctx=42)  # wrong: call-overload reportArgumentType
    SocketStreamServer(("localhost", 80), answer, ssl_side="clinet")  # wrong: call-overload reportArgumentType
    SocketStreamServer(("localhost", 80), answer, max_connections="100")  # wrong: call-overload reportArgumentType
    SocketStreamServer(("localhost", 80), answer, proxy_protocol=42)  # wrong: call-overload reportArgumentType
    server.stop("now")  # wrong: arg-type reportArgumentType
    print(server.stats.connections)  # wrong: attr-defined reportAttributeAccessIssue
    start_up_server(answer, 80)  # wrong: arg-type reportArgumentType
    start_up_server(lonely, 80, ipv6="maybe")  # wrong: call-overload reportArgumentType
    start_up_server(lonely, 80, read_timeout="5")  # wrong: call-overload reportArgumentType
    start_up_server(lonely, 80, announce="yes")  # wrong: call-overload reportArgumentType
    start_up_server(lonely, 80, create_stream=False)  # wrong: call-overload reportArgumentType
    server_terminate("echo")  # wrong: arg-type reportArgumentType


def pass_on() -> None:
    RelayHandler(Upstream("localhost", 1.5))  # wrong: arg-type reportArgumentType
    RelayHandler("localhost:80")  # wrong: arg-type reportArgumentType
