cimport cython

cimport geventstreams._core.arguments as arguments
cimport geventstreams._native.attributes as _attributes
cimport geventstreams._native.memory as _bytes
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteReader
from geventstreams._files.engine cimport FileEngine
from geventstreams._files.transports cimport FileTransport, borrow

cdef ForkGeneration FORK
cdef Py_ssize_t BLOCK, DIRECT, LARGE, LARGEST, WOULD_WAIT
cdef FileEngine NO_ENGINE


cdef class SocketFile(ByteReader):
    cdef object __weakref__
    cdef FileEngine _engine
    cdef readonly bint _alive

    @cython.locals(engine=FileEngine)
    cdef void _init_file(self, FileTransport transport, Py_ssize_t buffering, bint readable, bint writable) except *
    cdef object _own_flush(self)
    cdef object _read_large(self, Py_ssize_t wanted)
    cpdef Py_ssize_t write(self, data) except -1
    cdef void _write(self, view, Py_ssize_t count) except *


cdef class TwoWaySocketFile(SocketFile):
    cdef bint _has_own_reads(self) except? False


@cython.locals(readable=bint, writable=bint, size=Py_ssize_t, transport=FileTransport, file=SocketFile)
cpdef object file_on(sock, mode, buffering, encoding, errors, newline)
