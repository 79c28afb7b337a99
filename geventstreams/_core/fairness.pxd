cimport cython

cimport geventstreams._native.clock as _clock
cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.interpreter as _interpreter
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.wakeup cimport Wakeup

cdef ForkGeneration FORK
cdef double NEVER, SLICE
cdef int FRESH, _SECOND, _RUNNING


cdef class Fairness:
    cdef public int state
    cdef double _since

    cpdef bint is_overdue(self, hub) except? False
    cpdef bint is_due(self, hub) except? False
    cpdef bint let_others_run(self, hub) except? False


# An object, since a method of a declared class would be handed over as a C function, and Cython 3.2 gets the type of it wrong.
@cython.locals(hold=object)
cpdef void yield_to_hub(hub) except *
