cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.syscalls as _system
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.transport_base cimport Transport
from geventstreams._core.hub_hold cimport HubHold, hold_of
from geventstreams._core.wakeup cimport Wakeup

cdef ForkGeneration FORK
cdef Py_ssize_t BUSY
cdef int _INET
cdef int _UNIX


cdef class OwnedFd:
    cdef public object descriptor
    cdef readonly int family
    cdef readonly object peer_address
    cdef readonly long process
    cdef public object on_closed

    cpdef object take(self)
    cpdef void close(self) except *


cdef class SocketTransport(Transport):
    cdef int _descriptor
    cdef long _process
    cdef Wakeup _input
    cdef object _handle
    cdef Wakeup _output
    cdef object _address
    cdef object _peer_address
    cdef object _blocking
    cdef int _family
    cdef object _socket
    cdef object _hub
    cdef HubHold _hold

    cdef void _refuse(self) except *
    cdef void _learn_address(self) except *
    cdef void _detach(self, bint closes) except *


cpdef Transport transport_of(socket)
