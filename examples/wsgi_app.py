"""A web application under gevent whose upstream may stall: nothing of an answer is lost by a timeout.

The application passes on a page of another server, which it reads by the standard library's http.client. While that is
silent, it tries again instead of failing: possible because `patch_makefile` replaces the file that http.client reads by.

Run it by gevent's own server, or by gunicorn (see gunicorn_config.py):

    wsgi_app.py --upstream http://127.0.0.1:8080 8000
    UPSTREAM=http://127.0.0.1:8080 gunicorn --config gunicorn_config.py wsgi_app:application
"""

# ruff: noqa: E402  # what is patched is patched before anything else is imported

from gevent import monkey

monkey.patch_all()

from geventstreams.monkey import patch_makefile

patch_makefile()

import argparse
import http.client
import os
import signal
import sys
from urllib.parse import urlsplit

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer

SILENCE = 0.2
PATIENCE = 10


def read_patiently(answer):
    """Return the whole body: a read that times out is made again, until the upstream is silent for `PATIENCE` seconds."""
    for _ in range(int(PATIENCE / SILENCE)):
        try:
            return answer.read()
        except TimeoutError:
            pass  # what has arrived is kept, and the next read goes on behind it
    raise TimeoutError("the upstream has stopped")


def application(environ, start_response):
    """Pass a page of the upstream on."""
    upstream = urlsplit(os.environ["UPSTREAM"])
    connection = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=PATIENCE)
    try:
        connection.request("GET", environ["PATH_INFO"])
        sock = connection.sock
        answer = connection.getresponse()
        sock.settimeout(SILENCE)
        body = read_patiently(answer)
    except (OSError, http.client.HTTPException) as error:
        start_response("502 Bad Gateway", [("Content-Type", "text/plain")])
        return [f"{error}\n".encode()]
    finally:
        connection.close()
    start_response(f"{answer.status} {answer.reason}", [("Content-Length", str(len(body)))])
    return [body]


def web_address(text):
    """Return an address that begins with http://, or raise ValueError."""
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname or url.port == 0:  # to look at a wrong port raises ValueError
        raise ValueError
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--upstream", type=web_address, required=True, metavar="http://HOST:PORT")
    options = parser.parse_args()
    os.environ["UPSTREAM"] = options.upstream
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, ended.set)
    server = WSGIServer(("127.0.0.1", options.port), application, log=None)
    server.start()
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    ended.wait()
    server.stop(timeout=5)


if __name__ == "__main__":
    try:
        main()
    except (OSError, OverflowError) as error:
        sys.exit(str(error))
