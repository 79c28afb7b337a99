"""The fork generation: a number that changes in a forked child, so that a stream can tell that it belongs to the parent.

Each half of a stream keeps a permit, the generation in which it may be used, or NO_PERMIT. One comparison with `FORK.generation` then
answers "may this call begin at once?": a permit is withdrawn by setting it to NO_PERMIT, and a fork withdraws all of them.
"""

from __future__ import annotations

import os

import geventstreams._native.interpreter as _interpreter
from geventstreams.errors import StreamError


class ForkGeneration:
    """The number of forks between the first process that loaded this module and the one that runs now, counted from 1."""

    def __init__(self) -> None:
        self.generation = 1
        self.thread: int = 0
        """In a forked child, the thread that forked, the only one that it has of its parent's."""
        self._process = os.getpid()
        self._parents = 0

    def look(self) -> None:
        """Notice that this is a forked child, as far as the number of the process tells: in a namespace of its own it may be the parent's.

        A destructor that could send has to look itself: what only a thread of the parent referred to, as in a `threading.local`, is dropped
        in the child before anything else runs there.
        """
        if os.getpid() != self._process:
            self._begin()

    def forking(self) -> None:
        """Called in the process that forks."""
        self._parents = self.generation

    def forked(self) -> None:
        """Called in a forked child."""
        if self.generation == self._parents:  # no destructor has noticed it
            self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self.thread = _interpreter.thread_id()
        self.generation += 1


FORK = ForkGeneration()
os.register_at_fork(before=FORK.forking, after_in_child=FORK.forked)


def inherited(thing: str) -> StreamError:
    """Return the error of a call in a forked child on what only the parent may use."""
    return StreamError(f"this {thing} belongs to the parent of a forked process")
