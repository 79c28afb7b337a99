cimport geventstreams._native.attributes as _attributes
cimport geventstreams._core.arguments as arguments
from geventstreams._streams.engine cimport StreamEngine
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.transport cimport Transport


cdef ForkGeneration FORK
cdef double NEVER
cdef Py_ssize_t BLOCK
cdef Py_ssize_t AT_ONCE
cdef Py_ssize_t WOULD_WAIT
cdef int A_LINE
cdef int A_SEPARATOR


cdef class BufferedStream(StreamEngine):
    cdef bint _writes_here

    cdef void _init_stream(self, Transport transport, bint readable, bint writable, options) except *
    cdef bint _discard_line(self) except? False
    cpdef object write(self, data)
    cdef int _write(self, data) except -1
