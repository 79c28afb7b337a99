"""TLS changes nothing in the contract of a stream: the tests of plain streams and the claims of the test kit, under TLS 1.2 and 1.3."""

# Invariants: a test of plain streams runs here if it takes the fixtures `pairs` and `kind`; a kind is a version of TLS here.

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from kit.pairs import Pairs
from kit.tls import SIDES, VERSIONS, TLSKit, TLSPairs
from servers.certificates import Certificates
from streams import test_buffered, test_cancellation, test_closing, test_concurrency, test_limits, test_stream, test_timeouts

from geventstreams.testing import check_io_stream

MODULES = (test_buffered, test_cancellation, test_closing, test_concurrency, test_limits, test_stream, test_timeouts)


@pytest.fixture
def pairs(certificates: Certificates) -> Iterator[Pairs]:
    made = TLSPairs(certificates)
    yield made
    made.close()


@pytest.fixture(params=VERSIONS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each version of TLS in turn."""
    return str(request.param)


def has_a_kind(test: Any) -> bool:
    """Return whether a test asks for a kind of connection, not for a `kind` of its own."""
    own = [mark.args[0] for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    return {"pairs", "kind"} <= set(inspect.signature(test).parameters) and "kind" not in str(own)


for module in MODULES:
    for name, test in vars(module).items():
        if name.startswith("test_") and callable(test) and has_a_kind(test):
            globals()[name] = test


@pytest.mark.parametrize("role", SIDES)
def test_every_claim_holds(pairs: Pairs, certificates: Certificates, kind: str, role: str) -> None:
    """All claims of the public test kit hold for either side of each version."""
    check_io_stream(TLSKit(certificates, pairs, kind).maker(role), seed=0)
