"""All campaigns with the sizes of their short runs. The long runs are the same many times over, with one seed after the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers import Certificates

from campaigns import system_calls
from campaigns.calling_back import call_back
from campaigns.characters import ENCODINGS, read_characters
from campaigns.ends import Ends
from campaigns.forks import fork_often
from campaigns.hooks import call_hooks
from campaigns.hubs import outlive_hubs
from campaigns.leaks import connect_and_close
from campaigns.machine import make_up
from campaigns.proxy_headers import read_headers
from campaigns.reading import read
from campaigns.tally import Tally, tallied
from campaigns.threads import outlive_threads, share_files, wait_elsewhere
from campaigns.tls_records import change_records
from campaigns.writing import write
from geventstreams.testing import virtual_time

SEED = int(os.environ.get("GEVENTSTREAMS_CAMPAIGN_SEED", "1"))
"""The seed of the short runs, and the first of the long ones: a seed that was printed repeats what it found."""

RATE = 0.3
"""The probability of a disturbance in each wait and receive call, in campaigns with faults."""

READS = {
    "memory": 300_000, "tcp": 250_000, "unix": 150_000, "TLSv1.2": 100_000, "TLSv1.3": 100_000,
    "network": 80_000, "network TLSv1.3": 20_000,
}  # fmt: skip
WRITES = {
    "memory": 40_000, "tcp": 35_000, "unix": 25_000, "TLSv1.2": 10_000, "TLSv1.3": 10_000, "network": 7_000, "network TLSv1.3": 3_000,
}  # fmt: skip
SLOW = {"network": 20_000, "network TLSv1.3": 10_000}
"""Operations on links of a network in memory that have latency and bandwidth, in virtual time."""

CALLS_BACK = {
    "tcp": 40, "unix": 40, "TLSv1.2": 30, "TLSv1.3": 30, "network": 40, "network TLSv1.3": 30,
    "hostile memory": 30, "hostile tcp": 30, "hostile unix": 30, "hostile TLSv1.2": 20, "hostile TLSv1.3": 20,
}  # fmt: skip
"""Programs of connections that call back, of each kind; under a hostile one lies a transport that sends and receives pieces."""

STEP = 9
"""Of the system calls of a session each of so many is failed in a short run: another one for each error."""


@dataclass
class Kit:
    """What campaigns need."""

    certificates: Certificates
    directory: Path

    def __post_init__(self) -> None:
        self.ends = Ends(self.certificates)
        self.narrow = Ends(self.certificates, 4096)
        self.slow = Ends(self.certificates, latency=(0.0, 0.005), bandwidth=10_000_000)


def _reading(kit: Kit, tally: Tally) -> None:
    for kind, operations in READS.items():
        read(tally, kit.ends, kind, operations)


def _disturbed_reading(kit: Kit, tally: Tally) -> None:
    for kind, operations in READS.items():
        read(tally, kit.ends, kind, operations // 2, rate=RATE)


def _writing(kit: Kit, tally: Tally) -> None:
    for kind, operations in WRITES.items():
        write(tally, kit.narrow, kind, operations)


def _disturbed_writing(kit: Kit, tally: Tally) -> None:
    for kind, operations in WRITES.items():
        write(tally, kit.narrow, kind, operations // 3, rate=RATE)


def _slow_links(kit: Kit, tally: Tally) -> None:
    with virtual_time():
        for kind, operations in SLOW.items():
            read(tally, kit.slow, kind, operations, rate=RATE)
            write(tally, kit.slow, kind, operations // 10, rate=RATE)


def _characters(kit: Kit, tally: Tally) -> None:
    for name in ENCODINGS:
        read_characters(tally, kit.ends, name, 6_000)


def _sequences(kit: Kit, tally: Tally) -> None:
    make_up(tally, kit.ends, 60)


def _system_calls(kit: Kit, tally: Tally, step: int = STEP) -> None:
    said = system_calls.run(kit.directory, kit.certificates, 200, step)
    tally.operations += said["sessions"]
    tally.faults += said["faults"]
    tally.expect(not said["findings"], said["findings"])
    tally.expect(not said["descriptors"], f"descriptors that are left: {said['descriptors']}")


def _every_system_call(kit: Kit, tally: Tally) -> None:
    _system_calls(kit, tally, 1)


def _proxy_headers(kit: Kit, tally: Tally) -> None:
    read_headers(tally, kit.ends, 5_000)


def _tls_records(kit: Kit, tally: Tally) -> None:
    for version in ("TLSv1.2", "TLSv1.3"):
        change_records(tally, kit.ends, version, 500)


def _callbacks(kit: Kit, tally: Tally) -> None:
    for kind, programs in CALLS_BACK.items():
        call_back(tally, kit.ends, kind, programs)


def _leaks(kit: Kit, tally: Tally, tcp: int = 2_000, tls: int = 300) -> None:
    for kind, connections in (("tcp", tcp), ("TLSv1.2", tls), ("TLSv1.3", tls)):
        connect_and_close(tally, kit.ends, kind, connections)


def _long_leaks(kit: Kit, tally: Tally) -> None:
    _leaks(kit, tally, 100_000, 20_000)


def _forks(kit: Kit, tally: Tally) -> None:
    fork_often(tally, kit.narrow, 200)


def _hubs(kit: Kit, tally: Tally) -> None:
    outlive_hubs(tally, kit.narrow, 200)


def _hooks(kit: Kit, tally: Tally) -> None:
    call_hooks(tally, kit.ends, 400)


def _threads(kit: Kit, tally: Tally) -> None:
    share_files(tally, kit.ends, 40)
    wait_elsewhere(tally, kit.ends, 200)
    outlive_threads(tally, kit.ends, 200)


Campaign = Callable[[Kit, Tally], None]

SHORT: dict[str, Campaign] = {
    "reading": _reading,
    "reading with faults": _disturbed_reading,
    "writing": _writing,
    "writing with faults": _disturbed_writing,
    "slow links": _slow_links,
    "characters": _characters,
    "sequences": _sequences,
    "system calls": _system_calls,
    "PROXY headers": _proxy_headers,
    "TLS records": _tls_records,
    "callbacks": _callbacks,
    "leaks": _leaks,
    "forks": _forks,
    "hubs that die": _hubs,
    "hooks": _hooks,
    "threads": _threads,
}

ONCE: dict[str, Campaign] = {"system calls": _every_system_call, "leaks": _long_leaks}
"""What the long run has in their place, and does once: another seed would change nothing."""


def run(name: str, campaign: Campaign, kit: Kit, seed: int) -> Tally:
    """Run a campaign and print its counts."""
    with tallied(name, seed) as tally:
        campaign(kit, tally)
    return tally
