cdef class BinaryFile:
    cdef bint _is_readable
    cdef bint _is_writable

    cdef void _refuse(self) except *
