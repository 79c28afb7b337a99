cimport cython

cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.syscalls as _system
from geventstreams._core.buffers cimport OutputBuffer
from geventstreams._core.reader cimport ByteReader
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.transport cimport Transport
from geventstreams._core.clock cimport Clock
from geventstreams._core.deadline cimport deadline_after, seconds_until
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.fair_lock cimport FairLock


cdef double NEVER
cdef Py_ssize_t BLOCK
cdef Py_ssize_t ENDED
cdef Py_ssize_t WOULD_WAIT
cdef int INPUT
cdef int A_LINE
cdef int A_SEPARATOR
cdef Clock CLOCK


cdef Py_ssize_t CALLS
cdef Py_ssize_t FLUSH
cdef Py_ssize_t WORTH
cdef int WANTED
cdef int TOLD
cdef long NO_PERMIT
cdef long long NO_TAIL
cdef ForkGeneration FORK


cdef class StreamEngine(ByteReader):
    cdef object __weakref__
    cdef readonly OutputBuffer output
    cdef readonly bint timed_out
    cdef readonly Py_ssize_t accepted
    cdef readonly long long octets_in
    cdef readonly long long octets_out
    cdef readonly bint _alive
    cdef double _read_limit
    cdef double _write_limit
    cdef double _linger_limit
    cdef Transport _transport
    cdef FairLock _output_lock
    cdef object _hub
    cdef unsigned long _thread
    cdef long _generation
    cdef tuple _end
    cdef tuple _reset
    cdef object _reader
    cdef Py_ssize_t _lacking
    cdef double _reading_since
    cdef double _writing_since
    cdef object _rest
    cdef Py_ssize_t _rest_at
    cdef bint _broken
    cdef bint _tls_failed
    cdef tuple _failure
    cdef bint _output_ended
    cdef int _output_end
    cdef bint _closed
    cdef object _closer
    cdef BackgroundSender _background
    cdef list _listeners
    cdef long long _tail
    cdef Fairness _fairness
    cdef bint _flushed_here

    cdef void _init_stream(self, Transport transport, bint readable, bint writable, options) except *
    cdef void _renew_permits(self) except *
    cdef void _refuse_input(self) except *
    cdef void _refuse_output(self) except *
    cdef void _refuse_write(self) except *
    cdef void _refuse_thread(self) except *
    cpdef bint _fill_buffer(self) except? False
    cdef Py_ssize_t _receive(self, target, Py_ssize_t at) except? -2
    @cython.locals(left=double, deadline=double)
    cdef Py_ssize_t _receive_waiting(self, target, Py_ssize_t at) except? -2
    cdef bint _wait_input(self, double limit) except? False
    cdef Py_ssize_t _receive_now(self, target, Py_ssize_t at) except? -2
    cdef void _renew_input(self) except *
    cdef void _renew_output(self) except *
    cpdef bint readable_now(self) except? False
    cpdef void watch_input(self, listener) except *
    cpdef void unwatch_input(self, listener) except *
    cpdef void arm_input(self) except *
    cdef bint at_rest(self) noexcept
    cdef bint _look(self) except? False
    cdef int _put(self, data, Py_ssize_t count) except -1
    cdef int _remember(self, data, Py_ssize_t count) except -1
    cdef void _put_waiting(self, data, Py_ssize_t count) except *
    cdef void _send_message(self, data, Py_ssize_t count) except *
    cdef void _adopt_rest(self) except *
    cdef void _acquire_output(self) except *
    @cython.locals(left=double, deadline=double)
    cdef void _send_or_wait(self, double limit) except *
    cdef void _refuse_if_ended(self) except *
    cdef bint _send_now(self) except? False
    cdef void _raise_failure(self) except *
    cdef bint _tell_end_now(self) except? False
    cdef void _flush(self) except *
    cpdef void _flush_buffer(self) except *
    cdef void _send_before_wait(self) except *
    cpdef bint send_in_background(self) except? False
    cdef void _stop_background(self) except *
    cdef bint _is_here(self) noexcept
    cdef void _drop(self) except *


cdef class BackgroundSender:
    cdef object _engine
    cdef object _wakeup
    cdef object _listener
