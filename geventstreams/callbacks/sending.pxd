cimport geventstreams._native.interpreter as _interpreter
from geventstreams._core.clock cimport deadline_after, seconds_until
from geventstreams._core.transport_base cimport Transport
from geventstreams._core.wakeup cimport Wakeup
from geventstreams.callbacks.pump cimport Task
from geventstreams.callbacks.push_mode cimport PushedEngine

cdef double NEVER
cdef int CONNECTING, OPEN, BROKEN, CLOSING_EARLY, CLOSING, CLOSING_QUIETLY, FAILED, CLOSED


cdef class SendingConnection(Task):
    cdef PushedEngine _engine
    cdef object _stream
    cdef int _phase
    cdef object _write_cb, _attempt, _on_closed
    cdef tuple _failure
    cdef bint _accepts
    cdef double _write_deadline
    cdef object _sender
    cdef bint _sent
    cdef Py_ssize_t _lost
    cdef Wakeup _drained

    cdef bint _is_established(self) noexcept
    cdef bint _is_left(self) except? False
    cdef int _wake(self) except -1
    cpdef int _send(self) except -1
    cdef void _wait_until_sent(self) except *
    cdef double _output_limit(self) noexcept
    cdef int _all_sent(self) except -1
    cdef void _drop(self, bint abort) except *
