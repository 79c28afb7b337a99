"""All processes of a server: found through /proc, stopped, continued and ended together.

A server's process group is not enough: PostgreSQL, for one, puts each of its children into a session of its own. So a
server's processes are the one that was started, all its descendants, and what is left in the session it began.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class _Status(NamedTuple):
    state: str
    parent: int
    session: int


def _status(pid: int) -> _Status | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses, which may hold anything, parentheses and blanks too.
    state, parent, _group, session, *_rest = text.rpartition(")")[2].split()
    return _Status(state, int(parent), int(session))


def is_running(pid: int) -> bool:
    """Return whether the process exists and has not ended; a zombie has ended."""
    status = _status(pid)
    return status is not None and status.state not in "ZX"


def family(leader: int) -> set[int]:
    """The process ids of `leader`, its session and its descendants, as far as they run."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    table = {pid: status for pid in pids if (status := _status(pid)) is not None and status.state not in "ZX"}
    members: set[int] = set()
    found = {pid for pid, status in table.items() if leader in {pid, status.session}}
    while found:
        members |= found
        found = {pid for pid, status in table.items() if status.parent in members} - members
    return members


def signal_all(pids: set[int], number: signal.Signals) -> None:
    """Send a signal to each of the processes that still exists."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def freeze(find: Callable[[], set[int]]) -> set[int]:
    """Hold the processes that `find` names, also one that is being forked just now, and give their ids back."""
    frozen: set[int] = set()
    while new := find() - frozen:
        signal_all(new, signal.SIGSTOP)
        frozen |= new
    return frozen


def wait_until(condition: Callable[[], bool], limit: float) -> bool:
    """Wait until the condition holds, at most `limit` seconds; whether it does."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def wait_until_ended(pids: set[int], limit: float) -> set[int]:
    """Wait until none of the processes runs, at most `limit` seconds; the ids of those that still do."""
    wait_until(lambda: not any(map(is_running, pids)), limit)
    return {pid for pid in pids if is_running(pid)}
