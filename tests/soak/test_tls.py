"""The long campaigns of TLS: the tests of faults and leaks, as often as reliability asks for."""

# Invariants: the tests are those of the short form; this file only makes them longer.

import pytest
from kit import vocabulary
from tls import test_tls_faults

pytestmark = pytest.mark.soak

LONGER = {
    "test_interrupted_reads_lose_nothing": 50,  # 400,000 interruptions in each version
    "test_interrupted_writes_lose_nothing": 20,  # 40,000
    "test_signal_handlers_that_raise_cost_no_input": 10,
    "test_signal_handlers_that_raise_double_no_output": 10,
    "test_http_to_the_tls_port": 10,  # 10,000 clients
    "test_tls_to_the_plain_port": 10,
    "test_a_line_without_end_takes_bounded_memory": 10,  # 64 MiB
    "test_error_paths_leave_nothing": 50,  # 1,000 streams for every way to fail
}

for name in LONGER:
    globals()[name] = getattr(test_tls_faults, name)


@pytest.fixture(autouse=True)
def longer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a campaign run longer than by default, but for one that the environment makes longer still."""
    monkeypatch.setattr(vocabulary, "SIZE", max(vocabulary.SIZE, LONGER[request.function.__name__]))
