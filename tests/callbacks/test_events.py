"""Events: which one is told of which error, and what it carries."""

from __future__ import annotations

import errno
import pickle
import socket

import pytest

from geventstreams import TCPEOF, DNSError, TCPError, TCPEvent, TCPRefused, TCPReset, TCPTimeout, TCPTLSError
from geventstreams.callbacks.events import event_for
from geventstreams.errors import (
    ConnectError,
    ConnectTimeout,
    HandshakeTimeout,
    ReadTimeout,
    StreamError,
    StreamReset,
    StreamTruncated,
    TLSError,
    WriteTimeout,
)


def refused(*codes):
    return ConnectError("no", errors=[(("127.0.0.1", 1), OSError(code, "x")) for code in codes])


@pytest.mark.parametrize(("error", "kind", "code"), [
    (StreamReset("gone"), TCPReset, errno.ECONNRESET),
    (StreamReset("gone", errno.EPIPE), TCPReset, errno.EPIPE),
    (StreamReset("the system's own limit", errno.ETIMEDOUT), TCPTimeout, errno.ETIMEDOUT),
    (ReadTimeout("late"), TCPTimeout, errno.ETIMEDOUT),
    (WriteTimeout("late"), TCPTimeout, errno.ETIMEDOUT),
    (ConnectTimeout("late"), TCPTimeout, errno.ETIMEDOUT),
    (HandshakeTimeout("late"), TCPTimeout, errno.ETIMEDOUT),
    (refused(errno.ECONNREFUSED), TCPRefused, errno.ECONNREFUSED),
    (refused(errno.EADDRNOTAVAIL, errno.ECONNREFUSED), TCPRefused, errno.ECONNREFUSED),
    (refused(errno.ENETUNREACH, errno.ETIMEDOUT), TCPTimeout, errno.ETIMEDOUT),
    (refused(errno.ENETUNREACH), TCPError, errno.ENETUNREACH),
    (ConnectError("no", errors=[(("nowhere", 1), socket.gaierror(socket.EAI_NONAME, "?"))]), DNSError, socket.EAI_NONAME),
    (ConnectError("no", errors=[(("x" * 99, 1), UnicodeError("label too long"))]), DNSError, None),
    (TLSError("refused"), TCPTLSError, errno.EPROTO),
    (StreamTruncated("cut"), TCPTLSError, errno.ECONNABORTED),
    (StreamError("something", errno.EIO), TCPError, errno.EIO),
    (OSError(errno.EMFILE, "Too many open files"), TCPError, errno.EMFILE),
])
def test_an_error_has_one_event(error, kind, code):
    """Every error of a connection has one class of event, with the number that the system or the resolver gave."""
    event = event_for(error, None)
    assert type(event) is kind
    assert event.code == code
    assert event.error is error
    assert isinstance(event, TCPEvent)


def test_an_end_of_file_is_no_error():
    """The orderly end of the input is an event of its own, without an error and without a number."""
    event = TCPEOF("end of file from 127.0.0.1:80")
    assert not isinstance(event, TCPError)
    assert event.code is None
    assert event.error is None
    assert event.stream is None
    assert "127.0.0.1:80" in str(event)


def test_events_pickle_and_can_be_raised():
    """An event is an exception that pickles, but for its socket."""
    event = event_for(ReadTimeout("nothing arrived from 127.0.0.1:80 for 5 s"), object())
    again = pickle.loads(pickle.dumps(event))
    assert type(again) is TCPTimeout
    assert str(again) == str(event)
    assert again.code == errno.ETIMEDOUT
    assert again.socket is None
    with pytest.raises(TCPTimeout, match="for 5 s"):
        raise again
