"""The order in which contenders take turns.

Who runs before a contender leaves it its state of the machine: what is in the processor's caches, and on which core the load ran. A server
that follows one which keeps a core busy for 30 ms was seen to take twice as many waits for the same transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turn(contenders: Sequence[T], number: int) -> list[T]:
    """Return the contenders in the order of this round, counted from 0.

    In as many rounds as there are contenders, or in twice as many where their number is odd, each follows each other one equally often
    within a round (a Williams design).
    """
    count = len(contenders)
    places = [(step // 2 if step % 2 == 0 else -(step // 2) - 1) + number for step in range(count)]
    if count % 2 and number // count % 2:
        places.reverse()
    return [contenders[place % count] for place in places]
