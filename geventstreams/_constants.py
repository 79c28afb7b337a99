"""The numbers that the rooms of a stream agree on."""

from __future__ import annotations

NEVER = float("inf")
"""No limit, in seconds or octets."""

WOULD_WAIT = -1
"""What a transport answers where a call would have to wait."""

ENDED = 0
"""What a transport answers where the input ended."""

BLOCK = 65536
"""Octets of a leased block of memory, and the size of an output buffer."""

NO_TAIL = -1
"""The last octets of an output to which nothing was written."""

CALLS = 256
"""Calls that a buffer serves before its owner looks at the clock."""

WANTED = 1
TOLD = 2
"""How far the end of an output has come: it was asked for, and the peer may not know of it yet; the peer was told."""

SMALL = 4096
"""A remainder up to this size is copied in front of what arrives next; below this much room a buffer makes more."""

ROUND = 0.05
"""Seconds after which a wait tests a condition again although nothing happened."""
