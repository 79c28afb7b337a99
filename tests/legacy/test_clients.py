"""Clients and servers that know nothing of us, under monkey-patching with our `makefile`, with real ones at the other
end.

Each client runs its cases in one process, patched by `python -m geventstreams.monkey`; what patching changes stays
there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from servers import Certificates, require
from servers.base import versions_started

HERE = Path(__file__).parent
LIMIT = 100
CASES = ["fifty greenlets at once", "a stalled answer read on", "the server stopped in mid-answer"]
CLIENTS = [
    *("requests", "http.client", "xmlrpc.client", "gevent.pywsgi", "wsgiref", "socketserver"),
    *("PyMySQL", "pg8000", "redis-py", "smtplib", "imaplib", "poplib", "ftplib"),
]

NEEDS = {
    "requests": "nginx",
    "http.client": "nginx",
    "PyMySQL": "mariadbd",
    "pg8000": "postgres",
    "redis-py": "redis-server",
    "smtplib": "exim4",
    "imaplib": "dovecot",
    "poplib": "dovecot",
    "ftplib": "proftpd",
}
"""The programs that clients talk to; the other clients talk to servers in Python."""

pytestmark = pytest.mark.slow


class Runs:
    """What the cases of each client came to; a client runs when it is first asked for."""

    def __init__(self, certificates: Certificates) -> None:
        own = certificates.server
        self._words = [str(path) for path in (certificates.ca, own.chain, own.key, own.both)]
        self._done: dict[str, dict[str, str]] = {}

    def wrong(self, client: str, case: str) -> str:
        """What is wrong with a case; nothing, when it holds."""
        require(*filter(None, [NEEDS.get(client)]))
        if client not in self._done:
            self._done[client] = self._run(client)
        return self._done[client].get(case, "it did not run")

    def _run(self, client: str) -> dict[str, str]:
        command = [sys.executable, "-m", "geventstreams.monkey", str(HERE / "program.py"), client, *self._words]
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert done.returncode == 0, done.stderr
        reports: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        for report in reports:
            versions_started.update(report["versions"])
        return {report["case"]: report["wrong"] for report in reports}


@pytest.fixture(scope="module")
def runs(certificates: Certificates) -> Runs:
    return Runs(certificates)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("client", CLIENTS)
def test_unmodified_code_works_and_loses_nothing(runs: Runs, client: str, case: str) -> None:
    """Fifty greenlets at once get the right answers; an answer that stalled past a timeout is read on by the same file;
    a server that is killed in mid-answer is an error soon. No case leaves a descriptor open."""
    assert runs.wrong(client, case) == ""


@pytest.mark.parametrize("case", ["a body of 100 MB", "kept connections"])
def test_requests_reads_much_and_on_and_on(runs: Runs, case: str) -> None:
    """100 MB in one piece, in chunks and under TLS; a hundred answers on one connection, each by a file of its own."""
    assert runs.wrong("requests", case) == ""
