cimport cython

cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.syscalls as _system
from geventstreams._core.buffers cimport OutputBuffer
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.wakeup cimport Wakeup

cdef int FRESH, READ, WRITE
cdef ForkGeneration FORK
cdef double NEVER
cdef Py_ssize_t BUSY, WOULD_WAIT
cdef object get_hub, _GEVENT_SOCKET
cdef tuple _KNOWN


cdef class SocketWakeup(Wakeup):
    cdef object event


cdef class FileTransport:
    cdef readonly object socket
    cdef readonly bint direct, emptied, closed, begun, between_threads
    cdef readonly Fairness fairness

    cdef void _init_file(self, socket) except *
    cpdef Py_ssize_t recv_into(self, space, Py_ssize_t start, list counts) except? -2
    cpdef Py_ssize_t send(self, view, Py_ssize_t start, Py_ssize_t stop) except? -2
    cpdef bint await_input(self) except? False
    cpdef bint await_output(self) except? False
    cpdef bint send_at_once(self, OutputBuffer output, bint last=*) except? False
    cpdef void close(self) except *
    cdef void _disconnect(self) except *
    cdef object _open(self)


cdef class BorrowedTransport(FileTransport):
    cdef object _native, _handle
    cdef int _descriptor, _input_event, _output_event
    cdef SocketWakeup _input, _output
    cdef list _awaited

    cdef bint _wait_for(self, int events) except? False
    @cython.locals(wakeup=SocketWakeup)
    cdef SocketWakeup _wakeup(self, int events)
    cdef list _wakeups(self)
    @cython.locals(descriptor=int)
    cdef int _current(self) except -1
    @cython.locals(wakeup=Wakeup)
    cdef void _follow(self, int descriptor) except *


cdef class BorrowedTLSTransport(BorrowedTransport):
    cdef int _tried(self, method, view, list counts, int event) except -1


cdef class AnySocketTransport(FileTransport):
    pass


cpdef FileTransport borrow(socket, bint readable, bint writable)
cdef object _transport_for(socket, bint readable, bint writable)
