"""All that is written to the connections of a hub in one turn of its loop is sent at the end of that turn, in as few packets as it fits."""

from __future__ import annotations

import weakref
from typing import Any

from gevent.hub import Hub

from geventstreams.callbacks.push_mode import Connection


class SendQueue:
    """The connections of one hub that have something to send at the end of this turn of its loop."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._connections: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Call `connection.send()` when everything that is ready to run in this turn has run."""
        self._connections.append(connection)
        if len(self._connections) == 1:
            self._loop.run_callback(self._send)

    def _send(self) -> None:
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.send()


_queues: weakref.WeakKeyDictionary[Hub, SendQueue] = weakref.WeakKeyDictionary()


def send_queue_of(hub: Hub) -> SendQueue:
    """Return the send queue that all connections of a hub share."""
    queue = _queues.get(hub)
    if queue is None:
        queue = _queues[hub] = SendQueue(hub.loop)
    return queue
