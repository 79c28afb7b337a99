"""What a claim about streams is, and the helpers of all claims: pairs that are closed afterwards, timing with tolerance."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

import gevent

from geventstreams._core.clock import CLOCK
from geventstreams.errors import StreamError, WriteTimeout

MakePair = Callable[[], tuple[Any, Any]]


class Claim:
    """A promise about streams, and the function that tries it on fresh pairs.

    Attributes:
        name: The name to select it by.
        promise: What is promised, in a sentence.
        needs: The methods and attributes that a stream must have for it.
        peer_needs: Those that the stream at the other end must have.
        tries: Those of the stream that it tries as well, where they are there.
    """

    def __init__(self, function: Callable[[MakePair, Random], None], needs: str, peer_needs: str, tries: str) -> None:
        self._function = function
        self.name: str = function.__name__
        self.__name__: str = self.name
        self.promise: str = (function.__doc__ or "").partition("\n")[0].rstrip(".")
        self.needs: list[str] = needs.split()
        self.peer_needs: list[str] = peer_needs.split()
        self.tries: list[str] = tries.split()

    def __repr__(self) -> str:
        return f"<claim {self.name}>"

    def __call__(self, make_pair: MakePair, seed: int = 0) -> None:
        """Try it. The seed decides sizes, contents and order."""
        self._function(make_pair, Random(f"{self.name} {seed}"))

    def missing(self, stream: Any, peer: Any) -> list[str]:
        """Return what the two streams lack for it; names of the other end begin with "peer."."""
        return [*lacking(stream, self.needs), *(f"peer.{name}" for name in lacking(peer, self.peer_needs))]


def claim(needs: str, peer: str = "", tries: str = "") -> Callable[[Callable[[MakePair, Random], None]], Claim]:
    """Make a claim of a function: `needs`, `peer` and `tries` are names, separated by blanks. Every stream has `close`."""
    return lambda function: Claim(function, needs, peer, tries)


_REFUSED_BY_THE_BASE = {name: getattr(io.BufferedIOBase, name) for name in ("read", "read1", "write", "detach")}
"""Methods that the base class has only to refuse them."""


def lacking(one: Any, names: Iterable[str]) -> list[str]:
    """Return the names that an object has no attribute for, or has only from a base class that refuses the call."""
    kind = type(one)
    return [
        name for name in names
        if not hasattr(one, name) or (name in _REFUSED_BY_THE_BASE and getattr(kind, name, None) is _REFUSED_BY_THE_BASE[name])
    ]


def has(one: Any, *names: str) -> bool:
    """Return whether an object has all these attributes."""
    return not lacking(one, names)


LIMIT = 0.06
"""Seconds of the timeouts that claims set."""

SOON = 0.005
"""Seconds within which a greenlet that is woken by closing must run."""

MESSAGE = 2**20
"""Bytes of a message that is larger than any buffer of a stream."""

MOST_ON_THE_WAY = 64
"""The most messages of that size that may be in the buffers before a peer that does not read."""

ATTEMPTS = 5
"""Attempts at a claim about time; only the machine is to blame if fewer than all are late."""


@contextlib.contextmanager
def fresh(make_pair: MakePair) -> Iterator[tuple[Any, Any]]:
    """Give a pair of streams, and abort both afterwards."""
    stream, peer = make_pair()
    try:
        yield stream, peer
    finally:
        for one in (stream, peer):
            discard(one)


def discard(one: Any) -> None:
    """End a stream in any state: abort it, or, where it cannot abort, close it and ignore what that raises."""
    if has(one, "abort"):
        one.abort()
        return
    with contextlib.suppress(Exception), gevent.Timeout(10 * LIMIT, False):
        one.close()


def end_output(one: Any) -> None:
    """End the output of a stream, by `send_eof` if it has that, else by closing it."""
    if has(one, "send_eof"):
        one.send_eof()
    else:
        one.close()


@contextlib.contextmanager
def beside(function: Callable[..., Any], *args: Any) -> Iterator[gevent.Greenlet[..., Any]]:
    """Run a function in another greenlet, which must end without an error by the end of the block."""
    greenlet: gevent.Greenlet[..., Any] = gevent.spawn(function, *args)
    try:
        yield greenlet
        greenlet.get()
    finally:
        greenlet.kill()


def outcome(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return the result of a call, or the exception that ended it, of any class."""
    try:
        return function(*args, **options)
    except BaseException as error:  # noqa: BLE001  # a claim looks at timeouts and kills too
        return error.with_traceback(None)


def started(function: Callable[..., Any], *args: Any) -> gevent.Greenlet[..., Any]:
    """Return a greenlet that has run until it waits, and whose value is the outcome of the call."""
    greenlet: gevent.Greenlet[..., Any] = gevent.spawn(outcome, function, *args)
    gevent.sleep(0)
    gevent.sleep(0)
    return greenlet


