cimport geventstreams._native.syscalls as _system
cimport geventstreams._core.arguments as arguments
from geventstreams.callbacks.push_mode cimport PushedStream
from geventstreams.callbacks.sending cimport SendingConnection
from geventstreams._core.transport cimport Transport, Wakeup

cdef double NEVER
cdef Py_ssize_t ENDED
cdef Py_ssize_t WOULD_WAIT
cdef double SLICE


cdef class AsyncSocket(SendingConnection):
    cdef public object data
    cdef object _read_cb
    cdef object _event_cb
    cdef object _connect_cb
    cdef object _write_cb
    cdef bint _draining
    cdef bint _half_close
    cdef Py_ssize_t _high_water
    cdef Py_ssize_t _low_water
    cdef double _read_limit
    cdef bint _gives_stream
    cdef bint _given
    cdef object _opener
    cdef bint _opening
    cdef object _departed
    cdef object _greenlet
    cdef object _connect_timer
    cdef Wakeup _wake
    cdef bint _resting
    cdef bint _paused
    cdef bint _full
    cdef bint _looking
    cdef bint _input_over
    cdef bint _written
    cdef bint _told
    cdef double _silent_since
    cdef long long _received
    cdef double _busy_since

    cdef int _come_up(self) except -1
    cdef int _connect(self) except -1
    cdef void _fail_to_connect(self, error) except *
    cdef void _pump(self) except *
    cdef bint _wants_input(self, PushedStream stream) except -1
    cdef int _bring(self, PushedStream stream) except -1
    cdef Py_ssize_t _receive(self, PushedStream stream) except -2
    cdef int _deliver(self, PushedStream stream) except -1
    cdef void _let_others_run(self) except *
    cdef int _await_input(self, PushedStream stream) except -1
    cdef void _await_input_in_time(self, PushedStream stream) except *
    cdef void _rest(self) except *
    cdef void _call(self, callback, argument) except *
    cdef void _callback_failed(self) except *
    cdef void _tell_written(self) except *
    cdef void _tell(self, event) except *
    cdef void _input_ended(self, PushedStream stream) except *
    cdef void _close_unasked(self) except *
    cdef void _fail_in_turn(self) except *
