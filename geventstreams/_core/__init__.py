"""Bytes and the hub: buffers, wake-ups, transports, TLS. No vocabulary, no stream.

Read by every other room of the package; imports only `errors` and `_native`.
"""

from importlib import import_module as _import
from typing import Any

_TLS = ("tls_context", "tls_transport", "handshakes")
"""Modules that a program without TLS does not need. The first use of one loads all, so that no peer waits for them in its handshake."""


def __getattr__(name: str) -> Any:
    if name not in _TLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return {module: _import(f"{__name__}.{module}") for module in _TLS}[name]
