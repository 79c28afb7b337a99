"""Wrong arguments of public functions, classes and methods are refused by their names, before anything is changed."""

from __future__ import annotations

import functools
import math
import types
from functools import cached_property
from operator import attrgetter
from typing import Any

import pytest
from kit.network import HOST, listener
from kit.pairs import Pairs, pairs

import geventstreams
import geventstreams.metrics
import geventstreams.proxy_protocol
import geventstreams.relay
import geventstreams.workers
from geventstreams.testing.claims import outcome

__all__ = ["pairs"]  # a fixture

HUGE = 10**400
ODD = types.SimpleNamespace()

# Wrong values, by what is right. Where None is right too, it is left out.
TIMEOUT_OR_ZERO = ("1", True, -1, math.nan, -math.inf, HUGE, [], 1j)
TIMEOUT = (*TIMEOUT_OR_ZERO, 0)
COUNT = (0, -1, 1.5, "5", True, math.nan, HUGE, ODD)
INDEX = ("0", 1.5, ODD)
SIZE = (-2, *INDEX, math.nan)
NUMBER = (-1, None, *SIZE)
CALLBACK = (1, "name", [], ODD)
FUNCTION = (None, *CALLBACK)
NAME = (1, b"name", [], ODD)
CHOICE = (None, 1, "other", [], ODD)
CLASS = (None, 1, "name", int, ODD)
STREAM = (None, 1, "name", [], ODD)
STREAMS = (None, 1, "name", ODD, [1], [None], attrgetter("stream"))
TEXT_OR_BYTES = (1, 1.5, [1], ODD)
BYTES = (None, "text", *TEXT_OR_BYTES)
SPACE = (*BYTES, b"read-only")
HOSTS = (1.5, -1, 2**32, "", "a\0b", b"name", True, [], ODD)
PORT = (1.5, -1, 65536, "", "a\0b", b"1", True, HUGE, [], ODD)
PATH = (None, 1, 1.5, "", "a\0b", "x" * 200, [], ODD)
HANDLE = (1.5, "name", True, HUGE, ODD)
CONTEXT = (False, 1, "other", [], ODD)
ENCODING = (None, *NAME, "other", "utf-7")
SERVER_NAME = (1, b"name", "", "a b", ODD)
IPV6 = (None, 2, "other", [], ODD)
LISTENER = (None, 1.5, -1, True, HUGE, "name", b"name", ODD, (), (HOST,), (HOST, -1), (HOST, "a\0b"), (1.5, 0), (None, 0), ("a\0b", 0))
ENDS = (1, 1.5, [], ODD, (), ("name", 1), (HOST,), (HOST, "1"), (HOST, 1.5), (HOST, -1), (1, 1), (None, 1))
TLVS = (None, 1, "text", ODD, [1], [(1,)], [(1, "text")], [("1", b"")], [(1.5, b"")], [(256, b"")], [(1, bytes(65536))])

SECURED = {"ssl_ctx": CONTEXT, "ctx_configure_callback": CALLBACK, "ssl_configure_callback": CALLBACK, "handshake_timeout": TIMEOUT}
TIMEOUTS = {"read_timeout": TIMEOUT, "write_timeout": TIMEOUT}
LINES = {"element_type": CHOICE, "encoding": ENCODING, "line_limit": COUNT, "linger_timeout": TIMEOUT}
OPTIONS = {"direction": CHOICE, **LINES, **TIMEOUTS, **SECURED}
CALLBACKS = {"read_cb": CALLBACK, "event_cb": CALLBACK, "write_cb": CALLBACK}
CONNECTION = {**CALLBACKS, "connect_cb": CALLBACK, "high_water": COUNT, "low_water": COUNT, **LINES, **TIMEOUTS, **SECURED}
SERVER = {"spawn": (None, 0, -1, True, 1.5, "other", HUGE), "max_connections": COUNT, "backlog": COUNT, "stream_class": CLASS,
          "proxy_protocol": (None, 1, "name", ["name"], ODD), **OPTIONS}  # fmt: skip
CONNECTING = {"timeout": TIMEOUT, "local_address": HOSTS, "local_port": PORT, "ipv6": IPV6}
WAIT = {"streams": STREAMS, "wait_function": CALLBACK, "wait_reason": NAME, "timeout": TIMEOUT_OR_ZERO}

