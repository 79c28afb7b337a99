cimport cython

cimport geventstreams._native.memory as _bytes
from geventstreams._core.tls_records cimport RecordBuffer

cdef int APPLICATION_DATA
cdef Py_ssize_t SHORTEST


@cython.final
cdef class Decrypter:
    cdef RecordBuffer cipher
    cdef Py_ssize_t taken
    cdef Py_ssize_t pending
    cdef bint asks_again
    cdef bint tells_types
    cdef object failure
    cdef object _object
    cdef object _incoming
    cdef bytearray _first
    cdef bint _fed
    cdef bint _holds_one

    cdef bint holds_record(self) except? False
    cdef bint feed_record(self) except? False
    cdef bint read_record(self, space, Py_ssize_t at) except? False
