"""Download a file over a bad connection: reconnect with back-off, resume where the last connection broke.

Each attempt asks the web server for the part that is missing (`Range`). What arrived before a timeout, a reset or an
early end is in the file already, so nothing is fetched twice. The server must support ranges, as nginx does.
"""

import argparse
import random
import re
import sys
from urllib.parse import urlsplit

import gevent

from geventstreams import StreamError, open_tcp_stream

REQUEST = "GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={start}-\r\nConnection: close\r\n\r\n"


def web_address(text):
    """Return the parts of an address that begins with http://."""
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname or url.port == 0:  # to look at a wrong port raises ValueError
        raise argparse.ArgumentTypeError("only http://HOST[:PORT]/PATH")
    return url


def pauses(first=0.1, longest=5.0):
    """Yield seconds to sleep between attempts: doubled each time, and random, so that clients do not return together."""
    pause = first
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, longest)


def fetch_rest(url, file, read_timeout):
    """Append what is missing to `file`; return True when it is complete."""
    start = file.tell()
    with open_tcp_stream(url.hostname, url.port or 80, timeout=5, read_timeout=read_timeout) as stream:
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        stream.write(REQUEST.format(path=path, host=url.hostname, start=start).encode())
        head = stream.read_until(b"\r\n\r\n").decode("latin-1")
        if not re.match(r"HTTP/1\.\d 206 ", head):
            raise SystemExit(f"not a partial answer: {head.splitlines()[0]}")
        size = int(re.search(r"(?im)^content-range: bytes \d+-\d+/(\d+)", head)[1])
        while file.tell() < size and (piece := stream.read1()):
            file.write(piece)
    return file.tell() == size


def download(url, file, read_timeout):
    """Try until the file is complete; an attempt that brought something starts the back-off afresh."""
    waits = pauses()
    while True:
        start = file.tell()
        problem = "the server ended the connection early"
        try:
            if fetch_rest(url, file, read_timeout):
                return
        except StreamError as error:
            problem = error
        if file.tell() > start:
            waits = pauses()
        print(f"{file.tell()} bytes so far: {problem}", file=sys.stderr)
        gevent.sleep(next(waits))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", type=web_address, metavar="http://HOST[:PORT]/PATH")
    parser.add_argument("file", type=argparse.FileType("wb"))
    parser.add_argument("--read-timeout", type=float, default=5, metavar="SECONDS")
    options = parser.parse_args()
    with options.file as file:
        download(options.url, file, options.read_timeout)
        print(f"{file.tell()} bytes in {file.name}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        sys.exit(str(error))
