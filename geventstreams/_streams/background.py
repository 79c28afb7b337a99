"""The sending of a stream's output from the hub, once the system has taken a part and no greenlet waits to send the rest."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geventstreams._types import BlockingEngine, Wakeup


class BackgroundSender:
    """Sends what a stream holds as room comes, from the hub, without keeping the stream alive."""

    def __init__(self, engine: BlockingEngine, wakeup: Wakeup) -> None:
        self._engine = weakref.ref(engine)
        self._wakeup = wakeup
        wakeup.arm()
        wakeup.listen(self)

    def __call__(self) -> None:
        """Send more. Called by the hub when there is room."""
        engine = self._engine()
        if engine is None or not engine.send_in_background():
            self.stop()
        else:
            self._wait_at(engine.transport.output_wakeup())

    def _wait_at(self, wakeup: Wakeup) -> None:
        """Be called at the next event of a wakeup: where TLS has to receive before it sends, that of the input."""
        if wakeup is not self._wakeup:
            self.stop()
            self._wakeup = wakeup
            wakeup.listen(self)
        wakeup.arm()

    def stop(self) -> None:
        """End the sending; what is left stays in the stream."""
        self._wakeup.unlisten(self)
