"""The connections of a `serve` or `relay`: their lines in the log, their idle timeout, and the list that SIGUSR1 prints."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gevent
from gevent import getcurrent

from geventstreams._constants import TICK
from geventstreams._core.transport import address_name
from geventstreams._streams.idle import end_reads
from geventstreams.cli import log, notices
from geventstreams.cli.progress import size
from geventstreams.cli.statuses import message_of
from geventstreams.cli.table import table
from geventstreams.errors import StreamError, StreamReset, StreamTimeout, StreamTruncated

if TYPE_CHECKING:
    from geventstreams._types import Handler, SocketStream

LOOKS = 4
"""How often in an idle timeout the connections are looked at."""


@dataclass
class Connection:
    """A connection that is being served, and since when nothing was sent or received on it."""

    peer: str
    server: str
    greenlet: Any
    began: float = field(default_factory=time.monotonic)
    quiet_since: float = field(default_factory=time.monotonic)
    bytes: int = 0
    is_idle: bool = False


class Service:
    """What is done with each connection: `serve(stream, address)`, and a record of it."""

    def __init__(self, args: argparse.Namespace, serve: Handler) -> None:
        self.serve = serve
        self._args = args
        self._open: dict[SocketStream, Connection] = {}
        if args.idle_timeout is not None:
            gevent.spawn(self._end_idle, args.idle_timeout)

    def __call__(self, stream: SocketStream, address: Any) -> None:
        connection = self._open[stream] = Connection(address_name(address), address_name(stream.address), getcurrent())
        end = "closed"
        if self._args.verbose:
            notices.tell(self._args, f"{connection.peer}: connected")
        try:
            self.serve(stream, address)
            stream.flush()  # so that all bytes are counted
        except StreamError as error:  # the server logs it
            end = how(error)
            raise
        except OSError as error:
            end = message_of(error)
            stream.abort()
            notices.warn(f"{connection.peer}: {end}")
        except BaseException as error:
            end = "killed" if isinstance(error, gevent.GreenletExit) else message_of(error)
            raise
        finally:
            del self._open[stream]
            self._log_end(stream, connection, "idle" if connection.is_idle else end)

    def _log_end(self, stream: SocketStream, connection: Connection, end: str) -> None:
        seconds = round(time.monotonic() - connection.began, 3)
        if self._args.log:
            log.write(
                self._args, event="ended", server=connection.server, peer=connection.peer, received=stream.octets_in,
                sent=stream.octets_out, seconds=seconds, end=end,
            )  # fmt: skip
        elif self._args.verbose:
            received, sent = size(stream.octets_in), size(stream.octets_out)
            notices.tell(self._args, f"{connection.peer}: {end} after {seconds:g} s, received {received}, sent {sent}")

    def list_open(self) -> None:
        """Print the open connections on standard error: a table, and the state of each stream."""
        now = time.monotonic()
        rows = [
            (each.peer, f"{now - each.began:.0f} s", size(stream.octets_in), size(stream.octets_out)) for stream, each in self._open.items()
        ]
        states = "\n".join(map(repr, self._open))
        notices.show(f"{len(rows):,} open\n{table(('peer', 'age', 'received', 'sent'), rows)}\n{states}" if rows else "0 open")

    def _end_idle(self, timeout: float) -> None:
        while True:
            gevent.sleep(max(TICK, timeout / LOOKS))
            now = time.monotonic()
            for stream, connection in list(self._open.items()):
                moved = stream.octets_in + stream.octets_out
                if moved != connection.bytes:
                    connection.bytes, connection.quiet_since = moved, now
                elif now - connection.quiet_since >= timeout and not connection.is_idle:
                    connection.is_idle = True
                    end(stream, connection)


def end(stream: SocketStream, connection: Connection) -> None:
    """End an idle connection: in order if its handler waits for input, else by force."""
    if stream._is_idle():
        end_reads(stream._waitable())
    else:
        gevent.kill(connection.greenlet)


def how(error: StreamError) -> str:
    """Return in a word how a connection ended."""
    kinds = {StreamTimeout: "timed out", StreamReset: "reset", StreamTruncated: "cut off"}
    return next((word for kind, word in kinds.items() if isinstance(error, kind)), message_of(error))
