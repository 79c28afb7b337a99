"""Runs the cases of one client in this process, which is patched, and prints a line of JSON for each.

`python -m geventstreams.monkey program.py NAME CA CHAIN KEY BOTH`, as test_clients.py starts it.
"""

import importlib
import json
import sys
import time
import traceback
from pathlib import Path

import gevent
import gevent.monkey
from client import Client, Trust, no_descriptor_left
from middle_man import LIMIT
from servers import Certificate
from servers.base import versions_started

from geventstreams import monkey

MODULES = {
    "requests": "web:Requests",
    "http.client": "web:HTTPClient",
    "xmlrpc.client": "local:XMLRPC",
    "gevent.pywsgi": "local:PyWSGI",
    "wsgiref": "local:WSGIRef",
    "socketserver": "local:SocketServer",
    "PyMySQL": "databases:MySQL",
    "pg8000": "databases:Postgres",
    "redis-py": "databases:RedisPy",
    "smtplib": "mail:SMTP",
    "imaplib": "mail:IMAP",
    "poplib": "mail:POP3",
    "ftplib": "files:FTP",
}


def outcome_of(client: Client, name: str) -> str:
    """What is wrong with a case; nothing, when it holds."""
    try:
        with no_descriptor_left(), gevent.Timeout(2 * LIMIT):
            client.cases()[name]()
    except BaseException:  # noqa: BLE001  # told to the test
        return f"{traceback.format_exc()}\nThe server's log:\n{client.server.log()}"
    return ""


def main() -> None:
    """The command line."""
    name, ca, *certificate = sys.argv[1:]
    assert gevent.monkey.is_module_patched("socket")
    assert monkey.is_makefile_patched()
    module, _, kind = MODULES[name].partition(":")
    client: Client = getattr(importlib.import_module(module), kind)(Trust(Path(ca), Certificate(*map(Path, certificate))))
    with client.server:
        client.prepare()
        for case in client.cases():
            began = time.monotonic()
            wrong = outcome_of(client, case)
            report = {"case": case, "wrong": wrong, "seconds": time.monotonic() - began, "versions": versions_started}
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
