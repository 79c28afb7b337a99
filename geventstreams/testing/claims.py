"""Helpers of the claims: pairs that are closed afterwards, greenlets that are joined, timing with tolerance."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import gevent

from geventstreams.errors import StreamError, WriteTimeout

MakePair = Callable[[], tuple[Any, Any]]
Claim = Callable[[MakePair], None]

LIMIT = 0.06
"""Seconds of the timeouts that claims set."""

SOON = 0.005
"""Seconds within which a greenlet that is woken by closing must run."""

MESSAGE = 2**20
"""Bytes of a message that is larger than any buffer of a stream."""

MOST_ON_THE_WAY = 64
"""The most such messages that may be in the buffers before a peer that does not read."""

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
            one.abort()


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
    said = outcome(function, *args)
    assert isinstance(said, kind), f"{getattr(function, '__name__', function)}{args!r} gave {said!r:.200}, not {kind}"
    return said


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
        before = time.monotonic()
        error = raises(kind, function, *args)
        took = time.monotonic() - before
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
                said = outcome(wait, stream)
                woken.append(time.monotonic())
                return said

            greenlet = started(waiter)
            settle(stream)
            assert not greenlet.ready(), f"it did not wait: {greenlet.value!r:.200}"
            before = time.monotonic()
            ending = started(end, stream)
            said = greenlet.get()
            assert isinstance(said, kind), f"{said!r:.200} instead of {kind.__name__}"
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
        said = outcome(stream.write, message)
        accepted += message
        if said != MESSAGE:
            assert isinstance(said, WriteTimeout), f"write gave {said!r:.200}"
            same((said.accepted, stream.accepted), (MESSAGE, MESSAGE), "accepted, in the error and of the stream")
            stuck = _error_of_a_flush_that_sends_nothing(stream)
            if stuck is not None:
                return accepted, stuck
    raise AssertionError(f"{len(accepted)} bytes were accepted before a peer that does not read, and the buffers are not full")


def _error_of_a_flush_that_sends_nothing(stream: Any) -> WriteTimeout | None:
    """Flush until a flush makes no progress and return its error, or None if all was sent."""
    while True:
        before = stream.unsent
        said = outcome(stream.flush)
        if said is None:
            return None
        assert isinstance(said, WriteTimeout), f"flush gave {said!r:.200}"
        if stream.unsent == before:
            return said


def sample(count: int, seed: int = 7) -> bytes:
    """Return pseudo-random bytes, so that a lost or doubled byte is noticed; one seed gives one sequence."""
    return Random(seed).randbytes(count)


def send(stream: Any, *pieces: bytes) -> None:
    """Write and flush each piece, and let the other greenlets run in between."""
    for piece in pieces:
        stream.write(piece)
        stream.flush()
        gevent.sleep(0)
