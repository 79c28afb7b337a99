"""The process that is measured: it runs one server, or times the operations that it is asked for. It ends with its standard input.

A server has no second thread that would read that: in a process with several threads each system call costs more.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import importlib.util
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

BACKLOG = 4096
CONSTANTS = "geventstreams._constants"


def set_constants(values: Mapping[str, float]) -> None:
    """Give constants of geventstreams other values, before it is imported: its hot modules take them over when they are."""
    package = importlib.util.find_spec("geventstreams")
    assert package is not None
    assert package.submodule_search_locations is not None
    spec = importlib.util.spec_from_file_location(CONSTANTS, os.path.join(package.submodule_search_locations[0], "_constants.py"))
    assert spec is not None
    assert spec.loader is not None
    constants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(constants)
    for name, value in values.items():
        if not hasattr(constants, name):
            sys.exit(f"{CONSTANTS} has no {name}")
        setattr(constants, name, value)
    sys.modules[CONSTANTS] = constants


def load_function(job: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the function of the job. With `plain`, gevent is imported first, since it obeys PURE_PYTHON too.

    The options `plain` and `constants` are for a process that runs no other job of geventstreams.
    """
    if "constants" in job["options"]:
        set_constants(job["options"]["constants"])
    if job["options"].get("plain"):
        importlib.import_module("gevent")
        os.environ["PURE_PYTHON"] = "1"
        if importlib.import_module("geventstreams").compiled:
            sys.exit("geventstreams runs compiled in spite of PURE_PYTHON=1")
    function: Callable[..., Any] = getattr(importlib.import_module(job["module"]), job["function"])
    return function


def pin(core: int) -> None:
    """Bind this process to a core; a negative number means none."""
    if core >= 0:
        os.sched_setaffinity(0, {core})


def send(answer: object) -> None:
    """Send one line to the harness."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def end_with_input() -> None:
    """Have the system end this process, by SIGIO, when its standard input ends."""
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:
        sys.exit("the input had ended before")


def run_server(job: Mapping[str, Any], core: int) -> None:
    """Serve until the harness ends. The process is bound to its core after the imports, so that many can start at once."""
    serve = load_function(job)
    pin(core)
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    end_with_input()
    send({"ready": listener.getsockname()[1]})
    serve(listener, job["options"])


def cost_of_clock() -> int:
    """Return the nanoseconds between two readings of the clock with nothing in between."""
    samples = []
    for _ in range(200):
        began = time.thread_time_ns()
        samples.append(time.thread_time_ns() - began)
    return sorted(samples)[len(samples) // 2]


def run_operations(jobs: Mapping[str, Mapping[str, Any]]) -> None:
    """Make the operations in the size that is asked for, and time them in turn."""
    makers = {label: load_function(job) for label, job in jobs.items()}
    operations: dict[str, Any] = {}
    size, clock = -1, cost_of_clock()
    for line in sys.stdin:
        wanted = json.loads(line)
        if wanted["size"] != size:
            for operation in operations.values():
                operation.close()
            size = wanted["size"]
            operations = {label: make({**jobs[label]["options"], "size": size}) for label, make in makers.items()}
            gc.collect()
            gc.freeze()
        samples: dict[str, list[float]] = {label: [] for label in operations}
        for _ in range(wanted["rounds"]):
            for label, operation in operations.items():
                operation.prepare()
                began = time.thread_time_ns()
                count = operation.run()
                used = time.thread_time_ns() - began - clock
                operation.finish()
                samples[label].append(used / count)
        send(samples)
    for operation in operations.values():
        operation.close()


def main() -> None:
    """Run the job given as JSON in the first argument."""
    job = json.loads(sys.argv[1])
    if "server" in job:
        run_server(job["server"], job["core"])
    else:
        pin(job["core"])
        run_operations(job["operations"])


if __name__ == "__main__":
    main()
