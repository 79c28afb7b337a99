cimport geventstreams._core.arguments as arguments
cimport geventstreams._native.attributes as _attributes
from geventstreams._core.buffers cimport OutputBuffer
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteReader, ByteSource
from geventstreams._streams.engine cimport StreamEngine

cdef ForkGeneration FORK
cdef Py_ssize_t BLOCK, AT_ONCE, ENDED, WOULD_WAIT
cdef Py_ssize_t A_LINE, A_SEPARATOR, SOME
cdef StreamEngine NO_ENGINE


cdef class OwnFill(ByteSource):
    cdef object _stream
    cdef StreamEngine _engine


cdef class BufferedStream(ByteReader):
    cdef object __weakref__
    cdef OutputBuffer _output
    cdef StreamEngine _engine
    cdef bint _flushes_here, _writes_here
    cdef readonly bint _alive

    cdef void _init_stream(self, StreamEngine engine, bint readable, bint writable, options) except *
    cpdef bint _fill_buffer(self) except? False
    cpdef object write(self, data)
    cdef int _write(self, data) except -1
    cpdef void _flush_buffer(self) except *


cpdef StreamEngine engine_of(BufferedStream stream)
