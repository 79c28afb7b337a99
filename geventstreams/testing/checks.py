"""What any stream must survive, as functions to call: give a maker of fresh pairs, and AssertionError names what fails.

    check_io_stream(lambda: tuple(map(SocketStream, gevent.socket.socketpair())))

Rules for the next editor: a claim is a function of a maker of pairs, in one of the files `claims_of_…`; its name and
the first line of its docstring are the message. Nothing here knows what a stream stands on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import gevent

from geventstreams.testing.claims import Claim, MakePair
from geventstreams.testing.claims_of_both import CLAIMS as BOTH
from geventstreams.testing.claims_of_input import CLAIMS as INPUT
from geventstreams.testing.claims_of_output import CLAIMS as OUTPUT

LONGEST = 60.0
"""Seconds after which a claim counts as hanging."""


def check_input_stream(make_pair: MakePair) -> None:
    """Checks the reading half of a stream; `make_pair()` gives it and a stream at its other end, fresh each time.

    AssertionError names the claim that does not hold. Both streams of each pair are closed afterwards.
    """
    _check(INPUT, make_pair)


def check_output_stream(make_pair: MakePair) -> None:
    """Checks the writing half of a stream; `make_pair()` gives it and a stream at its other end, fresh each time.

    What is on its way between the two must be bounded by a few megabytes.
    """
    _check(OUTPUT, make_pair)


def check_io_stream(make_pair: MakePair) -> None:
    """Checks both halves of a stream, and that they leave each other alone."""
    _check([*INPUT, *OUTPUT, *BOTH], make_pair)


def _check(claims: Iterable[Claim], make_pair: MakePair) -> None:
    if not isinstance(make_pair, Callable):  # type: ignore[arg-type]  # the one of collections.abc can be asked
        raise TypeError(f"make_pair must be callable, not {make_pair!r}")
    for claim in claims:
        _check_claim(claim, make_pair)


def _check_claim(claim: Claim, make_pair: MakePair) -> None:
    said = f"{claim.__name__}: {(claim.__doc__ or '').split(chr(10))[0]}"
    hanging = gevent.Timeout(LONGEST)
    try:
        with hanging:
            claim(make_pair)
    except gevent.Timeout as error:
        if error is not hanging:
            raise AssertionError(f"{said} (a timeout came out that was not ours: {error!r})") from error
        raise AssertionError(f"{said} (not done after {LONGEST:g} s)") from error
    except Exception as error:
        raise AssertionError(f"{said} ({type(error).__name__}: {error})") from error
