"""Every peer by its name, with what it needs to run."""

from __future__ import annotations

from benchmarks.model import LEAST, Peer

_SERVERS = "benchmarks.servers"

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("geventstreams", "SocketStream", f"{_SERVERS}.geventstreams_streams", ("geventstreams:SocketStream",)),
        Peer("callbacks", "our callbacks", f"{_SERVERS}.geventstreams_callbacks", ("geventstreams:tcp_server",)),
        Peer("floor", "epoll, recv and send in C"),
        Peer("gevent", "gevent sockets as they are", f"{_SERVERS}.gevent_sockets", ("gevent",)),
        Peer("gevent-makefile", "gevent sockets through makefile('rwb')", f"{_SERVERS}.gevent_files", ("gevent",)),
        Peer("asyncio", "asyncio streams", f"{_SERVERS}.asyncio_streams"),
        Peer("asyncio-protocol", "asyncio Protocol", f"{_SERVERS}.asyncio_protocols"),
        Peer("uvloop", "asyncio streams on uvloop", f"{_SERVERS}.asyncio_streams", ("uvloop",), {"loop": "uvloop"}),
        Peer("uvloop-protocol", "Protocol on uvloop", f"{_SERVERS}.asyncio_protocols", ("uvloop",), {"loop": "uvloop"}),
        Peer("trio", "trio streams", f"{_SERVERS}.trio_streams", ("trio",)),
        Peer("anyio", "anyio streams, on asyncio", f"{_SERVERS}.anyio_streams", ("anyio",)),
        Peer("threads", "a thread and a blocking socket each", f"{_SERVERS}.threads"),
        Peer("stdlib", "the standard library's C classes of io, and its blocking sockets", f"{_SERVERS}.threads"),
        Peer(LEAST, "the least programs on gevent that do the same as a row, without any library", f"{_SERVERS}.least", ("gevent",)),
        Peer("cl-async", "the figure published for cl-async's stream"),
    )
}

OURS = frozenset({"geventstreams", "callbacks"})
