"""A pool of connections: many greenlets share a few streams to one server.

The pool lends a stream for one exchange. It checks that a kept connection is still in step (open, and nothing unread in
it), and drops a stream whose exchange failed, because the rest of its answer may still arrive. The program counts in
Redis from many greenlets at once and prints the total.
"""

import argparse
import os
import sys
from contextlib import contextmanager

import gevent
from gevent.lock import BoundedSemaphore

from geventstreams import StreamError, open_tcp_stream


class Pool:
    """At most `size` streams to one address; the other arguments are those of `open_tcp_stream`."""

    def __init__(self, host, port, size, **options):
        self.opened = 0
        self._address = host, port
        self._options = options
        self._idle = []
        self._places = BoundedSemaphore(size)

    @contextmanager
    def stream(self):
        """Lend a stream. Waits while all are lent."""
        with self._places:
            stream = self._usable()
            try:
                yield stream
            except BaseException:
                stream.abort()
                raise
            self._idle.append(stream)

    def _usable(self):
        while self._idle:
            stream = self._idle.pop()  # the one used last: the others may be idle for too long already
            try:
                if not stream.listen() and not stream.at_eof:
                    return stream
            except StreamError:
                pass
            stream.abort()
        self.opened += 1
        return open_tcp_stream(*self._address, **self._options)

    def close(self):
        """Close the streams that are not lent."""
        while self._idle:
            self._idle.pop().close()


def increment(pool, key):
    """Add one to a counter in Redis, and return what it is then."""
    with pool.stream() as redis:
        redis.write_line(f"INCR {key}\r")
        answer, _ = redis.read_line()
        if not answer.startswith(":"):
            raise ValueError(f"Redis answered {answer!r}")
        return int(answer[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--greenlets", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20, help="increments by each greenlet")
    options = parser.parse_args()
    for name in ("connections", "greenlets", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be positive")

    pool = Pool(options.host, options.port, options.connections, timeout=5, read_timeout=5)

    key = f"pool:{os.getpid()}"
    try:
        first = increment(pool, key)
    except (StreamError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")

    def work():
        for _ in range(options.rounds):
            increment(pool, key)

    workers = [gevent.spawn(work) for _ in range(options.greenlets)]
    gevent.joinall(workers, raise_error=True)
    total = increment(pool, key) - first - 1
    pool.close()
    print(f"{total} increments by {options.greenlets} greenlets over {pool.opened} connections")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
