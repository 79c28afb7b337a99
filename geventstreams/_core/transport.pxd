cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.syscalls as _system
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.transport_base cimport Transport
from geventstreams._core.hub_hold cimport HubHold, hold_of
from geventstreams._core.wakeup cimport Wakeup

cdef ForkGeneration FORK
cdef Py_ssize_t BUSY
cdef int _INET, _UNIX
cdef dict _OWNERS


cdef class OwnedFd:
    cdef public object descriptor, on_closed
    cdef readonly object peer_address
    cdef readonly int family
    cdef readonly long process


cdef class SocketTransport(Transport):
    cdef int _descriptor, _family
    cdef long _process
    cdef bint _is_entered
    cdef Wakeup _input, _output
    cdef object _handle, _address, _peer_address, _blocking, _socket, _hub
    cdef HubHold _hold

    cdef void _enter(self, inode) except *
    cdef void _learn_address(self) except *
    cdef void _detach(self, bint closes) except *


cpdef Transport transport_of(socket)
