cimport geventstreams._native.syscalls as _system
from geventstreams._core.deadline cimport deadline_after, seconds_until
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.transport_base cimport Transport
from geventstreams._core.wakeup cimport HubHold, Wakeup
from geventstreams._streams.buffered cimport engine_of
from geventstreams.callbacks.pump cimport Task
from geventstreams.callbacks.push_mode cimport PushedEngine

cdef double NEVER
cdef Py_ssize_t ENDED, WOULD_WAIT
cdef int CONNECTING, OPEN, BROKEN, CLOSING_EARLY, CLOSING, CLOSING_QUIETLY, FAILED, CLOSED
cdef int ACCEPTING, FINISHING, FINISHED


cdef class AsyncSocket(Task):
    cdef public object data
    cdef object _hub
    cdef HubHold _hold
    cdef object _loop
    cdef Transport _transport
    cdef PushedEngine _engine
    cdef object _stream
    cdef bint _has_stream
    cdef int _phase
    cdef tuple _failure
    cdef object _options, _read_cb, _event_cb, _write_cb, _on_closed
    cdef object _attempt
    cdef bint _draining, _paused, _full, _checking, _input_ended
    cdef Py_ssize_t _high_water, _low_water
    cdef double _read_limit, _read_deadline
    cdef Fairness _fairness
    cdef long long _received
    cdef int _output
    cdef double _write_limit, _write_deadline, _linger_limit
    cdef bint _sent
    cdef Py_ssize_t _lost
    cdef object _sender
    cdef Wakeup _drained

    cdef bint _is_established(self) noexcept
    cdef int _wake(self) except -1
    cdef void _serve(self) except *
    cdef void _disarm(self) except *
    cdef void _flush(self) except *
    cdef bint _go_on(self) except -1
    cdef bint _take_turns(self) except -1
    cdef bint _end(self) except -1
    cdef void _end_rest(self) except *
    cdef bint _wants_input(self) except -1
    cdef bint _receive(self) except -1
    cdef bint _deliver(self) except -1
    cdef bint _await_input(self) except -1
    cdef void _rest(self) except *
    cdef void _call(self, callback, argument) except *
    cdef void _wait_until_sent(self) except *
    cdef double _output_limit(self) noexcept
    cdef int _all_sent(self) except -1
    cdef void _drop(self, bint abort) except *
