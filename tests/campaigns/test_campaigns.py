"""The short runs of the campaigns: with one seed, which GEVENTSTREAMS_CAMPAIGN_SEED changes."""

from pathlib import Path

import pytest
from servers import Certificates

from campaigns.characters import read_characters
from campaigns.proxy_headers import read_headers
from campaigns.runs import SEED, SHORT, Kit, run
from campaigns.tally import Tally

LEAST = {"reading": 1_000_000, "writing": 130_000, "characters": 100_000, "PROXY headers": 5_000, "callbacks": 3_000}
"""Operations without which a campaign has not taken place."""

LEAST_FAULTS = {"reading with faults": 50_000, "writing with faults": 5_000, "TLS records": 500, "system calls": 200, "forks": 200,
                "hubs that die": 200, "hooks": 100, "threads": 400,
                "slow links": 4_000, "callbacks": 60}
"""Disturbances without which a campaign has not taken place: at most half of the usual number, since how often a stream waits varies."""


@pytest.fixture
def kit(certificates: Certificates, tmp_path: Path) -> Kit:
    return Kit(certificates, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SHORT)
def test_a_campaign_finds_nothing(name: str, kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    """What reliability asks for holds in every one of the random programs; the counts are printed with the seed that repeats them."""
    with capsys.disabled():
        print()
        tally = run(name, SHORT[name], kit, SEED)
    assert tally.operations >= LEAST.get(name, 100)
    assert tally.faults >= LEAST_FAULTS.get(name, 0)


def test_the_same_seed_repeats_a_campaign(kit: Kit) -> None:
    """Where no clock and no system has a say, two runs with one seed do the very same, and one with another seed does something else."""
    digests = []
    for seed in (5, 5, 6):
        tally = Tally("characters", seed)
        read_characters(tally, kit.ends, "utf-8", 2000)
        read_headers(tally, kit.ends, 300)
        digests.append((tally.digest, tally.operations, tally.faults))
    assert digests[0] == digests[1] != digests[2]
