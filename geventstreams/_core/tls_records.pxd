cimport cython

cimport geventstreams._native.memory as _bytes
from geventstreams._core.buffers cimport BlockPool, InputBuffer

cdef Py_ssize_t HEADER, LARGEST, SHORTEST
cdef int APPLICATION_DATA


cdef class RecordBuffer(InputBuffer):
    cdef bint trusts_lengths
    cdef readonly int kind

    cpdef Py_ssize_t record(self) except -1


@cython.final
cdef class Decrypter:
    cdef RecordBuffer cipher
    cdef Py_ssize_t taken, pending
    cdef bint asks_again, tells_types
    cdef object failure, _object, _incoming
    cdef bytearray _first
    cdef bint _fed, _holds_one

    cdef bint holds_record(self) except? False
    cdef bint feed_record(self) except? False
    cdef bint read_record(self, space, Py_ssize_t at) except? False


cdef class Records:
    cdef readonly list pieces, contents
    cdef readonly Py_ssize_t start

    cdef void note(self, Py_ssize_t content) except *
    cpdef void take(self, source, Py_ssize_t content) except *
    @cython.locals(left=Py_ssize_t, piece=bytes)
    cpdef Py_ssize_t left(self) except -1
    @cython.locals(start=Py_ssize_t, whole=Py_ssize_t, piece=bytes, is_all=bint)
    cpdef void skip(self, Py_ssize_t count) except *
