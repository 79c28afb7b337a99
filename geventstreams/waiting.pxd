import cython

cimport geventstreams._native.syscalls as _system
from geventstreams._streams.engine cimport Conduit
from geventstreams._core.fork cimport Process
from geventstreams._core.transport cimport HubHold

cdef Process PROCESS
cdef double NEVER
cdef double ROUND
cdef Py_ssize_t ONE_POLL


cdef class Bell:
    cdef object _board
    cdef readonly object stream
    cdef public bint rung


cdef class Board:
    cdef object __weakref__
    cdef readonly object hub
    cdef readonly long process
    cdef readonly HubHold hold
    cdef public list noted
    cdef list _waiters
    cdef Py_ssize_t _active
    cdef bint _hangs_on

    cpdef list bells(self)
    cpdef void begin(self) except *
    cpdef void end(self) except *
    cpdef void take_down(self) except *
    @cython.locals(bell=Bell)
    cpdef list quiet(self)
    cpdef Bell hang(self, stream)
    cpdef void note(self, Bell bell) except *
    @cython.locals(bell=Bell, asked=Py_ssize_t)
    cpdef list ask(self)
    cpdef bint wait_for_bell(self, double limit) except? False
    cpdef void wake(self) except *


cdef class Roster(Board):
    cdef public bint remembered
    cdef list _bells

    cpdef bint is_in_use(self)
    @cython.locals(index=Py_ssize_t, bell=Bell)
    cpdef bint lists(self, list streams) except? False


@cython.locals(conduit=Conduit, of_conduits=bint)
cdef void _begin(list streams) except *
