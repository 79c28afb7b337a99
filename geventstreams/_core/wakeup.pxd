cimport cython

cimport geventstreams._native.greenlets as _greenlets
from geventstreams._core.clock cimport Clock
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.hub_hold cimport EventHandler, HubHold, Wait, hold_of

cdef Clock CLOCK
cdef ForkGeneration FORK
cdef double NEVER
cdef int EXPIRED, FIRED, WAITS


cdef class Wakeup(Wait):
    cdef readonly bint armed
    cdef readonly object hub
    cdef readonly HubHold hold
    cdef readonly long process
    cdef readonly list listeners
    cdef EventHandler handler
    cdef double deadline
    cdef readonly bint closed
    cdef bint arming
    cdef int descriptor, events
    cdef object watcher, timer, timer_loop
    cdef double timer_due

    cdef void _init_wakeup(self, hub, int descriptor, int events, HubHold hold) except *
    @cython.locals(hold=HubHold, other=Wait, waiting=Py_ssize_t)
    cpdef bint wait(self, double timeout) except? False
    cpdef bint watch(self, EventHandler handler, double timeout) except? False
    cpdef void refuse(self) except *
    cdef bint _wait_beside(self, double timeout) except? False
    cpdef void fire(self) except *
    cdef void _call_listeners(self) except *
    cpdef void arm(self) except *
    cpdef void disarm(self) except *
    cdef int _set_deadline(self, double timeout) except -1
    cdef void _start_timer(self, double seconds) except *
    cdef void _stop_timer(self) except *
    cpdef void close(self) except *
    cdef void _release(self) except *


cdef class ReusableWakeup(Wakeup):
    cpdef void end_wait(self) except *
    cpdef void stop_timer(self) except *
