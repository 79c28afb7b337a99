"""A server behind a balancer (HAProxy's `send-proxy-v2`) that knows its real clients, with a page of metrics for Prometheus.

Needs the extras `proxy` and `metrics`: pip install 'geventstreams[proxy,metrics]'.
"""

import argparse
import signal
import sys

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from prometheus_client import CollectorRegistry, make_wsgi_app

from geventstreams import SocketStreamServer
from geventstreams.metrics import ServerCollector


def whoami(stream, address):
    """Tell each client its own address, which only the balancer's header knows."""
    for _ in stream:
        through = f", through {stream.proxy.destination[0]}" if stream.proxy and stream.proxy.destination else ""
        stream.write_line(f"you are {address[0]}{through}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--metrics", type=int, default=0, metavar="PORT", help="where to serve http://127.0.0.1:PORT/metrics")
    parser.add_argument("--balancer", action="append", metavar="NETWORK", help="who must send headers (default: 127.0.0.0/8)")
    options = parser.parse_args()

    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    server = SocketStreamServer(
        ("127.0.0.1", options.port), whoami, read_timeout=60, max_connections=1000,
        proxy_protocol=options.balancer or ["127.0.0.0/8"],
    )
    server.start()
    registry = CollectorRegistry()
    registry.register(ServerCollector([server]))
    page = WSGIServer(("127.0.0.1", options.metrics), make_wsgi_app(registry), log=None)
    page.start()
    print(f"metrics on http://127.0.0.1:{page.server_port}/metrics")
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    ended.wait()
    print(server.stop(timeout=5))
    page.stop()


if __name__ == "__main__":
    try:
        main()
    except (OSError, OverflowError, ValueError) as error:
        sys.exit(str(error))
