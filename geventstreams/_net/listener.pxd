cimport geventstreams._native.interpreter as _interpreter
cimport geventstreams._native.syscalls as _system
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.hub_hold cimport HubHold
from geventstreams._core.wakeup cimport Wakeup

cdef ForkGeneration FORK
cdef long PATIENCE


cdef class Listener:
    # public, because a listener of another kind has a class of its own, in plain Python
    cdef public HubHold hold
    cdef public bint is_wanted, resting
    cdef public long most_at_once, _in_a_row, _process
    cdef public Wakeup _arrivals
    cdef public object _loop, _arrived, _accepting_socket, _watcher, _timer
    cdef int _descriptor
    cdef bint _is_ipv4

    cpdef object accept(self)
    cpdef void _call(self) except *
