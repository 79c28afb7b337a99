"""Check TLS arguments, and make SSL contexts and objects from them."""

# Invariants: a context of the caller is used as it is and never changed. What can be refused without calling the caller's code is refused
# by `TLSOptions` and `prepare`, before a connection is touched.

from __future__ import annotations

import importlib
from _ssl import MemoryBIO, SSLCertVerificationError, SSLError
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geventstreams._core import arguments
from geventstreams._core.host_names import server_name
from geventstreams.errors import TLSError, TLSVerificationError

if TYPE_CHECKING:
    from ssl import SSLContext

VERSIONS = {"tls-v1.2": "TLSv1_2", "tls-v1.3": "TLSv1_3"}


class Session:
    """An SSL object with its two memory BIOs."""

    def __init__(self, context: Any, side: str, host: str | None) -> None:
        if side == "client" and host is None and context.check_hostname:
            # The SSL object would check no name at all.
            raise ValueError(f"tlsext_host_name must be given, since {context!r} checks the name in the certificate")
        self.side = side
        self.incoming = MemoryBIO()
        self.outgoing = MemoryBIO()
        try:
            self.object = context.wrap_bio(self.incoming, self.outgoing, side == "server", host if side == "client" else None)
        except SSLError as error:
            raise TLSError(f"ssl_ctx {context!r} cannot be the {side}'s: {error.strerror or error}", reason=error.reason,
                           library=error.library) from None
        except (ValueError, TypeError) as error:
            if side == "server":  # not because of the name: CPython 3.14 asks for one in a client's context
                raise TLSError(f"ssl_ctx {context!r} cannot be the server's: {error}") from None
            raise ValueError(f"tlsext_host_name {host!r} cannot be used: {error}") from None
        stock = type(self.object) is importlib.import_module("ssl").SSLObject
        self.methods = getattr(self.object, "_sslobj", self.object) if stock else self.object
        """What has `read` and `pending` of the SSL object: the C object within, unless it is of a class of its own."""
        write = self.methods.write
        self.write = write if stock else lambda piece: write(bytes(piece))
        """Its `write`. What it gets is ours for the time of the call only, and a class of its own may keep it: it gets a copy."""


class TLSOptions:
    """The TLS arguments of a stream, or of all streams of an opener or server; all but `handshake_limit` are checked here."""

    def __init__(self, ssl_ctx: Any, ssl_side: str, ctx_configure_callback: Callable[[Any], object] | None,
                 ssl_configure_callback: Callable[[Any], object] | None, handshake_limit: float,
                 tlsext_host_name: str | None, allow_truncation: bool) -> None:
        self.side: str = arguments.chosen("ssl_side", ssl_side, ("client", "server", "both"))
        self.handshake_limit = handshake_limit
        self.ssl_ctx = _context_in(ssl_ctx)
        self.allow_truncation = bool(allow_truncation)
        self._kind = ssl_ctx
        self._configure_context = arguments.callback("ctx_configure_callback", ctx_configure_callback)
        self._configure_object = arguments.callback("ssl_configure_callback", ssl_configure_callback)
        self._host = None if tlsext_host_name is None else server_name("tlsext_host_name", tlsext_host_name)
        self._session: Session | None = None

    def prepare(self, side: str) -> None:
        """Make a session, unless that needs the caller's code, so that arguments which allow no session are refused now."""
        if side == "both" or (self.ssl_ctx is None and self._configure_context is not None):
            return
        if self.ssl_ctx is None and side == "server" and self._configure_object is None:
            raise ValueError("the server side of TLS needs a certificate: load it in ctx_configure_callback, or give a context as ssl_ctx")
        self._session = Session(self.context(side), side, self._host)

    def begin(self, side: str) -> Session:
        """Return a session, configured by the caller, ready for its handshake."""
        session, self._session = self._session, None
        if session is None or session.side != side:
            session = Session(self.context(side), side, self._host)
        if self._configure_object is not None:
            self._configure_object(session.object)
        return session

    def context(self, side: str) -> Any:
        """Return the caller's context, or one that is made and configured now."""
        if self.ssl_ctx is not None:
            return self.ssl_ctx
        context = _new_context(self._kind, side)
        if self._configure_context is not None:
            self._configure_context(context)
        return context

    def share_context(self) -> Any:
        """Make and configure the context, which all streams with these options share from now on. Return it."""
        self.ssl_ctx = self.context(self.side)
        self._session = None
        return self.ssl_ctx


def _context_in(value: Any) -> Any:
    """Return the context that `ssl_ctx` is; None if it asks for a new one."""
    if value is True or (isinstance(value, str) and value in VERSIONS):
        return None
    if isinstance(value, str):
        raise ValueError(f"ssl_ctx must be a context, True, or one of {', '.join(map(repr, VERSIONS))}, not {value!r}")
    if not callable(getattr(value, "wrap_bio", None)):
        raise TypeError(f"ssl_ctx must be an ssl.SSLContext, True, or the name of a version, not {type(value).__name__} {value!r}")
    return value


def _new_context(kind: Any, side: str) -> SSLContext:
    """Return a secure context: TLS 1.2 at least, or exactly the version named; a client's checks certificate and name."""
    ssl = importlib.import_module("ssl")  # here, because its import takes a tenth of the whole package's
    context: SSLContext = ssl.create_default_context(ssl.Purpose.SERVER_AUTH if side == "client" else ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = getattr(ssl.TLSVersion, VERSIONS.get(kind, "TLSv1_2"))
    if kind in VERSIONS:
        context.maximum_version = context.minimum_version
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def refusal_of(error: SSLError, peer: str) -> TLSError:
    """Return our error for one of OpenSSL."""
    cause = (error.reason or error.strerror or str(error)).replace("_", " ").lower()
    if isinstance(error, SSLCertVerificationError):
        return TLSVerificationError(f"the certificate of {peer} was not accepted: {error.verify_message}", reason=error.reason,
                                    library=error.library, verify_code=error.verify_code, verify_message=error.verify_message)
    if error.reason in ("NO_SHARED_CIPHER", "NO_CERTIFICATE_SET", "NO_SUITABLE_SIGNATURE_ALGORITHM"):
        cause += " (has our context a certificate?)"
    return TLSError(f"TLS with {peer}: {cause}", reason=error.reason, library=error.library)
