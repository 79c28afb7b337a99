"""The short form of the campaign that `tox -e soak` runs for an hour."""

import random

import pytest
from endurance import endure
from servers import Certificates


@pytest.mark.slow
def test_forty_seconds(certificates: Certificates) -> None:
    """200 connections with all kinds of faults for 40 s: every octet is right, descriptors and memory stay the same."""
    counts = endure(certificates, 40, random.SystemRandom().randrange(10**6))
    assert sum(counts.values()) > 200
