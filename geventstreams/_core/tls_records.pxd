cimport geventstreams._native.memory as _bytes

cdef Py_ssize_t WIDE
cdef Py_ssize_t HEADER
cdef Py_ssize_t LARGEST
cdef Py_ssize_t _KEPT
cdef list _pool


cdef class RecordBuffer:
    cdef bytearray store
    cdef readonly object view
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t end
    cdef bint leased
    cdef readonly list counts
    cdef bint trusts_lengths
    cdef readonly int kind

    cdef void _lease(self) except *
    cdef void _release(self) except *
    cpdef object space(self)
    cpdef void absorb(self) except *
    cpdef void append(self, bytes octets) except *
    cdef void _enlarge(self, Py_ssize_t count) except *
    cpdef void skip(self, Py_ssize_t count) except *
    cpdef void settle(self) except *
    cpdef bytes take_all(self)
    cpdef Py_ssize_t record(self) except -1
    cdef int _octet(self, Py_ssize_t index) except -1


cdef class Records:
    cdef readonly list pieces
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t size

    cpdef void append(self, bytes piece) except *
    cpdef void skip(self, Py_ssize_t count) except *
    cpdef void clear(self) except *
