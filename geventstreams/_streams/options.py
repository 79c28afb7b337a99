"""The keyword arguments of streams: one list, with one check, for streams, openers and servers.

`StreamOptions` has the arguments with their defaults, and checks them once: streams are made from its values. A function that hands its
`**keywords` on to it shows them in its own signature by `takes_keywords_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from geventstreams import _core
from geventstreams._core import arguments
from geventstreams._streams.elements import ElementType
from geventstreams._streams.elements import element_type as element_type_of
from geventstreams._streams.elements import encoding as encoding_of

if TYPE_CHECKING:
    from geventstreams._core.tls_context import TLSOptions
    from geventstreams._types import AnySide, ConfigureContext, ConfigureSSL, Direction, ElementTypeName, TLSContext

NO_TLS = ("server", None, None, None)
TLS_ARGUMENTS = ("ssl_ctx", "ssl_side", "ctx_configure_callback", "ssl_configure_callback", "handshake_timeout", "tlsext_host_name",
                 "allow_truncation")

Function = TypeVar("Function", bound=Callable[..., Any])


class StreamOptions:
    """The checked arguments of one stream, or of all streams of an opener or server."""

    __slots__ = ("element_type", "encoding", "handshake_limit", "is_binary", "is_signed", "line_limit", "linger_limit", "read_limit",
                 "readable", "tls", "writable", "write_limit")

    def __init__(self, *, direction: Direction = "io", element_type: ElementType | ElementTypeName = "base-char", encoding: str = "latin-1",
                 read_timeout: float | None = None, write_timeout: float | None = None, line_limit: float | None = 2**20,
                 linger_timeout: float | None = 2.0, ssl_ctx: TLSContext | None = None, ssl_side: AnySide = "server",
                 ctx_configure_callback: ConfigureContext | None = None, ssl_configure_callback: ConfigureSSL | None = None,
                 handshake_timeout: float | None = None, tlsext_host_name: str | None = None, allow_truncation: bool = False) -> None:
        arguments.chosen("direction", direction, ("io", "input", "output"))
        self.readable = direction != "output"
        self.writable = direction != "input"
        self.element_type = element_type_of(element_type)
        self.is_binary = self.element_type is not ElementType.BASE_CHAR
        self.is_signed = self.element_type is ElementType.SIGNED_BYTE_8
        self.encoding = encoding_of(encoding)
        self.read_limit = arguments.seconds("read_timeout", read_timeout)
        self.write_limit = arguments.seconds("write_timeout", write_timeout)
        self.line_limit = arguments.count_limit("line_limit", line_limit)
        self.linger_limit = arguments.seconds("linger_timeout", linger_timeout)
        self.handshake_limit = arguments.seconds("handshake_timeout", handshake_timeout)
        self.tls: TLSOptions | None = None
        if ssl_ctx is not None or (ssl_side, ctx_configure_callback, ssl_configure_callback, tlsext_host_name) != NO_TLS:
            tls = _core.tls_context.TLSOptions(True if ssl_ctx is None else ssl_ctx, ssl_side, ctx_configure_callback,
                                               ssl_configure_callback, self.handshake_limit, tlsext_host_name, allow_truncation)
            if ssl_ctx is not None:
                tls.prepare(ssl_side)
                self.tls = tls


def takes_keywords_of(source: Callable[..., Any], without: Collection[str] = (), **defaults: Any) -> Callable[[Function], Function]:
    """Decorate a function whose `**keywords` go to `source`, so that its signature names them.

    The function keeps its own parameters; those of `source` that it does not have are shown in place of `**keywords`, without the names in
    `without`, and with other `defaults` where these are given. `inspect.signature` and `help` follow `__wrapped__` to a function that has
    this signature and is never called. It is built from a code object: `inspect` takes a tenth of the time that the whole package takes to
    import.
    """
    taken: dict[str, Any] = {**_shown(source).__kwdefaults__, **defaults}

    def decorate(function: Function) -> Function:
        own = _shown(function)
        code = own.__code__
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        added = {name: default for name, default in taken.items() if name not in named and name not in without}
        signature = _nothing.__code__.replace(
            co_argcount=code.co_argcount, co_kwonlyargcount=len(named) - code.co_argcount + len(added), co_varnames=(*named, *added),
            co_nlocals=len(named) + len(added), co_name=code.co_name, co_filename=code.co_filename, co_firstlineno=code.co_firstlineno,
        )
        shown = FunctionType(signature, own.__globals__, code.co_name, own.__defaults__)
        shown.added = added  # type: ignore[attr-defined]  # for `keywords_for`
        shown.__kwdefaults__ = {**(own.__kwdefaults__ or {}), **added}
        annotations = {**_shown(source).__annotations__, **function.__annotations__}
        shown.__annotations__ = {name: annotations[name] for name in (*named, *added, "return") if name in annotations}
        function.__wrapped__ = shown  # type: ignore[attr-defined]  # the protocol of functools.wraps
        return function

    return decorate


def keywords_for(function: Callable[..., Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `**keywords` of a call of a function that `takes_keywords_of` decorated, its defaults included.

    Raises:
        TypeError: One of them is not in the signature.
    """
    added: dict[str, Any] = _shown(function).added
    for name in keywords:
        if name not in added:
            raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {name!r}")
    return {**added, **keywords}


def _shown(function: Any) -> Any:
    return getattr(function, "__wrapped__", function)


def _nothing() -> None: ...
