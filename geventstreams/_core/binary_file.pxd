cdef class BinaryFile:
    pass
