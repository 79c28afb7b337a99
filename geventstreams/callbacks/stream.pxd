cimport geventstreams._native.attributes as _attributes
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteReader
from geventstreams._streams.buffered cimport BufferedStream
from geventstreams._streams.socket_stream cimport UpgradableStream

cdef ForkGeneration FORK
cdef object START


cdef class AsyncStream(UpgradableStream):
    cpdef object readline(self, object size=*)
