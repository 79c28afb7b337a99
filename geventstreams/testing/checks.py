"""Check that a stream keeps the contract of all streams: each claim is tried on fresh pairs of connected streams.

    check_io_stream(lambda: tuple(map(SocketStream, gevent.socket.socketpair())))
"""

# Invariants: a claim is a function of a maker of pairs, in one of the files `claims_of_…`; its name and the first line of its
# docstring are the message. Nothing here depends on the transport of a stream.

from __future__ import annotations

from collections.abc import Callable, Iterable

import gevent

from geventstreams.testing.claims import Claim, MakePair
from geventstreams.testing.claims_of_both import CLAIMS as BOTH
from geventstreams.testing.claims_of_input import CLAIMS as INPUT
from geventstreams.testing.claims_of_output import CLAIMS as OUTPUT

LONGEST = 60.0
"""A claim that runs for so many seconds hangs."""


def check_input_stream(make_pair: MakePair) -> None:
    """Check the reading half of a stream. Both streams of each pair are closed afterwards.

    Args:
        make_pair: Returns a new stream and a stream at its other end, for each claim.

    Raises:
        AssertionError: A claim does not hold; the message names it.
    """
    _check(INPUT, make_pair)


def check_output_stream(make_pair: MakePair) -> None:
    """Check the writing half of a stream. Both streams of each pair are closed afterwards.

    Args:
        make_pair: Returns a new stream and a stream at its other end, for each claim. The buffers between
            the two must not hold more than a few megabytes.

    Raises:
        AssertionError: A claim does not hold; the message names it.
    """
    _check(OUTPUT, make_pair)


def check_io_stream(make_pair: MakePair) -> None:
    """Check both halves of a stream, and that neither disturbs the other.

    Args:
        make_pair: Returns a new stream and a stream at its other end, for each claim. The buffers between
            the two must not hold more than a few megabytes.

    Raises:
        AssertionError: A claim does not hold; the message names it.
    """
    _check([*INPUT, *OUTPUT, *BOTH], make_pair)


def _check(claims: Iterable[Claim], make_pair: MakePair) -> None:
    if not isinstance(make_pair, Callable):  # type: ignore[arg-type]  # the one of collections.abc can be asked
        raise TypeError(f"make_pair must be callable, not {make_pair!r}")
    for claim in claims:
        _check_claim(claim, make_pair)


def _check_claim(claim: Claim, make_pair: MakePair) -> None:
    message = f"{claim.__name__}: {(claim.__doc__ or '').split(chr(10))[0]}"
    hanging = gevent.Timeout(LONGEST)
    try:
        with hanging:
            claim(make_pair)
    except gevent.Timeout as error:
        if error is not hanging:
            raise AssertionError(f"{message} (another timeout was raised: {error!r})") from error
        raise AssertionError(f"{message} (not done after {LONGEST:g} s)") from error
    except Exception as error:
        raise AssertionError(f"{message} ({type(error).__name__}: {error})") from error
