cimport cython

cimport geventstreams.arguments as arguments
from geventstreams.conduit cimport Conduit
from geventstreams.process cimport Process


cdef Process PROCESS
cdef double NEVER
cdef Py_ssize_t BLOCK
cdef Py_ssize_t DIRECT
cdef Py_ssize_t AT_ONCE
cdef object ALL


cdef class BufferedStream(Conduit):
    cdef double _line_limit

    cpdef bytes readline(self, object size=*)
    @cython.locals(wanted=Py_ssize_t, done=Py_ssize_t, count=Py_ssize_t, direct=bint)
    cdef Py_ssize_t _read_into(self, target) except -1
    cdef Py_ssize_t _line(self, Py_ssize_t wanted) except -1
    cpdef object write(self, data)
