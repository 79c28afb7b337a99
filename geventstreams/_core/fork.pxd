cdef class ForkGeneration:
    cdef public long generation
