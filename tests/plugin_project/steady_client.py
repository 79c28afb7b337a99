"""A client of a line protocol that tries again with longer and longer pauses, and keeps an idle connection alive."""

import gevent

from geventstreams import StreamError, open_tcp_stream


class GaveUp(Exception):
    """No attempt succeeded."""


def ask(port, question, *, attempts=6, pause=10.0, read_timeout=5.0):
    """Return the answer to a question. Attempts that fail are repeated after `pause` seconds, twice as many each time."""
    for attempt in range(attempts):
        try:
            with open_tcp_stream("127.0.0.1", port, read_timeout=read_timeout) as stream:
                stream.write(question + b"\n")
                stream.flush()
                answer = stream.readline()
                if answer.endswith(b"\n"):  # else the connection ended, or was reset, within the answer
                    return answer.rstrip(b"\n")
        except StreamError:
            pass
        if attempt < attempts - 1:
            gevent.sleep(pause * 2**attempt)
    raise GaveUp(f"no answer in {attempts} attempts")


def keep_alive(stream, every=300.0):
    """Send an empty line every 300 seconds, until the connection ends."""
    while True:
        gevent.sleep(every)
        try:
            stream.write(b"\n")
            stream.flush()
        except StreamError:
            return
