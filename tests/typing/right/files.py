"""`makefile` in each mode: the type of the file follows from the mode."""

import io
import socket
from typing import BinaryIO, TextIO

from typing_extensions import assert_type

from geventstreams import SocketStream, makefile, monkey


def text(connection: socket.socket) -> str:
    with makefile(connection) as file:
        assert_type(file, io.TextIOWrapper)
        assert_type(file.readline(), str)
    written: TextIO = makefile(connection, "w", encoding="utf-8", newline="\n")
    written.write("text")
    both = makefile(connection, "rw", 1000, errors="replace")
    assert_type(both.read(), str)
    return both.readline()


def binary(connection: socket.socket) -> bytes:
    file = makefile(connection, "rb")
    whole: BinaryIO = file
    with makefile(connection, mode="rwb", buffering=100) as both:
        both.write(b"bytes")
        both.flush()
    for line in file:
        assert_type(line, bytes)
    return whole.readline()


def raw(connection: socket.socket) -> bytes | None:
    file = makefile(connection, "rb", 0)
    base: io.RawIOBase = file
    assert_type(file.readinto(bytearray(10)), int | None)
    return base.read(10)


def over(stream: SocketStream) -> str:
    with stream.makefile(encoding="utf-8") as file:
        assert_type(file, io.TextIOWrapper)
    binary: io.BufferedIOBase = stream.makefile("rb")
    print(binary.read1(10))
    return stream.makefile("r").readline()


def patched() -> bool:
    monkey.patch_makefile()
    monkey.unpatch_makefile()
    return monkey.is_makefile_patched()
