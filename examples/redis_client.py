"""A client for Redis in sixty lines: lines, and blocks whose length is announced (the protocol RESP).

    redis_client.py localhost 6379 SET greeting "Hello, world"
    redis_client.py localhost 6379 GET greeting

`readline` and `read_exactly` are all that such a protocol needs. If either times out, nothing that arrived is lost.
"""

import argparse
import sys

from geventstreams import StreamError, open_tcp_stream


class RedisError(Exception):
    """Redis answered with an error."""


class Redis:
    """One connection."""

    def __init__(self, stream):
        self._stream = stream

    def command(self, *words):
        """Send a command and return its answer: bytes, an integer, None, or a list of these."""
        pieces = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            pieces.append(b"$%d\r\n%b\r\n" % (len(data), data))
        self._stream.writelines(pieces)
        return self._answer()

    def _answer(self):
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise RedisError("Redis ended the connection")
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(text.decode())
        if kind == b"+":
            return text
        if kind == b":":
            return int(text)
        if int(text) < 0:
            return None
        if kind == b"$":
            return self._stream.read_exactly(int(text) + 2)[:-2]
        return [self._answer() for _ in range(int(text))]


def show(answer):
    """Print an answer, the elements of a list line by line."""
    for element in answer if isinstance(answer, list) else [answer]:
        print(element.decode("utf-8", "backslashreplace") if isinstance(element, bytes) else element)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        with open_tcp_stream(options.host, options.port, timeout=5, read_timeout=5) as stream:
            show(Redis(stream).command(*options.command))
    except (RedisError, StreamError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
