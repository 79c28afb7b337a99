"""Waiting for many streams of which one is readable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geventstreams
from benchmarks.operations.waiting import LIMIT, OneReady


class WaitForInputStreams(OneReady):
    """`wait_for_input_streams` with one list for all calls."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.streams = [geventstreams.SocketStream(near, "input") for near in self.far.near]
        self.answer: list[Any] = []

    def run(self) -> int:
        """Wait once."""
        self.answer = geventstreams.wait_for_input_streams(self.streams, timeout=LIMIT)
        return 1

    def finish(self) -> None:
        """Check that exactly this stream was reported, and read its byte."""
        chosen = self.streams[self.chosen]
        if self.answer != [chosen]:
            raise RuntimeError(f"{self.answer!r} is not {chosen!r}")
        chosen.read(1)

    def close(self) -> None:
        """Close all streams."""
        self.far.close()
        for stream in self.streams:
            stream.abort()


class NewList(WaitForInputStreams):
    """`wait_for_input_streams` with the streams in another order in each call, so that no list is one that was seen before."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._shuffled = self.streams.copy()

    def prepare(self) -> None:
        """Make another list, and one of its streams readable."""
        self.random.shuffle(self._shuffled)
        super().prepare()

    def run(self) -> int:
        """Wait once."""
        self.answer = geventstreams.wait_for_input_streams(self._shuffled, timeout=LIMIT)
        return 1


class WaitSet(WaitForInputStreams):
    """`WaitSet.wait` with all streams added beforehand."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._set = geventstreams.WaitSet(self.streams)

    def run(self) -> int:
        """Wait once."""
        self.answer = self._set.wait(LIMIT)
        return 1

    def close(self) -> None:
        """Close the set first."""
        self._set.close()
        super().close()
