"""What the cases of all clients have in common: fifty at once, an answer that stalls, a server that is stopped."""

import contextlib
import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gevent
from kit.leftovers import descriptors
from middle_man import LIMIT, MiddleMan
from servers import Certificate, Server

GREENLETS = 50
STALL = 0.2
"""The timeout of a socket whose answer stalls. It is set for that moment only: what does not stall may take longer."""


@dataclass(frozen=True)
class Trust:
    """The authority of the test run, and the certificate that it gave the servers."""

    ca: Path
    certificate: Certificate


class Client(ABC):
    """A client of its own making, with the server that it talks to."""

    #: What it raises when its server is stopped, and nothing else may come.
    errors: ClassVar[tuple[type[BaseException], ...]] = (OSError,)

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.server = self.make_server()

    @abstractmethod
    def make_server(self) -> Server:
        """The server, not started."""

    @property
    @abstractmethod
    def port(self) -> int:
        """Where the server listens, plainly."""

    def prepare(self) -> None:  # noqa: B027  # most servers have all that is asked for
        """Put into the started server what the cases ask for."""

    @abstractmethod
    def converse(self, number: int) -> None:
        """One greenlet's conversation; `number` is in its questions, and it looks at the answers."""

    @abstractmethod
    def stall(self) -> None:
        """An answer stalls past the client's timeout; then the same file is read on to the end."""

    @abstractmethod
    def ask_on(self, port: int) -> None:
        """Ask again and again, or for very much, through the middle man on `port`: ends by an error only."""

    # The cases.

    def fifty_at_once(self) -> None:
        """Fifty greenlets at once, each with its own questions and answers."""
        gevent.joinall([gevent.spawn(self.converse, number) for number in range(GREENLETS)], raise_error=True)

    def stopped(self) -> None:
        """The server is killed when a part of its answer has come: an error, soon, and no hang."""
        with MiddleMan(self.port) as man:
            man.hold_after(self.held)
            asking = gevent.spawn(self.ask_on, man.port)
            man.wait_until_held()
            self.server.kill()
            man.let_go()
            asking.join(LIMIT)
            assert asking.ready(), "the client hangs"
            assert isinstance(asking.exception, self.errors), repr(asking.exception)

    #: Bytes of the answer that come before the server is killed.
    held: ClassVar[int] = 200_000

    def cases(self) -> dict[str, Callable[[], None]]:
        """Every case by its name, in their order; the last one leaves no server."""
        return {
            "fifty greenlets at once": self.fifty_at_once,
            "a stalled answer read on": self.stall,
            "the server stopped in mid-answer": self.stopped,
        }


@contextlib.contextmanager
def timing_out() -> Iterator[None]:
    """The body ends by TimeoutError, in time."""
    began = time.monotonic()
    try:
        yield
    except TimeoutError:
        assert STALL <= time.monotonic() - began < LIMIT
    else:
        raise AssertionError("no timeout")


@contextlib.contextmanager
def failing(*kinds: type[BaseException]) -> Iterator[None]:
    """The body ends by one of these errors."""
    try:
        yield
    except kinds:
        return
    raise AssertionError(f"none of {kinds}")


def limited(file: Any, seconds: float) -> Any:
    """Set the timeout of a file's socket, and return the file, which has to be one of geventstreams."""
    assert type(file).__module__.startswith("geventstreams."), file
    getattr(file, "buffer", file).raw._sock.settimeout(seconds)
    return file


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """The body leaves no descriptor open."""
    gc.collect()
    before = descriptors()
    yield
    deadline = time.monotonic() + LIMIT
    while descriptors() > before:
        gc.collect()  # some of these clients are cycles
        assert time.monotonic() < deadline, f"{descriptors()} descriptors instead of {before}"
        gevent.sleep(0.01)
