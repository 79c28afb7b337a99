"""For tests of code on streams: checks that every stream passes, a network in memory, transports with faults, and virtual time."""

from __future__ import annotations

from geventstreams.testing.checks import CLAIMS, CheckResult, check_input_stream, check_io_stream, check_output_stream
from geventstreams.testing.memory_ends import MemoryTransport, memory_pair
from geventstreams.testing.memory_network import Link, MemoryNetwork
from geventstreams.testing.transports import (
    FailingTransport,
    HostileTransport,
    PiecemealTransport,
    StallingTransport,
    TransportOver,
)
from geventstreams.testing.virtual_time import VirtualClock, virtual_time

__all__ = [
    "CLAIMS",
    "CheckResult",
    "FailingTransport",
    "HostileTransport",
    "Link",
    "MemoryNetwork",
    "MemoryTransport",
    "PiecemealTransport",
    "StallingTransport",
    "TransportOver",
    "VirtualClock",
    "check_input_stream",
    "check_io_stream",
    "check_output_stream",
    "memory_pair",
    "virtual_time",
]
