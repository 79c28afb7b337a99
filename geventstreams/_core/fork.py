"""Which process runs: streams compare their passes with its number, so that a forked child finds that none of the parent's is its own."""

from __future__ import annotations

import os

from geventstreams.errors import StreamError


class ForkGeneration:
    """This process: its number changes when it is a forked child, and so every stream of the parent loses its passes."""

    def __init__(self) -> None:
        self.generation = 1

    def forked(self) -> None:
        """Called in a forked child."""
        self.generation += 1


FORK = ForkGeneration()
os.register_at_fork(after_in_child=FORK.forked)


def inherited(thing: str) -> StreamError:
    """Return the error of a call in a forked child on what only the parent may use."""
    return StreamError(f"this {thing} belongs to the parent of a forked process")


NO_PERMIT = 0
"""The number of no process."""
