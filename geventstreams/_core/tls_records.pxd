from geventstreams._core.buffers cimport BlockPool, InputBuffer

cdef Py_ssize_t HEADER
cdef Py_ssize_t LARGEST


cdef class RecordBuffer(InputBuffer):
    cdef bint trusts_lengths
    cdef readonly int kind

    cpdef Py_ssize_t record(self) except -1


cdef class Records:
    cdef readonly list pieces
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t size

    cpdef void append(self, bytes piece) except *
    cpdef void skip(self, Py_ssize_t count) except *
