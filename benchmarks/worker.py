"""The process that is measured: runs one server, or times operations, and answers its control lines.

A server's control thread sleeps in a read of standard input while anything is measured, so it costs nothing; the CPU
time it reports is the whole process's. When standard input ends, the process ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

BACKLOG = 4096


def load_function(job: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of the job. For the plain build only geventstreams is taken plain: gevent obeys PURE_PYTHON, too."""
    if job["options"].get("plain"):
        importlib.import_module("gevent")
        os.environ["PURE_PYTHON"] = "1"
        if importlib.import_module("geventstreams").compiled:
            sys.exit("geventstreams runs compiled in spite of PURE_PYTHON=1")
    function: Callable[..., Any] = getattr(importlib.import_module(job["module"]), job["function"])
    return function


def pin(core: int) -> None:
    """Binds this process to a core, if there is one to bind to."""
    if core >= 0:
        os.sched_setaffinity(0, {core})


def say(answer: object) -> None:
    """One line to the harness."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def answer_controls() -> None:
    """Tells the CPU time as often as it is asked for."""
    while os.read(0, 256):
        say({"cpu": time.process_time()})
    os._exit(0)


def run_server(job: Mapping[str, Any], core: int) -> None:
    """Serves until the harness ends. It is bound to its core after the imports, so that many start quickly."""
    serve = load_function(job)
    pin(core)
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    threading.Thread(target=answer_controls, daemon=True).start()
    say({"ready": listener.getsockname()[1]})
    serve(listener, job["options"])


def cost_of_clock() -> int:
    """Nanoseconds between two looks at the clock with nothing in between."""
    samples = []
    for _ in range(200):
        began = time.thread_time_ns()
        samples.append(time.thread_time_ns() - began)
    return sorted(samples)[len(samples) // 2]


def run_operations(jobs: Mapping[str, Mapping[str, Any]]) -> None:
    """Makes the operations in the size that is asked for, and times them in turn."""
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
        say(samples)
    for operation in operations.values():
        operation.close()


def main() -> None:
    """Does the job given as JSON in the first argument."""
    job = json.loads(sys.argv[1])
    if "server" in job:
        run_server(job["server"], job["core"])
    else:
        pin(job["core"])
        run_operations(job["operations"])


if __name__ == "__main__":
    main()
