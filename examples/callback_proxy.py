"""A TCP proxy: callbacks on the client's side, a stream that looks blocking on the target's.

Both work together because each connection that calls back has a greenlet of its own: a callback that waits holds up only
its own connection. That is also what keeps a fast side from flooding a slow one.
"""

import argparse
import signal
import sys

import gevent
from gevent.event import Event

from geventstreams import TCPEOF, StreamError, open_tcp_stream, tcp_server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", help="the target")
    parser.add_argument("port", type=int)
    parser.add_argument("own_port", type=int, nargs="?", default=0)
    options = parser.parse_args()
    if not 0 < options.port < 65536:
        parser.error(f"port must be within 1..65535, not {options.port}")

    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)

    def on_connect(client):
        # Waits for the target, in the client's own greenlet: nothing of the client is read before.
        try:
            client.data = open_tcp_stream(options.host, options.port, timeout=10)
        except StreamError as error:
            print(error, file=sys.stderr)
            client.close(force=True)
        else:
            gevent.spawn(answer, client.data, client)

    def on_read(client, data):
        # Waits while the target takes no more; until then nothing more is read from the client.
        try:
            client.data.sendall(data)
        except StreamError:
            client.close(force=True)

    def on_event(event):
        target = event.socket.data
        if isinstance(event, TCPEOF) and not target.closed:
            target.send_eof()  # the client sends no more; the target may still answer
        elif target is not None:
            target.abort()

    server = tcp_server("127.0.0.1", options.own_port, on_read, on_event, connect_cb=on_connect, half_close=True)
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    ended.wait()


def answer(target, client):
    """Pass what the target sends on to the client, by a loop that looks as if it blocked."""
    try:
        with target:
            while data := target.read1():
                if not client.write(data):
                    client.drain()
        client.close()
    except StreamError:
        client.close(force=True)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
