cimport cython

cimport geventstreams._native.memory as _bytes
from geventstreams._core.buffers cimport BlockPool, InputBuffer

cdef Py_ssize_t HEADER, LARGEST, SHORTEST, COPIED, CERTAIN
cdef int APPLICATION_DATA, RARE


cdef class RecordBuffer(InputBuffer):
    cdef bint trusts_lengths
    cdef readonly int kind

    cpdef Py_ssize_t record(self) except -1


@cython.final
cdef class Decrypter:
    cdef RecordBuffer cipher
    cdef Py_ssize_t taken, pending
    cdef bint asks_again, read_other, tells_types
    cdef object failure, _read, _tell_pending, _write, _incoming
    cdef bytearray _small
    cdef bint _fed, _holds_one
    cdef Py_ssize_t _overhead, _whole

    cdef bint holds_record(self) except? False
    @cython.locals(length=Py_ssize_t, whole=Py_ssize_t)
    cdef bint feed_record(self) except? False
    @cython.locals(taken=Py_ssize_t)
    cdef bint read_record(self, space, Py_ssize_t at) except? False
    @cython.locals(small=bytearray, count=Py_ssize_t)
    cdef void _read_whole(self, space, Py_ssize_t at) except *
    @cython.locals(count=Py_ssize_t)
    cdef Py_ssize_t _moved_whole(self) except -1
    @cython.locals(fresh=bint, taken=Py_ssize_t, small=bytearray, room=Py_ssize_t, count=Py_ssize_t)
    cdef void _read_part(self, space, Py_ssize_t at) except *
    cdef void _save(self, place, space, Py_ssize_t at, bint fresh, Py_ssize_t count) except *
    cdef Py_ssize_t _moved(self, bint fresh, bint changed) except -1
    cdef Py_ssize_t _left(self) except -1


cdef class Records:
    cdef readonly list pieces, contents
    cdef readonly Py_ssize_t start
    cdef bint may_grow, _grows_unseen
    cdef object _outgoing, _read

    cpdef void begin(self, outgoing, bint grows_unseen) except *
    cdef void note(self, Py_ssize_t content) except *
    cpdef void take(self, Py_ssize_t content) except *
    @cython.locals(has_more=bint)
    cdef bint has_more(self) except -1
    cdef void take_rest(self) except *
    cdef void drop_rest(self) except *
    @cython.locals(left=Py_ssize_t, piece=bytes)
    cpdef Py_ssize_t left(self) except -1
    @cython.locals(start=Py_ssize_t, whole=Py_ssize_t, piece=bytes, is_all=bint)
    cpdef void skip(self, Py_ssize_t count) except *
