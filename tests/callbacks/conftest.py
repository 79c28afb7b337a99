"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.callbacks import calls, endpoints, reports
from kit.virtual_time import virtual_clock

__all__ = ["calls", "endpoints", "reports", "virtual_clock"]
