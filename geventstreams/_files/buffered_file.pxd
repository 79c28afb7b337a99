cimport cython

cimport geventstreams._core.arguments as arguments
cimport geventstreams._native.attributes as _attributes
cimport geventstreams._native.memory as _bytes
from geventstreams._core.buffers cimport OutputBuffer
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteReader
from geventstreams._files.engine cimport FileEngine
from geventstreams._files.transports cimport FileTransport, borrow

cdef ForkGeneration FORK
cdef Py_ssize_t BLOCK
cdef Py_ssize_t DIRECT
cdef Py_ssize_t LARGE
cdef Py_ssize_t LARGEST
cdef Py_ssize_t WOULD_WAIT
cdef FileEngine NO_ENGINE


cdef class SocketFile(ByteReader):
    cdef object __weakref__
    cdef FileEngine _engine
    cdef readonly bint _alive

    @cython.locals(engine=FileEngine)
    cdef void _init_file(self, FileTransport transport, Py_ssize_t buffering, bint readable, bint writable) except *
    cdef object _own_flush(self)
    cdef object _read_large(self, Py_ssize_t wanted)
    @cython.locals(output=OutputBuffer, count=Py_ssize_t)
    cpdef Py_ssize_t write(self, data) except -1
    @cython.locals(engine=FileEngine, output=OutputBuffer, done=Py_ssize_t, sent=Py_ssize_t)
    cdef void _write(self, view, Py_ssize_t count) except *


cdef class TwoWaySocketFile(SocketFile):
    cdef bint _has_own_reads(self) except? False
    cdef bytes _gather_line(self, size)


@cython.locals(readable=bint, writable=bint, size=Py_ssize_t, transport=FileTransport, file=SocketFile)
cpdef object file_on(sock, mode, buffering, encoding, errors, newline)
