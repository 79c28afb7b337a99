"""The versions and the machine of a run, which belong beside every figure."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import ssl
from pathlib import Path

DISTRIBUTIONS = ("geventstreams", "gevent", "greenlet", "uvloop", "trio", "anyio")


def processor() -> str:
    """Return the name of the processor, as far as the system has one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def congestion_control() -> str:
    """Return the congestion control of TCP, which decides what bulk transfers cost."""
    path = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return path.read_text().strip() if path.exists() else "unknown"


def versions() -> dict[str, str]:
    """Return the version of each library that takes part."""
    found = {"Python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed" if importlib.util.find_spec(name) is None else "from its source tree"
    return {**found, "TLS": ssl.OPENSSL_VERSION}


def machine() -> dict[str, str | int]:
    """Return the processor, the number of cores, the system and its libraries."""
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()}",
        "C library": " ".join(platform.libc_ver()),
        "TCP": congestion_control(),
    }
