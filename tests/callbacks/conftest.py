"""The fixtures of these tests; `certificates` and the real servers are in `servers.fixtures`."""

from kit.callbacks import calls, endpoints, reports

__all__ = ["calls", "endpoints", "reports"]
