cimport cython

cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.syscalls as _system
from geventstreams._core.clock cimport Clock
from geventstreams._core.fork cimport ForkGeneration

cdef Clock CLOCK
cdef ForkGeneration FORK
cdef double NEVER
cdef list _latest


cdef class Wakeup


cdef class HubHold:
    cdef object __weakref__
    cdef object hub
    cdef readonly object loop
    cdef bint stays_armed
    cdef Py_ssize_t waiting
    cdef list ready
    cdef readonly unsigned long thread
    cdef readonly bint ended
    cdef readonly bint inherited
    cdef object _calls
    cdef object _waker
    cdef object _dependents
    cdef object _watcher

    cpdef void use(self, loop) except *
    cdef void begin(self) except *
    cdef void end(self) except *
    cdef void resume_later(self, Wakeup wakeup) except *
    cpdef void resume_ready(self) except *
    @cython.locals(wakeup=Wakeup)
    cdef object next_ready(self)
    cpdef bint is_here(self) noexcept
    cpdef bint may_use_loop(self) noexcept
    cpdef bint has_loop(self) except? False
    cpdef void separate(self) except *
    cpdef void run_there(self, call) except *
    cpdef void tell_end_to(self, dependent, ended) except *
    cpdef void thread_has_ended(self) except *


cdef class EventHandler:
    cpdef void _on_event(self) except *


cdef class Wakeup:
    cdef readonly object hub
    cdef readonly HubHold hold
    cdef readonly long process
    cdef int descriptor
    cdef int events
    cdef object watcher
    cdef readonly bint armed
    cdef bint arming
    cdef readonly bint closed
    cdef readonly object waiter
    cdef readonly list listeners
    cdef EventHandler handler
    cdef bint fired
    cdef bint expired
    cdef double deadline
    cdef object timer
    cdef object timer_loop
    cdef double timer_due

    @cython.locals(hold=HubHold)
    cpdef bint wait(self, double timeout) except? False
    cpdef bint watch(self, EventHandler handler, double timeout) except? False
    cpdef void refuse(self) except *
    cdef bint _wait_beside(self, double timeout) except? False
    cpdef void fire(self) except *
    cdef void _call_listeners(self) except *
    cpdef void arm(self) except *
    cpdef void disarm(self) except *
    cpdef void listen(self, listener) except *
    cpdef void unlisten(self, listener) except *
    cdef int _set_deadline(self, double timeout) except -1
    cdef void _start_timer(self, double seconds) except *
    cdef void _stop_timer(self) except *
    cpdef void close(self) except *
    cdef void _release(self) except *


cdef class ReusableWakeup(Wakeup):
    cpdef void end_wait(self) except *
    cpdef void stop_timer(self) except *


@cython.locals(latest=HubHold, hold=HubHold)
cpdef HubHold hold_of(hub)