CALLS: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "SocketStream": ({"socket": attrgetter("raw")},
                     {"socket": (None, *HANDLE), **OPTIONS, "ssl_side": CHOICE, "tlsext_host_name": SERVER_NAME}),
    "SocketTransport": ({}, {"socket": (None, *HANDLE)}),
    "BufferedStream": ({}, {"transport": STREAM}),
    "open_tcp_stream": ({"host": HOST, "service": 9}, {"host": (None, *HOSTS), "service": (None, *PORT), **CONNECTING, **OPTIONS,
                                                       "tlsext_host_name": SERVER_NAME, "stream_class": CLASS}),
    "open_unix_stream": ({"path": "/nowhere/at/all"}, {"path": PATH, "timeout": TIMEOUT, **OPTIONS,
                                                       "tlsext_host_name": SERVER_NAME, "stream_class": CLASS}),
    "makefile": ({"sock": attrgetter("raw")}, {"sock": STREAM, "mode": (None, 1, "x", b"r"), "buffering": INDEX, "encoding": NAME,
                                               "errors": NAME, "newline": (*NAME, "x")}),
    "SocketStreamServer": ({"listener": (HOST, 0), "handle": print}, {"listener": LISTENER, "handle": CALLBACK, **SERVER}),
    "start_up_server": ({"function": print, "address": HOST},
                        {"function": FUNCTION, "address": HOSTS, "service": PORT, "announce": CALLBACK, "process_name": NAME,
                         "ipv6": IPV6, **SERVER}),
    "server_terminate": ({}, {"server": STREAM[1:]}),
    "server.stop": ({}, {"timeout": TIMEOUT_OR_ZERO}),
    "tcp_connect": ({"host": HOST, "port": 9, "read_cb": print},
                    {"host": (None, *HOSTS), "port": PORT, "data": TEXT_OR_BYTES, "tlsext_host_name": SERVER_NAME,
                     **CONNECTING, **CONNECTION}),
    "pipe_connect": ({"path": "/nowhere/at/all", "read_cb": print},
                     {"path": PATH, "data": TEXT_OR_BYTES, "timeout": TIMEOUT, "tlsext_host_name": SERVER_NAME, **CONNECTION}),
    "tcp_server": ({"bind_address": HOST, "port": 0, "read_cb": print},
                   {"bind_address": HOSTS, "port": (None, *PORT), "backlog": COUNT, "fd": (-1, *HANDLE), "ipv6": IPV6, **CONNECTION}),
    "pipe_server": ({"path": "/nowhere/at/all", "read_cb": print}, {"path": PATH, "backlog": COUNT, **CONNECTION}),
    "AsyncIOStream": ({"socket": attrgetter("connection")}, {"socket": STREAM, **LINES}),
    "write_socket_data": ({"socket": attrgetter("connection"), "data": b"x"},
                          {"socket": STREAM, "data": (None, *TEXT_OR_BYTES), "start": (None, *INDEX), "end": INDEX, **CALLBACKS}),
    "close_socket": ({}, {"socket": STREAM}),
    "set_socket_timeouts": ({"socket": attrgetter("connection"), "read": 1, "write": 1},
                            {"socket": STREAM, "read": TIMEOUT, "write": TIMEOUT}),
    "socket_data": ({}, {"socket": STREAM}),
    "close_tcp_server": ({}, {"server": STREAM}),
    "connection.write": ({"data": b"x"}, {"data": (None, *TEXT_OR_BYTES), "start": (None, *INDEX), "end": INDEX}),
    "connection.set_timeouts": ({"read": 1, "write": 1}, {"read": TIMEOUT, "write": TIMEOUT}),
    "connection.set_callbacks": ({}, CALLBACKS),
    "wait_for_input_streams": ({"streams": []}, WAIT),
    "wait_for_input_streams_returning_first": ({"streams": []}, WAIT),
    "noticed": ({}, {"stream": STREAM}),
    "process_wait": ({"wait_reason": "a test", "function": print},
                     {"wait_reason": (None, *NAME), "function": FUNCTION, "timeout": TIMEOUT_OR_ZERO}),
    "WaitSet": ({}, {"streams": STREAMS}),
    "wait_set.add": ({}, {"stream": STREAM}),
    "wait_set.wait": ({}, {"timeout": TIMEOUT_OR_ZERO}),
    "relay.relay": ({"one": attrgetter("stream"), "other": attrgetter("stream_too")},
                    {"one": (*STREAM, attrgetter("nothing_waits")), "other": (*STREAM, attrgetter("nothing_waits"), attrgetter("stream"))}),
    "relay.RelayHandler": ({}, {"upstream": STREAM}),
    "upstream": ({"host": HOST, "service": 9}, {"host": (None, *HOSTS), "service": (None, *PORT), "ssl_ctx": CONTEXT, **TIMEOUTS,
                                                "timeout": TIMEOUT, "server_name": SERVER_NAME, "proxy_version": (0, 3, "1", 1.5, ODD)}),
    "upstream_path": ({}, {"path": PATH[1:]}),
    "workers.shared_listeners": ({"host": HOST, "port": 0, "count": 1},
                                 {"host": HOSTS, "port": (None, *PORT), "count": COUNT, "backlog": COUNT, "ipv6": IPV6}),
    "workers.Supervisor": ({"command": print, "groups": []},
                           {"command": FUNCTION, "groups": (None, 1, "name", ODD, [1], [[1]], [[None]]), "tell": FUNCTION,
                            "ended": CALLBACK, "environment": (1, "name", ["name"], ODD)}),
    "metrics.ServerCollector": ({}, {"servers": STREAMS}),
    "metrics.ServerRecorder": ({"servers": []}, {"servers": STREAMS, "registry": (1, "name", [], ODD)}),
    "proxy_protocol.read_proxy": ({"stream": attrgetter("stream"), "limit": 1}, {"stream": STREAM, "limit": TIMEOUT}),
    "proxy_protocol.proxy_header": ({"version": 2, "source": (HOST, 1), "destination": (HOST, 2)},
                                    {"version": (None, 0, 3, "1", 1.5, ODD), "source": ENDS, "destination": ENDS, "tlvs": TLVS}),
}  # fmt: skip
"""For each function, class or method its right arguments, and what is wrong for each argument; an `attrgetter` takes one of the Things."""

