cimport geventstreams._native.syscalls as _system
from geventstreams._core.transport cimport Wakeup


cdef double NEVER


cdef class Turn:
    cdef readonly object holder
    cdef object _queue
    cdef double _progress

    cpdef bint take(self, hub, double limit) except? False
    cdef bint _seize(self, Wakeup ticket) except? False
    cdef bint _withdraw(self, Wakeup ticket) except? False
    cdef void _wait(self, Wakeup ticket, double limit) except *
    cpdef void progressed(self) except *
    cpdef void give(self) except *
    cpdef void refuse(self) except *


cdef class SharedTurn(Turn):
    cdef object _step
