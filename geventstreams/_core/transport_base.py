"""`Transport`: what a stream needs of the connection that carries its bytes."""

# Invariants:
# * `recv_into`, `send`, `flush` and `end_output` never wait: they return WOULD_WAIT. Only `wait_input` and `wait_output` switch to the hub.
# * A transport knows no lines, elements or streams, so nothing it starts keeps a stream alive.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geventstreams._constants import ENDED
from geventstreams.errors import StreamError

if TYPE_CHECKING:
    from geventstreams._types import EventHandler, Wakeup


class Transport:
    """What a stream needs of the connection that carries its bytes. `peer` is the other end's name in errors."""

    peer = "peer"

    def __init__(self) -> None:
        self.emptied: bool = False
        """Whether the last receive call took all there was, so that waiting first saves one that finds nothing."""
        self.unsent: int = 0
        """Bytes that `send` took and holds back until `flush`."""
        self.answers: bool = False
        """Whether a receive call is in progress that may send as well: what a signal handler interrupts then is not known."""
        self.received = 0
        """Bytes that came from the system. It grows with ciphertext as well, so a timeout can count from the last byte that arrived."""
        self.ready: bool = True
        """Whether a stream's bytes may pass; while they may not, `refusal` says why."""

    def recv_into(self, space: memoryview, start: int, counts: list[int]) -> int:
        """Receive into `space[start:]`. Return the number of bytes, ENDED or WOULD_WAIT.

        The C call that receives also appends the number to `counts`: a signal handler that raises cannot make it unknown.
        """
        raise NotImplementedError

    def send(self, data: bytes | memoryview, start: int, stop: int) -> int:
        """Take what can be sent now of `data[start:stop]`. Return the number of bytes, or WOULD_WAIT."""
        raise NotImplementedError

    def send_pieces(self, pieces: list[bytes], start: int) -> int:
        """Take what can be sent now of several pieces, in order, without the first `start` bytes. Return the number, or WOULD_WAIT."""
        data = b"".join(pieces) if len(pieces) > 1 else pieces[0]
        return self.send(memoryview(data), start, len(data))

    def flush(self) -> int:
        """Send what `send` holds back. Return 0 when nothing is held back any more, else WOULD_WAIT."""
        return 0

    def unsent_data(self) -> int:
        """Return how many of the bytes that `send` took the peer cannot have: all of a TLS record, until the system has the whole of it."""
        return self.unsent

    def readable(self) -> int:
        """Return what `recv_into` would (any positive number for bytes), and take nothing."""
        raise NotImplementedError

    def wait_input(self, timeout: float) -> bool:
        """Wait until `recv_into` may return something else than WOULD_WAIT. Return False after `timeout` seconds."""
        raise NotImplementedError

    def watch_input(self, handler: EventHandler, timeout: float) -> bool:
        """Call `handler._on_event()` where `wait_input` would return. Return False where it would return at once: nothing is called."""
        self.emptied = False
        return bool(self.input_wakeup().watch(handler, timeout))

    def wait_output(self, timeout: float) -> bool:
        """Wait until `send` or `flush` may make progress. Return False after `timeout` seconds."""
        raise NotImplementedError

    def input_wakeup(self) -> Wakeup:
        """Return the wakeup that fires when `readable` may have changed."""
        raise NotImplementedError

    def output_wakeup(self) -> Wakeup:
        """Return the wakeup that fires when `send` may make progress."""
        raise NotImplementedError

    def end_output(self) -> int:
        """Tell the peer that nothing more will come. Return 0 when that is done, else WOULD_WAIT."""
        raise NotImplementedError

    def end_input(self) -> None:
        """Tell the system that no more input is wanted."""

    def discard(self) -> int:
        """Receive some bytes, below any encryption, and drop them. Return their number, ENDED or WOULD_WAIT."""
        return ENDED

    def not_yet_sent(self) -> int:
        """Return the number of bytes that the system took and has not sent."""
        return 0

    def unread(self) -> int:
        """Return the number of bytes that the system received and that were not taken from it."""
        return 0

    def ends_by_close(self) -> bool:
        """Return whether `close` alone tells the peer that nothing more will come, and loses nothing."""
        return False

    def refusal(self, stream: Any) -> StreamError:
        """Return the error that says why no byte of the stream may pass now."""
        return StreamError(f"nothing can be exchanged with {self.peer} yet", stream=stream)

    def wake(self) -> None:
        """Wake the greenlets that wait, to look again."""
        self.input_wakeup().fire()
        self.output_wakeup().fire()

    def fileno(self) -> int:
        """Return the descriptor, or -1 where there is none."""
        return -1

    def is_open(self) -> bool:
        """Return whether it was not closed."""
        return self.fileno() >= 0

    def addresses(self) -> tuple[Any, Any]:
        """Return the addresses of our end and of the peer, None where one is not known."""
        return None, None

    def close(self, abort: bool = False) -> None:
        """Release everything, without waiting. With `abort` the peer sees a reset, where the protocol has one."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what is held in memory, after `close`. Not called by a signal handler, so no call on this is in progress."""

    def reset_at_end(self) -> None:
        """Make any later close a reset, where the protocol has one. May be called in any thread."""

    def close_in_child(self) -> None:
        """Close the descriptor in a forked child, and touch nothing that the parent shares."""
        self.close()


class LayeredTransport(Transport):
    """A transport over another one, `below`, which answers what no layer changes."""

    below: Transport

    @property
    def peer(self) -> str:  # type: ignore[override]  # read only here
        return self.below.peer

    def wake(self) -> None:
        self.below.wake()

    def input_wakeup(self) -> Wakeup:
        return self.below.input_wakeup()

    def output_wakeup(self) -> Wakeup:
        return self.below.output_wakeup()

    def end_input(self) -> None:
        self.below.end_input()

    def discard(self) -> int:
        return self.below.discard()

    def not_yet_sent(self) -> int:
        return self.below.not_yet_sent()

    def unread(self) -> int:
        return self.below.unread()

    def fileno(self) -> int:
        return self.below.fileno()

    def is_open(self) -> bool:
        return self.below.is_open()

    def addresses(self) -> tuple[Any, Any]:
        return self.below.addresses()

    def unsent_data(self) -> int:
        return self.below.unsent_data()

    def close(self, abort: bool = False) -> None:
        self.below.close(abort)

    def reset_at_end(self) -> None:
        self.below.reset_at_end()

    def close_in_child(self) -> None:
        self.below.close_in_child()
