cimport geventstreams._native.syscalls as _system
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.wakeup cimport HubHold, Wakeup

cdef ForkGeneration FORK
cdef Py_ssize_t BUSY


cdef class Transport:
    cdef public bint emptied
    cdef public Py_ssize_t unsent
    cdef public long long received
    cdef public bint ready

    cpdef Py_ssize_t recv_into(self, space, Py_ssize_t start, list counts) except? -2
    cpdef Py_ssize_t send(self, data, Py_ssize_t start, Py_ssize_t stop) except? -2
    cpdef Py_ssize_t send_pieces(self, list pieces, Py_ssize_t start) except? -2
    cpdef Py_ssize_t flush(self) except? -2
    cpdef Py_ssize_t readable(self) except? -2
    cpdef bint wait_input(self, double timeout) except? False
    cpdef bint wait_output(self, double timeout) except? False
    cpdef Wakeup input_wakeup(self)
    cpdef Wakeup output_wakeup(self)
    cpdef Py_ssize_t end_output(self) except? -2
    cpdef void end_input(self) except *
    cpdef Py_ssize_t discard(self) except? -2
    cpdef void wake(self) except *


cdef class SocketTransport(Transport):
    cdef int _descriptor
    cdef long _process
    cdef object _handle
    cdef Wakeup _input
    cdef Wakeup _output
    cdef object _address
    cdef object _peer_address
    cdef object _blocking
    cdef int _family
    cdef object _socket
    cdef object _hub
    cdef HubHold _hold

    cdef void _refuse(self) except *
