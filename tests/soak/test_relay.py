"""The long form of the relay's test for leaks."""

import pytest
import test_relay
from kit import vocabulary

pytestmark = pytest.mark.soak

test_connections_leave_nothing = test_relay.test_connections_leave_nothing


@pytest.fixture(autouse=True)
def longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """30,000 connections of each kind, but for a campaign that the environment makes longer still."""
    monkeypatch.setattr(vocabulary, "SIZE", max(vocabulary.SIZE, 33))
