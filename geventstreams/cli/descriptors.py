"""Descriptors 0 to 2, made safe: files that are opened later get other numbers, and nothing is printed into a listener."""

from __future__ import annotations

import fcntl
import os

from geventstreams._net.listening import is_listening

FIRST_FREE = 3


def secured() -> dict[int, int]:
    """Open the null device in place of those that are closed or listen. Return the new numbers of the listeners.

    inetd's "wait" passes a listener as 0, or as all three.
    """
    moved = {}
    for number in range(FIRST_FREE):
        if is_listening(number):
            moved[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
        elif is_open(number):
            continue
        null = os.open(os.devnull, os.O_WRONLY if number else os.O_RDONLY)
        if null == number:
            os.set_inheritable(number, True)
        else:
            os.dup2(null, number)
            os.close(null)
    return moved


def is_open(number: int) -> bool:
    """Return whether this process has this descriptor."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
