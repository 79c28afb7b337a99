cimport geventstreams._core.arguments as arguments
cimport geventstreams._native.attributes as _attributes
from geventstreams._core.binary_file cimport BinaryFile
from geventstreams._core.buffers cimport InputBuffer
from geventstreams._core.fork cimport ForkGeneration

cdef ForkGeneration FORK
cdef double NEVER
cdef Py_ssize_t ENDED
cdef Py_ssize_t WOULD_WAIT
cdef Py_ssize_t DIRECT
cdef object ALL
cdef int INPUT
cdef int A_LINE


cdef class ByteReader(BinaryFile):
    # Attributes can be set, so Cython looks for an override in each call `self.f()` of a cpdef method: what is called often inside is
    # `cdef`, or called as `Class.f(self)`.
    cdef dict __dict__
    cdef readonly InputBuffer input
    cdef bint _is_readable
    cdef bint _is_writable
    cdef bint _has_direct_input
    cdef bint _has_own_readline
    cdef double _line_limit
    cdef int _goal

    cdef void _refuse(self) except *
    cdef void _begin_read(self) except *
    cdef void _end_read(self) except *
    cdef void _look_at_clock(self) except *
    cdef Py_ssize_t _fill(self, target, Py_ssize_t at, Py_ssize_t lacking) except? -2
    cdef void _raise_end(self) except *
    cdef bint _was_shut_down(self) except? False
    cdef Py_ssize_t _unfinished_line(self) except? -2
    cdef Py_ssize_t _size(self, str name, value) except? -2
    cdef object _read(self, Py_ssize_t wanted)
    cdef Py_ssize_t _read_into(self, target) except? -2
    cdef Py_ssize_t _receive_into(self, target) except? -2
    cdef Py_ssize_t _stranded(self) except? -2
    cpdef object read1(self, object size=*)
    cpdef bytes peek(self, object size=*)
    cpdef object readinto(self, buffer)
    cpdef object readline(self, object size=*)
    cpdef list readlines(self, object hint=*)
    cdef Py_ssize_t _line(self, Py_ssize_t wanted) except? -2
    cdef object _next_line(self)
