cimport geventstreams._native.syscalls as _system
from geventstreams._core.transport cimport Wakeup


cdef double NEVER


cdef class FairLock:
    cdef readonly object holder
    cdef object _queue
    cdef double _progress

    cpdef bint acquire(self, hub, double limit) except? False
    cdef bint _seize(self, Wakeup waiter) except? False
    cdef bint _withdraw(self, Wakeup waiter) except? False
    cdef void _wait(self, Wakeup waiter, double limit) except *
    cpdef void progressed(self) except *
    cpdef void release(self) except *
    cpdef void cancel_waiters(self) except *


cdef class SharedFairLock(FairLock):
    cdef object _step
