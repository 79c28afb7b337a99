cimport cython

cimport geventstreams._core.arguments as arguments
cimport geventstreams._native.attributes as _attributes
from geventstreams._core.clock cimport deadline_after, seconds_until
from geventstreams._core.transport cimport transport_of
from geventstreams._streams.lisp cimport LispStream

cdef int OPEN, SHUT, TOLD, WANTED
cdef Py_ssize_t SOME, WOULD_WAIT


cdef class UpgradableStream(LispStream):
    pass


cdef class SocketStream(UpgradableStream):
    cdef object _proxy

    cdef void _init_connected(self, socket, options, tls) except *


cdef class StreamFactory:
    cdef object _class, _options, _tls
    cdef dict _keywords, _plain
    cdef bint _is_constructed_here
    cdef readonly bint is_secure
    cdef readonly double handshake_limit

    @cython.locals(plain=SocketStream)
    cpdef object make(self, connected, bint secure=*)
