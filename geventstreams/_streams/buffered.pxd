cimport cython

cimport geventstreams._native.attributes as _attributes
cimport geventstreams._core.arguments as arguments
from geventstreams._streams.engine cimport StreamEngine
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.transport cimport Transport


cdef ForkGeneration FORK
cdef double NEVER
cdef Py_ssize_t BLOCK
cdef Py_ssize_t DIRECT
cdef Py_ssize_t AT_ONCE
cdef object ALL


cdef class BufferedStream(StreamEngine):
    cdef double _line_limit
    cdef bint _lines_here
    cdef bint _writes_here

    cdef void _init_stream(self, Transport transport, bint readable, bint writable, options) except *
    cpdef bytes readline(self, object size=*)
    @cython.locals(wanted=Py_ssize_t, done=Py_ssize_t, count=Py_ssize_t, direct=bint)
    cdef Py_ssize_t _read_into(self, target) except -1
    cdef Py_ssize_t _line(self, Py_ssize_t wanted) except -1
    cdef object _next_line(self)
    cpdef object write(self, data)
    cdef int _write(self, data) except -1
