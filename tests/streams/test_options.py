"""The keyword arguments of streams: one list for streams, openers and servers, checked once."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import gevent
import pytest
from kit.network import HOST
from kit.tls import NAME, TLSKit

from geventstreams import SocketStream, SocketStreamServer, open_tcp_stream, open_unix_stream, start_up_server
from geventstreams._core import arguments
from geventstreams._streams import options
from geventstreams._streams.options import StreamOptions, keywords_for, takes_keywords_of


def defaults(function: Any) -> dict[str, Any]:
    """The parameters with a default, and the defaults, as `inspect.signature` shows them."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


OF_STREAMS = defaults(StreamOptions)


@pytest.mark.parametrize(
    ("function", "without", "changed"),
    [
        (open_tcp_stream, {"ssl_side"}, {"tlsext_host_name": True}),
        (open_unix_stream, {"ssl_side"}, {}),
        (SocketStreamServer, {"tlsext_host_name"}, {"handshake_timeout": 10.0}),
        (start_up_server, {"tlsext_host_name"}, {"handshake_timeout": 10.0}),
    ],
)
def test_signatures_name_the_arguments_of_streams(function: Any, without: set[str], changed: dict[str, Any]) -> None:
    """`inspect.signature` names each argument of the streams that a function makes, with its default, and no `**keywords`."""
    shown = defaults(function)
    assert {name: shown.get(name, "missing") for name in OF_STREAMS if name not in without} == {
        name: changed.get(name, default) for name, default in OF_STREAMS.items() if name not in without
    }
    assert not without & set(shown)
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_a_server_of_lispworks_shows_what_it_hands_on() -> None:
    """`start_up_server` names the arguments of `SocketStreamServer`, too."""
    assert {"max_connections", "proxy_protocol", "spawn", "stream_class"} <= set(defaults(start_up_server))


def test_defaults_can_be_read() -> None:
    """Defaults are literals, or a class."""
    for function in (open_tcp_stream, open_unix_stream, SocketStreamServer, start_up_server):
        for name, default in defaults(function).items():
            assert isinstance(default, (str, int, float, bool, type, type(None))), f"{name}={default!r}"


def test_the_source_is_the_function_s_own() -> None:
    """`inspect.getsource`, and so an editor or a generator of documents, finds the function that is called."""
    assert "def open_tcp_stream(" in inspect.getsource(open_tcp_stream)


def test_the_list_for_checkers() -> None:
    """`StreamArguments` has what openers and servers hand on: all arguments except those that they decide themselves."""
    types = Path(options.__file__).parents[1] / "_types.pyi"  # it does not exist at run time
    listed = [node for node in ast.parse(types.read_text()).body if getattr(node, "name", None) in {"CommonArguments", "StreamArguments"}]
    names = {node.target.id for one in listed for node in one.body if isinstance(node, ast.AnnAssign)}
    assert names == set(OF_STREAMS) - {"ssl_side", "tlsext_host_name"}


def test_a_stream_takes_the_same_arguments() -> None:
    """`SocketStream` takes each argument of the list by keyword."""
    near = object()
    for name in OF_STREAMS:
        with pytest.raises(TypeError, match="socket must be a socket"):
            SocketStream(near, **{name: OF_STREAMS[name]})


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (lambda **wrong: open_tcp_stream(HOST, 1, **wrong), "ssl_side"),
        (lambda **wrong: open_unix_stream("/nowhere", **wrong), "colour"),
        (lambda **wrong: SocketStreamServer((HOST, 0), print, **wrong), "tlsext_host_name"),
        (lambda **wrong: start_up_server(print, create_stream=False, **wrong), "colour"),
    ],
    ids=["open_tcp_stream", "open_unix_stream", "SocketStreamServer", "start_up_server"],
)
def test_an_unknown_argument_names_the_function(call: Any, wrong: str, request: pytest.FixtureRequest) -> None:
    """A keyword that a function does not take is a TypeError with the function's own name."""
    name = request.node.callspec.id
    with pytest.raises(TypeError, match=rf"{name}\b.*unexpected keyword argument '{wrong}'"):
        call(**{wrong: None})


def test_keywords_with_changed_defaults() -> None:
    """A function gets the defaults that its signature shows, unless its caller says something else."""

    @takes_keywords_of(StreamOptions.__init__, without=("ssl_ctx",), handshake_timeout=3.0)
    def opened(first: int, *, direction: str = "input", **keywords: Any) -> dict[str, Any]:
        return keywords_for(opened, keywords)

    expected = {**OF_STREAMS, "handshake_timeout": 3.0}
    del expected["ssl_ctx"], expected["direction"]
    assert opened(1) == expected
    assert opened(1, encoding="utf-8") == {**expected, "encoding": "utf-8"}
    assert str(inspect.signature(opened)).startswith("(first: 'int', *, direction: 'str' = 'input', element_type:")


def test_an_accepted_connection_checks_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server was given is checked when it is made, and not again for each connection."""
    served = []
    server = SocketStreamServer((HOST, 0), lambda stream, address: served.append(stream.read_timeout), read_timeout=7, encoding="utf-8")
    server.start()
    client = SocketStream(gevent.socket.create_connection((HOST, server.port)))

    def checked(*values: Any) -> None:
        raise AssertionError(f"checked again: {values}")

    with monkeypatch.context() as patched:
        for module, names in ((arguments, ("seconds", "count_limit", "chosen")), (options, ("element_type_of", "encoding_of"))):
            for name in names:
                patched.setattr(module, name, checked)
        assert client.read() == b""
    assert served == [7]
    client.close()
    server.stop(0)


def test_a_class_with_its_own_constructor_gets_keywords(tls: TLSKit) -> None:
    """A stream class with `__init__` or `__new__` is called with the arguments; a server's TLS context is made once, and shared."""
    seen: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    configured = []

    class Recording(SocketStream):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            seen.append(keywords)
            super().__init__(*args, **keywords)

    class Made(SocketStream):
        def __new__(cls, *args: Any, **keywords: Any) -> Any:
            made.append(keywords)
            return super().__new__(cls)

    def configure(context: Any) -> None:
        configured.append(context)
        context.load_cert_chain(tls.certificates.server.chain, tls.certificates.server.key)

    server = SocketStreamServer((HOST, 0), lambda stream, address: None, stream_class=Recording, ssl_ctx=True,
                                ctx_configure_callback=configure, line_limit=7)
    server.start()
    for _ in range(2):
        client = open_tcp_stream(HOST, server.port, stream_class=Made, ssl_ctx=tls.context("client"), tlsext_host_name=NAME, timeout=20)
        assert client.read() == b""
        client.close()
    server.stop(0)
    assert len(configured) == 1
    assert [each["ssl_ctx"] for each in seen] == configured * 2
    assert [each["line_limit"] for each in seen] == [7, 7]
    assert [each["ssl_side"] for each in made] == ["client", "client"]


def test_a_class_without_its_own_constructor_gets_the_checked_options() -> None:
    """A subclass that adds only methods is made as `SocketStream` is, its limits included."""

    class Greeter(SocketStream):
        def greet(self) -> None:
            self.write(b"hello\n")

    server = SocketStreamServer((HOST, 0), lambda stream, address: stream.greet(), stream_class=Greeter, linger_timeout=0.5)
    server.start()
    with open_tcp_stream(HOST, server.port, timeout=20, direction="input") as client:
        assert client.read() == b"hello\n"
        assert not client.writable()
    server.stop(0)
