from geventstreams._core.clock cimport deadline_after, seconds_until
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.wakeup cimport Wakeup
from geventstreams._streams.buffered cimport engine_of
from geventstreams.callbacks.push_mode cimport PushedEngine
from geventstreams.callbacks.sending cimport SendingConnection

cdef double NEVER
cdef object START
cdef int FRESH, TOLD, CONNECTING, OPEN, BROKEN, CLOSING_EARLY, CLOSING, CLOSING_QUIETLY, FAILED, CLOSED
cdef Py_ssize_t ENDED, SOME, WOULD_WAIT


cdef class AsyncSocket(SendingConnection):
    cdef object _read_cb
    cdef bint _draining, _paused, _full, _input_ended
    cdef Py_ssize_t _high_water
    cdef double _read_deadline
    cdef long long _received
    cdef Fairness _fairness
    cdef Py_ssize_t _low_water
    cdef bint _has_stream
    cdef object _options, _event_cb
    cdef public object data

    cdef int _leave(self) except -1
    cdef void _establish(self) except *
    cdef bint _take_turns(self) except -1
    cdef bint _end(self) except -1
    cdef bint _wants_input(self) except -1
    cdef bint _receive(self) except -1
    cdef bint _deliver(self, data) except -1
    cdef bint _await_input(self) except -1
    cdef void _rest(self) except *
    cdef void _call(self, callback, argument) except *