OF_STREAMS: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    **{name: ({}, {"size": SIZE}) for name in ("read", "read1", "peek", "readline")},
    "readlines": ({}, {"hint": SIZE}),
    "read_exactly": ({}, {"n": NUMBER}),
    "read_string": ({}, {"n": NUMBER}),
    "readinto": ({}, {"buffer": SPACE}),
    "readinto1": ({}, {"buffer": SPACE}),
    "read_until": ({"separator": b"\n"}, {"separator": (*BYTES, b""), "limit": COUNT}),
    "read_sequence": ({"seq": bytearray(2)}, {"seq": (None, 1, "text", b"read-only", ODD), "start": (None, *INDEX), "end": INDEX}),
    "write": ({}, {"data": BYTES}),
    "sendall": ({}, {"data": BYTES}),
    "writelines": ({}, {"lines": (None, 1, 1.5, ODD)}),
    "write_sequence": ({"seq": b"data"}, {"seq": (None, 1, ODD, ["ab"], [1.5], [256], ["a", 1], [1, "a"]), "start": (None, *INDEX),
                                          "end": INDEX}),
    "write_char": ({}, {"character": (None, *NAME, "", "ab")}),
    "write_string": ({"string": "text"}, {"string": (None, *NAME), "start": (None, *INDEX), "end": INDEX}),
    "write_line": ({"string": "text"}, {"string": (None, *NAME), "start": (None, *INDEX), "end": INDEX}),
    "unread_char": ({}, {"character": (None, *NAME, "", "ab")}),
    "peek_char": ({}, {"peek_type": (False, *NAME, "", "ab")}),
    "shutdown": ({}, {"direction": CHOICE}),
    "makefile": ({}, {"mode": (None, 1, "x", b"r"), "encoding": NAME, "errors": NAME, "newline": (*NAME, "x")}),
    "attach_ssl": ({}, {**SECURED, "ssl_side": CHOICE, "tlsext_host_name": SERVER_NAME, "prefetched": CHOICE}),
    "detach_ssl": ({}, {"retry_count": COUNT, "retry_timeout": TIMEOUT}),
    "handshake": ({}, {"timeout": TIMEOUT, "side": CHOICE[1:]}),
    "read_timeout=": ({}, {"read_timeout": TIMEOUT}),
    "write_timeout=": ({}, {"write_timeout": TIMEOUT}),
}
"""Methods and properties of a stream that waits, and of one that never does, likewise."""

CALLS |= {f"{kind}.{name}": call for name, call in OF_STREAMS.items() for kind in ("stream", "nothing_waits")}


