cimport geventstreams._native.interpreter as _interpreter


cdef class ForkGeneration:
    cdef public long generation
    cdef public unsigned long thread
    cdef long _process, _parents

    cpdef void look(self) except *
    cdef void _begin(self) except *
