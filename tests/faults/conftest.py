"""OwnedFd streams of every kind, for tests that are the same over all of them."""

# Invariants: a test that takes `pairs` takes `kind` too, and runs over all five; one that needs a descriptor, or a peer that can reset,
# says `@pytest.mark.parametrize("kind", …)` with the kinds that have it.

from collections.abc import Iterator

import pytest
from kit.callbacks import calls, endpoints, reports
from kit.pairs import KINDS, Pairs
from kit.tls import VERSIONS, TLSPairs, tls12, tls13
from kit.virtual_time import virtual_clock
from servers.certificates import Certificates

__all__ = ["calls", "endpoints", "kind", "pairs", "reports", "tls12", "tls13", "virtual_clock"]


@pytest.fixture(params=[*KINDS, *VERSIONS])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of connection in turn."""
    return str(request.param)


@pytest.fixture
def pairs(kind: str, certificates: Certificates) -> Iterator[Pairs]:
    """Make pairs of this kind; `pairs.streams(kind)`."""
    made = TLSPairs(certificates) if kind in VERSIONS else Pairs()
    yield made
    made.close()