class Things:
    """What the calls are given, and what they are methods of. Each is made when it is needed, and closed after the test."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self.listener = pairs.keep(listener())

    @cached_property
    def ends(self) -> Any:
        """Two connected streams."""
        return self._pairs.streams("unix")

    @property
    def stream(self) -> Any:
        """A stream, to whose peer `stream_too` belongs."""
        return self.ends[0]

    @property
    def stream_too(self) -> Any:
        """The other end of `stream`."""
        return self.ends[1]

    @cached_property
    def raw(self) -> Any:
        """A connected socket."""
        return self._pairs.sockets("unix")[0]

    @cached_property
    def connection(self) -> Any:
        """A connection that calls back."""
        return self._pairs.keep(geventstreams.tcp_connect(*self.listener.getsockname(), print))

    @cached_property
    def nothing_waits(self) -> Any:
        """The stream of a connection that calls back."""
        return self._pairs.keep(geventstreams.tcp_connect(*self.listener.getsockname(), None, stream=True))

    @cached_property
    def server(self) -> Any:
        """A server."""
        return self._pairs.keep(geventstreams.SocketStreamServer(self.listener, print))

    @cached_property
    def wait_set(self) -> Any:
        """A set of streams to wait for."""
        return self._pairs.keep(geventstreams.WaitSet())

    @staticmethod
    def noticed(stream: Any) -> None:
        """Begin to notice a stream."""
        geventstreams.noticed_socket_stream(stream).__enter__()

    @staticmethod
    def upstream(**fields: Any) -> None:
        """Make a handler that relays to an upstream."""
        geventstreams.relay.RelayHandler(geventstreams.relay.Upstream(**fields))

    upstream_path = upstream

    def call(self, name: str, given: dict[str, Any]) -> Any:
        """Call what has this name, or set it, with these arguments; return the result or the exception."""
        arguments = {key: value(self) if isinstance(value, attrgetter) else value for key, value in given.items()}
        owner: Any = self if hasattr(type(self), name.partition(".")[0]) else geventstreams
        *path, last = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        if last.endswith("="):
            return outcome(setattr, owner, *arguments.popitem())
        return outcome(functools.partial(getattr(owner, last), **arguments))


def test_wrong_sequences_are_refused_with_what_is_allowed(pairs: Pairs) -> None:
    """What is no sequence of the right kind is named by its argument and its type, beside all that is allowed; an item by its index."""
    stream = pairs.streams("unix", element_type="unsigned-byte-8")[0]
    for wrong in ((1, 2), "text", None, range(3)):
        result = outcome(stream.read_sequence, wrong)
        assert str(result) == f"seq must be a writable bytes-like object, an array or a list, not {type(wrong).__name__}"
    for wrong in (None, 1, range(3), {1}):
        result = outcome(stream.write_sequence, wrong)
        assert str(result) == f"seq must be bytes-like, a string, an array or a list, not {type(wrong).__name__}"
        result = outcome(stream.readinto, wrong)
        assert str(result) == f"buffer must be a writable bytes-like object, not {type(wrong).__name__}"
    assert str(outcome(stream.write_sequence, [1, 2, 300], 1)) == "seq[2] must be within 0..255, not 300"
    assert str(outcome(stream.write_byte, 256)) == "n must be within 0..255, not 256"
    assert str(outcome(stream.write_byte, True)) == "n must be an integer, not bool True"
    assert str(outcome(stream.writelines, 1)) == "lines must be an iterable of bytes-like objects, not int 1"
    with geventstreams.makefile(pairs.sockets("unix")[0], "wb") as file:
        assert str(outcome(file.writelines, None)) == "lines must be an iterable of bytes-like objects, not NoneType None"


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_are_refused_by_name(pairs: Pairs, name: str) -> None:
    """Each wrong argument is a TypeError or ValueError that names it, and the streams that were given can still be used."""
    things = Things(pairs)
    right, wrong = CALLS[name]
    accepted = []
    for argument, values in wrong.items():
        for value in values:
            result = things.call(name, {**right, argument: value})
            if not (isinstance(result, (TypeError, ValueError)) and argument in str(result)):
                accepted.append(f"{argument}={value!r:.60}: {result!r:.200}")
    assert not accepted, "\n".join(accepted)
    things.stream.write_line("in step")
    things.stream.flush()
    assert things.stream_too.read_line() == ("in step", False)
