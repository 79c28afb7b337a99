"""`makefile()` for sockets of other code: files like the standard library's, except that no data is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from geventstreams._constants import BLOCK
from geventstreams._core import arguments
from geventstreams._files.buffered_file import SocketFile, TwoWaySocketFile
from geventstreams._files.raw_file import RawSocketFile
from geventstreams._files.shared_file import file_over, halves
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
    """Return a file on a socket that its owner keeps, with the arguments, results and errors of `socket.makefile`.

    A read that is ended by the socket's timeout, by `gevent.Timeout` or by a kill loses nothing: call it again. A second reader or writer
    waits until the first is done. Closing the file ends the calls that wait in it with ValueError.

    Args:
        sock: A gevent socket, plain or TLS, a standard-library socket made before monkey-patching, or any object with `recv_into`, `send`,
            `fileno`, `_io_refs` and `_decref_socketios`.
        mode: Made of `r`, `w` and `b`.
        buffering: The most bytes that the file reads ahead or holds back; None for 64 KiB, 0 for a raw file.
        encoding, errors, newline: As `io.TextIOWrapper` has them.

    Raises:
        TypeError: No file can be made on this object.
        ValueError: The mode is wrong.
    """
    readable, writable = halves(mode)
    size = -1 if buffering is None else arguments.whole("buffering", buffering)
    if size == 0 and "b" not in mode:
        raise ValueError("unbuffered streams must be binary")
    transport = borrow(sock, readable, writable)
    try:
        if size == 0:
            return RawSocketFile(transport, readable, writable)
        kind = TwoWaySocketFile if readable and writable else SocketFile
        file = kind(transport, size if size > 0 else BLOCK, readable, writable)
        return file if "b" in mode else file_over(file, mode, encoding, errors, newline)
    except BaseException:
        transport.close()
        raise
