"""Ask several servers the same question, and take the first answer."""

import argparse
import sys
import time

from gevent.pool import Pool

from geventstreams import StreamError, open_tcp_stream, wait_for_input_streams

LIMIT = 5.0


def connected(servers):
    """Return a stream to each server that can be reached; all are tried at the same time."""

    def connect(server):
        host, _, port = server.rpartition(":")
        try:
            stream, error = open_tcp_stream(host, port, timeout=LIMIT, read_timeout=LIMIT, errorp=False)
        except ValueError as wrong:
            sys.exit(f"{server}: {wrong}")
        if error is not None:
            print(f"{server}: {error.strerror}", file=sys.stderr)
        return stream

    return [stream for stream in Pool().map(connect, servers) if stream is not None]


def first_answer(question, streams):
    """Return the stream whose line came first, and the line; None if none came in time."""
    for stream in streams:
        stream.write_line(question)
    answers = dict.fromkeys(streams, b"")  # `read_line` would wait for the rest of a line while another server answers
    deadline = time.monotonic() + LIMIT
    while answers and (left := deadline - time.monotonic()) > 0:
        for stream in wait_for_input_streams(list(answers), timeout=left):
            try:
                piece = stream.read_available()
            except StreamError:
                piece = b""
            line, newline, _ = (answers[stream] + piece).partition(b"\n")
            if newline:
                return stream, line.decode("latin-1")
            answers[stream] = line
            if not piece:
                del answers[stream]  # it ended without an answer
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("servers", nargs="+", metavar="HOST:PORT")
    options = parser.parse_args()
    streams = connected(options.servers)
    answer = first_answer(options.question, streams)
    for stream in streams:
        stream.abort()
    if answer is None:
        sys.exit("no answer")
    stream, line = answer
    host, port = stream.peer_address[:2]
    print(f"{host}:{port}: {line}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
