cimport geventstreams._core.arguments as arguments
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteReader
from geventstreams._streams.buffered cimport BufferedStream
from geventstreams.callbacks.push_mode cimport PushedStream

cdef ForkGeneration FORK
cdef object START


cdef class AsyncStream(PushedStream):
    cpdef object readline(self, object size=*)
