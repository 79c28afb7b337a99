"""The hour: every kind of fault against plain, TLS and relaying servers."""

import os
import random

import pytest
from campaigns.endurance import endure
from servers import Certificates

SECONDS = float(os.environ.get("GEVENTSTREAMS_SOAK_SECONDS", "3600"))


@pytest.mark.soak
def test_an_hour(certificates: Certificates) -> None:
    """200 connections with all kinds of faults for an hour: every byte is right, descriptors and memory stay the same."""
    counts = endure(certificates, SECONDS, random.SystemRandom().randrange(10**6))
    assert sum(counts.values()) > SECONDS
