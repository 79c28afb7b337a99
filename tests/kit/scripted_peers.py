"""Peers that do as a test says, byte by byte, on plain sockets and in threads: nothing of what is tested helps them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kit.command_line import LIMIT


@contextmanager
def peer(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server for one connection, in a thread: its port. What goes wrong in `serve` is raised at the end."""
    failures: list[BaseException] = []

    def accept() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(LIMIT)
                serve(connection)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(LIMIT)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def everything(connection: socket.socket) -> bytes:
    """All bytes up to the end."""
    return b"".join(iter(lambda: connection.recv(65536), b""))
