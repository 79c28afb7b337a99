"""What the tests of connecting and serving share: counting what is left behind, and peers that do as they are told."""

import contextlib
import gc
import os
import socket
import time
from collections.abc import Callable, Iterator

import gevent
from greenlet import greenlet
from servers import free_port

HOST = "127.0.0.1"


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1


def greenlets() -> int:
    """How many greenlets have begun and not ended."""
    return sum(isinstance(thing, greenlet) and bool(thing) for thing in gc.get_objects())


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Returns when the condition holds; fails when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        gevent.sleep(0.002)


@contextlib.contextmanager
def nothing_left(greenlets_too: bool = True) -> Iterator[None]:
    """Fails where more descriptors, greenlets or unreachable objects are there at its end than at its beginning."""
    gevent.sleep(0)  # the loop has opened what it needs
    gc.collect()
    gc.disable()
    try:
        open_before, running_before = descriptors(), greenlets()
        yield
        until(lambda: descriptors() <= open_before)
        if greenlets_too:
            until(lambda: greenlets() <= running_before)
    finally:
        gc.enable()


def listener(host: str = HOST, port: int = 0, backlog: int = 16) -> socket.socket:
    """A listening socket, which nobody accepts from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen(backlog)
    made.setblocking(False)
    return made


@contextlib.contextmanager
def black_hole(host: str = HOST, port: int = 0) -> Iterator[tuple[str, int]]:
    """An address where nobody answers: a listener whose queue is full, so that the system ignores whoever comes."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(listener(host, port, backlog=0))
        for _ in range(8):  # the queue has room for fewer
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        yield hole.getsockname()


def unused_port(host: str = HOST) -> int:
    """Return a port on which nothing listens, and which the system gives to no other socket."""
    return free_port(host)
