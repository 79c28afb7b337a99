"""A TCP proxy, callbacks on one side and a blocking-looking stream on the other: callback_proxy.py HOST PORT [OWN-PORT].

Both halves work together since each connection that calls back has a greenlet of its own: a callback that waits holds up
nobody but its own connection. That is also what keeps a fast side from flooding a slow one.
"""

import sys

import gevent

from geventstreams import TCPEOF, StreamError, open_tcp_stream, tcp_server


def main(host, port, own_port=0):
    """Serves until it is killed."""

    def on_connect(client):
        # Waits for the target, in the client's own greenlet: nothing of the client is read before.
        try:
            client.data = open_tcp_stream(host, int(port), timeout=10)
        except StreamError as error:
            print(error, file=sys.stderr)
            client.close(force=True)
        else:
            gevent.spawn(answer, client.data, client)

    def on_read(client, octets):
        # Waits while the target takes no more, and nothing more is read from the client meanwhile.
        try:
            client.data.sendall(octets)
        except StreamError:
            client.close(force=True)

    def on_event(event):
        target = event.socket.data
        if isinstance(event, TCPEOF) and not target.closed:
            target.send_eof()  # the client has said its last word; what the target answers still goes to it
        elif target is not None:
            target.abort()

    server = tcp_server("127.0.0.1", int(own_port), on_read, on_event, connect_cb=on_connect, half_close=True)
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    gevent.wait()


def answer(target, client):
    """Brings what the target says to the client, by a loop that looks as if it blocked."""
    try:
        with target:
            while octets := target.read1():
                if not client.write(octets):
                    client.drain()
        client.close()
    except StreamError:
        client.close(force=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
