"""gevent's web server with a small page, on its own files, or on ours with the option `patched`, or on the least with `library`."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gevent.pywsgi
import gevent.socket

from benchmarks.servers.least import makefile

PAGE = b"a small page\n"


def application(_environment: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer every request with the page."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def page(listener: socket.socket, options: Mapping[str, Any]) -> None:
    """Serve the page on kept connections."""
    if options.get("patched"):
        importlib.import_module("geventstreams.monkey").patch_makefile()
    if "library" in options:
        gevent.socket.socket.makefile = makefile(options)  # type: ignore[method-assign]
    gevent.pywsgi.WSGIServer(gevent.socket.socket(fileno=listener.detach()), application, log=None).serve_forever()
