cimport geventstreams._core.arguments as arguments
from geventstreams._core.fork cimport Process
from geventstreams.callbacks.push_mode cimport Connection, PumpedStream

cdef Process PROCESS
cdef object ALL
cdef object START


cdef class AsyncStream(PumpedStream):
    cpdef bytes readline(self, object size=*)
