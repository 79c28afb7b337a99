"""Telling systemd how far a service has come: `Type=notify`, as sd_notify(3) describes it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def notified(stopping: Any, is_worker: bool = False) -> Iterator[None]:
    """Report READY now, and STOPPING as soon as the event `stopping` is set, to the service manager that started this process."""
    address = os.environ.pop("NOTIFY_SOCKET", "")  # it is meant for this process, and not for its children
    if not address or is_worker:  # a worker's supervisor reports
        yield
        return
    report(address, f"READY=1\nMAINPID={os.getpid()}")

    def stop(_event: Any) -> None:
        report(address, "STOPPING=1")

    stopping.rawlink(stop)
    try:
        yield
    finally:
        stopping.unlink(stop)


def report(address: str, state: str) -> None:
    """Send one message. A manager that does not take it at once does not keep the service waiting."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
