cimport geventstreams._core.arguments as arguments
from geventstreams._core.fork cimport ForkGeneration
from geventstreams.callbacks.push_mode cimport Connection, PushedStream

cdef ForkGeneration FORK
cdef object ALL
cdef object START


cdef class AsyncStream(PushedStream):
    cpdef bytes readline(self, object size=*)
