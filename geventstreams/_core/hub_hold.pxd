cimport cython

cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.interpreter as _interpreter

cdef list _latest
cdef int FIRED


cdef class Wait:
    cdef readonly object waiter
    cdef int outcome


cdef class EventHandler:
    cpdef int _on_event(self) except -1


cdef class HubHold:
    cdef object __weakref__
    cdef public object loop
    cdef bint stays_armed, has_batches, is_held, is_ours
    cdef Py_ssize_t waiting
    cdef list ready
    cdef readonly unsigned long thread
    cdef readonly bint ended, inherited
    cdef object hub, _calls, _waker, _dependents, _watcher

    cpdef void enter(self) except *
    cpdef void leave(self) except *
    cdef void begin(self) except *
    cdef void end(self) except *
    @cython.locals(wait=Wait)
    cdef object next_ready(self)
    cpdef bint is_here(self) noexcept
    cpdef bint may_use_loop(self) noexcept
    cpdef bint has_loop(self) except? False


@cython.locals(latest=HubHold, hold=HubHold)
cpdef HubHold hold_of(hub)
