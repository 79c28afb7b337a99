cimport cython

cimport geventstreams._native.interpreter as _interpreter
from geventstreams._core.clock cimport Clock, deadline_after, seconds_until
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.wakeup cimport Wakeup

cdef Clock CLOCK
cdef ForkGeneration FORK


cdef class FairLock:
    cdef readonly object holder
    cdef object _queue
    cdef double _progress
    cdef unsigned long _thread
    cdef long _generation

    @cython.locals(waiter=Wakeup, deadline=double)
    cpdef bint acquire(self, hub, double timeout) except? False
    cdef bint _seize(self, Wakeup waiter) except? False
    cdef int _forget_parent(self) except -1
    cdef bint _withdraw(self, Wakeup waiter) except? False
    cpdef void progressed(self) except *
    cpdef void release(self) except *
    cpdef void cancel_waiters(self) except *


cpdef FairLock fair_lock_between(bint threads)


cdef class SharedFairLock(FairLock):
    pass
