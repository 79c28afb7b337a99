"""The numbers that the parts of a stream agree on."""

from __future__ import annotations

NEVER = float("inf")
"""No timeout, in seconds, and no limit, in bytes."""

WOULD_WAIT = -1
"""What a transport returns where a call would have to wait."""

ENDED = 0
"""What a transport returns where the input has ended."""

BLOCK = 65536
"""Bytes of a leased block of memory, and the size of an output buffer."""

SMALL = 4096
"""A remainder up to this many bytes is copied in front of what arrives next; below this much room a buffer makes more."""

BUSY = 16384
"""Bytes of one receive call after which more have probably come already: a call that finds nothing costs less than a needless wait."""

CALLS = 256
"""Calls that a buffer serves before its owner looks at the clock."""

SLICE = 0.005
"""Seconds for which calls that never have to wait keep the hub to themselves."""

TICK = 0.001
"""The shortest time, in seconds, for which the timers of every event loop can be started: gevent warns of less on libuv."""

WAITS = 0
FIRED = 1
EXPIRED = 2
"""How a wait ended: not yet, by its event, by its timeout."""

FRESH = 0
"""The state of a `Fairness` whose user has waited: its slice is not begun yet."""

NO_TAIL = -1
"""The last bytes of an output to which nothing was written."""

LARGEST_INT = 2**31 - 1
"""The largest number that the C type `int` of system calls and of gevent has."""

ROUND = 0.05
"""Seconds after which a wait tests a condition again although nothing happened."""

ALL = -1
"""The size of a read that has no bound."""

START = 0
"""The default of the argument `start`, asked for by identity: a call without it has no other arguments to check."""

SOME = 0
ALL_INPUT = -1
A_LINE = -2
A_SEPARATOR = -3
"""What a read lacks where that is not a number of bytes: any input, all up to the end, a newline, a separator."""

DIRECT = 8192
"""A read of at least this size goes straight into the caller's memory where nothing is buffered, to its last byte: one more system call
costs less than copying what would come with it."""

DONE = 0
NEEDS_INPUT = 1
NEEDS_ROOM = 2
"""What a TLS handshake says: it is complete, or waits for input, or for room to send."""

NO_PERMIT = 0
"""The fork generation of no process: a half of a stream with this permit may not be used at once."""
