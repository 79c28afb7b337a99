"""The process whose instructions callgrind counts: operations, and servers with their clients, one contender after the other.

It writes a count of each under its label, and of nothing under the same label with "idle" behind it: what counting itself costs, and an
iteration of the loop without requests.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.worker import load_function, set_constants

SERVING = "benchmarks.operations.serving"
WITHOUT_SLICES = {"SLICE": 1e9}
"""When a slice of fairness ends depends on how fast valgrind is; so none does."""


def count(counter: Any, label: str, job: Mapping[str, Any]) -> int:
    """Count the instructions of a contender. Return for how many items."""
    function = load_function(job)
    if job["served"]:
        operation = getattr(importlib.import_module(SERVING), job["served"])(function, job["options"])
        idle = operation.idle
    else:
        operation, idle = function(job["options"]), do_nothing
    for _ in range(3):
        operation.prepare()
        operation.run()
        operation.finish()
    gc.collect()
    gc.freeze()
    items = 0
    counter.start()
    for _ in range(job["rounds"]):
        counter.begin()
        idle()
        counter.end()
    counter.report(f"{label} idle".encode())
    for _ in range(job["rounds"]):
        operation.prepare()
        counter.begin()
        items += operation.run()
        counter.end()
        operation.finish()
    counter.report(label.encode())
    counter.stop()
    operation.close()
    return items


def do_nothing() -> None:
    """Do what an operation costs that does nothing."""


def main() -> None:
    """Count the jobs that the second argument has as JSON, with the library that the first one names; print the numbers of items."""
    counter = ctypes.CDLL(sys.argv[1])
    jobs: dict[str, Any] = json.loads(sys.argv[2])
    set_constants(WITHOUT_SLICES)
    print(json.dumps({label: count(counter, label, job) for label, job in jobs.items()}))


if __name__ == "__main__":
    main()
