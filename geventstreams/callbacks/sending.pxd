from geventstreams._core.clock cimport deadline_after, seconds_until
from geventstreams._core.transport_base cimport Transport
from geventstreams._core.wakeup cimport Wakeup
from geventstreams.callbacks.pump cimport Task
from geventstreams.callbacks.push_mode cimport PushedEngine

cdef double NEVER
cdef int CONNECTING, OPEN, BROKEN, CLOSING_EARLY, CLOSING, CLOSING_QUIETLY, FAILED, CLOSED


cdef class SendingConnection(Task):
    # What serving uses comes first, and last in `Task` and first in `AsyncSocket`: near to each other.
    cdef PushedEngine _engine
    cdef int _phase
    cdef bint _sent, _accepts
    cdef tuple _failure
    cdef object _sender, _write_cb
    cdef Wakeup _drained
    cdef object _stream, _attempt, _on_closed
    cdef double _write_deadline
    cdef Py_ssize_t _lost

    cdef bint _is_established(self) noexcept
    cdef int _wake(self) except -1
    cpdef int _send(self) except -1
    cdef int _close_quietly(self) except -1
    cdef int _all_sent(self) except -1
    cdef void _drop(self, bint abort) except *
