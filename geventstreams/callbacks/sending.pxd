cimport cython

cimport geventstreams._native.syscalls as _system
from geventstreams.callbacks.push_mode cimport Connection, PushedStream
from geventstreams._core.transport cimport HubHold, Transport, Wakeup

cdef double NEVER
cdef Py_ssize_t WOULD_WAIT


cdef class SendQueue:
    cdef object __weakref__
    cdef object _loop
    cdef list _full

    cdef int add(self, Connection connection) except -1
    @cython.locals(connection=Connection)
    cpdef _send(self)


cdef class SendingConnection(Connection):
    cdef object __weakref__
    cdef object _hub
    cdef HubHold _hold
    cdef unsigned long _thread
    cdef SendQueue _send_queue
    cdef Transport _transport
    cdef PushedStream _stream
    cdef int _phase
    cdef double _write_limit
    cdef double _linger_limit
    cdef bint _dirty
    cdef object _sender
    cdef bint _output_over
    cdef bint _end_told
    cdef Py_ssize_t _lost
    cdef tuple _failure
    cdef Wakeup _room

    cdef int _on_sent(self) except -1
    cdef int _wake_pump(self) except -1
    cdef void _gone(self) except *
    cdef void _refuse_elsewhere(self) except *
    cdef int _push_and_wait(self) except -1
    cdef double _output_limit(self) noexcept
    cdef int _all_sent(self) except -1
    cdef void _sending_failed(self, error) except *
    cdef void _fail(self, error) except *
    cdef void _send_the_end(self) except *
    cdef void _tell_end(self) except *
    cdef void _begin_closing(self) except *
    cdef void _close_unconnected(self) except *
    cdef void _close_in_child(self) except *
    cdef void _begin_shutdown(self) except *
    cdef void _drop(self, bint abort) except *
