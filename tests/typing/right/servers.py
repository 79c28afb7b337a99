"""Servers: a handler, a subclass, LispWorks' way, and what one asks a server."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import gevent.pool
from typing_extensions import assert_type

from geventstreams import DrainReport, SocketStream, SocketStreamServer, open_tcp_stream, server_terminate, start_up_server
from geventstreams.relay import RelayHandler, Upstream, relay


def answer(stream: SocketStream, address: tuple[str, int]) -> None:
    for line in stream:
        stream.write(line.upper())
        stream.flush()


class Greeter(SocketStreamServer):
    """Handles connections by a method."""

    stop_timeout = 2.0

    def handle(self, stream: SocketStream, address: Any) -> None:
        stream.write_line(f"hello from {self.port}")


def serve() -> DrainReport:
    server = SocketStreamServer(("127.0.0.1", 0), answer, max_connections=100, read_timeout=30, spawn="default", proxy_protocol=False)
    server.start()
    assert_type(server.port, int | Any)
    open_tcp_stream("127.0.0.1", server.port).close()
    for stream in server.connections:
        assert_type(stream, SocketStream)
        assert_type(stream.proxy.version, int | Any)
    assert_type(server.stats.accepted, int)
    report = server.stop(timeout=1)
    assert_type(report, DrainReport)
    finished, idle, killed = report
    print(finished + idle + killed)
    return report


def serve_otherwise() -> None:
    Greeter(8000, backlog=10, spawn=100).serve_forever()
    Greeter("127.0.0.1:8000", spawn=gevent.pool.Pool(10)).serve_forever()
    Greeter(("::", 8000, 0, 0), proxy_protocol=["10.0.0.0/8"]).serve_forever()


def pass_on(stream: SocketStream, address: Any) -> None:
    with open_tcp_stream("localhost", 7000) as server:
        relay(stream, server)


def serve_relays() -> None:
    for upstream in (Upstream("localhost", 80), Upstream(IPv4Address("127.0.0.1"), "http", proxy_version=2), Upstream(path=Path("/tmp/x"))):
        SocketStreamServer(8000, RelayHandler(upstream)).start()
    SocketStreamServer(8001, pass_on).start()


def told(socket: Any, condition: Exception | None) -> None:
    print(socket, condition)


def echo(stream: SocketStream) -> None:
    stream.write_line(stream.read_line()[0])


def owned(descriptor: int) -> None:
    print(descriptor)


def start() -> None:
    server, condition = start_up_server(echo, "echo", announce=True, process_name="echo", read_timeout=10, encoding="utf-8")
    assert_type(server, SocketStreamServer)
    assert_type(condition, None)
    other, condition_or_none = start_up_server(echo, "echo", error=False)
    if other is None:
        assert condition_or_none is not None
        raise condition_or_none
    assert_type(other, SocketStreamServer)
    assert_type(server_terminate(server), bool)
    start_up_server(owned, 0, address="127.0.0.1", create_stream=False, announce=told, error=False)
