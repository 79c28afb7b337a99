cimport cython

cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.interpreter as _interpreter
from geventstreams._core.buffers cimport OutputBuffer
from geventstreams._core.clock cimport Clock
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteSource
from geventstreams._core.transport_base cimport Transport

cdef Py_ssize_t CALLS, ENDED, SOME, WOULD_WAIT
cdef int OPEN, TOLD
cdef long NO_PERMIT
cdef long long NO_TAIL
cdef Clock CLOCK
cdef ForkGeneration FORK


cdef class StreamEngine(ByteSource):
    # What every call uses comes first: the fewer lines of the processor's cache it lies in, the better.
    cdef readonly OutputBuffer output
    cdef readonly Transport transport
    cdef public object rest
    cdef public tuple end
    cdef public list listeners
    cdef readonly long generation
    cdef readonly unsigned long thread
    cdef public long long tail
    cdef public object tls
    cdef public int unit
    cdef public bint closed, timed_out
    cdef bint sending
    cdef public int output_state
    cdef public double read_limit, write_limit
    cdef public Py_ssize_t accepted
    cdef public object reader, writer
    cdef public Py_ssize_t lacking
    cdef public double reading_since, writing_since
    cdef public tuple failure
    cdef readonly object hub
    cdef public Py_ssize_t rest_at
    cdef long long unbuffered
    cdef public double linger_limit
    cdef public tuple reset
    cdef readonly bint is_readable, is_writable
    cdef public bint broken, tls_failed, holds_text
    cdef public object tls_options
    cdef object _stream

    cdef void _init_engine(self, Transport transport, double read_limit, double write_limit, double linger_limit) except *
    cpdef void serve(self, stream, bint readable, bint writable) except *
    cpdef object stream(self)
    cpdef bint is_closed(self) noexcept
    cpdef void renew_permits(self) except *
    cpdef void refuse_input(self) except *
    cpdef void refuse_output(self) except *
    cpdef void refuse_write(self) except *
    cpdef void refuse_thread(self) except *
    cpdef bint is_here(self) noexcept
    cpdef void renew_input(self) except *
    cpdef void renew_output(self) except *
    cpdef Py_ssize_t receive_unasked(self) except? -2
    cpdef bint look(self) except? False
    cpdef bint readable_now(self) except? False
    cpdef int polled_descriptor(self) except? -2
    cpdef bint at_rest(self) noexcept
    cpdef void watch_input(self, listener) except *
    cpdef void unwatch_input(self, listener) except *
    cpdef void arm_input(self) except *
    cpdef void tell_listeners(self) except *
    cpdef Py_ssize_t unsent(self) except? -2
    cpdef Py_ssize_t to_send(self) except? -2
    @cython.locals(unit=int)
    cdef int remember(self, data, Py_ssize_t count) except -1
    cdef bint send_now(self) except? False
    cdef object output_failed(self, error)
    cpdef void raise_failure(self) except *
    cdef bint leaves_a_part(self) except? False
    cdef bint tell_end_now(self) except? False
    cdef int put(self, data, Py_ssize_t count) except -1
    cpdef void flush(self) except *
    cpdef void finish(self) except *
    cpdef void send_before_wait(self) except *
    cpdef void close(self, bint abort=*) except *
    cpdef void set_limits(self, double read, double write) except *
