cimport geventstreams._core.arguments as arguments
from geventstreams._streams.tls_upgrade cimport SecurableStream


cdef class SocketStream(SecurableStream):
    cdef object _proxy
