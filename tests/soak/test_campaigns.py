"""The long runs of the campaigns, each for a sixth of GEVENTSTREAMS_SOAK_SECONDS, with one seed after the other."""

import os
import time
from pathlib import Path

import pytest
from campaigns.runs import ONCE, SEED, SHORT, Kit, run
from servers import Certificates

SECONDS = float(os.environ.get("GEVENTSTREAMS_SOAK_SECONDS", "3600")) / 6


@pytest.mark.soak
@pytest.mark.parametrize("name", SHORT)
def test_a_campaign_finds_nothing(name: str, certificates: Certificates, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The short campaign, over and over: what it asks for holds for every seed; where it does not, the seed is told."""
    kit = Kit(certificates, tmp_path)
    began = time.monotonic()
    seed = SEED
    operations = faults = 0
    with capsys.disabled():
        print()
        while seed == SEED or (name not in ONCE and time.monotonic() < began + SECONDS):
            tally = run(name, ONCE.get(name, SHORT[name]), kit, seed)
            operations += tally.operations
            faults += tally.faults
            seed += 1
        took = time.monotonic() - began
        print(f"{name}: seeds {SEED} to {seed - 1}, {operations} operations, {faults} faults, {took:.0f} s, 0 divergences")
    assert operations
