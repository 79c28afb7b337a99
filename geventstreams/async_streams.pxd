cimport geventstreams.arguments as arguments
from geventstreams.process cimport Process
from geventstreams.pumped cimport Connection, PumpedStream

cdef Process PROCESS
cdef object ALL
cdef object START


cdef class AsyncStream(PumpedStream):
    cpdef bytes readline(self, object size=*)
