cdef class Process:
    cdef public long number
