cimport geventstreams._native.attributes as _attributes
cimport geventstreams._native.memory as _bytes
cimport geventstreams._core.arguments as arguments
from geventstreams._files.engine cimport FileEngine
from geventstreams._core.fork cimport ForkGeneration

cdef ForkGeneration FORK
cdef long NO_PERMIT
cdef object ALL
cdef Py_ssize_t DIRECT
cdef Py_ssize_t LARGE
cdef Py_ssize_t LARGEST
cdef Py_ssize_t WOULD_WAIT


cdef class SocketFile(FileEngine):
    cpdef bytes readline(self, object size=*)
    cdef bint _has_own_reads(self) except? False
    cdef bytes _gather_line(self, size)
    cdef object _next_line(self)
    cdef list _gather_lines(self, Py_ssize_t most)
    cpdef Py_ssize_t write(self, data) except -1
    cdef object _read(self, Py_ssize_t wanted)
    cdef object _read_large(self, Py_ssize_t wanted)
    cdef object _read_into(self, target, Py_ssize_t wanted)
    cdef Py_ssize_t _line(self, Py_ssize_t wanted) except -1
    cdef void _write(self, octets, Py_ssize_t count) except *
