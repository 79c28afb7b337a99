"""`makefile()` for sockets of other code: files like the standard library's, except that no data is lost."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal, overload

from geventstreams._files.buffered_file import file_on

if TYPE_CHECKING:
    from geventstreams._files.buffered_file import SocketFile
    from geventstreams._files.raw_file import RawSocketFile
    from geventstreams._types import BinaryMode, TextMode


@overload
def makefile(sock: Any, mode: TextMode = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
             newline: str | None = None) -> io.TextIOWrapper: ...
@overload
def makefile(sock: Any, mode: BinaryMode, buffering: Literal[0]) -> RawSocketFile: ...
@overload
def makefile(sock: Any, mode: BinaryMode, buffering: int | None = None) -> SocketFile: ...
@overload
def makefile(sock: Any, mode: str, buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
             newline: str | None = None) -> io.TextIOWrapper | SocketFile | RawSocketFile: ...
def makefile(sock: Any, mode: str = "r", buffering: int | None = None, *, encoding: str | None = None, errors: str | None = None,
             newline: str | None = None) -> Any:
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
    if isinstance(mode, str) and "b" not in mode:
        encoding = io.text_encoding(encoding)  # type: ignore[attr-defined]  # typeshed lacks it; it warns at our caller
    return file_on(sock, mode, buffering, encoding, errors, newline)