def raises(
    kind: type[BaseException] | tuple[type[BaseException], ...], function: Callable[..., Any], *args: Any
) -> Any:
    """Return the exception of this class that a call ends with; fail if it does not."""
    result = outcome(function, *args)
    assert isinstance(result, kind), f"{getattr(function, '__name__', function)}{args!r} gave {result!r:.200}, not {kind}"
    return result


def same(got: Any, wanted: Any, what: str = "it") -> None:
    """Fail unless both are equal; for long data the message has only the place where they differ."""
    if got == wanted:
        return
    if isinstance(got, (bytes, bytearray)) and isinstance(wanted, (bytes, bytearray)) and len(wanted) > 60:
        at = next(
            (i for i, (one, other) in enumerate(zip(got, wanted, strict=False)) if one != other),
            min(len(got), len(wanted)),
        )
        raise AssertionError(f"{what}: {len(got)} bytes instead of {len(wanted)}, different from byte {at} on")
    raise AssertionError(f"{what} is {got!r:.200} instead of {wanted!r:.200}")


def fires_in_time(limit: float, kind: type[BaseException], function: Callable[..., Any], *args: Any) -> BaseException:
    """Return the exception that ends a call after `limit` seconds: never earlier, and at most 1.5 times that and 10 ms.

    A call that ends late is tried again, since the machine may have been busy.
    """
    for _ in range(ATTEMPTS):
        before = CLOCK.now()
        error = raises(kind, function, *args)
        took = round(CLOCK.now() - before, 9)  # the resolution of the clock
        assert took >= limit, f"fired after {took * 1000:.2f} ms, before its {limit * 1000:g} ms"
        if took <= 1.5 * limit + 0.01:
            return error  # type: ignore[no-any-return]  # raises() looked
    raise AssertionError(
        f"fired {ATTEMPTS} times too late, at last after {took * 1000:.1f} ms instead of {limit * 1000:g} ms"
    )


def wakes_soon(
    make_pair: MakePair,
    wait: Callable[[Any], Any],
    end: Callable[[Any], Any],
    kind: type[BaseException],
    prepare: Callable[[Any], Any] = id,
) -> None:
    """Fail unless `end(stream)` ends a waiting `wait(stream)` at once with an error of that class; `prepare` is called first."""
    for _ in range(ATTEMPTS):
        with fresh(make_pair) as (stream, _peer):
            prepare(stream)
            woken: list[float] = []

            def waiter(stream: Any = stream, woken: list[float] = woken) -> Any:
                result = outcome(wait, stream)
                woken.append(CLOCK.now())
                return result

            greenlet = started(waiter)
            settle(stream)
            assert not greenlet.ready(), f"it did not wait: {greenlet.value!r:.200}"
            before = CLOCK.now()
            ending = started(end, stream)
            result = greenlet.get()
            assert isinstance(result, kind), f"{result!r:.200} instead of {kind.__name__}"
            ended = ending.get()
            assert ended is None or isinstance(ended, StreamError), f"{ended!r:.200}"
            if woken[0] - before <= SOON:
                return
    raise AssertionError(f"{ATTEMPTS} times awake too late, at last after {(woken[0] - before) * 1000:.1f} ms")


def settle(stream: Any) -> None:
    """Return when a stream's unsent data does not shrink any more: its sender waits for the peer."""
    before = -1
    while stream.unsent != before:
        before = stream.unsent
        gevent.sleep(0.002)


def stuffed(stream: Any) -> tuple[bytes, WriteTimeout]:
    """Write to a peer that does not read until all buffers are full; return the accepted data and the last error.

    The write timeout stays at LIMIT. A timeout alone does not show that the buffers are full: a busy machine may be late.
    """
    stream.write_timeout = LIMIT
    accepted = b""
    for number in range(MOST_ON_THE_WAY):
        message = sample(MESSAGE, number)
        result = outcome(stream.write, message)
        accepted += message
        if result != MESSAGE:
            assert isinstance(result, WriteTimeout), f"write gave {result!r:.200}"
            same((result.accepted, stream.accepted), (MESSAGE, MESSAGE), "accepted, in the error and of the stream")
            stuck = _error_of_a_flush_that_sends_nothing(stream)
            if stuck is not None:
                return accepted, stuck
    raise AssertionError(f"{len(accepted)} bytes were accepted before a peer that does not read, and the buffers are not full")


def _error_of_a_flush_that_sends_nothing(stream: Any) -> WriteTimeout | None:
    """Flush until a flush makes no progress and return its error, or None if all was sent."""
    while True:
        before = stream.unsent
        result = outcome(stream.flush)
        if result is None:
            return None
        assert isinstance(result, WriteTimeout), f"flush gave {result!r:.200}"
        if stream.unsent == before:
            return result


def sample(count: int, seed: int = 7) -> bytes:
    """Return pseudo-random bytes, so that a lost or doubled byte is noticed; one seed gives one sequence."""
    return Random(seed).randbytes(count)


def send(stream: Any, *pieces: bytes) -> None:
    """Write and flush each piece, and let the other greenlets run in between."""
    for piece in pieces:
        stream.write(piece)
        stream.flush()
        gevent.sleep(0)
