"""The short form of the campaign that `tox -e soak` runs for an hour."""

import random

import pytest
from servers import Certificates

from campaigns.endurance import endure


@pytest.mark.long
@pytest.mark.timeout(400)
def test_forty_seconds(certificates: Certificates) -> None:
    """200 connections with all kinds of faults for forty seconds: every byte is right, descriptors and memory stay the same."""
    counts = endure(certificates, 40, random.SystemRandom().randrange(10**6), pace=4.0)
    assert sum(counts.values()) > 500
