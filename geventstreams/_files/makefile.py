"""`makefile()` for sockets that others own: the standard library's files, but that nothing in them is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from geventstreams._constants import BLOCK
from geventstreams._core import arguments
from geventstreams._files.buffered_file import SocketFile, TwoWaySocketFile
from geventstreams._files.raw_file import RawSocketFile
from geventstreams._files.text_file import file_over, halves
from geventstreams._files.transports import borrow

if TYPE_CHECKING:
    from io import TextIOWrapper

    from geventstreams._types import BinaryMode, TextMode


@overload
def makefile(
    sock: Any, mode: TextMode = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
    newline: str | None = None,
) -> TextIOWrapper: ...
@overload
def makefile(sock: Any, mode: BinaryMode, buffering: Literal[0]) -> RawSocketFile: ...
@overload
def makefile(sock: Any, mode: BinaryMode, buffering: int | None = None) -> SocketFile: ...
@overload
def makefile(
    sock: Any, mode: str, buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
    newline: str | None = None,
) -> TextIOWrapper | SocketFile | RawSocketFile: ...
def makefile(
    sock: Any,
    mode: str = "r",
    buffering: int | None = None,
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    """A file on a socket that stays its owner's, with the arguments, results and errors of `socket.makefile`.

    A read that ends by the socket's timeout, by `gevent.Timeout` or by a kill loses nothing: call again. A second
    reader or writer waits its turn. Closing the file wakes whoever waits in it with ValueError. `mode` is made of `r`,
    `w` and `b`; `buffering` is what it reads ahead and holds back at most, 0 for a raw file; lines are never too long.
    For gevent sockets, plain and TLS, for standard-library sockets made before monkey-patching, and for whatever has
    `recv_into`, `send`, `fileno` and their reference count.
    """
    readable, writable = halves(mode)
    size = -1 if buffering is None else arguments.whole("buffering", buffering)
    if size == 0 and "b" not in mode:
        raise ValueError("unbuffered streams must be binary")
    transport = borrow(sock, readable, writable)
    raw = RawSocketFile(sock, "r" * readable + "w" * writable, transport)
    if size == 0:
        return raw
    try:
        kind = TwoWaySocketFile if readable and writable else SocketFile
        return file_over(kind(raw, transport, size if size > 0 else BLOCK), mode, encoding, errors, newline)
    except BaseException:
        raw.close()
        raise
