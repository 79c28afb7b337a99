cimport geventstreams._native.syscalls as _system
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.transport_base cimport Transport
from geventstreams._core.wakeup cimport Wakeup

cdef int FRESH
cdef ForkGeneration FORK
cdef double NEVER
cdef Py_ssize_t WOULD_WAIT


cdef class FileTransport(Transport):
    cdef readonly object socket
    cdef readonly bint direct
    cdef readonly bint closed
    cdef readonly bint begun
    cdef readonly bint between_threads
    cdef Fairness _fairness

    cdef void _init_file(self, socket) except *
    cpdef bint let_others_run(self) except? False
    cpdef bint await_input(self) except? False
    cpdef bint await_output(self) except? False
    cdef void _disconnect(self) except *
    cpdef void give_up(self) except *


cdef class BorrowedTransport(FileTransport):
    cdef int _descriptor
    cdef object _handle
    cdef Wakeup _input
    cdef Wakeup _output
    cdef list _awaited

    cdef void _init_borrowed(self, socket) except *
    cdef bint _has_wakeups(self) noexcept
    cdef bint _waited(self, Wakeup wakeup, double limit) except? False
    cdef bint _waited_between_threads(self, Wakeup wakeup, double limit) except? False
    cdef Wakeup _in_place_of(self, Wakeup wakeup, int events)
    cdef list _wakeups(self)
    cpdef double limit(self) except? -1
    cdef int _current(self) except -1
    cdef void _follow(self, int descriptor) except *


cdef class BorrowedTLSTransport(BorrowedTransport):
    cdef bint _input_needs_room
    cdef bint _output_needs_input


cdef class AnySocketTransport(FileTransport):
    cdef object _open(self)


cpdef FileTransport borrow(socket, bint readable, bint writable)
cdef object _transport_for(socket, bint readable, bint writable)
cdef object _attributes(socket)
